"""Commands of the fabric: `ls` lists its streams, `tail` follows one. A click group that another
program mounts, with its own way to find the server and to describe items.

Only click is imported at the top: help is quick. Knows nothing of what is in the streams.
"""

import json
import sys
from base64 import b64encode
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from perper_core.errors import FabricError
    from perper_core.ports import Item
    from perper_core.wire.client import RemoteFabric

FindAddress = Callable[[click.Context], str]
"""Where the server is, when no --address is given. Raises click.ClickException."""
Describe = Callable[[str, "Item"], object]
"""An item of a stream (by name) as JSON-able facts."""
Translate = Callable[[Exception], Exception]
"""The program's own error for a FabricError or Unreachable; it is raised, and the program tells."""

ADDRESS_VARIABLE = "PERPER_FABRIC_ADDRESS"
TOKEN_VARIABLE = "PERPER_FABRIC_TOKEN"
SCHEMA = "perper/fabric/1"
EXIT_OK, EXIT_USAGE, EXIT_KEY, EXIT_UNREACHABLE, EXIT_REJECTED, EXIT_UNKNOWN = 0, 2, 3, 4, 5, 6
TEXT_BYTES_SHOWN = 60
OFFSET_FIRST = 1


@dataclass(frozen=True, slots=True)
class Host:
    """The program around the commands; what is null, they do themselves.

    `schema`: of the envelope of --json.
    """

    find_address: FindAddress | None = None
    describe: Describe | None = None
    translate: Translate | None = None
    schema: str = SCHEMA


def fabric_commands(host: Host | None = None) -> click.Group:
    """The group `fabric`."""
    host = host or Host()

    @click.group(name="fabric")
    def group() -> None:
        """Streams of a node's fabric."""

    group.add_command(_ls(host))
    group.add_command(_tail(host))
    return group


def _connection_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="one JSON envelope instead of text"),
        click.option(
            "--token", envvar=TOKEN_VARIABLE, default="", show_default=False, help="bearer token"
        ),
        click.option(
            "--address",
            envvar=ADDRESS_VARIABLE,
            default="",
            show_default=False,
            help="of the fabric: host:port or unix:PATH",
        ),
    ):
        command = option(command)
    return command


def _ls(host: Host) -> click.Command:
    @click.command()
    @click.argument("prefix", default="")
    @_connection_options
    @click.pass_context
    def ls(context: click.Context, prefix: str, address: str, token: str, as_json: bool) -> None:
        """List streams: kind, state, what can be read, readers."""
        where = _where(context, address, host)
        _run(_list(host, where, token, prefix, as_json=as_json), host, as_json=as_json)

    return ls


def _tail(host: Host) -> click.Command:
    describe = host.describe or _described

    @click.command()
    @click.argument("stream")
    @click.option("--from", "first", default="live", help="oldest, live, or an offset")
    @click.option(
        "--name",
        default="",
        show_default=False,
        help="remember the position at the server, under a name",
    )
    @click.option("--count", type=click.IntRange(min=1), help="stop after so many items")
    @_connection_options
    @click.pass_context
    def tail(
        context: click.Context,
        stream: str,
        first: str,
        name: str,
        count: int | None,
        address: str,
        token: str,
        as_json: bool,
    ) -> None:
        """Follow a stream, one line an item, until it ends or you do."""
        offset = _first(first)
        where = _where(context, address, host)

        def show(item: "Item") -> None:
            facts = describe(stream, item)
            click.echo(_item_line(item, facts, as_json=as_json))

        work = _follow(where, token, stream, name, offset, count, show, as_json)
        _run(work, host, as_json=as_json)

    return tail


# ------------------------------------------------------------------ what they do


async def _list(host: Host, address: str, token: str, prefix: str, *, as_json: bool) -> None:
    async with await _connected(address, token) as fabric:
        streams = await fabric.list_streams(prefix)
    rows = [
        {
            "name": info.name,
            "kind": str(info.options.kind),
            "gate": str(info.options.gate),
            "state": info.state,
            "error": info.error,
            "first": info.trimmed + 1,
            "last": info.committed,
            "bytes": info.bytes_kept,
            "listeners": info.listeners,
            "named": list(info.named),
        }
        for info in streams
    ]
    if as_json:
        click.echo(_envelope(host.schema, {"streams": rows}))
        return
    width = max([len(info.name) for info in streams], default=0)
    for row in rows:
        click.echo(
            f"{row['name']:<{width}}  {row['kind']:<10}  {row['state']:<6}"
            f"  {row['first']}..{row['last']}  {row['bytes']} B  {row['listeners']} readers"
        )


