"""The signer: nothing signed twice, durable before the signature leaves, across any crash.

A simulated disk loses or tears whatever was not synced. `violations` drives a signer over it with
crashes at random operations; five planted faults show that it would notice.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from consensus.errors import SignRefused
from consensus.ids import ChainId, Hash, Signature, content_id
from consensus.proposers import ChainState, check_reveal, link
from consensus.signatures import ACCEPT, CLAIM, coverage
from consensus.signing import SignRecord
from node import signfile
from node.errors import (
    Exit,
    SignRecordCorrupt,
    SignRecordMissing,
    SignRecordOther,
    StoreError,
    StoreFull,
)
from node.signer import (
    INSTANCE,
    LINK,
    SIGNED_MAX,
    Position,
    Signer,
    instance_answer_valid,
    plain_coverage,
)
from node.signfile import COPY_BYTES_START, FileDisk
from node.verifier import SodiumVerifier, verify_once

SECRET = bytes(range(32))
CHAIN = ChainId(content_id(b"chain"))
SEED = content_id(b"seed")
SECTOR = 64


class Crash(BaseException):
    """The machine stops here."""


class TearingDisk:
    """A disk in memory: what is not synced is kept, lost or torn by sectors when it crashes."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.durable: bytes | None = None
        self.cached: list[tuple[int, bytes]] = []
        self.operations_left = 10**9

    def _step(self) -> None:
        self.operations_left -= 1
        if self.operations_left < 0:
            raise Crash

    def read(self) -> bytes | None:
        return self._applied(self.cached)

    def replace(self, data: bytes) -> None:
        done = self.dice.random() < 0.5
        try:
            self._step()
        except Crash:
            if done:
                self.durable, self.cached = data, []
            raise
        self.durable, self.cached = data, []

    def write(self, offset: int, data: bytes) -> None:
        self.cached.append((offset, data))
        self._step()

    def sync(self) -> None:
        self._step()
        self.durable, self.cached = self._applied(self.cached), []

    def close(self) -> None:
        return None

    def crash(self) -> None:
        """What was written and not synced reaches the disk by halves, in any order of sectors."""
        kept = []
        for offset, data in self.cached:
            for start in range(0, len(data), SECTOR):
                if self.dice.random() < 0.5:
                    kept.append((offset + start, data[start : start + SECTOR]))
        self.durable, self.cached = self._applied(kept), []
        self.operations_left = 10**9

    def _applied(self, writes: list[tuple[int, bytes]]) -> bytes | None:
        if self.durable is None:
            return None
        content = bytearray(self.durable)
        for offset, data in writes:
            content[offset : offset + len(data)] = data
        return bytes(content)


class ForgetfulDisk(TearingDisk):
    """Planted: a signer that does not sync."""

    def sync(self) -> None:
        self._step()


def opened(disk: signfile.Disk, kind: type[Signer] = Signer, *, create: bool = True) -> Signer:
    return kind(SECRET, chain=CHAIN, spec_seed=SEED, chain_links=17, disk=disk, create=create)


def covered(position: Position, choice: int) -> bytes:
    return b"%d %d %d " % position + b"choice %d" % choice


def record_of(number: int) -> bytes:
    return b"record %06d " % number * 20


def violations(
    seed: int, *, kind: type[Signer] = Signer, disk_kind: type[TearingDisk] = TearingDisk
) -> set[str]:
    """What a run with crashes at random operations shows to be broken."""
    dice = random.Random(seed)
    disk = disk_kind(dice)
    found: set[str] = set()
    released: dict[Position, tuple[bytes, Signature]] = {}
    newest_record = 0
    position: Position = (1, 0, 0)
    for _ in range(12):
        try:
            signer = opened(disk, kind)
            found |= contradictions(signer, released, newest_record)
            disk.operations_left = dice.randrange(30)
            for _ in range(8):
                height, round_, phase = position
                position = dice.choice(
                    [(height, round_, phase + 1), (height, round_ + 1, 0), (height + 1, 0, 0)]
                )
                bytes_ = covered(position, dice.randrange(3))
                signature = signer.sign(record_of(newest_record + 1), position, bytes_)
                newest_record += 1
                released[position] = (bytes_, signature)
            raise Crash
        except Crash:
            disk.crash()
        except (SignRecordCorrupt, SignRefused) as error:
            found.add(f"{type(error).__name__}: {error}"[:60])
            return found
        # What was asked for when the machine stopped was never released: it may be asked anew.
        position = (position[0], position[1] + 1, 0)
    return found


