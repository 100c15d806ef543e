"""`testnet logs`: the newest lines of each validator's log, and what comes after.

Reads files only, so it works for a stopped testnet too. Cursor: NAME:offset of the line's end.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from node.cli.output import Output
from node.codes import Exit
from node.errors import NotFound, suggestion
from testnet.folder import Folder
from testnet.limits import POLL_S, TAIL_BYTES_MAX

SUPERVISOR: Final = "supervisor"


def show(net: str, node: str | None, output: Output, *, lines: int, follow: bool) -> Exit:
    """Raises NotFound for an unknown testnet or validator."""
    folder = Folder(net)
    about = folder.about()
    paths = {one.name: folder.node_log_path(one.name) for one in about.nodes}
    if node is not None:
        known = {**paths, SUPERVISOR: folder.log_path}
        if node not in known:
            near = suggestion(node, tuple(known))
            raise NotFound(f"there is no log of {node!r}{near}", hint=f"of {', '.join(known)}")
        paths = {node: known[node]}
    places = {name: _newest(name, path, lines, output) for name, path in paths.items()}
    while follow:
        for name, path in paths.items():
            places[name] = _more(name, path, places[name], output)
        time.sleep(POLL_S)
    return Exit.OK


def _newest(name: str, path: Path, lines: int, output: Output) -> int:
    """Show the last lines of a log; where it ended."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    start = max(0, size - TAIL_BYTES_MAX)
    found = list(_lines(path, start))
    if start and found:
        del found[0]  # its beginning was not read
    for place, text in found[-lines:] if lines else ():
        _say(name, place, text, output)
    return found[-1][0] if found else start


def _more(name: str, path: Path, place: int, output: Output) -> int:
    """Show what was written since; a log that was put aside is read from its start."""
    try:
        if path.stat().st_size < place:
            place = 0
        for end, text in _lines(path, place):
            _say(name, end, text, output)
            place = end
    except FileNotFoundError:
        pass
    return place


def _lines(path: Path, place: int) -> Iterator[tuple[int, str]]:
    """(offset of its end, text) of each whole line."""
    with path.open("rb") as file:
        file.seek(place)
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            place += len(raw)
            yield place, raw.decode(errors="replace").rstrip("\n")


def _say(name: str, place: int, text: str, output: Output) -> None:
    output.item({"node": name, "line": text}, f"{name} | {text}", cursor=f"{name}:{place}")
