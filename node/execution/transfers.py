"""The short way of a token transfer: the same outcome as the agent `token`, in a few operations.

Most messages of a chain are transfers. What is not exactly a well-formed transfer is left to the
agent itself; a test compares both ways.
"""

from consensus.encoding import encode, head
from consensus.ids import ID_BYTES, Id
from consensus.messages import OK, REJECTED, AgentEvent, Message, Receipt
from node.execution.plan import Plan
from node.execution.prices import MESSAGE_GAS

TOKEN_CODE = "native:token/1"
_SMALL = 2**63  # a larger amount has another form (execution §3): the agent decodes it
_KEY_BYTES = 32
_KEY_HEAD = head(2, _KEY_BYTES)

# Canonical bytes around what differs. Maps are ordered by length, then bytes, of their keys.
_DATA_HEAD = head(4, 2) + encode("Transfer") + head(5, 2) + encode("to") + _KEY_HEAD
_DATA_MIDDLE = encode("amount")
_MIDDLE_AT = len(_DATA_HEAD) + _KEY_BYTES
_AMOUNT_AT = _MIDDLE_AT + len(_DATA_MIDDLE)
_PAID_HEAD = head(5, 3) + encode("to") + _KEY_HEAD
_PAID_MIDDLE = encode("amount")
_PAID_TAIL = encode("sender") + _KEY_HEAD
_RECEIPT_HEAD = head(4, 11) + encode("receipt") + encode(1) + head(2, ID_BYTES)
_RECEIPT_OK = encode(OK) + encode("") + encode(b"") + encode(MESSAGE_GAS) + head(4, 1)
_EVENT_HEAD = head(4, 3) + _KEY_HEAD
_EVENT_TYPE = encode("Paid")
_NO_EFFECTS = head(4, 0)


def read_transfer(data: bytes) -> tuple[bytes, int] | None:
    """(to, amount) where `data` is exactly a canonical Transfer of 1 to 2^63 − 1 tokens."""
    if not data.startswith(_DATA_HEAD) or data[_MIDDLE_AT:_AMOUNT_AT] != _DATA_MIDDLE:
        return None
    raw = data[_AMOUNT_AT:]
    amount = raw[0] if len(raw) == 1 else int.from_bytes(raw[1:], "big")
    if not 0 < amount < _SMALL or head(0, amount) != raw:
        return None
    return data[len(_DATA_HEAD) : _MIDDLE_AT], amount


def transfer(plan: Plan, message: Message, to: bytes, amount: int) -> None:
    """Settle an included transfer at once; its sender can cover gas_max, as was judged before."""
    ledger, index = plan.ledger, len(plan.ids)
    sender, token = message.sender, message.to.agent
    plan.ids.append(Id(message.id))
    plan.spent_gas += MESSAGE_GAS
    plan.burned += MESSAGE_GAS
    balance = ledger.balance(sender) - MESSAGE_GAS
    if balance - (message.gas_max - MESSAGE_GAS) < amount:  # gas_max is reserved while it runs
        ledger.balances[sender] = balance
        refused = (REJECTED, "NoFunds", b"", MESSAGE_GAS, (), ())
        plan.receipts.append(Receipt(Id(message.id), plan.height, index, *refused).encode())
        return
    ledger.balances[sender] = balance - amount
    ledger.balances[to] = ledger.balance(to) + amount
    data = _PAID_HEAD + to + _PAID_MIDDLE + head(0, amount) + _PAID_TAIL + sender
    plan.events.append((index, AgentEvent(token, "Paid", data)))
    plan.receipts.append(
        _RECEIPT_HEAD
        + message.id
        + head(0, plan.height)
        + head(0, index)
        + _RECEIPT_OK
        + _EVENT_HEAD
        + token
        + _EVENT_TYPE
        + head(2, len(data))
        + data
        + _NO_EFFECTS
    )
