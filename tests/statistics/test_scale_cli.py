"""`apocryph sim scale` as a user meets it: table, envelope, pictures, errors with hints."""

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from node.cli.output import run
from node.codes import Exit
from testnet.scale import research
from testnet.scale.cli import scale
from testnet.scale.networks import (
    Adversary,
    Kind,
    Network,
    Unreadable,
    read_adversaries,
    read_nodes,
)

Said = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """(exit code, envelope) of a command line."""
    pytest.importorskip("numpy")

    def call(*words: object) -> tuple[int, dict[str, Any]]:
        code = run(scale, [*map(str, words), "--json"], name="apocryph sim scale")
        out, err = capsys.readouterr()
        assert err == "" and out.count("\n") == 1, "one envelope, nothing else"
        return code, json.loads(out)

    return call


# ---- how networks are written -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000", (1_000,)),
        ("1000..1000000", (1_000, 10_000, 100_000, 1_000_000)),
        ("1000..99999", (1_000, 10_000)),
        ("7,50..600,3", (7, 50, 500, 3)),
    ],
)
def test_sizes(text: str, expected: tuple[int, ...]) -> None:
    assert read_nodes(text) == expected


@pytest.mark.parametrize("text", ["", "x", "0", "-5", "10..1", "1..", "..5", "20000001", "5,"])
def test_sizes_that_are_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read_nodes(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", ["none"]),
        ("mute:0.1", ["mute:0.1"]),
        ("balancing:0.1,0.25", ["balancing:0.1", "balancing:0.25"]),
        ("mute:0..0.15", ["none", "mute:0.05", "mute:0.1", "mute:0.15"]),
        ("echo:1/3", ["echo:0.333333"]),
    ],
)
def test_adversaries(text: str, expected: list[str]) -> None:
    assert [str(adversary) for adversary in read_adversaries(text)] == expected


@pytest.mark.parametrize(
    "text",
    [
        *("mute", "mute:", "mute:1", "mute:-0.1", "mute:x", "mute:1/0", "rude:0.1"),
        *("mute:0.2..0.1", "mute:1e-99999999", "mute:0..1e-99999999", "mute:1/9999999999"),
        f"mute:0.{'1' * 99}",
    ],
)
def test_adversaries_that_are_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read_adversaries(text)


def test_a_share_is_of_all_slots_and_never_rounded_up() -> None:
    assert Adversary(Kind.MUTE, Fraction(1, 3)).slots(1_000) == 333
    assert Adversary(Kind.MUTE, Fraction("0.29")).slots(100) == 29


# ---- the command --------------------------------------------------------------------------------


def test_the_envelope_has_a_row_per_network(said: Said) -> None:
    words = ("--nodes", "100,300", "--adversary", "none", "--adversary", "mute:0..0.1")
    code, envelope = said(*words, "--seeds", 3)
    assert code == 0 and envelope["ok"] and envelope["warnings"] == []
    data = envelope["data"]
    rule = data["rule"]
    assert (rule["k"], rule["alpha_preference"], rule["alpha_confidence"]) == (20, 11, 15)
    assert (rule["beta"], rule["concurrent_polls"], rule["rule"]) == (8, 4, "snowball")
    rows = [(row["adversary"], row["share"], row["nodes"]) for row in data["rows"]]
    assert rows == [
        (None, 0.0, 100),
        (None, 0.0, 300),
        ("mute", 0.05, 100),
        ("mute", 0.05, 300),
        ("mute", 0.1, 100),
        ("mute", 0.1, 300),
    ]
    for row in data["rows"]:
        assert row["seeds"] == 3 and row["stalls"] == row["split"] == 0
        assert row["rounds_min"] <= row["rounds"] <= row["rounds_max"] < 40


def test_the_same_command_says_the_same_but_for_the_time(said: Said) -> None:
    def rows(*words: object) -> list[dict[str, Any]]:
        _, envelope = said("--nodes", 200, "--adversary", "balancing:0.2", *words)
        return [{**row, "cpu_s": 0} for row in envelope["data"]["rows"]]

    assert rows() == rows()
    assert rows("--seed", 100, "--seeds", 8) != rows("--seed", 200, "--seeds", 8)


