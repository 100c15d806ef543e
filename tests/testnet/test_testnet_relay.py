"""The gateway's relay, its port, and the control socket, on real sockets of this process."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from node.errors import NodeError, NotFound, PortBusy, TimedOut, Unreachable
from node.listeners import owner_of
from node.nofile import OWN_FILES
from testnet import relay as relay_module
from testnet.control import Control, Request, ask
from testnet.ports import Reserved, listen
from testnet.probe import told
from testnet.relay import Relay

HOST = "127.0.0.1"


@asynccontextmanager
async def echo(mark: bytes) -> AsyncIterator[int]:
    """A server that answers with its mark and all it was sent, once the client has ended."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(mark + await reader.read())
        except ConnectionResetError:
            pass
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def relaying(targets: list[tuple[str, int]]) -> AsyncIterator[int]:
    listening = listen(0)
    relay = Relay(listening, lambda: targets)
    await relay.start()
    try:
        yield listening.getsockname()[1]
    finally:
        await relay.close()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends, in peace or not."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def exchange(port: int, data: bytes) -> bytes:
    async with connected(port) as (reader, writer):
        writer.write(data)
        writer.write_eof()
        return await reader.read()


async def test_bytes_go_both_ways_to_the_first_that_answers() -> None:
    nobody = Reserved(1)
    async with echo(b"a") as first, echo(b"b") as second:
        targets = [(HOST, nobody.numbers[0]), (HOST, first), (HOST, second)]
        async with relaying(targets) as port:
            assert await exchange(port, b"hello") == b"ahello"
            large = bytes(3_000_000)
            assert await exchange(port, large) == b"a" + large
            del targets[1]
            assert await exchange(port, b"hello") == b"bhello"
    nobody.release()


async def test_without_a_live_validator_the_connection_ends() -> None:
    async with relaying([]) as port, connected(port) as (reader, _):
        assert await rest(reader) == b""


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "RELAY_LINKS_MAX", 1)
    async with echo(b"a") as target, relaying([(HOST, target)]) as port, connected(port) as first:
        reader, writer = first
        writer.write(b"first")
        await writer.drain()
        async with connected(port) as (refused, _):
            assert await rest(refused) == b""
        writer.write_eof()
        assert await reader.read() == b"afirst"


async def test_it_takes_no_more_than_its_files_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it could not accept, nor reach a validator, when they are all taken."""
    monkeypatch.setattr(relay_module, "raise_limit", lambda needed: OWN_FILES + 3)
    async with (
        echo(b"a") as target,
        relaying([(HOST, target)]) as port,
        connected(port),
        connected(port) as (refused, _),
    ):
        assert await rest(refused) == b""


async def test_a_closed_relay_ends_its_connections() -> None:
    async with echo(b"a") as target, AsyncExitStack() as stack:
        async with relaying([(HOST, target)]) as port:
            reader, writer = await stack.enter_async_context(connected(port))
            writer.write(b"x")
            await writer.drain()
        assert await rest(reader) == b""
        with pytest.raises(ConnectionRefusedError):
            await exchange(port, b"late")


# ---- ports ---------------------------------------------------------------------------------------


def test_a_busy_port_names_its_owner() -> None:
    first = listen(0)
    port = first.getsockname()[1]
    assert owner_of(port) == os.getpid()
    with pytest.raises(PortBusy, match=f"port {port} is in use by process {os.getpid()}") as caught:
        listen(port)
    assert caught.value.owner_pid == os.getpid()
    first.close()
    assert owner_of(port) == 0


def test_reserved_ports_are_kept_for_who_listens() -> None:
    reserved = Reserved(8)
    assert len(set(reserved.numbers)) == 8
    port = reserved.numbers[0]
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind((HOST, port))
    for _ in range(2):  # a validator, and the same after a restart
        validator = listen(port)
        assert owner_of(port) == os.getpid()
        validator.close()
    reserved.release()
    reserved.release()


# ---- the control socket --------------------------------------------------------------------------


async def handle(request: Request) -> Mapping[str, Any]:
    if request.get("op") == "none":
        raise NotFound("there is none", hint="look elsewhere")
    if request.get("op") == "wait":
        await asyncio.Event().wait()
    return {"heard": request}


@pytest.mark.parametrize("depth", [1, 12], ids=["short", "deeper than a socket address"])
async def test_ask_and_answer(tmp_path: Path, depth: int) -> None:
    folder = tmp_path.joinpath(*["a folder"] * depth)
    folder.mkdir(parents=True)
    path = folder / "supervisor.sock"
    path.write_bytes(b"left by a dead one")
    control = Control(path, handle)
    await control.start()
    try:
        assert path.stat().st_mode & 0o077 == 0
        request = {"op": "status"}
        assert await asyncio.to_thread(ask, path, request) == {"heard": request}
        with pytest.raises(NodeError, match="there is none") as caught:
            await asyncio.to_thread(ask, path, {"op": "none"})
        assert (caught.value.code, caught.value.hint) == ("not_found", "look elsewhere")
        with pytest.raises(TimedOut):
            await asyncio.to_thread(ask, path, {"op": "wait"}, timeout_s=0.05)
    finally:
        await control.close()
    with pytest.raises(Unreachable):
        ask(path, request)


async def test_nonsense_ends_only_its_connection(tmp_path: Path) -> None:
    path = tmp_path / "s"
    control = Control(path, handle)
    await control.start()
    try:
        for raw in (b"[]\n", b"{\n", b"\xff\n"):
            assert b'"ok": false' in await said(path, raw)
        assert await said(path, bytes(1_000_000) + b"\n") == b""
        assert await asyncio.to_thread(ask, path, {"op": "status"})
    finally:
        await control.close()


async def said(path: Path, raw: bytes) -> bytes:
    """The answer to a line; nothing where the connection was ended."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(raw)
        return await reader.readline()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def test_errors_of_others_keep_code_hint_and_exit() -> None:
    known = told({"code": "store_full", "message": "no room", "hint": "make some"})
    assert (known.code, known.exit, known.hint) == ("store_full", 7, "make some")
    reason = told({"code": "NoFunds", "message": "the account has 3", "hint": "pay less"})
    assert (reason.code, reason.exit) == ("rejected", 5)
    assert told("nonsense").exit == 4
