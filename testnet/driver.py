"""The local driver: makes or resumes a testnet, runs it here or in a daemon, and stops it.

Knows folders, processes and signals; what the validators do together, `session` watches.
"""

import asyncio
import json
import logging
import os
import select
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from node.errors import AlreadyRunning, NodeError, Stopped, TimedOut, UsageError
from testnet.child import keep_log_short
from testnet.control import ask
from testnet.folder import About, Folder
from testnet.limits import DOWN_S, GATEWAY_PORT, POLL_S, READY_S, VALIDATORS_DEFAULT
from testnet.probe import told
from testnet.spec import TestnetSpec, local_parameters, make
from testnet.supervisor import Supervisor

STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PIPE_BYTES: Final = 65_536
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says; null where it says nothing."""

    name: str
    validators: int | None = None
    slots: int | None = None
    epoch_blocks: int | None = None
    seed: int | None = None
    port: int | None = None


class Ended(Exception):
    """Somebody asked for the end of the testnet before the work was done."""


# ---- making and resuming -------------------------------------------------------------------------


def prepare(asked: Asked) -> tuple[Folder, About]:
    """The testnet that was asked for, made if it is new.

    Raises AlreadyRunning, UsageError where the existing one is different, SpecUnusable.
    """
    folder = Folder(asked.name)
    owner = folder.supervisor()
    if owner is not None:
        raise AlreadyRunning(
            f"the testnet {asked.name!r} is already running (process {owner})",
            owner_pid=owner,
            hint=f"`apocryph testnet status --net {asked.name}` shows it; "
            f"`apocryph testnet down --net {asked.name}` stops it",
        )
    if folder.exists:
        about = folder.about()
        _check_same(asked, about)
        return folder, replace(about, port=about.port if asked.port is None else asked.port)
    wanted = TestnetSpec(
        name=asked.name,
        validators=VALIDATORS_DEFAULT if asked.validators is None else asked.validators,
        parameters=local_parameters(asked.slots, asked.epoch_blocks),
        seed=asked.seed,
    )
    genesis = make(wanted, clock_ms=time.time_ns() // 1_000_000, dice=os.urandom)
    port = GATEWAY_PORT if asked.port is None else asked.port
    return folder, folder.create(wanted, genesis, port=port)


def _check_same(asked: Asked, about: About) -> None:
    pairs = (
        ("validators", asked.validators, len(about.nodes)),
        ("slots", asked.slots, about.slots),
        ("epoch-blocks", asked.epoch_blocks, about.epoch_blocks),
        ("seed", asked.seed, about.seed),
    )
    for name, wanted, found in pairs:
        if wanted is not None and wanted != found:
            raise UsageError(
                f"the testnet {about.name!r} exists with {name} {found}, not {wanted}",
                hint=f"leave the option out, choose another --net, or first "
                f"`apocryph testnet rm --net {about.name}`",
            )


# ---- running -------------------------------------------------------------------------------------


@asynccontextmanager
async def running(folder: Folder, about: About) -> AsyncIterator[Supervisor]:
    """All validators ready inside, none left after. Raises what kept them from starting, Ended."""
    supervisor = Supervisor(folder, about)
    loop = asyncio.get_running_loop()
    for number in STOPS:
        loop.add_signal_handler(number, supervisor.done.set)
    try:
        await supervisor.open()
        await unless_done(supervisor, supervisor.wait_ready())
        yield supervisor
    finally:
        await supervisor.close()
        for number in STOPS:
            loop.remove_signal_handler(number)


async def unless_done(supervisor: Supervisor, work: Coroutine[Any, Any, Result]) -> Result:
    """The work's result. Raises Ended when the testnet is to end first; the work is cancelled."""
    task = asyncio.ensure_future(work)
    end = asyncio.ensure_future(supervisor.done.wait())
    try:
        await asyncio.wait([task, end], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Ended
        return task.result()
    finally:
        end.cancel()
        task.cancel()
        await asyncio.gather(task, end, return_exceptions=True)


async def first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Until the first of them ends, raising what it raises; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# ---- as a daemon ---------------------------------------------------------------------------------


def detach(folder: Folder, about: About) -> None:
    """Start the supervisor in a session of its own; return when all validators are ready.

    Forked before any loop or thread exists. Raises what kept it from starting.
    """
    keep_log_short(folder.log_path)
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    middle = os.fork()
    if middle == 0:
        os.close(reading)
        _become_daemon(folder, about, writing)
    os.close(writing)
    os.waitpid(middle, 0)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        _wait_for_daemon(folder, pipe.fileno())


def _wait_for_daemon(folder: Folder, pipe: int) -> None:
    raw, deadline = b"", time.monotonic() + READY_S + DOWN_S
    try:
        while time.monotonic() < deadline:
            ready, _, _ = select.select([pipe], [], [], deadline - time.monotonic())
            piece = os.read(pipe, _PIPE_BYTES) if ready else b""
            if not piece:
                break
            raw += piece
    except BaseException:
        down(folder)
        raise
    if not raw:
        raise told(
            {
                "code": "bug",
                "message": "the supervisor ended before it said why",
                "hint": f"its last words are in {folder.log_path}",
            }
        )
    answer = json.loads(raw)
    if not answer["ok"]:
        raise told(answer["errors"][0])


def _become_daemon(folder: Folder, about: About, pipe: int) -> None:
    """In the forked process: never returns."""
    code = 70
    try:
        os.setsid()
        if os.fork() > 0:
            os._exit(0)  # so that the daemon is nobody's child that would have to be reaped
        _redirect(folder)
        asyncio.run(_serve(folder, about, pipe))
        code = 0
    except BaseException:
        logging.getLogger("apocryph.testnet").exception("the supervisor failed")
    finally:
        os._exit(code)


def _redirect(folder: Folder) -> None:
    os.chdir(folder.path)
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(folder.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )


async def _serve(folder: Folder, about: About, pipe: int) -> None:
    from node.cli.output import as_node_error, error_record

    try:
        async with running(folder, about) as supervisor:
            _answer(pipe, {"ok": True})
            await supervisor.done.wait()
    except Ended:
        stopped = Stopped(f"the testnet {about.name!r} was stopped before it was ready")
        _answer(pipe, {"ok": False, "errors": [error_record(stopped)]})
    except (NodeError, OSError) as error:
        _answer(pipe, {"ok": False, "errors": [error_record(as_node_error(error))]})


def _answer(pipe: int, answer: dict[str, Any]) -> None:
    """Told once; the other end of the pipe may be gone."""
    try:
        os.write(pipe, json.dumps(answer).encode())
        os.close(pipe)
    except OSError:
        pass


# ---- stopping ------------------------------------------------------------------------------------


def down(folder: Folder) -> bool:
    """Stop a running testnet and wait until its processes are gone; False where none ran.

    Raises TimedOut. A supervisor that does not answer is killed, and its validators with it.
    """
    owner = folder.supervisor()
    if owner is None:
        return False
    deadline = time.monotonic() + DOWN_S
    try:
        ask(folder.socket_path, {"op": "down"}, timeout_s=DOWN_S)
    except NodeError:
        # It starts, ends, or hangs: the signal reaches it in the first two.
        _signal(folder, owner, signal.SIGTERM)
    while folder.supervisor() == owner and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if folder.supervisor() == owner:
        _signal(folder, owner, signal.SIGKILL)
    while _alive(owner):
        if time.monotonic() > deadline + DOWN_S:
            hint = f"it was sent SIGKILL; `ps -p {owner}` tells why it stays"
            raise TimedOut(f"process {owner} is still there", hint=hint)
        time.sleep(POLL_S)
    return True


def _signal(folder: Folder, owner: int, number: signal.Signals) -> None:
    # The lock says that this process is our supervisor still; ids are used again, locks are not.
    if owner and folder.supervisor() == owner:
        try:
            os.kill(owner, number)
        except ProcessLookupError:
            pass


def _alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
