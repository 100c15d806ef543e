"""The live view of a testnet: a table that redraws itself on a terminal, plain lines elsewhere.

Draws what a `Board` knows; asks nobody.
"""

import asyncio
import os
import time
from typing import TYPE_CHECKING, Final

from node.cli.output import Output
from testnet.board import Board, Row
from testnet.limits import LINE_S, VIEW_S

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS: Final = (
    "node",
    "state",
    "height",
    "slots",
    "prefers",
    "streak",
    "settled",
    "peers",
    "messages/s",
)
_ID_SHOWN: Final = 8  # last characters of a block id
_STREAK_SHOWN: Final = 8


def drawable(output: Output) -> bool:
    """Whether the live table is possible: a person's terminal that takes colours."""
    return output.terminal and "NO_COLOR" not in os.environ


async def show(board: Board, output: Output, title: str) -> None:
    """Until cancelled."""
    if drawable(output):
        await _live(board, title)
    else:
        await _lines(board, output)


# ---- lines ---------------------------------------------------------------------------------------


def line(board: Board) -> str:
    """All validators in one line."""
    parts = []
    for row in board.rows.values():
        word = "" if row.word == "ready" else f" {row.word}"
        parts.append(f"{row.name} {row.height}{word}")
    return f"{' · '.join(parts)} · {board.rate():.1f} messages/s"


async def _lines(board: Board, output: Output) -> None:
    shown = None
    while True:
        now = (board.heights, tuple([row.word for row in board.rows.values()]))
        if now != shown:
            shown = now
            output.note(line(board))
        await asyncio.sleep(LINE_S)


# ---- table ---------------------------------------------------------------------------------------


async def _live(board: Board, title: str) -> None:
    from rich.live import Live

    with Live(table(board, title), auto_refresh=False, screen=False) as live:
        while True:
            await asyncio.sleep(VIEW_S)
            live.update(table(board, title), refresh=True)


def table(board: Board, title: str) -> "Table":
    """The board as a rich table, which fits into 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    drawn = Table(
        title=title,
        title_justify="left",
        caption="Ctrl-C stops and cleans up",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
    )
    for name in COLUMNS:
        right = name in ("height", "slots", "settled", "peers", "messages/s")
        drawn.add_column(name, justify="right" if right else "left", no_wrap=True)
    now_s = time.monotonic()
    for row in board.rows.values():
        style = None if row.word == "ready" else "dim"
        drawn.add_row(*cells(row, now_s), style=style)
    return drawn


def cells(row: Row, now_s: float) -> tuple[str, ...]:
    """One validator's line, in the order of COLUMNS."""
    streak = "" if not row.streak else "▮" * min(row.streak, _STREAK_SHOWN)
    settled = "-" if row.settle_ms is None else f"{row.settle_ms} ms"
    return (
        row.name,
        row.word,
        f"{row.height:,}",
        _number(row.slots),
        "-" if row.preference is None else f"…{row.preference[-_ID_SHOWN:]}",
        streak,
        settled,
        _number(row.peers),
        f"{row.rate(now_s):.1f}",
    )


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
