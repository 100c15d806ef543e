"""Balances while a block runs: read once from the state, changed here, written at the end.

Knows tokens, not why they move. Tokens are made at genesis only and end only as burned gas.
"""

from consensus.state import State
from node.execution.keys import BALANCE, decode_balance, encode_balance


class Ledger:
    """Balances of accounts and agents on top of a state."""

    __slots__ = ("_before", "_state", "_undo", "balances")

    def __init__(self, state: State) -> None:
        self._state = state
        self._before: dict[bytes, int] = {}
        self._undo: dict[bytes, int] = {}
        self.balances: dict[bytes, int] = {}  # what was touched; the hot path works on it directly

    def balance(self, account: bytes) -> int:
        """Tokens of an account or agent."""
        found = self.balances.get(account)
        if found is None:
            found = decode_balance(self._state.get(BALANCE + account))
            self._before[account] = self.balances[account] = found
        return found

    def add(self, account: bytes, amount: int) -> None:
        """Give tokens."""
        if amount:
            self._set(account, self.balance(account) + amount)

    def take(self, account: bytes, amount: int) -> bool:
        """Take tokens; False and nothing done where there are too few."""
        left = self.balance(account) - amount
        if left < 0:
            return False
        self._set(account, left)
        return True

    def move(self, source: bytes, target: bytes, amount: int) -> bool:
        """From one to another; False and nothing done where there are too few."""
        if not self.take(source, amount):
            return False
        self.add(target, amount)
        return True

    def begin(self) -> None:
        """From here on `undo` can go back."""
        self._undo = {}

    def undo(self) -> None:
        """Back to where `begin` was called."""
        self.balances.update(self._undo)
        self._undo = {}

    def _set(self, account: bytes, amount: int) -> None:
        self._undo.setdefault(account, self.balances[account])
        self.balances[account] = amount

    def changes(self) -> dict[bytes, bytes | None]:
        """State changes of every balance that differs from the state's."""
        before = self._before
        return {
            BALANCE + account: encode_balance(amount)
            for account, amount in self.balances.items()
            if amount != before[account]
        }
