"""What pools, receipts and views say against a message: their codes, explained.

The closed codes of this version; an agent's own Reject codes are open and stand for themselves.
Knows nothing of who says them.
"""

from typing import NamedTuple

from node.errors import CODES, NotFound, explain, suggestion


class Refusal(NamedTuple):
    """One code: what it means, what to do, whether the same message may be taken later."""

    code: str
    meaning: str
    hint: str
    retryable: bool = False


_TABLE = (
    # ---- at the pool
    Refusal("Form", "The bytes are no canonical message of this version.", "build it anew"),
    Refusal(
        "Signature",
        "The signature does not verify under the sender's key.",
        "sign it with the key of its sender",
    ),
    Refusal(
        "WrongChain",
        "The message names another chain than this node's.",
        "`apocryph testnet status` shows the chain; sign for that one",
    ),
    Refusal(
        "Expired",
        "The last height that may include the message has passed.",
        "send it again: a new message with a later expires_height",
    ),
    Refusal(
        "ExpiresTooLate",
        "expires_height is further away than the chain's expiry_max_blocks.",
        "use a lower expires_height",
    ),
    Refusal("PoolFull", "The pool of this node is full.", "send again in a moment", True),
    Refusal(
        "AfterUnknown",
        "As many messages of this sender as may wait for messages that are not known here.",
        "send what they come after first",
        True,
    ),
    Refusal(
        "SenderFull",
        "As many messages of this sender wait as one sender may have.",
        "wait until some are included, or use several accounts",
        True,
    ),
    Refusal("Busy", "The node has more to do than it can hold.", "send again in a moment", True),
    Refusal(
        "NoFunds",
        "The account has less than gas_max and pay, or the handler needs more than there is.",
        "`apocryph query token balance owner=@NAME` shows what there is",
    ),
    Refusal(
        "UnknownAgent",
        "No agent of this id is on this chain.",
        "check the reference; names are those of the chain's genesis",
    ),
    Refusal(
        "TooLittleGas",
        "gas_max is less than any message costs.",
        "pass a larger --gas",
    ),
    Refusal(
        "NotIncludable",
        "This node's own execution would not include the message: expired, a duplicate, or its "
        "sender cannot pay any more.",
        "look at the balance, then send it anew",
    ),
    # ---- in receipts
    Refusal("BadAmount", "The amount is not above zero.", "send an amount of at least 1"),
    Refusal(
        "UnknownMessage",
        "The agent handles no message of that type.",
        "`apocryph query REF` lists what the agent understands",
    ),
    Refusal(
        "BadField",
        "A field is unknown, missing or of another type.",
        "`apocryph query REF` lists what the agent understands",
    ),
    Refusal("BadData", "The data is not canonical [type, {field: value}].", "build it anew"),
    Refusal(
        "NoCapability", "The reference carries no right to this agent.", "ask for a right to it"
    ),
    Refusal("out_of_gas", "The handler needed more gas than gas_max; that is spent.", "more --gas"),
    Refusal("skipped", "The block had no room for it in the end; it is not retried.", "send again"),
)
REFUSALS = {row.code: row for row in _TABLE}

_UNKNOWN = Refusal("", "The agent refused the message with a code of its own.", "see the agent")


def refusal(code: str) -> Refusal:
    """The row of a code; an agent's own code has a row without a name."""
    return REFUSALS.get(code, _UNKNOWN)


def explain_any(code: str) -> str:
    """What `apocryph explain CODE` prints. Raises NotFound, with a suggestion."""
    if code in CODES:
        return explain(code)
    row = REFUSALS.get(code)
    if row is None:
        near = suggestion(code, (*CODES, *REFUSALS))
        raise NotFound(f"no error code {code!r}{near}", hint="`apocryph explain` lists them all")
    again = "the same message may work later" if row.retryable else "the same message fails again"
    return f"{row.code} (exit 5; {again})\n\n{row.meaning}\n\nWhat to do: {row.hint}"
