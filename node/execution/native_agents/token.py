"""Tokens: the chain's balances as an agent. Its message moves them, its view shows them."""

from node.execution.native import SharedAgent
from node.sdk.agent import on, view
from node.sdk.context import Context, Reject
from node.sdk.fields import Address
from node.sdk.shapes import message


@message
class Transfer:
    to: Address
    amount: int


@message
class Paid:
    sender: Address
    to: Address
    amount: int


class Token(SharedAgent):
    @on(Transfer)
    def transfer(self, ctx: Context, m: Transfer) -> None:
        if m.amount <= 0:
            raise Reject("BadAmount")
        if not self.ledger.move(ctx.sender.raw, m.to.raw, m.amount):
            raise Reject("NoFunds")
        ctx.publish(Paid(sender=ctx.sender, to=m.to, amount=m.amount))

    @view
    def balance(self, owner: Address) -> int:
        return self.ledger.balance(owner.raw)
