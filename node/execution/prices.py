"""What execution costs (wire: native message 124 gas flat). One unit of gas is one token.

Knows tiers by the prefix of their code names; the compiled tiers' tables come with them.
"""

VM_VERSION = 1
MESSAGE_GAS = 124  # each input of a native agent, whatever it does
RESERVE_GAS = MESSAGE_GAS  # a skipped input, and one that is refused before it runs
TIER_SEPARATOR = ":"


def tier_of(code: str) -> str:
    """The tier that runs a code: what stands before the colon."""
    return code.partition(TIER_SEPARATOR)[0]


def weight(code: str | None, gas: int) -> int:
    """What an input counts against gas(h, R) before it runs: the most work it can cause.

    Native inputs cost the flat price, so a generous `gas` does not crowd out others. `code` null:
    no such agent, only the reserve price.
    """
    del code, gas  # tiers that meter will count all their gas
    return MESSAGE_GAS
