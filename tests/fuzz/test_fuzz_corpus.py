"""Every input that is kept: valid ones, and those that failed once. See `python -m tests.fuzz`."""

from pathlib import Path

import pytest

from consensus.errors import EncodingError
from tests.fuzz import fuzz_target
from tests.fuzz.fuzz_target import CORPUS, Broken, Target, failure, keep, shrunk
from tests.fuzz.fuzz_targets import TARGETS

CORPUS_BYTES_MAX = 300_000
TARGETS_MIN = 20
DEEP, SIZE = 50_000, b"\x7f" + b"\xff" * 7
BOMBS = {
    "lists in lists": b"\x81" * DEEP,
    "maps in maps": b"\xa1\x61a" * DEEP,
    "lists without end": b"\x9f" * DEEP,
    "tags on tags": b"\xd8\x2a" * DEEP,
    "a list of that many": b"\x9b" + SIZE,
    "a map of that many": b"\xbb" + SIZE,
    "bytes of that many": b"\x5b" + SIZE + bytes(64),
    "text of that many": b"\x7b" + SIZE,
    "that many after four": bytes(4) + b"\xff" * 64,
    "that many, and nothing": b"\xff" * 64,
    "brackets": b"[" * DEEP,
    "chosen brackets": b"\x01" + b"[" * DEEP,
    "braces": b'{"a":' * (DEEP // 5),
    "keys of keys": b"a." * DEEP + b"a = 1",
    "tables of tables": b"a = " + b"[" * DEEP,
    "digits": b"9" * DEEP,
    "a number": b"a = " + b"9" * DEEP,
    "zeros": bytes(DEEP),
    "fabric lists": (b"l" + (1).to_bytes(4, "big")) * (DEEP // 5),
    "fabric count": b"l\xff\xff\xff\xff" + bytes(64),
    "protobuf": b"\x0a\x80\x80\x80\x80\x08" * (DEEP // 6),
}


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs(name: str) -> None:
    target = TARGETS[name]
    taken = 0
    try:
        assert target.corpus(), "renew it: python -m tests.fuzz --renew"
        for raw in target.corpus():
            taken += target.run(raw)
    finally:
        target.release()
    assert taken, "at least one of them is valid"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TARGETS if not name.startswith("core_")])
def test_nothing_blows_up(name: str) -> None:
    target = TARGETS[name]
    try:
        for bomb, raw in BOMBS.items():
            assert failure(target, target.prepare(raw)) is None, bomb
    finally:
        target.release()


def test_the_corpus_is_of_these_targets_and_small() -> None:
    folders = [path.name for path in CORPUS.iterdir()]
    assert sorted(folders) == sorted(TARGETS)
    assert len(TARGETS) >= TARGETS_MIN
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) - _folders() <= CORPUS_BYTES_MAX


def _folders() -> int:
    return sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_dir())


# ---- what a target finds ------------------------------------------------------------------------


def _two_spellings(raw: bytes) -> bytes:
    """A decoder that takes spaces: not canonical."""
    if not raw.startswith(b"value"):
        raise EncodingError("no value")
    return raw.rstrip(b" ")


def _fragile(raw: bytes) -> bytes:
    return raw[: raw.index(b"=")] if raw else raw


def _slow(raw: bytes) -> bytes:
    return raw if sum(range(200_000)) else b""


PLANTED = {
    "another spelling": (Target("p", _two_spellings, (EncodingError,), list, bytes), b"value x  "),
    "another error": (Target("p", _fragile, (EncodingError,), list), b"key value"),
    "slow": (Target("p", _slow, (EncodingError,), list, slow_s=0.0001), b"x"),
    "too large": (Target("p", bytes, (EncodingError,), list, bound=8), b"123456789"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_seen_and_cut_down(name: str) -> None:
    target, raw = PLANTED[name]
    found = failure(target, raw)
    assert found is not None
    small = shrunk(target, raw)
    assert len(small) <= len(raw)
    again = failure(target, small)
    assert again is not None and again.place == found.place


def test_what_failed_is_kept_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_target, "CORPUS", tmp_path)
    target = Target("p", _fragile, (EncodingError,), list)
    path = keep(target, shrunk(target, b"key value"), "failed")
    assert target.corpus() == [path.read_bytes()]
    with pytest.raises(ValueError, match="subsection not found"):
        target.run(path.read_bytes())


def test_no_input_is_taken_beyond_the_bound() -> None:
    target, raw = PLANTED["too large"]
    with pytest.raises(Broken, match="9 bytes"):
        target.run(raw)