async def _follow(
    address: str,
    token: str,
    stream: str,
    name: str,
    first: int,
    count: int | None,
    show: Callable[["Item"], None],
    as_json: bool,
) -> None:
    from perper_core.errors import Truncated

    shown = 0
    async with (
        await _connected(address, token) as fabric,
        await fabric.listen(stream, name=name, first=first) as listener,
    ):
        while True:
            try:
                async for batch in listener:
                    for item in batch:
                        show(item)
                        shown += 1
                        if shown == count:
                            await listener.ack(item.offset)
                            return
                    await listener.ack(batch.last)
                return
            except Truncated as error:
                _note_truncated(error.first, as_json=as_json)


async def _connected(address: str, token: str) -> "RemoteFabric":
    from perper_core.errors import NotFound
    from perper_core.wire.client import connect

    if not await _listens(address):
        raise Unreachable(address)
    try:
        return await connect(address, token=token)
    except NotFound as error:
        raise Unreachable(address) from error


async def _listens(address: str) -> bool:
    """False where it is sure that nobody does: gRPC would go on trying for seconds."""
    import asyncio

    host, _, port = address.rpartition(":")
    try:
        if host == "unix":
            _, writer = await asyncio.open_unix_connection(port)
        elif port.isdecimal():
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        else:
            return True
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:
        return True
    writer.close()
    return True


class Unreachable(Exception):
    """Nobody answers at an address."""


# ------------------------------------------------------------------ input and output


def _where(context: click.Context, address: str, host: Host) -> str:
    if address:
        return address
    if host.find_address is None:
        raise click.UsageError(f"where is the server? Give --address or {ADDRESS_VARIABLE}.")
    return host.find_address(context)


def _first(text: str) -> int:
    from perper_core.ports import LIVE, OLDEST

    match text:
        case "oldest":
            return OLDEST
        case "live":
            return LIVE
        case _ if text.isdecimal() and int(text) >= OFFSET_FIRST:
            return int(text)
        case _:
            raise click.BadParameter("oldest, live, or an offset from 1", param_hint="--from")


def _described(stream: str, item: "Item") -> object:
    return {"raw": b64encode(item.raw).decode()}


def _item_line(item: "Item", facts: object, *, as_json: bool) -> str:
    if as_json:
        line = {"cursor": item.offset, "offset": item.offset, "key": item.key, "item": facts}
        return json.dumps(line, separators=(",", ":"))
    key = "" if item.key is None else f"  key {item.key}"
    if isinstance(facts, dict) and set(facts) == {"raw"}:
        cut = item.raw[:TEXT_BYTES_SHOWN].hex() + ("…" if len(item.raw) > TEXT_BYTES_SHOWN else "")
        return f"{item.offset}{key}  {len(item.raw)} B  {cut}"
    return f"{item.offset}{key}  {json.dumps(facts, ensure_ascii=False)}"


def _note_truncated(first: int, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"truncated": True, "first": first}, separators=(",", ":")))
    else:
        click.echo(f"items before {first} are gone; going on there", err=True)


def _envelope(schema: str, data: object) -> str:
    return json.dumps({"schema": schema, "ok": True, "data": data, "errors": [], "warnings": []})


def _run(work: Coroutine[Any, Any, None], host: Host, *, as_json: bool) -> None:
    import uvloop

    from perper_core.errors import FabricError

    try:
        uvloop.run(work)
    except KeyboardInterrupt:
        sys.exit(EXIT_OK)
    except (Unreachable, FabricError) as error:
        if host.translate is None:
            _tell(error, as_json=as_json)
        raise host.translate(error) from error


def _tell(error: "Unreachable | FabricError", *, as_json: bool) -> NoReturn:
    if isinstance(error, Unreachable):
        hint = "is the node running, and is this its fabric's address?"
        message = f"no fabric server answers at {error}"
        _refuse("Unreachable", message, hint, EXIT_UNREACHABLE, as_json=as_json, retryable=True)
    hints = {
        "NotFound": ("`fabric ls` shows the streams there are", EXIT_REJECTED),
        "Denied": (f"give a token with --token or {TOKEN_VARIABLE}", EXIT_KEY),
        "OutcomeUnknown": ("the server went away: try again", EXIT_UNKNOWN),
    }
    hint, status = hints.get(error.code, ("", EXIT_REJECTED))
    _refuse(error.code, str(error), hint, status, as_json=as_json, retryable=error.indefinite)


def _refuse(
    code: str, message: str, hint: str, status: int, *, as_json: bool, retryable: bool
) -> NoReturn:
    if as_json:
        failed = {"code": code, "message": message, "hint": hint, "retryable": retryable}
        envelope = {"schema": SCHEMA, "ok": False, "data": None, "errors": [failed]}
        click.echo(json.dumps({**envelope, "warnings": []}))
    else:
        click.echo(f"{code}: {message}", err=True)
        if hint:
            click.echo(f"hint: {hint}", err=True)
    sys.exit(status)


fabric = fabric_commands()
"""The group as it is without a program around it: it wants an --address."""
