"""The OpenAPI 3.1 document of the API: every path, its parameters and its answers.

Written as a table beside the forms of `schema`; a test holds it against the routes that are there.
"""

from typing import Any, Final

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_INT: Final[Json] = {"type": "integer"}
_BIG: Final[Json] = {"type": ["integer", "string"], "description": "text above 2^53"}
_ID: Final[Json] = {"type": "string", "pattern": "^b[a-z2-7]{58}$"}
_HASH: Final[Json] = {"type": "string", "pattern": "^[a-z2-7]{52}$"}
_KEY: Final[Json] = {"type": "string", "pattern": "^apx1[a-z2-7]+$"}
_BYTES: Final[Json] = {
    "type": "object",
    "properties": {"/": {"type": "object", "properties": {"bytes": _TEXT}}},
}
_ANY: Final[Json] = {}


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _maybe(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_EVENT = _object(agent=_TEXT, type=_TEXT, data=_ANY)
_SUMMARY = _object(
    height=_INT,
    block=_ID,
    epoch=_INT,
    round=_INT,
    time_ms=_INT,
    messages=_INT,
    chain_inputs=_INT,
    facts=_INT,
    gas_used=_BIG,
    state_root=_HASH,
)
_SCHEMAS: Final[Json] = {
    "Envelope": _object(
        schema={"const": "apocryph/1"},
        ok={"type": "boolean"},
        data=_ANY,
        errors=_list(_object(code=_TEXT, message=_TEXT, hint=_TEXT, retryable={"type": "boolean"})),
        warnings=_list(_TEXT),
    ),
    "Bytes": _BYTES,
    "BlockSummary": _SUMMARY,
    "Block": _object(
        height=_INT,
        block=_ID,
        parent=_ID,
        epoch=_INT,
        round=_INT,
        time_ms=_INT,
        proposer_slot=_INT,
        rank=_INT,
        gas_used=_BIG,
        state_root=_HASH,
        inputs_root=_HASH,
        receipts_root=_HASH,
        outputs_root=_HASH,
        facts_root=_HASH,
        next_table=_HASH,
        randomness=_HASH,
        reveal=_maybe(_HASH),
        skipped=_list(_ID),
        certificate=_maybe(_object(id=_ID, round=_INT, signers=_list(_KEY))),
        chain_inputs=_list(_ID),
        messages=_list(_ID),
        facts=_INT,
    ),
    "Event": _EVENT,
    "Receipt": _object(
        message=_ID,
        height=_INT,
        index=_INT,
        status={"enum": ["ok", "rejected", "failed", "out_of_gas", "skipped"]},
        code=_TEXT,
        data=_ANY,
        gas=_BIG,
        events=_list(_EVENT),
        effects=_list(_ID),
    ),
    "Tx": _object(
        id=_ID,
        state={"enum": ["pending", "included", "refused"]},
        message=_ANY,
        receipt=_maybe(_ref("Receipt")),
    ),
    "Agent": _object(agent=_TEXT, id=_HASH, code=_TEXT, balance=_BIG, schema=_ANY, height=_INT),
}


def _parameter(name: str, place: str, schema: Json, text: str) -> Json:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": schema,
        "description": text,
    }


def _path(name: str, text: str) -> Json:
    return _parameter(name, "path", _TEXT, text)


def _query(name: str, schema: Json, text: str) -> Json:
    return _parameter(name, "query", schema, text)


def _answer(schema: Json, text: str = "the answer", kind: str = "application/json") -> Json:
    return {"description": text, "content": {kind: {"schema": schema}}}


_ERROR = _answer(_ref("Envelope"), "an error")


def _get(summary: str, schema: Json, *parameters: Json, kind: str = "application/json") -> Json:
    return {
        "get": {
            "summary": summary,
            "parameters": list(parameters),
            "responses": {"200": _answer(schema, kind=kind), "default": _ERROR},
        }
    }


