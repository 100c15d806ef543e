"""Who may cost us a key exchange."""

from __future__ import annotations

import pytest

from network.buckets import Bucket
from network.limits import ADMISSION_GROUPS_MAX
from network.mesh.admission import Admission, group_of


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


def test_one_group_does_not_use_up_the_others() -> None:
    admission = Admission(burst=2, per_s=1, half_open=100)
    assert [admission.admit(f"10.0.0.{n}", 0.0) is None for n in range(3)] == [True, True, False]
    assert admission.admit("10.0.1.1", 0.0) is None
    assert admission.admit("10.0.0.9", 1.0) is None


def test_half_open_links_are_bounded() -> None:
    admission = Admission(burst=100, per_s=1, half_open=2)
    assert admission.admit("10.0.0.1", 0.0) is None and admission.admit("10.0.1.1", 0.0) is None
    assert admission.admit("10.0.2.1", 0.0) == "too many half-open links"
    admission.settled()
    assert admission.admit("10.0.2.1", 0.0) is None


def test_groups_are_bounded_and_full_buckets_forgotten() -> None:
    admission = Admission(burst=1, per_s=1, half_open=1 << 30)
    for number in range(ADMISSION_GROUPS_MAX):
        assert admission.admit(f"10.{number >> 8}.{number & 255}.1", 0.0) is None
    assert admission.admit("11.0.0.1", 0.0) == "too many address groups"
    assert admission.admit("11.0.0.1", 2.0) is None
