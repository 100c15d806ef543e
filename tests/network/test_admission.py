"""Who may cost us a key exchange."""

from __future__ import annotations

import pytest

from network.buckets import Bucket
from network.limits import ADMISSION_GROUPS_MAX
from network.mesh.admission import Admission, Entrance, group_of


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(3, 2, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(0.5) and not bucket.take(0.5)
    assert not bucket.full(1.0) and bucket.full(10.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.1.2.3", "10.1.2.250", True),
        ("10.1.2.3", "10.1.3.3", False),
        ("::ffff:10.1.2.3", "10.1.2.4", True),
        ("2001:db8:1:2::1", "2001:db8:1:ffff::2", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("unix", "unix", True),
    ],
)
def test_groups_are_24_or_48_bits(one: str, other: str, same: bool) -> None:
    assert (group_of(one) == group_of(other)) is same


def admitted(admission: Admission[str], link: str, host: str, now: float = 0.0) -> bool:
    return not admission.admit(link, host, now).refused


def test_one_group_does_not_use_up_the_others() -> None:
    admission = Admission[str](burst=2, per_s=1, half_open=100)
    assert [admitted(admission, f"{n}", f"10.0.0.{n}") for n in range(3)] == [True, True, False]
    assert admitted(admission, "other", "10.0.1.1")
    assert admitted(admission, "later", "10.0.0.9", 1.0)


def test_the_oldest_of_the_largest_group_gives_way() -> None:
    admission = Admission[str](burst=100, per_s=1, half_open=4, half_open_group=3)
    for link in ("a1", "b1", "b2", "a2"):
        assert admission.admit(link, {"a": "10.0.0.1", "b": "10.0.1.1"}[link[0]], 0.0) == Entrance()
    assert admission.admit("c1", "10.0.2.1", 0.0) == Entrance("", "a1")
    assert admission.admit("d1", "10.0.3.1", 0.0) == Entrance("", "b1")
    assert admission.half_open == 4
    admission.settled("b2")
    assert admission.admit("d2", "10.0.3.1", 0.0) == Entrance()
    assert admission.admit("e1", "10.0.4.1", 0.0) == Entrance("", "d1")


def test_a_group_has_a_bound_of_its_own() -> None:
    admission = Admission[str](burst=100, per_s=1, half_open=4, half_open_group=2)
    assert [admission.admit(link, "10.0.0.1", 0.0).gives_way for link in "abcd"] == [
        None,
        None,
        "a",
        "b",
    ]
    assert admission.half_open == 2
    assert admission.admit("x", "10.0.9.1", 0.0) == Entrance()


def test_a_settled_link_is_forgotten_once() -> None:
    admission = Admission[str]()
    admission.admit("a", "10.0.0.1", 0.0)
    for _ in range(2):
        admission.settled("a")
        assert admission.half_open == 0


def test_groups_are_bounded_and_full_buckets_forgotten() -> None:
    admission = Admission[int](burst=1, per_s=1, half_open=1 << 30)
    for number in range(ADMISSION_GROUPS_MAX):
        assert not admission.admit(number, f"10.{number >> 8}.{number & 255}.1", 0.0).refused
    assert admission.admit(-1, "11.0.0.1", 0.0).refused == "too many address groups"
    assert admission.admit(-2, "11.0.0.1", 2.0).refused == ""