_POST_MESSAGES: Final[Json] = {
    "post": {
        "summary": "Hand in signed messages, at most 512 at once",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _object(messages={**_list(_TEXT), "maxItems": 512}),
                    "example": {"messages": ["base64 of the canonical bytes of a message"]},
                }
            },
        },
        "responses": {
            "202": _answer(_object(accepted=_INT, ids=_list(_ID)), "all are in the pool"),
            "422": _answer(_ref("Envelope"), "some are refused: see data.results"),
            "503": _answer(_ref("Envelope"), "refused for now: send again"),
            "default": _ERROR,
        },
    }
}
_REF = _path("ref", "name of a genesis agent, or id in base32")
_PATHS: Final[Json] = {
    "/v1/status": _get(
        "Height, root, what is being decided, pool, peers",
        _ANY,
        _query("after", _INT, "with wait_ms: answer once the height is above this one"),
        _query("wait_ms", _INT, "or after so many milliseconds"),
    ),
    "/v1/blocks": _get(
        "Blocks, newest first",
        _object(blocks=_list(_ref("BlockSummary")), next=_maybe(_INT)),
        _query("before", _INT, "heights below this one"),
        _query("limit", _INT, "at most so many"),
        _query("raw", _TEXT, "the bytes that certify each, from height `from` upwards"),
        _query("from", _INT, "with raw: the first height"),
        _query("count", _INT, "with raw: at most so many"),
    ),
    "/v1/blocks/{height}": _get(
        "One block", _ref("Block"), _path("height", "a height, a block id, or latest")
    ),
    "/v1/messages": _POST_MESSAGES,
    "/v1/tx/{id}": _get(
        "What became of a message",
        _ref("Tx"),
        _path("id", "of a message, or of an input that the chain made"),
        _query("wait_s", {"type": "number"}, "wait so many seconds for its outcome"),
    ),
    "/v1/agents": _get(
        "All agents",
        _object(agents=_list(_ANY), names=_ANY, height=_INT, next=_maybe(_HASH)),
        _query("after", _HASH, "the last id of the page before"),
    ),
    "/v1/agents/{ref}": _get("Code, balance and schema of an agent", _ref("Agent"), _REF),
    "/v1/agents/{ref}/views/{name}": _get(
        "Ask an agent; arguments by name in the query",
        _object(value=_ANY, type=_TEXT, height=_INT),
        _REF,
        _path("name", "of the view"),
    ),
    "/v1/accounts/{id}": _get(
        "Balance of an account or agent",
        _object(account=_TEXT, balance=_BIG, height=_INT),
        _path("id", "apx1…, or an agent"),
    ),
    "/v1/proofs/{id}": _get(
        "A proof that needs nothing but the chain's id to be checked",
        _object(id=_TEXT, of=_TEXT, height=_INT, block=_ID, chain=_ID, proof=_TEXT),
        _path("id", "of a message; or an account, for its balance"),
        _query("of", {"enum": ["receipt", "message"]}, "what of the message"),
    ),
    "/v1/events": _get(
        "Blocks, receipts and events as server-sent events; id = height.index",
        _TEXT,
        _query("after", _TEXT, "a cursor; the header Last-Event-ID goes before it"),
        _query("types", _TEXT, "some of block,receipt,event"),
        _query("agent", _TEXT, "only this agent's events, and receipts that have some"),
        kind="text/event-stream",
    ),
    "/v1/chain": _get(
        "The chain's spec and its newest block, for who joins it",
        _object(
            chain=_ID,
            name=_TEXT,
            consensus=_TEXT,
            genesis_time_ms=_INT,
            slots=_INT,
            epoch_blocks=_INT,
            checkpoint=_TEXT,
            spec=_BYTES,
        ),
    ),
    "/v1/slots": _get("Owners of slots in the table in force", _ANY),
    "/v1/peers": _get("Links of this node", _object(peers=_list(_ANY))),
    "/livez": _get("Whether the process answers", _TEXT, kind="text/plain"),
    "/readyz": _get(
        "Whether the node is ready; 503 if not",
        _ANY,
        _query("verbose", _TEXT, "each condition"),
        kind="text/plain",
    ),
    "/metrics": _get("Metrics for Prometheus", _TEXT, kind="text/plain"),
    "/openapi.json": _get("This document", _ANY),
}


def document(version: str) -> Json:
    """The document, as served."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Apocryph node",
            "version": version,
            "description": "A bearer token is needed where the node has one; else loopback.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _PATHS,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }
