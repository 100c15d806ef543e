"""Questions to agents, answered on one state without effects (execution §6)."""

from collections.abc import Mapping

from consensus.encoding import Value, encode
from consensus.ids import Agent
from consensus.spec import ChainSpec
from consensus.state import State
from node.execution.faults import GuardedState
from node.execution.keys import AgentRecord
from node.execution.ledger import Ledger
from node.execution.native import HOST_FAULTS, Stored, failure_code
from node.execution.ports import HostFault
from node.execution.registry import NATIVE
from node.sdk.context import Reject
from node.sdk.shapes import BadField, read_arguments


class ViewError(Exception):
    """A question without an answer; `code` is stable, `str()` one line of cause."""

    code = "View"


class UnknownAgent(ViewError):
    """No such agent in this state, or none whose code this version runs."""

    code = "UnknownAgent"


class UnknownView(ViewError):
    """The agent has no view of that name; the message lists those it has."""

    code = "UnknownView"


class BadArgument(ViewError):
    """An argument that is unknown, missing or of another type."""

    code = "BadArgument"


class ViewFailed(ViewError):
    """The view itself refused or failed; `reason` is its code."""

    code = "ViewFailed"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the view ended with {reason}")
        self.reason = reason


def view(
    spec: ChainSpec, state: State, agent: Agent, name: str, arguments: Mapping[str, Value]
) -> Value:
    """The answer of a view as a canonical value (addresses are 32 bytes, large ints [sign, bytes]).

    `arguments` are values of the same form. Raises ViewError, HostFault.
    """
    state = GuardedState(state)
    record = AgentRecord.read(state, agent)
    if record is None or not NATIVE.knows(record.code):
        raise UnknownAgent(f"chain {spec.name} has no such agent")
    kind = NATIVE.classes[record.code]
    method = kind.form.views.get(name)
    if method is None:
        known = ", ".join(kind.form.views) or "none"
        raise UnknownView(f"{record.code} has no view {name!r}; it has: {known}")
    try:
        values = read_arguments(method.declared, arguments)
    except BadField as error:
        raise BadArgument(str(error)) from None
    ledger = Ledger(state) if NATIVE.is_shared(record.code) else None
    stored = Stored(kind, agent, state)
    instance = stored.load(ledger)
    try:
        before = stored.changes(instance)
        answer = method.returns.to_value(method.call(instance, **values))
        encode(answer)
        wrote = stored.changes(instance) != before or (ledger is not None and ledger.changes())
    except Reject as reject:
        raise ViewFailed(reject.code) from None
    except HostFault:
        raise
    except HOST_FAULTS as fault:
        raise HostFault(type(fault).__name__) from fault
    except Exception as error:  # a view may raise anything: its code is the cause
        raise ViewFailed(failure_code(error)) from error
    if wrote:
        raise ViewFailed("write")
    return answer
