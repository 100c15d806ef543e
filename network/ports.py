"""The port of the network: what the node sees, whatever carries the bytes.

An adapter (memory, mesh, later ipfs) is a `Network`; the node is its `Sink`. The port knows topics,
logical keys, classes and opaque ids; it knows nothing of blocks, votes or chains. Times are seconds
of the monotonic clock (`loop.time()`, on Linux the base of `time.monotonic()`); deadlines are
absolute. Every method belongs to the thread of the adapter's event loop.

Gossip is lossy by contract: whatever must arrive can also be fetched by query or id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Literal, Protocol, TypeAlias

PeerId: TypeAlias = bytes
"""Ed25519 public key, 32 bytes; never a daemon's id."""
Id: TypeAlias = bytes
"""Opaque content id, 36 bytes; its last 32 are the sha256 of the object."""
Topic: TypeAlias = str
"""UTF-8, at most `limits.TOPIC_BYTES_MAX` bytes, e.g. `apx/<chain>/votes`."""
Subnet: TypeAlias = str
"""CIDR text, e.g. `10.1.2.0/24` or `2001:db8::/48`."""


class Class(IntEnum):
    """What bytes are for, most urgent first. Strict order on a link; content keeps >= 10 %."""

    VOTE = 0
    POLL = 1
    PROPOSAL = 2
    MESSAGE = 3
    CONTENT = 4


class Verdict(Enum):
    """What the node says of a gossip. Only ACCEPT forwards, only REJECT blames (the link)."""

    ACCEPT = "accept"
    IGNORE = "ignore"
    REJECT = "reject"


class Admitted(Enum):
    """Outcomes of `publish` that carry nothing."""

    OK = "ok"  # queued for at least one link
    TOO_BIG = "too big"  # beyond `Caps.max_gossip`
    NO_LINK = "no link"  # nobody linked takes this topic


@dataclass(frozen=True, slots=True)
class Full:
    """`publish` found links, and the queue of this class was full on every one of them."""

    cls: Class


Admit: TypeAlias = Admitted | Full
OK = Admitted.OK
TOO_BIG = Admitted.TOO_BIG
NO_LINK = Admitted.NO_LINK
FULL: TypeAlias = Full


@dataclass(frozen=True, slots=True)
class Origin:
    """The hop that handed bytes over, and the author where the adapter has proven it."""

    link: PeerId | None
    author: PeerId | None


@dataclass(frozen=True, slots=True)
class Caps:
    """What an adapter can do; sizes in bytes."""

    max_gossip: int
    max_query: int
    max_reply: int
    max_object: int
    verdict_gates_forward: bool
    author_proven: bool
    hop_bannable: bool


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a peer listens. `host` empty: no address known, keep a place for it, never dial."""

    peer: PeerId
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class PinScope:
    """Why objects are kept. A whole scope is released at once, never a single id."""

    kind: Literal["heights", "snapshot", "code"]
    name: str


@dataclass(frozen=True, slots=True)
class Got:
    """One object of `get`, its hash checked. `source` None: it was in the local store."""

    id: Id
    data: bytes
    source: PeerId | None


@dataclass(frozen=True, slots=True)
class Missing:
    """One id of `get` that no source gave before the deadline."""

    id: Id
    cause: str


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """One linked peer, for status and operators. Counters start with the link."""

    peer: PeerId
    host: str
    port: int
    outbound: bool
    kept: bool
    wire: int
    instance: bytes
    chains: tuple[bytes, ...]
    since: float  # monotonic seconds
    rtt_ms: float | None
    score: int  # points of blame, decayed until now
    cause: str  # of the last blame
    queued_bytes: tuple[int, ...]  # per class, not yet on the wire
    sent_bytes: int
    received_bytes: int
    dropped: int  # gossips of or for this peer that a bound refused


# -- events to the sink ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gossip:
    """Bytes of a subscribed topic. Answer with `Network.verdict(token, …)`; never = ignore.

    `cls` is what the hop sent it as: bind topics to classes and reject others.
    """

    token: int
    topic: Topic
    data: bytes
    origin: Origin
    at: float
    cls: Class


@dataclass(frozen=True, slots=True)
class LinkUp:
    """An authenticated link. `instance`: the peer's nonce of this start; another one for the same
    peer hints at a twin. `wire`: the version both speak."""

    peer: PeerId
    via: str
    wire: int
    chains: tuple[bytes, ...]
    instance: bytes
    outbound: bool


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link is gone; queries open on it end with `Unreachable`."""

    peer: PeerId
    cause: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """`n` items of a class were dropped since the last such event. `why`: a few fixed words."""

    cls: Class
    n: int
    why: str


@dataclass(frozen=True, slots=True)
class Health:
    """State of an adapter: `up`, `down`, or `twin` (a link under our own identity with another
    instance: a hint, not a proof; `cause` holds the instance in hex)."""

    adapter: str
    state: Literal["up", "down", "twin"]
    cause: str


NetworkEvent: TypeAlias = Gossip | LinkUp | LinkDown | Dropped | Health


class Sink(Protocol):
    """Where an adapter puts events. Never waits, never raises; bounds are the sink's own.

    `inbox.Inbox` is the sink to use: bounded per class and link, drops counted.
    """

    def put(self, event: NetworkEvent) -> None: ...


