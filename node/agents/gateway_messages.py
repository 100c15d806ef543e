"""Messages in, outcomes out: POST of signed messages, and waiting for what becomes of them.

Decodes and hands over in batches; signatures, funds and the pool are the node's. Nothing is signed
here. A wait is answered by the commit that includes the message, never by polling.
"""

import asyncio
from collections import OrderedDict
from typing import Any

from aiohttp import web

from consensus.block import Header
from consensus.effects import Commit, Refused
from consensus.errors import ConsensusError, TextError
from consensus.ids import Id, MessageId, id_from_text, id_text
from consensus.messages import MESSAGE_BYTES_MAX, Message, Receipt
from node.agents.gateway_limits import (
    BODY_S_MAX,
    DECODED_AT_ONCE,
    MESSAGES_PER_POST_MAX,
    POSTS_MAX,
    REFUSED_KEPT_MAX,
    WAIT_S_MAX,
    WAITS_MAX,
)
from node.agents.gateway_replies import Refuse, answer, path_text, refuse
from node.execution.ports import Outcome
from node.forms import Misfit, base64_bytes
from node.ports import Admission, Face
from node.refusals import refusal
from node.schema import Fault, Json, Names, header_json, message_json, receipt_json


class Outcomes:
    """Clients that wait for messages, and late refusals. Fed by the node's commits."""

    def __init__(self) -> None:
        self.waiting = 0
        self._waits: dict[Id, list[asyncio.Future[None]]] = {}
        self._refused: OrderedDict[Id, Refused] = OrderedDict()

    def committed(self, effect: Commit, outcome: Outcome) -> None:
        if self._waits:
            for message in effect.block.body.inputs:
                self._wake(message)

    def refused(self, effect: Refused) -> None:
        self._refused[Id(effect.message)] = effect
        if len(self._refused) > REFUSED_KEPT_MAX:
            self._refused.popitem(last=False)
        self._wake(Id(effect.message))

    def refusal_of(self, message: bytes) -> Refused | None:
        return self._refused.get(Id(message))

    def _wake(self, message: Id) -> None:
        for future in self._waits.pop(message, ()):
            if not future.done():
                future.set_result(None)

    def wake_all(self) -> None:
        """The node stops: everybody gets the answer of now."""
        for message in list(self._waits):
            self._wake(message)

    async def wait(self, message: Id, timeout_s: float) -> None:
        """Until the message has an outcome or the time is up."""
        if self.waiting >= WAITS_MAX:
            raise Refuse(503, [Fault("Busy", "too many clients wait", "ask without wait_s", True)])
        future = asyncio.get_running_loop().create_future()
        self._waits.setdefault(message, []).append(future)
        self.waiting += 1
        try:
            await asyncio.wait([future], timeout=timeout_s)
        finally:
            self.waiting -= 1
            others = self._waits.get(message)
            if others is not None and future in others:
                others.remove(future)
                if not others:
                    del self._waits[message]


