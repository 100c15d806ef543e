"""Who may say what over the wire: rights of a connection, resource and right of a command.

Loopback and unix sockets may be open; anything else needs a token and TLS. In process there are
no tokens: a reference is a name.
"""

import hmac
from dataclasses import dataclass
from ipaddress import ip_address

from perper_core.capabilities import Capability, Issuer, Right
from perper_core.errors import Denied, Invalid
from perper_core.wire import frames as f

ALL_RIGHTS = Right.READ | Right.WRITE | Right.CALL | Right.DESTROY
READ_ONLY = Right.READ
EVERYTHING = "*"
NOBODY = Right(0)


class Grant:
    """What one connection may do."""

    __slots__ = ("_capability", "_rights")

    def __init__(self, rights: Right, capability: Capability | None = None) -> None:
        self._rights = rights
        self._capability = capability

    @property
    def unlimited(self) -> bool:
        """Whether nothing has to be looked up."""
        return self._rights == ALL_RIGHTS

    def demand(self, resource: str, right: Right) -> None:
        """Raises Denied unless it is granted."""
        if right in self._rights:
            return
        if self._capability is not None and self._capability.allows(resource, right):
            return
        raise Denied("not allowed", resource=resource, right=right.name or "")


@dataclass(frozen=True, slots=True)
class Access:
    """Who gets which grant. `operator` is a secret that may do everything; `issuer` knows
    capability tokens; `open_rights` are for callers without a token, and only on loopback or unix
    sockets."""

    open_rights: Right = ALL_RIGHTS
    operator: str = ""
    issuer: Issuer | None = None

    def grant(self, token: str) -> Grant:
        """Raises Denied for a token that nobody issued."""
        if not token:
            return Grant(self.open_rights)
        if self.operator and hmac.compare_digest(token.encode(), self.operator.encode()):
            return Grant(ALL_RIGHTS)
        if self.issuer is None:
            raise Denied("the token is not known")
        return Grant(self.open_rights, self.issuer.opened(token))

    def check_address(self, address: str, *, tls: bool) -> None:
        """Raises Invalid for a socket that others could reach in the clear or without a token."""
        if is_local(address):
            return
        if not tls:
            raise Invalid("not loopback: TLS is needed", address=address)
        if self.open_rights != NOBODY:
            raise Invalid("not loopback: open rights must be none", address=address)


def is_local(address: str) -> bool:
    """Whether only this machine reaches the address: `unix:PATH` or a loopback host and port."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def demanded(op: f.Op) -> tuple[str, Right] | None:
    """Resource and right that a command needs; None: that of the execution it names."""
    match op:
        case f.Append() | f.End() | f.BreakStream():
            return f"stream:{op.stream}", Right.WRITE
        case f.CreateStream():
            return f"stream:{op.name}", Right.WRITE
        case f.Listen() | f.GetStream() | f.Ack() | f.Forget():
            return f"stream:{op.stream}", Right.READ
        case f.ListStreams():
            return f"stream:{op.prefix}", Right.READ
        case f.RemoveStream():
            return f"stream:{op.stream}", Right.DESTROY
        case f.Create() | f.Call():
            return f"instance:{op.instance}", Right.CALL
        case f.Reserve():
            return f"instance:{op.instance}", Right.WRITE
        case f.ListExecutions():
            return f"instance:{op.instance}", Right.READ
        case f.Get() | f.ListState():
            return f"state:{op.state}", Right.READ
        case f.Put() | f.Remove():
            return f"state:{op.state}", Right.WRITE
        case _:
            return None


def demanded_of_execution(op: f.Op) -> tuple[str, Right] | None:
    """Id of the execution that a command names, and the right it needs on its instance."""
    match op:
        case f.Finish() | f.Fail():
            return op.id, Right.WRITE
        case f.CancelExecution() | f.Retry() | f.Await():
            return op.id, Right.CALL
        case f.GetExecution():
            return op.id, Right.READ
        case _:
            return None
