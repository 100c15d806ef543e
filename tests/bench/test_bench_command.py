"""The command: its envelope, its lines for people, its exit codes."""

import json

import pytest

from bench import __main__ as command
from bench import figures
from bench.figures import Failed, Figure, Goal, Measurement, Unavailable

PEERED = Figure(
    name="speed",
    what="how fast it is",
    unit="m/s",
    goal=Goal(2, "more"),
    run=lambda: Measurement(3.0, {"highest": 4.0}),
    peer=lambda: Measurement(2.0),
    peer_name="tortoise",
)


def refusing(error: Exception) -> Figure:
    def run() -> Measurement:
        raise error

    return Figure("speed", "how fast it is", "m/s", None, run)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Whatever figure a test puts in is the one that every name leads to."""
    figure_of: list[Figure] = [PEERED]
    monkeypatch.setattr(figures, "find", lambda name: figure_of[-1])
    monkeypatch.setattr(command, "busy_warning", lambda: None)
    return figure_of


def test_the_envelope_of_a_figure(found: list[Figure], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["speed", "--json"]) == 0
    envelope = json.loads(capsys.readouterr().out)
    data = envelope.pop("data")
    assert envelope == {"schema": "apocryph/bench/1", "ok": True, "errors": [], "warnings": []}
    assert set(data.pop("machine")) == {"cpu", "cores", "python", "system"}
    assert data == {
        "name": "speed",
        "what": "how fast it is",
        "value": 3.0,
        "unit": "m/s",
        "goal": {"value": 2, "better": "more"},
        "goal_met": True,
        "details": {"highest": 4.0},
        "peer": {"name": "tortoise", "value": 2.0, "details": {}},
        "ratio": 1.5,
    }


def test_without_its_peer_there_is_neither_peer_nor_ratio(
    found: list[Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["speed", "--json", "--no-peer"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["peer"], data["ratio"]) == (None, None)


def test_a_busy_machine_is_said(
    found: list[Figure], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "busy_warning", lambda: "the machine was busy")
    assert command.main(["speed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == ["the machine was busy"]


def test_people_read_value_unit_machine_peer_and_ratio(
    found: list[Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["speed"]) == 0
    text = capsys.readouterr().out
    for part in ("speed: 3 m/s", "goal ≥ 2 m/s: met", "tortoise: 2 m/s", "ratio 1.50", "Python 3."):
        assert part in text


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            Unavailable("no wheels", hint="buy some"),
            "bench.unavailable",
            "not available: no wheels",
        ),
        (Failed("a wheel came off"), "bench.failed", "a wheel came off"),
    ],
)
def test_a_figure_that_cannot_be_taken_ends_with_5(
    found: list[Figure],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: str,
    said: str,
) -> None:
    found.append(refusing(error))
    assert command.main(["speed"]) == 5
    streams = capsys.readouterr()
    assert streams.out == ""
    assert f"{code}: {said}" in streams.err

    assert command.main(["speed", "--json"]) == 5
    envelope = json.loads(capsys.readouterr().out)
    assert envelope["ok"] is False
    assert envelope["errors"][0]["code"] == code
    assert envelope["data"]["what"] == "how fast it is"


def test_a_name_that_is_no_figure_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["sped", "--json"]) == 2
    envelope = json.loads(capsys.readouterr().out)
    assert envelope["data"] is None
    assert envelope["errors"][0]["code"] == "bench.unknown"


@pytest.mark.parametrize("arguments", [[], ["--write"], ["speed", "--write"]])
def test_a_command_that_asks_for_nothing_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
