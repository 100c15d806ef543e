"""The JSON forms of the API: what a node's records look like to users (wire: API).

Ids and hashes are base32, keys `apx1…`, bytes `{"/": {"bytes": base64}}`, whole numbers above 2^53
text. One envelope for every error. Knows no transport.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from consensus.block import Body, Header
from consensus.certificates import Certificate
from consensus.encoding import decode
from consensus.errors import EncodingError
from consensus.ids import (
    Agent,
    Id,
    account_text,
    hash_text,
    id_text,
    peer_text,
)
from consensus.messages import DATA_BYTES_MAX, AgentEvent, Message, Receipt, decode_data
from consensus.spec import ChainSpec, agent_id
from consensus.state import State
from consensus.tables import Table
from node.execution.keys import AgentRecord, agent_key
from node.execution.registry import LEAST, NATIVE, describe
from node.forms import json_bytes, json_int, json_value
from node.sdk.shapes import REQUIRED
from node.store.chain import StoredBlock

SCHEMA: Final = "apocryph/1"
Json = dict[str, Any]


class Fault(NamedTuple):
    """One of `errors` in the envelope."""

    code: str
    message: str
    hint: str = ""
    retryable: bool = False


def envelope(errors: Sequence[Fault], data: Json | None = None) -> Json:
    """The one body of every error."""
    told = [fault._asdict() for fault in errors]
    return {"schema": SCHEMA, "ok": False, "data": data, "errors": told, "warnings": []}


# ---- names --------------------------------------------------------------------------------------


def agent_names(spec: ChainSpec) -> dict[str, Agent]:
    """The agents that have a name: those of the genesis."""
    return {agent.name: agent_id(agent.name) for agent in spec.genesis_agents}


class Names:
    """Texts of agents and addresses on one chain."""

    def __init__(self, spec: ChainSpec) -> None:
        self.agents = agent_names(spec)
        self._texts = {agent: name for name, agent in self.agents.items()}

    def agent(self, agent: bytes) -> str:
        """Its name, else base32."""
        return self._texts.get(Agent(agent)) or hash_text(agent)

    def address(self, raw: bytes, state: State) -> str:
        """An agent's name or base32; `apx1…` for what is no agent of this state."""
        if raw in self._texts or state.get(agent_key(raw)) is not None:
            return self.agent(raw)
        return account_text(raw)


# ---- blocks -------------------------------------------------------------------------------------


def header_json(header: Header) -> Json:
    fields = header.fields
    return {
        "height": fields.height,
        "block": id_text(header.id),
        "parent": id_text(fields.parent),
        "epoch": fields.epoch,
        "round": fields.round,
        "time_ms": fields.time_ms,
        "proposer_slot": fields.proposer_slot,
        "rank": fields.rank,
        "gas_used": json_int(fields.gas_used),
        "state_root": hash_text(fields.state_root),
        "inputs_root": hash_text(fields.inputs_root),
        "receipts_root": hash_text(fields.receipts_root),
        "outputs_root": hash_text(fields.outputs_root),
        "facts_root": hash_text(fields.facts_root),
        "next_table": hash_text(fields.next_table),
        "randomness": hash_text(fields.randomness),
        "reveal": None if fields.reveal is None else hash_text(fields.reveal),
        "skipped": [id_text(item) for item in fields.skipped],
    }


def certificate_json(raw: bytes) -> Json | None:
    """Round and signers; null for genesis, which has none."""
    if not raw:
        return None
    certificate = Certificate.decode(raw)
    return {
        "id": id_text(certificate.id),
        "round": certificate.round,
        "signers": [peer_text(peer) for peer, _ in certificate.signatures],
    }


def block_json(stored: StoredBlock) -> Json:
    """Header, certificate and the ids of the inputs, in their order."""
    found = header_json(Header.decode(stored.header))
    body = Body.decode(stored.body) if stored.body else None
    found["certificate"] = certificate_json(stored.certificate)
    found["chain_inputs"] = [id_text(item) for item in body.chain_inputs] if body else []
    found["messages"] = [id_text(item) for item in body.messages] if body else []
    found["facts"] = len(body.facts) if body else 0
    return found