# -- identity -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinkSecret:
    """Static X25519 key of our links, and the signed LinkKey record that vouches for it."""

    static_private: bytes = field(repr=False)
    link_key: bytes  # `linkkey.signed(…)`: the record as sent


VerifyLink: TypeAlias = Callable[[PeerId, bytes, bytes], bool]
"""(peer, unsigned LinkKey bytes, signature) -> is it the peer's, under the caller's own domain.
Sync, never raises."""


@dataclass(frozen=True, slots=True)
class LinkIdentity:
    """Who we are on links. `secret` is called at every handshake, so the key can be renewed."""

    peer: PeerId
    network: bytes  # id of the main chain; bound into the handshake
    secret: Callable[[], LinkSecret]
    verify: VerifyLink
    instance: bytes  # 16 bytes drawn at start
    chains: tuple[bytes, ...] = ()
    wire_min: int = 1
    wire_max: int = 1
    features: tuple[str, ...] = ()


# -- ports the adapter is given -------------------------------------------------------------------

Draw: TypeAlias = Callable[[int], int]
"""Dice: `draw(n)` gives a uniform integer in [0, n), n >= 1."""
RandomBytes: TypeAlias = Callable[[int], bytes]
"""Secret random bytes for keys, e.g. `os.urandom`."""

Answer: TypeAlias = bytes | Awaitable[bytes]
Handler: TypeAlias = Callable[[PeerId, bytes], Answer]
"""Serves one query of a proven peer. Returns the reply at once (cheap) or an awaitable (a task).
Raise `errors.Refused(cause)` to refuse, `errors.Busy(cause)` to send the peer elsewhere; any other
exception is refused as `fault` and reported to the loop's exception handler."""


class ContentStore(Protocol):
    """The node's own store of objects; the network is a way to fill it, never its owner."""

    async def put(self, objects: Sequence[tuple[Id, bytes]], pin: PinScope | None) -> None: ...
    async def get(self, id: Id) -> bytes | None: ...
    async def has(self, ids: Sequence[Id]) -> set[Id]: ...
    async def unpin(self, scope: PinScope) -> None: ...


class TimerHandle(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Monotonic time; an asyncio event loop is one."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle: ...


# -- the port -------------------------------------------------------------------------------------


class Network(Protocol):
    """One way of moving bytes between peers. network §1."""

    @property
    def caps(self) -> Caps: ...

    async def start(self, identity: LinkIdentity, sink: Sink) -> None:
        """Listen and dial. `TransportError` if the address is taken. May follow a `close`;
        topics, protocols and addresses given before stay."""

    async def close(self, drain_s: float) -> None:
        """Leave: up to `drain_s` for queued bytes, then every link is cut. Idempotent."""

    def subscribe(self, topic: Topic, max_bytes: int) -> None:
        """Deliver gossip of `topic`; larger than `max_bytes` is blamed on the link."""

    def unsubscribe(self, topic: Topic) -> None: ...

    def publish(
        self, topic: Topic, data: bytes, cls: Class, logical: bytes, expires: float
    ) -> Admit:
        """Offer `data` to the peers of `topic`; never raises, never waits.

        `logical` names what is said (signer, height, round, phase): a second payload with that key
        is not forwarded. Publishing the same again sends again. After `expires` it is not sent.
        """
        ...

    def verdict(self, token: int, v: Verdict, logical: bytes | None, cause: str) -> None:
        """Answer a `Gossip`. Unknown and late tokens are ignored. IGNORE (or no verdict) lets the
        same bytes be delivered again later."""

    async def query(
        self, peer: PeerId, proto: str, data: bytes, cls: Class, deadline: float, max_reply: int
    ) -> bytes:
        """Ask one peer. `Timeout Refused Unreachable TooBig Busy`; cancelling tells the peer."""
        ...

    def serve(
        self, proto: str, max_request: int, max_inflight_per_peer: int, handler: Handler
    ) -> None:
        """Answer queries of `proto`. The peer is always proven."""

    async def put(self, objects: Sequence[tuple[Id, bytes]], pin: PinScope | None) -> None:
        """Store objects; `LocalError` if bytes are not their id's or beyond `Caps.max_object`."""

    async def has(self, ids: Sequence[Id]) -> set[Id]:
        """Which of `ids` the local store holds."""
        ...

    def get(
        self, ids: Sequence[Id], max_bytes: int, sources: Sequence[PeerId], deadline: float
    ) -> AsyncIterator[Got | Missing]:
        """Each id once, as `Got` or `Missing`, in any order: the local store first, then `sources`
        in their order. `max_bytes` bounds one object. Fetched objects are not stored."""
        ...

    async def unpin(self, scope: PinScope) -> None:
        """Release everything that was put under `scope`."""

    def connect(self, addresses: Sequence[PeerAddress], keep: bool) -> None:
        """Addresses to dial. `keep`: redial for ever, keep a place for the peer, throttle instead
        of ban (owners of the table, reserved peers). Giving a kept peer with keep False ends it."""

    def peers(self) -> list[PeerInfo]: ...

    def blame(self, peer: PeerId, points: int, cause: str) -> None:
        """Add `points` (`limits.BAN_AT` bans for a time); they decay."""

    def ban(self, peer_or_subnet: PeerId | Subnet, until: float | None) -> None:
        """Cut and refuse until then; None = for ever, a time already past = lift it."""
