"""A NodeCore on a table: chain, peers and messages of `builders_engine`, all events by hand."""

from consensus.dice import Dice
from consensus.effects import Effect
from consensus.events import Event
from consensus.ids import Account, MessageId, Now, Peer
from consensus.messages import Draft, Message, Reference, encode_data
from consensus.spec import ChainSpec
from consensus.standing import Tip
from node.core import NodeCore, Restored
from tests.consensus.builders_chain import MiniChain, make_spec
from tests.consensus.builders_engine import CLOCK_MS, START_MS
from tests.consensus.builders_keys import account_key, keyed_signature, peer_key

AGENT = bytes(32)


def message(
    spec: ChainSpec,
    number: int,
    *,
    sender: int = 0,
    expires: int = 50,
    data: bytes = b"",
    after: MessageId | None = None,
) -> Message:
    """A signed message of an account to nobody in particular."""
    account = Account(account_key(sender))
    body = encode_data("Note", {"text": data})
    target = Reference(spec.id, AGENT, None)  # type: ignore[arg-type]
    nonce = number.to_bytes(16, "big")
    place = (spec.id, account, target, body, nonce, expires, 1_000)
    draft = Draft(*place, after=after)  # type: ignore[arg-type]
    return Message.decode(draft.signed(keyed_signature(account, draft.to_sign())))


class Bench:
    """A core of peer `me` (four peers own the slots; 99 owns none)."""

    def __init__(self, me: int = 0, chain: MiniChain | None = None) -> None:
        self.chain = chain or MiniChain(make_spec(4))
        self.spec = self.chain.spec
        self.peers: tuple[Peer, ...] = tuple(peer_key(number) for number in range(4))
        self.ms = START_MS
        tip = Tip(self.chain.tip, self.chain.certificates[-1], self.chain.view, None)
        self.core = NodeCore(
            self.spec,
            peer=peer_key(me),
            dice=Dice(bytes(32)),
            restored=Restored(tip, None),
            now=self.now,
        )
        self.out: list[Effect] = []

    @property
    def now(self) -> Now:
        return Now(self.ms, CLOCK_MS + self.ms - START_MS)

    def send(self, event: Event) -> list[Effect]:
        self.out = self.core.handle(event, self.now)
        return self.out

    def of(self, kind: type) -> list[Effect]:
        return [effect for effect in self.out if type(effect) is kind]
