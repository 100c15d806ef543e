"""A validator's process as the supervisor sees it, with small programs in its place."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.errors import NodeError, TimedOut
from testnet import child as child_module
from testnet.child import Child, State
from tests.testnet.nets import alive

LISTENING = {
    "event": "listening",
    "api": "http://127.0.0.1:5",
    "fabric": "127.0.0.1:6",
    "listen": "127.0.0.1:7",
}
WAIT = "import signal; signal.pause()"
IGNORE = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
END = "import signal, sys; signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))"


def says(*events: object) -> str:
    lines = []
    for event in events:
        envelope = {"schema": "apocryph/1", "ok": True, "data": event, "errors": []}
        lines.append(f"print({json.dumps(envelope)!r}, flush=True)")
    return "\n".join(lines)


def fails(code: str, exit_code: int) -> str:
    error = {"code": code, "message": "it broke", "hint": "mend it", "retryable": False}
    envelope = {"schema": "apocryph/1", "ok": False, "data": None, "errors": [error]}
    return f"import sys; print({json.dumps(envelope)!r}, flush=True); sys.exit({exit_code})"


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[Child]:
    found = Child("n1", tmp_path, tmp_path / "node.log")
    yield found
    if found.alive:
        await found.kill()


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Sets what runs in the place of `node run`."""

    def put(*parts: str) -> None:
        command = [sys.executable, "-c", "\n".join(parts)]
        monkeypatch.setattr(child_module, "node_command", lambda folder: command)

    return put


async def test_from_start_to_a_graceful_end(child: Child, program) -> None:  # type: ignore[no-untyped-def]
    program(END, says(LISTENING, {"event": "ready"}), WAIT)
    await child.start()
    await child.wait(State.READY, timeout_s=10)
    assert child.address == ("127.0.0.1", 5)
    pid = child.pid
    assert pid is not None
    assert alive(pid)
    await child.stop()
    assert (child.state, child.pid, child.error, child.address) == (State.STOPPED, None, None, None)
    assert not alive(pid)
    await child.start()
    await child.wait(State.LISTENING, State.READY, timeout_s=10)
    assert child.pid != pid


async def test_its_own_error_is_told(child: Child, program) -> None:  # type: ignore[no-untyped-def]
    program(fails("store_corrupt", 7))
    await child.start()
    with pytest.raises(NodeError, match="it broke") as caught:
        await child.wait(State.READY, timeout_s=10)
    assert (caught.value.code, caught.value.exit, caught.value.hint) == (
        "store_corrupt",
        7,
        "mend it",
    )
    assert child.state == State.FAILED
    with pytest.raises(NodeError, match="it broke"):
        await child.failed()
    assert child.row()["error"] == "it broke"


async def test_a_crash_without_words_points_to_the_log(
    child: Child,
    program,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    program("print('nonsense')", "import os; os.write(2, b'last words'); os.abort()")
    await child.start()
    with pytest.raises(NodeError, match="n1 ended by signal 6") as caught:
        await child.wait(State.READY, timeout_s=10)
    assert str(tmp_path / "node.log") in caught.value.hint
    assert (tmp_path / "node.log").read_bytes().endswith(b"last words")


async def test_who_ignores_the_end_is_killed(
    child: Child,
    program,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child_module, "STOP_S", 0.05)
    program(IGNORE, says(LISTENING), WAIT)
    await child.start()
    await child.wait(State.LISTENING, timeout_s=10)
    pid = child.pid
    assert pid is not None
    await child.stop()
    assert not alive(pid)
    assert child.state == State.STOPPED


async def test_pause_and_resume(child: Child, program) -> None:  # type: ignore[no-untyped-def]
    program(END, says(LISTENING), WAIT)
    await child.start()
    await child.wait(State.LISTENING, timeout_s=10)
    await child.pause()
    assert (child.state, child.address) == (State.PAUSED, None)
    await child.resume()
    assert child.state == State.LISTENING
    await child.pause()
    await child.stop()
    assert child.state == State.STOPPED
    assert child.error is None


async def test_too_slow_is_told(child: Child, program) -> None:  # type: ignore[no-untyped-def]
    program(WAIT)
    await child.start()
    with pytest.raises(TimedOut, match="n1 is not ready after"):
        await child.wait(State.READY, timeout_s=0.05)


async def test_settings_of_the_user_do_not_reach_it(
    child: Child,
    program,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("APOCRYPH_API_LISTEN", "0.0.0.0:80")
    monkeypatch.setenv("APOCRYPH_TRACE", "fabric")
    program("import os, pathlib", "pathlib.Path('seen').write_text(repr(dict(os.environ)))")
    await child.start()
    with pytest.raises(TimedOut, match="stopped before it was ready"):
        await child.wait(State.READY, timeout_s=10)
    seen = (tmp_path / "seen").read_text()
    assert "APOCRYPH_API_LISTEN" not in seen
    assert "APOCRYPH_TRACE" in seen


def test_long_logs_are_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "LOG_BYTES_MAX", 10)
    path = tmp_path / "node.log"
    child_module.keep_log_short(path)
    path.write_text("short")
    child_module.keep_log_short(path)
    assert path.exists()
    path.write_text("longer than ten")
    child_module.keep_log_short(path)
    assert not path.exists()
    assert (tmp_path / "node.log.1").read_text() == "longer than ten"