def contradictions(
    signer: Signer, released: dict[Position, tuple[bytes, Signature]], newest_record: int
) -> set[str]:
    found: set[str] = set()
    if not released:
        return found
    newest = max(released)
    if signer.position < newest:
        return {"forgot what it signed"}
    if int(signer.record.split()[1]) < newest_record:
        found.add("forgot its record")
    bytes_, signature = released[newest]
    if signer.sign(signer.record, newest, bytes_) != signature:
        found.add("an equal request got another signature")
    height, round_, _ = newest
    wrong = [(newest, b"other bytes"), ((height, round_ - 1, 2), b"an older round")]
    for position, other in [*wrong, ((height - 1, 9, 0), b"an older height")]:
        try:
            signer.sign(signer.record, position, other)
            found.add("signed a contradiction or went back")
        except SignRefused:
            continue
    return found


class SignsBeforeTheRecord(Signer):
    """Planted: the record goes down only with the next request."""

    _late: Callable[[], object] | None = None

    def sign(self, record: bytes, position: Position, covered: bytes) -> Signature:
        if self._late is not None:
            self._late()
        self._late = lambda: Signer.sign(self, record, position, covered)
        return Signature(self._key.sign(covered))


class AcceptsRegress(Signer):
    """Planted: no comparison with the newest position."""

    def sign(self, record: bytes, position: Position, covered: bytes) -> Signature:
        self._state = self._state._replace(position=(0, 0, 0))
        return super().sign(record, position, covered)


class SignsAgain(Signer):
    """Planted: a request at a signed position is signed, whatever its bytes."""

    def sign(self, record: bytes, position: Position, covered: bytes) -> Signature:
        if position == self._state.position:
            return Signature(self._key.sign(covered))
        return super().sign(record, position, covered)


SEEDS = range(40)


def test_no_crash_makes_the_signer_contradict_itself() -> None:
    for seed in range(200):
        assert violations(seed) == set(), f"seed {seed}"


@pytest.mark.parametrize("kind", [SignsBeforeTheRecord, AcceptsRegress, SignsAgain])
def test_a_planted_fault_of_the_signer_is_caught(kind: type[Signer]) -> None:
    assert set().union(*(violations(seed, kind=kind) for seed in SEEDS))


def test_a_planted_write_without_sync_is_caught() -> None:
    assert set().union(*(violations(seed, disk_kind=ForgetfulDisk) for seed in SEEDS))


def test_a_planted_torn_write_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def believes_anything(raw: bytes) -> signfile._Copy:
        length = int.from_bytes(raw[16:20], "big")
        return signfile._Copy(int.from_bytes(raw[8:16], "big"), raw[20 : 20 + length])

    monkeypatch.setattr(signfile, "_parsed", believes_anything)
    assert set().union(*(violations(seed) for seed in SEEDS))


# ---- one by one ---------------------------------------------------------------------------------


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return at(tmp_path)


def at(
    folder: Path,
    *,
    secret: bytes = SECRET,
    chain: ChainId = CHAIN,
    create: bool = True,
) -> Signer:
    return Signer.open(
        secret,
        folder / "sign.db",
        chain=chain,
        spec_seed=SEED,
        chain_links=17,
        create=create,
    )


def test_a_signature_covers_the_bytes_and_the_record_is_there_after_reopening(
    signer: Signer, tmp_path: Path
) -> None:
    bytes_ = coverage(ACCEPT, CHAIN, b"an accept")
    signature = signer.sign(b"the record", (7, 1, 2), bytes_)
    Ed25519PublicKey.from_public_bytes(signer.peer).verify(signature, bytes_)
    signer.close()
    again = at(tmp_path, create=False)
    assert (again.position, again.record) == ((7, 1, 2), b"the record")
    assert again.sign(b"the record", (7, 1, 2), bytes_) == signature
    assert (again.signed_count, again.refused_count) == (0, 0)


def test_a_new_signer_starts_with_a_fresh_record(signer: Signer) -> None:
    fresh = SignRecord.decode(signer.record)
    assert fresh.place == signer.position == (0, 0, 2)
    assert (fresh.chain, fresh.peer) == (CHAIN, signer.peer)


