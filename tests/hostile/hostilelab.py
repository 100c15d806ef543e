"""Four real validators on loopback in one process, and peers that speak the mesh to harm them."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nacl.signing import SigningKey

from consensus import proposers
from consensus.certificates import append_signature, vote_unsigned
from consensus.encoding import encode
from consensus.ids import Account, Height, Peer, id_text
from consensus.messages import Draft, Message, Reference, encode_data
from consensus.parameters import Parameters
from consensus.signatures import CONFIRM, coverage
from consensus.spec import ChainSpec, SpecDraft
from consensus.tables import deal
from network import linkkey
from network.envelope import (
    Kind,
    Query,
    Status,
    decode_query,
    decode_reply,
    encode_query,
    encode_reply,
    gossip_prefix,
)
from network.mesh.chunks import FIRST, LAST, WHOLE, read_chunk
from network.mesh.noise import public_key
from network.ports import Class, LinkIdentity, LinkSecret, PeerAddress
from node.signer import LINK, plain_coverage
from node.validator import NodeOptions, Validator
from node.verifier import verify_once
from tests.network.rawpeer import RawPeer

WAIT_S: Final = 10.0
CHUNK: Final = 15_000
ACCOUNTS: Final = 8
VALIDATORS: Final = 4
CLASSES: Final = {
    "votes": Class.VOTE,
    "facts": Class.MESSAGE,
    "proposals": Class.PROPOSAL,
    "messages": Class.MESSAGE,
}


def secret(name: str) -> bytes:
    return hashlib.sha256(f"hostile {name}".encode()).digest()


def peer_of(name: str) -> Peer:
    return Peer(bytes(SigningKey(secret(name)).verify_key))


def account(number: int) -> SigningKey:
    return SigningKey(secret(f"account {number}"))


def account_of(number: int) -> Account:
    return Account(bytes(account(number).verify_key))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_spec(
    owners: Sequence[str], *, minor: str | None = None, name: str = "hostile", **changes: int
) -> ChainSpec:
    """Slots dealt evenly to `owners`; `minor` owns two of them, too few to matter."""
    parameters = Parameters.local(**{"slots": 60, "epoch_blocks": 64, "claim_close": 16, **changes})
    draft = SpecDraft(
        name=name,
        parameters=parameters,
        genesis_time_ms=int(time.time() * 1000) - 1000,
        nonce=bytes(16),
        genesis_agents=(("token", "native:token/1", encode({})),),
        genesis_balances=tuple([(account_of(n), 10**12) for n in range(ACCOUNTS)]),
    )

    def slot(owner: str) -> tuple[Peer, Any]:
        start = proposers.hash_chain_seed(secret(owner), draft.seed, 0)
        links = proposers.hash_chain(start, draft.seed, peer_of(owner), parameters.epoch_blocks + 1)
        return peer_of(owner), links[0]

    slots = dict(slot(owner) for owner in [*owners, *([minor] if minor else [])])
    dealt = deal(parameters.slots, [peer_of(owner) for owner in owners])
    if minor is not None:
        dealt = (*dealt[:-2], peer_of(minor), peer_of(minor))
    return ChainSpec.of(draft, [(owner, slots[owner]) for owner in dealt if owner is not None])


@dataclass
class Target:
    """What `RawPeer` dials."""

    peer: Peer
    address: PeerAddress


class Lab:
    """Validators n0 … n3; `minor` is a slot owner without a process of its own."""

    def __init__(self, folder: Path, *, minor: str | None = None, **changes: int) -> None:
        self.names = [f"n{number}" for number in range(VALIDATORS)]
        self.spec = make_spec(self.names, minor=minor, **changes)
        self.ports = [free_port() for _ in self.names]
        self.addresses = [
            PeerAddress(peer_of(name), "127.0.0.1", port)
            for name, port in zip(self.names, self.ports, strict=True)
        ]
        # A kept address of the minor owner: it may come in and is throttled, not banned.
        self.kept = [PeerAddress(peer_of(minor), "127.0.0.1", free_port())] if minor else []
        self.validators: list[Validator] = []
        self.folder = folder
        self._running: list[asyncio.Task[None]] = []
        self._sent = 0

    async def start(self) -> Lab:
        for name, port in zip(self.names, self.ports, strict=True):
            others = [each for each in self.addresses if each.port != port]
            options = NodeOptions(
                folder=self.folder / name,
                spec=self.spec,
                secret=secret(name),
                port=port,
                peers=(*others, *self.kept),
                name=name,
                journal="off",
            )
            self.validators.append(Validator(options))
        for validator in self.validators:
            await validator.start()
            self._running.append(asyncio.ensure_future(validator.run()))
        async with asyncio.timeout(WAIT_S):
            for validator in self.validators:
                await validator.when_ready()
        return self

    async def stop(self) -> None:
        await RawPeer.close_all()
        for validator in self.validators:
            await validator.stop()
        await asyncio.gather(*self._running)

    @property
    def victim(self) -> Validator:
        return self.validators[0]

    @property
    def target(self) -> Target:
        return Target(peer_of(self.names[0]), self.addresses[0])

    # ---- honest traffic -------------------------------------------------------------------------

    def transfer(self, sender: int = 0, **changes: Any) -> Message:
        """A signed transfer; `changes` are fields of its draft, `signature` its last bytes."""
        self._sent += 1
        signature = changes.pop("signature", None)
        fields = {
            "chain": self.spec.id,
            "sender": account_of(sender),
            "to": Reference(self.spec.id, self.spec.agent_named("token"), None),
            "data": encode_data("Transfer", {"to": bytes(account_of(sender + 1)), "amount": 5}),
            "nonce": self._sent.to_bytes(16, "big"),
            "expires_height": Height(self.victim.chain.height + 100),
            "gas_max": 1000,
            **changes,
        }
        draft = Draft(**fields)
        made = account(sender).sign(draft.to_sign()).signature
        return Message.decode(draft.signed(signature or made))

    async def finalizes(self, *, rounds: int = 1) -> None:
        """An honest transfer, and again, is final at every validator."""
        for number in range(rounds):
            message = self.transfer(number % ACCOUNTS)
            admitted = await self.validators[-1].submit([message])
            assert [each.code for each in admitted] == [""]
            await until(lambda: all(v.chain.find(message.id) for v in self.validators))  # noqa: B023


async def until(holds: Callable[[], object], wait_s: float = WAIT_S) -> None:
    async with asyncio.timeout(wait_s):
        while not holds():  # noqa: ASYNC110  what is awaited has no event
            await asyncio.sleep(0.005)


@dataclass
class Hostile:
    """A peer with a key and a link to the victim, which answers queries with `answers`."""

    lab: Lab
    name: str
    raw: RawPeer
    answers: dict[str, bytes] = field(default_factory=dict)
    replies: dict[int, tuple[Status, bytes]] = field(default_factory=dict)
    heard: dict[str, list[bytes]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    stream: int = 1
    reader: asyncio.Task[None] | None = None

    @classmethod
    async def link(cls, lab: Lab, name: str, **answers: bytes) -> Hostile:
        identity = identity_of(lab.spec, name)
        topics = tuple([f"apx/{id_text(lab.spec.id)}/{topic}" for topic in CLASSES])
        target: Any = lab.target
        raw = await RawPeer.link(target, identity, topics=topics)
        hostile = cls(lab, name, raw, dict(answers))
        hostile.reader = asyncio.ensure_future(hostile._read())
        await until(lambda: hostile.up or hostile.ended.is_set())
        if not hostile.up:
            await hostile.close()
            raise ConnectionError("the victim closed the link")
        return hostile

    @property
    def peer(self) -> Peer:
        return peer_of(self.name)

    @property
    def up(self) -> bool:
        return self.peer in self.lab.victim.gossip.peers

    @property
    def score(self) -> int:
        found = [info for info in self.lab.victim.network.peers() if info.peer == self.peer]
        return found[0].score if found else -1

    async def close(self) -> None:
        if self.reader is not None:
            self.reader.cancel()
            with suppress(asyncio.CancelledError):
                await self.reader
        await self.raw.close()

    # ---- what it says ---------------------------------------------------------------------------

    def gossip(self, topic: str, data: bytes, cls: Class | None = None) -> None:
        prefix = gossip_prefix(f"apx/{id_text(self.lab.spec.id)}/{topic}")
        self._frame(prefix + data, CLASSES[topic] if cls is None else cls)

    async def query(self, proto: str, data: bytes, *, wait: bool = True) -> tuple[Status, bytes]:
        self.stream += 2
        stream = self.stream
        self._frame(encode_query(Query(proto, 4 * 1024 * 1024, 10_000, data)), Class.POLL, stream)
        if not wait:
            return Status.OK, b""
        await until(lambda: stream in self.replies or self.ended.is_set())
        return self.replies.pop(stream, (Status.REFUSED, b"link down"))

    def vote(self, height: int, **changes: Any) -> bytes:
        """Canonical bytes of a confirm; `key` signs, `peer` is who it says that signs."""
        key: str = changes.pop("key", self.name)
        phase: str = changes.pop("phase", CONFIRM)
        spec = self.lab.spec
        fields: dict[str, Any] = {
            "chain": spec.id,
            "epoch": spec.parameters.epoch(Height(height)),
            "height": height,
            "round_": 0,
            "block": None,
            "peer": peer_of(key),
            **changes,
        }
        unsigned = vote_unsigned(phase, **fields)
        covered = coverage(phase, fields["chain"], unsigned)
        return append_signature(unsigned, SigningKey(secret(key)).sign(covered).signature)

    def _frame(self, frame: bytes, cls: int, stream: int = 0) -> None:
        if len(frame) <= CHUNK:
            self.raw.frame(frame, cls, stream)
            return
        if not stream:
            self.stream += 2
            stream = self.stream
        for start in range(0, len(frame), CHUNK):
            last = LAST if start + CHUNK >= len(frame) else 0
            flags = (FIRST if start == 0 else 0) | last
            self.raw.chunk(cls, stream, flags, frame[start : start + CHUNK])

    async def flush(self) -> None:
        with suppress(ConnectionError):
            await self.raw.writer.drain()

    # ---- what it hears --------------------------------------------------------------------------

    async def _read(self) -> None:
        partial: dict[int, bytes] = {}
        receive = self.raw.receive
        assert receive is not None
        try:
            while True:
                size = int.from_bytes(await self.raw.reader.readexactly(2), "big")
                plain = receive.open(await self.raw.reader.readexactly(size))
                at = 0
                while at < len(plain):
                    _, stream, flags, start, at = read_chunk(plain, at)
                    whole = partial.pop(stream, b"") + plain[start:at]
                    if flags & LAST or flags == WHOLE:
                        self._on_frame(stream, whole)
                    else:
                        partial[stream] = whole
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.set()

    def _on_frame(self, stream: int, frame: bytes) -> None:
        if frame[0] == Kind.GOSSIP:
            name = frame[2 : 2 + frame[1]].decode().rsplit("/", 1)[1]
            self.heard.setdefault(name, []).append(frame[2 + frame[1] :])
        elif frame[0] == Kind.REPLY:
            self.replies[stream] = decode_reply(frame)
        elif frame[0] == Kind.QUERY:
            query = decode_query(frame)
            self.asked[query.proto] = self.asked.get(query.proto, 0) + 1
            if query.proto in self.answers:
                answer = encode_reply(Status.OK, self.answers[query.proto])
                self._frame(answer, Class.POLL, stream)


def identity_of(spec: ChainSpec, name: str) -> LinkIdentity:
    """Link keys under the node's own domain, as a real peer has them."""
    static = hashlib.sha256(secret(name) + b"static").digest()
    until_ms = int(time.time() * 1000) + 3_600_000
    statement = linkkey.unsigned(spec.id, peer_of(name), public_key(static), until_ms)
    signature = SigningKey(secret(name)).sign(plain_coverage(LINK, spec.id, statement)).signature
    made = LinkSecret(static, linkkey.signed(statement, signature))
    return LinkIdentity(
        peer=peer_of(name),
        network=spec.id,
        secret=lambda: made,
        verify=lambda peer, unsigned, signed: verify_once(
            peer, plain_coverage(LINK, spec.id, unsigned), signed
        ),
        instance=hashlib.sha256(secret(name) + b"instance").digest()[:16],
        chains=(spec.id,),
    )
