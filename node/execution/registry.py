"""The native codes of this version, and the agents that a demonstration chain starts with."""

from consensus.encoding import Value, encode
from consensus.spec import GenesisAgent, agent_id
from node.execution.native import NativeTier
from node.execution.native_agents.counter import Counter
from node.execution.native_agents.pingpong import PingPong
from node.execution.native_agents.token import Token
from node.execution.transfers import TOKEN_CODE

COUNTER_CODE = "native:counter/1"
PINGPONG_CODE = "native:pingpong/1"

# The least value of a field that its handler takes, whatever the state: clients refuse less.
LEAST: dict[str, dict[str, dict[str, int]]] = {TOKEN_CODE: {"Transfer": {"amount": 1}}}
NATIVE = NativeTier({TOKEN_CODE: Token, COUNTER_CODE: Counter, PINGPONG_CODE: PingPong})


def demo_agents() -> tuple[GenesisAgent, ...]:
    """`token`, `counter`, and `ping` and `pong`, which know each other; for a spec's genesis."""

    def partner(name: str) -> dict[str, Value]:
        return {"partner": [None, agent_id(name), None]}  # of this chain, whose id is not yet known

    return (
        GenesisAgent("token", TOKEN_CODE, encode({})),
        GenesisAgent("counter", COUNTER_CODE, encode({})),
        GenesisAgent("ping", PINGPONG_CODE, encode(partner("pong"))),
        GenesisAgent("pong", PINGPONG_CODE, encode(partner("ping"))),
    )


def describe(code: str) -> dict[str, Value] | None:
    """Messages, views and their types as text, for clients; null for an unknown code."""
    kind = NATIVE.classes.get(code)
    return None if kind is None else kind.form.describe()