@pytest.mark.parametrize("position", [(7, 1, 2), (7, 1, 1), (7, 0, 2), (6, 9, 2), (0, 0, 0)])
def test_conflict_and_regress_are_refused_and_counted(signer: Signer, position: Position) -> None:
    signer.sign(b"r", (7, 1, 2), b"bytes")
    with pytest.raises(SignRefused):
        signer.sign(b"r2", position, b"other bytes")
    assert signer.refused_count == 1
    assert (signer.position, signer.record) == ((7, 1, 2), b"r")


def test_earlier_signatures_are_given_again(signer: Signer, tmp_path: Path) -> None:
    requests = [
        ((9, round_, phase), b"%d %d" % (round_, phase)) for round_ in (0, 1) for phase in (0, 1, 2)
    ]
    given = [signer.sign(b"r", position, bytes_) for position, bytes_ in requests]
    signer.close()
    again = at(tmp_path, create=False)
    assert [again.sign(b"r", position, bytes_) for position, bytes_ in requests] == given
    for number in range(SIGNED_MAX):
        again.sign(b"r", (10, number, 0), b"later")
    with pytest.raises(SignRefused):
        again.sign(b"r", *requests[0])  # so old that it is not known any more


def test_remember_changes_the_record_and_not_the_position(signer: Signer, tmp_path: Path) -> None:
    signer.sign(b"r", (1, 0, 1), b"confirm")
    signer.remember(b"r with a valid value")
    signer.close()
    again = at(tmp_path, create=False)
    assert (again.position, again.record) == ((1, 0, 1), b"r with a valid value")


def test_a_record_that_outgrows_its_copies_is_kept(signer: Signer, tmp_path: Path) -> None:
    large = bytes(range(256)) * (COPY_BYTES_START // 256 * 3)
    signer.sign(large, (1, 0, 0), b"proposal")
    signer.sign(b"small", (1, 0, 1), b"confirm")
    signer.remember(large)
    signer.close()
    again = at(tmp_path, create=False)
    assert (again.position, again.record) == ((1, 0, 1), large)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sign.db"]
    assert (tmp_path / "sign.db").stat().st_mode & 0o777 == 0o600


def damaged(path: Path, *copies: int) -> None:
    raw = bytearray(path.read_bytes())
    for copy in copies:
        raw[copy * len(raw) // 2 + 60] ^= 0x04
    path.write_bytes(raw)


@pytest.mark.parametrize("copy", [0, 1])
def test_one_damaged_copy_is_repaired_from_the_other(
    signer: Signer, tmp_path: Path, copy: int
) -> None:
    signer.sign(b"the record", (3, 0, 1), b"confirm")
    signer.close()
    damaged(tmp_path / "sign.db", copy)
    again = at(tmp_path, create=False)
    assert (again.position, again.record) == ((3, 0, 1), b"the record")
    again.close()
    damaged(tmp_path / "sign.db", 1 - copy)  # the first was repaired
    at(tmp_path, create=False).close()


def test_two_damaged_copies_are_refused_for_safety(signer: Signer, tmp_path: Path) -> None:
    signer.sign(b"the record", (3, 0, 1), b"confirm")
    signer.close()
    damaged(tmp_path / "sign.db", 0, 1)
    before = (tmp_path / "sign.db").read_bytes()
    with pytest.raises(SignRecordCorrupt) as caught:
        at(tmp_path)  # not even with leave to create
    assert caught.value.exit == Exit.SAFETY
    assert (tmp_path / "sign.db").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"nothing of a record", bytes(8192)])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sign.db").write_bytes(content)
    with pytest.raises(SignRecordCorrupt):
        at(tmp_path)


def test_copies_of_different_moments_are_refused(signer: Signer, tmp_path: Path) -> None:
    signer.sign(b"r", (1, 0, 1), b"confirm")
    old = (tmp_path / "sign.db").read_bytes()
    for height in (2, 3):
        signer.sign(b"r", (height, 0, 1), b"confirm")
    signer.close()
    new = (tmp_path / "sign.db").read_bytes()
    half = len(new) // 2
    for mixed in (old[:half] + new[half:], new[:half] + old[half:]):
        (tmp_path / "sign.db").write_bytes(mixed)
        with pytest.raises(SignRecordCorrupt, match="different moments"):
            at(tmp_path)