class MessageHandlers:
    """`POST /v1/messages` and `GET /v1/tx/{id}`."""

    def __init__(self, face: Face, names: Names, outcomes: Outcomes) -> None:
        self._face, self._names, self._outcomes = face, names, outcomes
        self._posts = asyncio.Semaphore(POSTS_MAX)
        self.accepted = 0
        self.refused = 0

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/messages", self.post), web.get("/v1/tx/{id}", self.tx)]

    # ---- in -------------------------------------------------------------------------------------

    async def post(self, request: web.Request) -> web.Response:
        """{"messages": [base64, …]} → 202 {"accepted", "ids"}; 422 or 503 if one is refused."""
        async with self._posts:
            messages, bad = await self._read(request)
            admitted = await self._face.submit(messages) if messages else []
        results: list[Admission | str] = list(admitted)
        for index, cause in bad:
            results.insert(index, cause)
        faults = [fault for result in results if (fault := _fault(result)) is not None]
        ids = [result if isinstance(result, str) else id_text(result.message) for result in results]
        self.refused += len(faults)
        self.accepted += len(results) - len(faults)
        if not faults:
            return answer({"accepted": len(ids), "ids": ids}, 202)
        data: Json = {
            "accepted": len(results) - len(faults),
            "results": [_result(result) for result in results],
        }
        raise Refuse(503 if all(fault.retryable for fault in faults) else 422, faults, data)

    async def _read(self, request: web.Request) -> tuple[list[Message], list[tuple[int, str]]]:
        """Decoded messages, and (index, cause) of those that have no form. Raises Refuse."""
        try:
            async with asyncio.timeout(BODY_S_MAX):
                document = await request.json()
        except TimeoutError:
            raise refuse(408, "timeout", f"the body took more than {BODY_S_MAX:.0f} s") from None
        except (ValueError, RecursionError):
            raise refuse(400, "usage", "the body is not JSON") from None
        texts = document.get("messages") if isinstance(document, dict) else None
        if not isinstance(texts, list) or not texts:
            hint = 'send {"messages": [base64 of signed messages]}'
            raise refuse(400, "usage", "no list of messages", hint=hint)
        if len(texts) > MESSAGES_PER_POST_MAX:
            cause = f"{len(texts)} messages, at most {MESSAGES_PER_POST_MAX} in one request"
            raise refuse(413, "usage", cause)
        messages, bad = [], []
        for index, text in enumerate(texts):
            if index and index % DECODED_AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                messages.append(_message(text))
            except (ConsensusError, Misfit) as error:
                bad.append((index, str(error)))
        return messages, bad

    # ---- out ------------------------------------------------------------------------------------

    async def tx(self, request: web.Request) -> web.Response:
        """What became of a message or chain-made input; `?wait_s=` waits for it."""
        try:
            message = id_from_text(path_text(request, "id"))
        except TextError as error:
            raise refuse(400, "usage", str(error)) from error
        wait_s = _seconds(request)
        found = self._found(message)
        if wait_s and (found is None or found["state"] == "pending"):
            # No await between looking and waiting: a commit in between cannot be missed.
            await self._outcomes.wait(message, wait_s)
            found = self._found(message)
        if found is None:
            raise refuse(404, "not_found", f"no message {id_text(message)} here")
        return answer(found)

    def _found(self, message: Id) -> Json | None:
        place = self._face.chain.find(message)
        if place is not None:
            return self._included(message, *place)
        pending = self._face.pending(MessageId(message))
        if pending is not None:
            return self._json(message, "pending", message_json(pending, self._names))
        refused = self._outcomes.refusal_of(message)
        if refused is None:
            return None
        found = self._json(message, "refused", None)
        row = refusal(refused.code)
        found["refusal"] = {"code": refused.code, "cause": refused.cause, "hint": row.hint}
        return found

    def _included(self, message: Id, height: int, index: int) -> Json:
        chain = self._face.chain
        receipts, stored = chain.receipts(height), chain.block(height)
        assert receipts is not None and stored is not None, "an input lies in a committed block"
        raw = chain.messages([message])[0]
        told = None if raw is None else message_json(Message.decode(raw), self._names)
        found = self._json(message, "included", told)
        header = header_json(Header.decode(stored.header))
        found |= {key: header[key] for key in ("height", "block", "time_ms")}
        found["index"] = index
        found["receipt"] = receipt_json(Receipt.decode(receipts[index]), self._names)
        return found

    def _json(self, message: Id, state: str, told: Json | None) -> Json:
        return {"id": id_text(message), "state": state, "message": told, "receipt": None}


def _message(text: Any) -> Message:
    if not isinstance(text, str) or len(text) > MESSAGE_BYTES_MAX * 4 // 3 + 4:
        raise Misfit(f"expected base64 of a message of at most {MESSAGE_BYTES_MAX} bytes")
    return Message.decode(base64_bytes(text))


def _fault(result: Admission | str) -> Fault | None:
    """The error of one result; null when the message is in."""
    code, cause = ("Form", result) if isinstance(result, str) else (result.code, result.cause)
    if not code:
        return None
    row = refusal(code)
    return Fault(code, cause, row.hint, row.retryable)


def _result(result: Admission | str) -> Json:
    if isinstance(result, str):
        return {"id": None, "code": "Form", "cause": result}
    return {"id": id_text(result.message), "code": result.code, "cause": result.cause}


def _seconds(request: web.Request) -> float:
    text = request.query.get("wait_s", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= WAIT_S_MAX:
        raise refuse(400, "usage", f"0 ≤ wait_s ≤ {WAIT_S_MAX:.0f} does not hold")
    return seconds
