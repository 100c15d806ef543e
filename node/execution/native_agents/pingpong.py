"""Two agents that answer each other with a delay, as long as their tokens last.

`Start` with `pay` begins a game: half of the tokens go to the partner with the ball. Each hit is a
reminder and a send, both paid by the agent that hits; who cannot pay lets the ball drop. No account
has to send anything after `Start`. A newer game ends the one before.
"""

from node.sdk.agent import Agent, on, view
from node.sdk.context import SELF, Context, Reject
from node.sdk.fields import Reference
from node.sdk.shapes import message


@message
class Start:
    delay_ms: int = 1000
    rounds: int = 0  # hits of both together, 0: until the tokens are spent


@message
class Ping:
    game: int
    number: int
    delay_ms: int
    rounds: int


@message
class Pong:
    game: int
    number: int
    delay_ms: int
    rounds: int


@message
class Swing:
    """A reminder to oneself: the delay is over, hit the ball."""

    game: int
    number: int
    delay_ms: int
    rounds: int


@message
class Hit:
    number: int


@message
class Dropped:
    number: int


class PingPong(Agent):
    partner: Reference
    game: int = 0
    hits: int = 0

    def init(self, ctx: Context, partner: Reference) -> None:
        self.partner = partner

    @on(Start)
    def start(self, ctx: Context, m: Start) -> None:
        if m.delay_ms < 0 or m.rounds < 0:
            raise Reject("BadStart")
        if ctx.balance < 4 * ctx.gas_min:
            raise Reject("NoFunds", least=4 * ctx.gas_min)
        self.game += 1
        self.hits += 1
        ball = Ping(game=self.game, number=1, delay_ms=m.delay_ms, rounds=m.rounds)
        ctx.send(self.partner, ball, pay=ctx.balance // 2, payer=SELF)
        ctx.publish(Hit(number=1))

    @on(Ping)
    def ping(self, ctx: Context, m: Ping) -> None:
        self.take(ctx, m.game, m.number, m.delay_ms, m.rounds)

    @on(Pong)
    def pong(self, ctx: Context, m: Pong) -> None:
        self.take(ctx, m.game, m.number, m.delay_ms, m.rounds)

    def take(self, ctx: Context, game: int, number: int, delay_ms: int, rounds: int) -> None:
        if ctx.sender != self.partner.agent:
            raise Reject("NotPartner")
        if game < self.game:
            return
        self.game = game
        if rounds > 0 and number >= rounds:
            return
        if ctx.balance < 2 * ctx.gas_min:
            ctx.publish(Dropped(number=number))
            return
        again = Swing(game=game, number=number + 1, delay_ms=delay_ms, rounds=rounds)
        ctx.remind(at_ms=ctx.time_ms + delay_ms, message=again, payer=SELF)

    @on(Swing)
    def swing(self, ctx: Context, m: Swing) -> None:
        if ctx.sender != ctx.self_reference().agent:
            raise Reject("NotSelf")
        if m.game != self.game:
            return
        if ctx.balance < ctx.gas_min:
            ctx.publish(Dropped(number=m.number))
            return
        self.hits += 1
        if m.number % 2 == 1:
            ping = Ping(game=m.game, number=m.number, delay_ms=m.delay_ms, rounds=m.rounds)
            ctx.send(self.partner, ping, payer=SELF)
        else:
            pong = Pong(game=m.game, number=m.number, delay_ms=m.delay_ms, rounds=m.rounds)
            ctx.send(self.partner, pong, payer=SELF)
        ctx.publish(Hit(number=m.number))

    @view
    def hit_count(self) -> int:
        return self.hits