def test_a_missing_record_is_refused_unless_it_may_be_made(tmp_path: Path) -> None:
    with pytest.raises(SignRecordMissing, match=r"sign\.db") as caught:
        at(tmp_path, create=False)
    assert caught.value.exit == Exit.SAFETY
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_another_key_or_chain_is_refused(signer: Signer, tmp_path: Path) -> None:
    signer.close()
    with pytest.raises(SignRecordOther, match="of key apx1") as of_key:
        at(tmp_path, secret=bytes(32))
    with pytest.raises(SignRecordOther, match="of chain b"):
        at(tmp_path, chain=ChainId(content_id(b"another")))
    assert of_key.value.exit == Exit.CONFIG


def test_a_full_disk_leaves_the_record_as_it_was(
    signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer.sign(b"r", (1, 0, 1), b"confirm")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreFull, match=r"sign\.db"):
        signer.sign(bytes(COPY_BYTES_START), (1, 0, 2), b"accept")
    monkeypatch.undo()
    assert signer.position == (1, 0, 1)
    given = signer.sign(b"r", (1, 0, 2), b"accept")
    signer.close()
    again = at(tmp_path, create=False)
    assert again.sign(b"r", (1, 0, 2), b"accept") == given
    assert [path.name for path in tmp_path.iterdir()] == ["sign.db"]
    assert (tmp_path / "sign.db").stat().st_size == 2 * COPY_BYTES_START


def test_a_replacement_of_unknown_outcome_is_followed_by_a_whole_file(
    signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FileDisk.replace

    def done_but_failing(self: FileDisk, data: bytes) -> None:
        real(self, data)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(FileDisk, "replace", done_but_failing)
    with pytest.raises(StoreError):
        signer.sign(bytes(COPY_BYTES_START), (1, 0, 1), b"confirm")
    monkeypatch.undo()
    given = signer.sign(b"r", (1, 0, 1), b"another confirm")  # the first never left
    signer.close()
    assert at(tmp_path, create=False).sign(b"r", (1, 0, 1), b"another confirm") == given


# ---- what needs no record -----------------------------------------------------------------------


def test_plain_signatures_have_domains_of_their_own(signer: Signer) -> None:
    kinds = (CLAIM, LINK, INSTANCE)
    signatures = [signer.sign_plain(kind, CHAIN, b"unsigned") for kind in kinds]
    assert len(set(signatures)) == len(kinds)
    for kind, signature in zip(kinds, signatures, strict=True):
        assert verify_once(signer.peer, plain_coverage(kind, CHAIN, b"unsigned"), signature)
    assert plain_coverage(CLAIM, CHAIN, b"u") == coverage(CLAIM, CHAIN, b"u")
    for kind in (ACCEPT, "confirm", "proposal", "message", "anything"):
        with pytest.raises(AssertionError):
            signer.sign_plain(kind, CHAIN, b"unsigned")


def test_a_challenge_is_answered_for_one_instance(signer: Signer) -> None:
    verifier = SodiumVerifier()
    challenge, instance = bytes(32), b"i" * 16
    answer = signer.answer_challenge(challenge, instance)
    place = {"peer": signer.peer, "chain": CHAIN, "signature": answer}
    valid = {"challenge": challenge, "instance": instance}
    assert instance_answer_valid(verifier, **place, **valid)
    for other in ({"challenge": b"c" * 32}, {"instance": b"j" * 16}):
        assert not instance_answer_valid(verifier, **place, **{**valid, **other})


def test_reveals_follow_from_the_commitment(signer: Signer, tmp_path: Path) -> None:
    commitment = signer.commitment(5)
    assert link(SEED, signer.peer, signer.reveal(5, 1)) == commitment
    known = ChainState(Hash(commitment), 0)
    check_reveal(known, signer.reveal(5, 16), 16, spec_seed=SEED, peer=signer.peer)
    assert signer.commitment(6) != commitment
    signer.close()
    again = at(tmp_path)
    for epoch in range(20):  # beyond what is cached
        again.commitment(epoch)
    assert again.commitment(5) == commitment
    assert signer.hash_chain_seed(5) == signer.reveal(5, 16)
    with pytest.raises(AssertionError):
        signer.reveal(5, 17)
