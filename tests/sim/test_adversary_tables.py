"""The tables of mute slots, balancing slots and contended epochs: a slice in seconds, all of it in
minutes."""

import pytest

from testnet.sim.tables import ATTACKS, balancing_table, hill_table, mute_table


@pytest.mark.slow
def test_blocks_are_made_with_thirty_percent_mute_and_more_with_less() -> None:
    ten, thirty = mute_table(percents=(10, 30), seconds=6)
    assert thirty.blocks_per_minute > 0
    assert ten.blocks_per_minute > 2 * thirty.blocks_per_minute
    assert mute_table(percents=(30,), seconds=2) == mute_table(percents=(30,), seconds=2)


@pytest.mark.slow
def test_twenty_percent_balancing_finalizes() -> None:
    attacks = [attack for attack in ATTACKS if "balancing" in attack[0]]
    for row in balancing_table(heights=4, attacks=attacks):
        assert row.heights >= 4 and row.acts > 0
        assert sum(row.rounds) == row.heights
        assert row.rounds[0] >= row.heights // 2, "it costs polls, rarely a round"


@pytest.mark.slow
def test_slots_follow_hashes_and_no_height_is_lost() -> None:
    table = hill_table(epochs=10)
    assert table.holds, table
    assert table.heights == 10 * 16
    assert table.changes > 180, "as many changes as there are slots"
    assert table.late <= table.heights // 20


def test_a_table_without_contention_would_be_told_apart() -> None:
    """Shares of slots as they are dealt, a third each, are no 50/30/20: 10 epochs show it."""
    table = hill_table(percents=(34, 33, 33), epochs=2)
    assert table.changes
    dealt = table.rows[0].slots_share
    assert abs(dealt - 0.5) > 3 * (0.25 / 180) ** 0.5


# ---- all of it ----------------------------------------------------------------------------------


@pytest.mark.long
def test_the_mute_table() -> None:
    rates = [row.blocks_per_minute for row in mute_table()]
    assert rates == sorted(rates, reverse=True) and rates[-1] > 0, rates


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 4))
def test_the_balancing_table(seed: int) -> None:
    for row in balancing_table(heights=40, seed=seed):
        assert sum(row.rounds[1:]) <= row.heights // 4, row


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 6))
def test_the_hill_table(seed: int) -> None:
    table = hill_table(epochs=60, seed=seed)
    assert table.holds, table
    assert table.late <= table.heights // 20
