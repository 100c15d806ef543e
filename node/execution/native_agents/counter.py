"""A number that anybody may add to: the smallest agent with state, an event and a view."""

from node.sdk.agent import Agent, on, view
from node.sdk.context import Context
from node.sdk.shapes import message


@message
class Add:
    by: int = 1


@message
class Reset:
    pass


@message
class Changed:
    value: int


class Counter(Agent):
    count: int = 0

    @on(Add)
    def add(self, ctx: Context, m: Add) -> None:
        self.count += m.by
        ctx.publish(Changed(value=self.count))

    @on(Reset)
    def reset(self, ctx: Context, m: Reset) -> None:
        self.count = 0
        ctx.publish(Changed(value=0))

    @view
    def value(self) -> int:
        return self.count