def summary_json(stored: StoredBlock) -> Json:
    """One line of a list of blocks."""
    header = Header.decode(stored.header)
    body = Body.decode(stored.body) if stored.body else None
    fields = header.fields
    return {
        "height": fields.height,
        "block": id_text(header.id),
        "epoch": fields.epoch,
        "round": fields.round,
        "time_ms": fields.time_ms,
        "messages": len(body.messages) if body else 0,
        "chain_inputs": len(body.chain_inputs) if body else 0,
        "facts": len(body.facts) if body else 0,
        "gas_used": json_int(fields.gas_used),
        "state_root": hash_text(fields.state_root),
    }


def raw_json(stored: StoredBlock, next_table: bytes | None) -> Json:
    """Base64 of what certifies a height; the table that it set, where an epoch ends."""
    return {
        "height": stored.height,
        "header": b64encode(stored.header).decode(),
        "certificate": b64encode(stored.certificate).decode(),
        "next_table": None if next_table is None else b64encode(next_table).decode(),
    }


def slots_json(table: Table) -> Json:
    """The table of an epoch: slots per owner, the vacant ones too."""
    owners = {peer_text(peer): list(table.slots_of(peer)) for peer in table.weights}
    vacant = [slot for slot, owner in enumerate(table.owners) if owner is None]
    return {
        "epoch": table.epoch,
        "count": len(table.owners),
        "occupied": len(table.occupied),
        "owners": owners,
        "vacant": vacant,
        "table": hash_text(table.hash),
    }


# ---- messages -----------------------------------------------------------------------------------


def data_json(data: bytes) -> Any:
    """{"type", "fields"} of a message's data; its bytes where it has another form."""
    try:
        name, fields = decode_data(data)
    except EncodingError:
        return {"type": None, "fields": None, "data": json_bytes(data)}
    return {"type": name, "fields": json_value(fields)}


def message_json(message: Message, names: Names) -> Json:
    to = names.agent(message.to.agent)
    if message.to.capability is not None:
        to += f"#{hash_text(message.to.capability)}"
    return {
        "id": id_text(message.id),
        "chain": id_text(message.chain),
        "sender": account_text(message.sender),
        "to": to,
        **data_json(message.data),
        "expires_height": message.expires_height,
        "gas_max": json_int(message.gas_max),
        "pay": json_int(message.pay),
        "after": None if message.after is None else id_text(message.after),
    }


def event_json(event: AgentEvent, names: Names) -> Json:
    return {"agent": names.agent(event.agent), "type": event.type, "data": _decoded(event.data)}


def _decoded(data: bytes) -> Any:
    """JSON of a canonical value; its bytes where it is none."""
    try:
        return json_value(decode(data, max_bytes=DATA_BYTES_MAX))
    except EncodingError:
        return json_bytes(data)


def receipt_json(receipt: Receipt, names: Names) -> Json:
    return {
        "message": id_text(receipt.message),
        "height": receipt.height,
        "index": receipt.index,
        "status": receipt.status,
        "code": receipt.code,
        "data": _decoded(receipt.data) if receipt.data else None,
        "gas": json_int(receipt.gas),
        "events": [event_json(event, names) for event in receipt.events],
        "effects": [id_text(Id(effect)) for effect in receipt.effects],
    }


# ---- agents -------------------------------------------------------------------------------------


def agent_json(agent: Agent, record: AgentRecord, names: Names, balance: int) -> Json:
    """Code, counters, and what the agent understands."""
    return {
        "agent": names.agent(agent),
        "id": hash_text(agent),
        "code": record.code,
        "balance": json_int(balance),
        "sent": record.sent,
        "delivered": record.delivered,
        "reminders": record.reminders,
        "schema": agent_schema(record.code),
    }


def agent_schema(code: str) -> Json | None:
    """Fields, messages and views with their types as text, which fields a message must have, and
    the least value of those that have one; null for a code that this version does not run."""
    described: Mapping[str, Any] | None = describe(code)
    if described is None:
        return None
    required = {
        name: [each.name for each in handler.shape.declared.values() if each.default is REQUIRED]
        for name, handler in NATIVE.classes[code].form.handlers.items()
    }
    return {**described, "required": required, "least": LEAST.get(code, {})}
