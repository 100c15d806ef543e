"""The seen cache: generations, quotas, forgetting."""

from __future__ import annotations

from network.seen import Seen, Sighting

NEW, KNOWN, QUOTA = Sighting.NEW, Sighting.KNOWN, Sighting.QUOTA


def make(per_link: int = 100, items: int = 1_000) -> Seen:
    return Seen(b"k" * 32, 0.0, per_link=per_link, items=items, generation_s=10.0)


def test_known_for_one_to_two_generations() -> None:
    seen = make()
    assert seen.add(b"a", b"link", 0.0) is NEW
    assert seen.add(b"a", b"other", 9.9) is KNOWN
    assert seen.add(b"b", b"link", 11.0) is NEW  # turns
    assert seen.add(b"a", b"link", 20.9) is KNOWN
    assert seen.add(b"c", b"link", 21.5) is NEW  # turns again
    assert seen.add(b"a", b"link", 21.6) is NEW


def test_a_long_silence_forgets_both_generations() -> None:
    seen = make()
    seen.add(b"a", b"link", 0.0)
    assert seen.add(b"a", b"link", 30.0) is NEW


def test_a_flooding_link_uses_up_its_own_quota_only() -> None:
    seen = make(per_link=3)
    outcomes = [seen.add(b"%d" % n, b"flooder", 1.0) for n in range(5)]
    assert outcomes == [NEW, NEW, NEW, QUOTA, QUOTA]
    assert seen.add(b"0", b"flooder", 1.0) is KNOWN
    assert seen.add(b"x", b"other", 1.0) is NEW
    assert all(seen.add(b"own %d" % n, None, 1.0) is NEW for n in range(10))
    assert seen.add(b"4", b"flooder", 10.0) is NEW


def test_size_is_bounded() -> None:
    seen = make(items=10)
    for number in range(1_000):
        seen.add(b"%d" % number, None, 0.0)
        assert len(seen) <= 20
    assert seen.knows(b"999") and not seen.knows(b"1")


def test_forgotten_items_are_new_again() -> None:
    seen = make()
    seen.add(b"a", b"link", 0.0)
    seen.forget(b"a")
    seen.forget(b"never")
    assert seen.add(b"a", b"link", 0.0) is NEW
