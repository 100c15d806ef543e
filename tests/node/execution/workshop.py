"""An agent that does what its messages tell it, for tests of effects and failures."""

from typing import Any

from node.execution.native_agents.token import Transfer
from node.sdk.agent import Agent, on, view
from node.sdk.context import Context, Reject
from node.sdk.fields import Address, Reference
from node.sdk.shapes import message

CODE = "native:workshop/1"


@message
class Echo:
    text: str = ""


@message
class Send:
    to: Reference
    times: int = 1
    gas: int = 0
    pay: int = 0
    payer: str = "message"
    then: str = ""  # what to do after sending: a kind of Break


@message
class Pay:
    token: Reference
    to: Address
    amount: int


@message
class Remind:
    at_ms: int
    gas: int = 0
    payer: str = "message"


@message
class CancelAll:
    pass


@message
class Break:
    kind: str


class Workshop(Agent):
    handles: list[bytes]
    echoes: int = 0
    numbers: list[int] = []
    last: Address | None = None

    def init(self, ctx: Context) -> None:
        self.handles = []

    @on(Echo)
    def echo(self, ctx: Context, m: Echo) -> None:
        self.echoes += 1
        self.last = ctx.sender
        ctx.publish(Echo(text=m.text))

    @on(Send)
    def send(self, ctx: Context, m: Send) -> None:
        self.echoes += 100
        for _ in range(m.times):
            ctx.send(m.to, Echo(text="sent"), gas=m.gas, pay=m.pay, payer=m.payer)
        ctx.publish(Echo(text="sending"))
        if m.then:
            self.break_(m.then, ctx)

    @on(Pay)
    def pay(self, ctx: Context, m: Pay) -> None:
        ctx.send(m.token, Transfer(to=m.to, amount=m.amount))

    @on(Remind)
    def remind(self, ctx: Context, m: Remind) -> None:
        handle = ctx.remind(at_ms=m.at_ms, message=Echo(text="woke"), gas=m.gas, payer=m.payer)
        self.handles.append(handle)

    @on(CancelAll)
    def cancel_all(self, ctx: Context, m: CancelAll) -> None:
        for handle in self.handles:
            ctx.cancel(handle)
        self.handles = []

    @on(Break)
    def break_down(self, ctx: Context, m: Break) -> None:
        self.echoes += 1
        self.break_(m.kind, ctx)

    def break_(self, kind: str, ctx: Context) -> None:
        broken: dict[str, Any] = {"key": {}}
        match kind:
            case "reject":
                raise Reject("Refused", least=7)
            case "reject-long":
                raise Reject("Refused", text="x" * 300)
            case "reject-float":
                raise Reject("Refused", number=0.5)
            case "assert":
                raise AssertionError
            case "zero":
                self.echoes = 1 // (self.echoes - self.echoes)
            case "key":
                self.echoes = broken["key"]["none"]
            case "index":
                self.echoes = [1][3]
            case "type":
                self.echoes = "text"  # type: ignore[assignment]
            case "type-inside":
                self.numbers.append("text")  # type: ignore[arg-type]
            case "attribute":
                self.unknown = 1
            case "value":
                self.echoes = int("x")
            case "overflow":
                self.echoes = 2**256
            case "encoding":
                ctx.publish(Echo(text="e\u0301"))
            case "limit":
                for _ in range(65):
                    ctx.publish(Echo())
            case "size":
                ctx.publish(Echo(text="x" * 9000))
            case "memory":
                raise MemoryError
            case "recursion":
                raise RecursionError
            case "io":
                raise OSError("disk")

    @view
    def echo_count(self) -> int:
        return self.echoes

    @view
    def writes(self) -> int:
        self.echoes += 1
        return self.echoes

    @view
    def writes_inside(self) -> int:
        self.numbers.append(1)
        return 0

    @view
    def rejects(self) -> int:
        raise Reject("NotNow")

    @view
    def fails(self, by: int) -> int:
        return 1 // by

    @view
    def wrong(self) -> int:
        return "text"  # type: ignore[return-value]