def test_an_interrupt_leaves_the_rows_that_are_done(
    said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    from testnet.scale import measure as module

    real = module.measure

    def first_alone(network: Network, seeds: range) -> module.Row:
        if network.nodes != 100:
            raise KeyboardInterrupt
        return real(network, seeds)

    monkeypatch.setattr(module, "measure", first_alone)
    code, envelope = said("--nodes", "100,200,300", "--seeds", 1)
    assert code == Exit.INTERRUPTED and not envelope["ok"]
    assert [row["nodes"] for row in envelope["data"]["rows"]] == [100]
    (error,) = envelope["errors"]
    assert (error["code"], error["message"]) == ("interrupted", "1 of 3 networks, interrupted")


def test_a_stall_and_a_split_are_told(said: Said) -> None:
    code, envelope = said(
        *("--nodes", 600, "--adversary", "echo:0.2", "--rounds-max", 60, "--seeds", 2)
    )
    (row,) = envelope["data"]["rows"]
    assert code == 0 and (row["stalls"], row["split"], row["rounds"]) == (2, 2, None)
    assert envelope["warnings"] == ["honest nodes settled on different values in 2 runs"]
    _, envelope = said(
        *("--nodes", 600, "--adversary", "echo:0.2", "--rounds-max", 60, "--seeds", 2, "--no-weak")
    )
    assert envelope["data"]["rows"][0]["split"] == 0 and envelope["warnings"] == []


def test_the_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("numpy")
    assert run(scale, ["--nodes", "100..1000", "--start", "40/30/30", "--rule", "snowflake"]) == 0
    out, err = capsys.readouterr()
    head, first, second = out.splitlines()
    assert head.split("\t")[:3] == ["NODES", "ADVERSARY", "ROUNDS"]
    assert first.startswith("100\tnone\t") and second.startswith("1000\tnone\t")
    assert err.splitlines()[0].startswith("100 nodes, none: ")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_picture_of_nodes_and_shares(said: Said, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    first, second = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
    for path in (first, second):
        code, envelope = said(
            *("--nodes", "100..1000", "--adversary", "mute:0..0.1", "--adversary", "mute:0.5"),
            *("--rounds-max", 60, "--plot", path),
        )
        assert code == 0 and envelope["data"]["plot"] == str(path)
    raw = first.read_bytes()
    assert raw == second.read_bytes(), "the same rows, the same picture"
    if suffix == "png":
        assert raw.startswith(b"\x89PNG")
    else:
        for words in (b"nodes", b"mute:0.1", b"share of the slots", b"mute, 1,000 nodes"):
            assert words in raw


@pytest.mark.parametrize(
    ("words", "code", "cause"),
    [
        (("--nodes", "10..1"), "usage", "rising range"),
        (("--adversary", "rude:0.1"), "usage", "kind of mute"),
        (("--start", "half/half"), "usage", "percents"),
        (("--plot", "picture.txt"), "usage", ".svg"),
        (("--seeds", "0"), "usage", "seeds"),
        (("--nodes", ",".join(["5"] * 1_001)), "usage", "1000 networks"),
        (("--figures", "--seeds", "1"), "usage", "two seeds"),
        (("--start", "50/49"), "config_value", "adds up to 100"),
        (("--k", "30"), "config_value", "k/2 < alpha_preference"),
    ],
)
def test_errors_say_what_is_wrong(
    said: Said, words: tuple[str, ...], code: str, cause: str
) -> None:
    exit_code, envelope = said(*words)
    (error,) = envelope["errors"]
    assert error["code"] == code and cause in error["message"] and error["hint"]
    assert exit_code == {"usage": 2, "config_value": 3}[code] and not envelope["ok"]


@pytest.mark.parametrize("missing", ["numpy", "matplotlib"])
def test_without_the_extra_the_hint_says_how_to_get_it(
    said: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    there = find_spec
    monkeypatch.setattr(
        research, "find_spec", lambda name: None if name == missing else there(name)
    )
    code, envelope = said("--nodes", 50, "--plot", tmp_path / "a.svg")
    (error,) = envelope["errors"]
    assert code == 3 and missing in error["message"]
    assert error["hint"] == "install the extra: pip install 'apocryph[research]'"
    assert not (tmp_path / "a.svg").exists()


def test_the_command_is_made_without_the_extra() -> None:
    """Whoever starts `apocryph` does not pay for numpy."""
    words = "import sys, testnet.scale.cli; print({'numpy', 'matplotlib'} & {*sys.modules})"
    found = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_figures_on_record_from_the_command(said: Said) -> None:
    code, envelope = said("--figures", "--seeds", 32)
    assert code == 0 and (envelope["data"]["within"], envelope["data"]["of"]) == (36, 36)
    code, envelope = said("--figures", "--seeds", 32, "--rule", "snowball")
    assert code == 1 and envelope["data"]["rule"] == "snowball"
    assert 28 <= envelope["data"]["within"] < 36
