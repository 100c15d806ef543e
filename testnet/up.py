"""`testnet up`: a testnet run here or left behind as a daemon, its demo, its view, its end.

Knows the order of things; each thing is done elsewhere.
"""

import asyncio
from typing import Any

from node.cli.output import INTERRUPTED, Output
from node.codes import Exit
from testnet.board import Board
from testnet.driver import Asked, Ended, detach, first_of, prepare, running, unless_done
from testnet.folder import About, Folder
from testnet.session import Session
from testnet.supervisor import Supervisor
from testnet.traffic import check_demo
from testnet.view import show


def up(asked: Asked, demo: str | None, until: int | None, output: Output, *, detached: bool) -> int:
    """Raises NodeError for all that keeps it from running."""
    if demo is not None:
        check_demo(demo)
    folder, about = prepare(asked)
    if detached:
        return _detached(folder, about, demo, until, output)
    return asyncio.run(_here(folder, about, demo, until, output))


# ---- left behind ---------------------------------------------------------------------------------


def _detached(
    folder: Folder, about: About, demo: str | None, until: int | None, output: Output
) -> Exit:
    output.note(_starting(about))
    detach(folder, about)
    session = Session(folder, folder.about())
    data = asyncio.run(_drive(session, demo, until))
    return output.result(
        {**data, "running": True},
        f"{about.name} runs {_count(about)} at {session.about.api}; "
        f"stop it with: apocryph testnet down --net {about.name}",
    )


async def _drive(session: Session, demo: str | None, until: int | None) -> dict[str, Any]:
    """Demo and wanted height; then what every validator has."""
    if demo is not None:
        await session.traffic().start_demo(demo)
    if until is None:
        nodes = await session.tips(session.about.nodes)
    else:
        nodes = await session.reach(until, send=demo is None)
    about = session.about
    return {"net": about.name, "api": about.api, "chain": about.chain, "nodes": nodes}


# ---- here ----------------------------------------------------------------------------------------


async def _here(
    folder: Folder, about: About, demo: str | None, until: int | None, output: Output
) -> int:
    output.note(_starting(about))
    data: dict[str, Any] | None = None
    try:
        async with running(folder, about) as supervisor:
            session = Session(folder, supervisor.about)
            if until is None:
                data = await unless_done(supervisor, _drive(session, demo, None))
                ready = f"ready: {_count(about)} at {session.about.api}"
                output.result({**data, "running": True}, ready)
                await _look(supervisor, output)
                return Exit.OK
            work = _until(session, supervisor, demo, until, output)
            data = await unless_done(supervisor, work)
    except Ended:
        output.note("stopped before it was done; the same command goes on where it was")
        return INTERRUPTED
    return output.result({**data, "running": False}, _reached(output, until, data))


async def _until(
    session: Session, supervisor: Supervisor, demo: str | None, until: int, output: Output
) -> dict[str, Any]:
    """Drive, show meanwhile, fail when a validator fails."""
    board = Board(session.about.nodes, lambda name: str(supervisor.children[name].state))
    drive = asyncio.create_task(_drive(session, demo, until))
    looking = asyncio.create_task(_view(board, output, session.about))
    ends = [asyncio.create_task(child.failed()) for child in supervisor.children.values()]
    try:
        await asyncio.wait([drive, looking, *ends], return_when=asyncio.FIRST_COMPLETED)
        for task in (looking, *ends):
            if task.done():
                await task
        return await drive
    finally:
        for each in (drive, looking, *ends):
            each.cancel()
        await asyncio.gather(drive, looking, *ends, return_exceptions=True)


async def _look(supervisor: Supervisor, output: Output) -> None:
    """The view, until somebody asks for the end. Raises the error of validators that all failed."""
    board = Board(supervisor.about.nodes, lambda name: str(supervisor.children[name].state))
    try:
        view = _view(board, output, supervisor.about)
        await unless_done(supervisor, first_of(view, supervisor.lost()))
    except Ended:
        output.note("stopping")


async def _view(board: Board, output: Output, about: About) -> None:
    await first_of(board.run(), show(board, output, f"{about.name} · {about.api}"))


def _starting(about: About) -> str:
    return f"starting {_count(about)} of {about.name}"


def _count(about: About) -> str:
    return f"{len(about.nodes)} validator{'s' if len(about.nodes) != 1 else ''}"


def _reached(output: Output, until: int, data: dict[str, Any]) -> str:
    columns = ("name", "height", "block", "state_root", "slots", "certificates_verified")
    rows = [[node[column] for column in columns] for node in data["nodes"]]
    return f"height {until} is certified by all\n" + output.table(columns, rows)
