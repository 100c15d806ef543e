"""A testnet's spec: keys, evenly dealt slots, funded accounts; and its folder."""

import stat
from collections import Counter
from pathlib import Path

import pytest

from consensus.ids import id_text
from consensus.spec import ChainSpec
from node.errors import AlreadyRunning, ConfigFileError, NotFound, SpecUnusable, UsageError
from node.keystore import load
from testnet.driver import Asked, prepare
from testnet.folder import Folder, names
from testnet.limits import BALANCE
from testnet.spec import ACCOUNTS, TestnetSpec, local_parameters, make

CLOCK_MS = 1_800_000_000_000


def counting(start: int = 0):  # type: ignore[no-untyped-def]
    """Dice that never give the same twice."""
    count = start

    def draw(length: int) -> bytes:
        nonlocal count
        count += 1
        return count.to_bytes(length, "big")

    return draw


def wanted(**changes: object) -> TestnetSpec:
    given: dict[str, object] = {"name": "t", "validators": 4, "parameters": local_parameters()}
    return TestnetSpec(**{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 4, 7, 16])
def test_slots_are_dealt_evenly(count: int) -> None:
    genesis = make(wanted(validators=count), clock_ms=CLOCK_MS, dice=counting())
    owners = Counter([slot.peer for slot in genesis.spec.genesis_slots if slot])
    assert sum(owners.values()) == 600
    assert len(owners) == count
    assert max(owners.values()) - min(owners.values()) <= 1
    assert [one.name for one in genesis.validators] == [f"n{i + 1}" for i in range(count)]


def test_accounts_are_funded_and_agents_there() -> None:
    spec = make(wanted(), clock_ms=CLOCK_MS, dice=counting()).spec
    assert len(ACCOUNTS) >= 8
    assert [balance.amount for balance in spec.genesis_balances] == [BALANCE] * len(ACCOUNTS)
    assert {agent.name for agent in spec.genesis_agents} == {"token", "counter", "ping", "pong"}
    assert spec.genesis_time_ms < CLOCK_MS
    assert ChainSpec.decode(spec.raw) == spec


def test_a_seed_gives_the_same_keys_of_another_chain() -> None:
    first = make(wanted(seed=7), clock_ms=CLOCK_MS, dice=counting())
    again = make(wanted(seed=7), clock_ms=CLOCK_MS, dice=counting(1000))
    other = make(wanted(seed=8), clock_ms=CLOCK_MS, dice=counting())
    assert first.validators == again.validators
    assert first.accounts == again.accounts
    assert first.spec.id != again.spec.id, "equal keys must not make equal chains"
    assert first.validators != other.validators
    secrets = [one.secret for one in (*first.validators, *first.accounts)]
    assert len(set(secrets)) == len(secrets)


def test_without_a_seed_keys_come_from_the_dice() -> None:
    first = make(wanted(), clock_ms=CLOCK_MS, dice=counting())
    again = make(wanted(), clock_ms=CLOCK_MS, dice=counting(1000))
    assert not set(first.validators) & set(again.validators)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"name": "Upper"}, UsageError, "no name"),
        ({"name": "../t"}, UsageError, "no name"),
        ({"name": "t" * 33}, UsageError, "no name"),
        ({"validators": 0}, UsageError, "1 ≤ 0 validators"),
        ({"validators": 65}, UsageError, "65 validators ≤ 64"),
        ({"seed": -1}, UsageError, "seed -1"),
        ({"validators": 5, "parameters": local_parameters(4)}, SpecUnusable, "5 validators ≤ 4"),
    ],
)
def test_what_cannot_be_is_refused(
    changes: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        wanted(**changes)


def test_impossible_parameters_name_the_inequality() -> None:
    with pytest.raises(SpecUnusable, match=r"claim_close ≤ epoch_blocks; .*with slots 600, epoch"):
        local_parameters(None, 3)


def test_claims_of_a_short_epoch_close_early_enough() -> None:
    assert local_parameters(120, 32).claim_close == 8
    assert local_parameters().claim_close == local_parameters(None, 512).claim_close


# ---- the folder ----------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APOCRYPH_HOME", str(tmp_path))
    return tmp_path


def test_a_new_testnet_and_the_same_again(home: Path) -> None:
    folder, about = prepare(Asked(name="t", validators=2, slots=60, seed=3, port=7000))
    spec = ChainSpec.decode(folder.spec_path.read_bytes())
    assert about.chain == id_text(spec.id)
    assert (about.slots, about.seed, about.port) == (60, 3, 7000)
    assert [node.name for node in about.nodes] == ["n1", "n2"]
    for node in about.nodes:
        path = folder.node_key_path(node.name)
        assert load(path, allow_testnet=True).text == node.peer
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(path.stem for path in folder.accounts_path.iterdir()) == sorted(ACCOUNTS)
    assert load(folder.accounts_path / "bob.json", allow_testnet=True).text == about.accounts["bob"]
    assert names() == ("t",)
    again, same = prepare(Asked(name="t"))
    assert same == about
    assert again.path == folder.path
    assert prepare(Asked(name="t", port=0))[1].port == 0
    assert [path.name for path in (home / "testnets").iterdir()] == ["t"], "nothing half-made"


@pytest.mark.parametrize(
    "asked",
    [
        Asked(name="t", validators=3),
        Asked(name="t", slots=61),
        Asked(name="t", epoch_blocks=128),
        Asked(name="t", seed=1),
    ],
)
def test_an_existing_testnet_keeps_its_shape(home: Path, asked: Asked) -> None:
    prepare(Asked(name="t", validators=2, slots=60))
    with pytest.raises(UsageError, match="exists with"):
        prepare(asked)


def test_a_running_testnet_is_left_alone(home: Path) -> None:
    folder, _ = prepare(Asked(name="t", validators=1))
    assert folder.supervisor() is None
    with folder.lock():
        with pytest.raises(AlreadyRunning):
            prepare(Asked(name="t"))
        with pytest.raises(AlreadyRunning):
            folder.remove()
        assert folder.supervisor() is not None
    folder.remove()
    assert not folder.path.exists()
    with pytest.raises(NotFound):
        folder.remove()


def test_unknown_and_broken_testnets(home: Path) -> None:
    folder, _ = prepare(Asked(name="alpha", validators=1))
    with pytest.raises(NotFound, match="did you mean alpha"):
        Folder("alpa").about()
    for raw in (b"", b"[]", b"{}", b'{"nodes": 1}'):
        folder.about_path.write_bytes(raw)
        with pytest.raises(ConfigFileError, match="cannot be read"):
            folder.about()


def test_a_folder_of_something_else_is_not_touched(home: Path) -> None:
    other = home / "testnets" / "t"
    other.mkdir(parents=True)
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigFileError):
        prepare(Asked(name="t", validators=1))
    assert (other / "thesis.txt").read_text() == "years of work"
