"""What the gateway says: JSON, or the one error envelope; who may speak to it at all.

Nothing that a request holds is trusted: lengths are bounded; where a token is set it is needed,
from this machine too, whose proxy may speak for anybody; without one only this machine is answered,
and the Host must be this machine's (a page of a browser elsewhere cannot reach it).
"""

import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Any

from aiohttp import web

from consensus.errors import ConsensusError
from node.agents.gateway_doors import Doors
from node.agents.gateway_limits import REQUESTS_MAX, TEXT_MAX
from node.errors import CODES, Exit, NodeError
from node.schema import Fault, Json, envelope

log = logging.getLogger("apocryph.gateway")

_STATUS = {
    Exit.NEGATIVE: 404,
    Exit.USAGE: 400,
    Exit.REJECTED: 422,
    Exit.TIMEOUT: 504,
    Exit.BUSY: 503,
    Exit.SAFETY: 503,
}
OPEN_PATHS = ("/livez", "/readyz")  # what probes of a machine ask, without a token
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refuse(Exception):
    """An error answer: status, the errors to show, and data beside them."""

    def __init__(self, status: int, faults: Sequence[Fault], data: Json | None = None) -> None:
        super().__init__(faults[0].message)
        self.status, self.faults, self.data = status, faults, data


def refuse(status: int, code: str, message: str, **rest: Any) -> Refuse:
    """One error of the table of codes."""
    row = CODES[code]
    fault = Fault(code, message, rest.get("hint") or row.hint, rest.get("retryable", row.retryable))
    return Refuse(status, [fault])


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def answer(value: Json, status: int = 200) -> web.Response:
    return web.json_response(value, status=status, dumps=dumps)


def error_answer(status: int, faults: Sequence[Fault], data: Json | None = None) -> web.Response:
    return answer(envelope(faults, data), status)


def path_text(request: web.Request, name: str) -> str:
    """A part of the path, bounded. Raises Refuse."""
    text = request.match_info[name]
    if len(text) > TEXT_MAX:
        raise refuse(400, "usage", f"{name}: more than {TEXT_MAX} characters")
    return text


def number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query. Raises Refuse."""
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise refuse(400, "usage", f"{name}: expected a whole number")
    if not least <= int(text) <= most:
        raise refuse(400, "usage", f"{least} ≤ {name} ≤ {most} does not hold")
    return int(text)


# ---- middlewares --------------------------------------------------------------------------------


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or (host is not None and ip_address(host).is_loopback)
    except ValueError:
        return False


def _host_of(request: web.Request) -> str:
    host = request.host
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def guard(token: str) -> Any:
    """Only this machine, or who shows the token."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in OPEN_PATHS:
            return await handler(request)
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if token:
            if scheme.lower() != "bearer":
                return _denied("this node's token is needed")
            # Heads may hold any bytes; those that are no UTF-8 come as surrogates.
            told = shown.strip().encode(errors="surrogateescape")
            if not hmac.compare_digest(told, token.encode()):
                return _denied("the token is not this node's")
        elif not _is_loopback(request.remote) or not _is_loopback(_host_of(request)):
            return _denied("without a token only this machine is answered")
        return await handler(request)

    return check


def _denied(message: str) -> web.Response:
    hint = "send Authorization: Bearer TOKEN, with the token in the file that api.token_file names"
    return error_answer(401, [Fault("denied", message, hint)])


@web.middleware
async def faults(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every expected error as an envelope; an unexpected one too, without its insides."""
    try:
        return await handler(request)
    except Refuse as error:
        return error_answer(error.status, error.faults, error.data)
    except NodeError as error:
        told = Fault(error.code, str(error), error.hint, error.retryable)
        return error_answer(_STATUS.get(error.exit, 500), [told])
    except ConsensusError as error:
        return error_answer(400, [Fault("message_invalid", str(error))])
    except web.HTTPException as error:
        return _http(request, error)
    except (ConnectionError, TimeoutError):
        raise
    except Exception:
        log.exception("%s %s", request.method, request.path)
        return error_answer(500, [Fault("bug", "the node failed at this", CODES["bug"].hint)])


def _http(request: web.Request, error: web.HTTPException) -> web.Response:
    match error.status:
        case 404:
            cause = f"no such path: {request.path[:TEXT_MAX]}"
            fault = Fault("not_found", cause, "GET /openapi.json lists all paths")
        case 405:
            fault = Fault("usage", f"{request.method} is not answered here", "see /openapi.json")
        case 413:
            fault = Fault("usage", "the body is too large", "send fewer messages in one request")
        case _:
            fault = Fault("usage", error.reason)
    reply = error_answer(error.status, [fault])
    if "Allow" in error.headers:
        reply.headers["Allow"] = error.headers["Allow"]
    return reply


class Load:
    """Counts what is being answered, and refuses above the bound; tells the doors of it."""

    def __init__(self, doors: Doors | None = None) -> None:
        self._doors = doors or Doors()
        self.open = 0
        self.total = 0
        self.refused = 0

    def middleware(self) -> Any:
        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self.open >= REQUESTS_MAX and request.path not in OPEN_PATHS:
                self.refused += 1
                told = Fault("Busy", "too many requests at once", "try again in a moment", True)
                return error_answer(503, [told])
            self.open += 1
            self.total += 1
            self._doors.began(request.protocol)
            try:
                return await handler(request)
            finally:
                self.open -= 1
                self._doors.ended(request.protocol)

        return count
