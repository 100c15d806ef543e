"""Which messages the last blocks included: dedupe by id, and `after` (protocol §9).

An index over the leaves `s/‖expires‖height`, from which it can be built again. Knows ids and
heights only.
"""

from collections.abc import Mapping, Sequence

from consensus.ids import MessageId
from consensus.state import State
from node.execution.keys import SEEN, U32, decode_seen


class Window:
    """Ids of included messages that have not expired yet, with the height that included them.

    Bound: expiry_max_blocks blocks of block_messages_max ids. `commit` adds the ids of a certified
    block; asked with its own height, a candidate of an older height still gets right answers.
    """

    __slots__ = ("_by_expiry", "heights")

    def __init__(self) -> None:
        self.heights: dict[bytes, int] = {}  # the hot path reads it directly
        self._by_expiry: dict[int, list[MessageId]] = {}

    @classmethod
    def load(cls, state: State) -> "Window":
        """The window of a state, as at start. Raises EncodingError for a damaged leaf."""
        window, after = cls(), b""
        while pairs := state.scan(SEEN, after):
            for key, raw in pairs:
                numbers = key[len(SEEN) :]
                expires = int.from_bytes(numbers[:U32], "big")
                height = int.from_bytes(numbers[U32:], "big")
                window._add(height, expires, [MessageId(each) for each in decode_seen(raw)])
            after = pairs[-1][0]
        return window

    def includes(self, message: bytes, height: int) -> bool:
        """Whether a block below `height` included the message and the window still shows it."""
        return self.heights.get(message, height) < height

    def commit(self, height: int, seen: Mapping[int, Sequence[MessageId]]) -> None:
        """The block of `height` is certified: add its ids by expiry, drop what its state drops."""
        for expires, ids in seen.items():
            self._add(height, expires, ids)
        for expires in [number for number in self._by_expiry if number < height]:
            for message in self._by_expiry.pop(expires):
                self.heights.pop(message, None)

    def _add(self, height: int, expires: int, ids: Sequence[MessageId]) -> None:
        self._by_expiry.setdefault(expires, []).extend(ids)
        for message in ids:
            self.heights[message] = height
