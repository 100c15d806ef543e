"""The server: who may do what, slow readers, big things, unary calls, clients that break rules."""

import asyncio
import os
import stat
from pathlib import Path

import grpc
import grpc.aio
import pytest

from perper_core.capabilities import KEY_BYTES, Issuer, Right
from perper_core.errors import Conflict, Denied, Exhausted, Invalid, KeyExists, TooLarge
from perper_core.fabric import LocalFabric
from perper_core.limits import APPEND_ITEMS_MAX
from perper_core.ports import OLDEST, Gate, Kind, StreamOptions
from perper_core.stores.memory import MemoryStore
from perper_core.wire import codec, served
from perper_core.wire import frames as f
from perper_core.wire.access import NOBODY, READ_ONLY, Access, is_local
from perper_core.wire.client import connect
from perper_core.wire.limits import (
    FRAME_BYTES_MAX,
    ITEM_WEIGHT,
    PROTOCOL_VERSION,
    SESSION_BYTES,
    WINDOW_DEFAULT,
)
from perper_core.wire.server import ERROR_METADATA, SERVICE, FabricServer
from tests.perper_core.wire_worlds import opened_served, take, until

UNGATED = StreamOptions(gate=Gate.NONE, kind=Kind.EPHEMERAL)


# ------------------------------------------------------------------ slow readers


async def test_a_reader_that_does_not_read_fills_its_window_and_nothing_else() -> None:
    async with opened_served() as world:
        slow, quick = await world.connect(), await world.connect()
        await world.local.create_stream("s", StreamOptions(gate=Gate.NONE, keep_items=2000))
        asleep = await slow.listen("s", first=OLDEST, flow=True)
        assert not asleep.flow
        awake = await quick.listen("s", first=OLDEST)
        seen = 0
        for _ in range(200):  # 20 MB, twenty windows
            await world.local.append("s", [b"x" * 1000] * 100)
            seen += len(await take(awake, 100))
        assert seen == 20_000
        batch_max = FRAME_BYTES_MAX + 512 * ITEM_WEIGHT
        assert WINDOW_DEFAULT - batch_max <= asleep._held <= WINDOW_DEFAULT + batch_max
        for session in world.server._sessions.values():
            assert session._outbox.bytes == 0
        assert (await slow.stream_info("s")).committed == 20_000  # its commands go on


async def test_a_gating_reader_holds_the_writer_by_what_it_processed() -> None:  # contract 18
    async with opened_served() as world:
        fabric = await world.connect()
        await fabric.create_stream("s", StreamOptions(gate=Gate.ANY, window_items=100))
        listener = await fabric.listen("s", first=OLDEST, flow=True)
        assert listener.flow
        appended = await fabric.append("s", [b"x"] * 100)
        assert appended.credit_items == 0
        with pytest.raises(Exhausted):
            await fabric.append("s", [b"y"], wait=False)
        waiting = asyncio.create_task(fabric.append("s", [b"y"]))
        await anext(listener)  # received is not processed
        await fabric.stream_info("s")
        assert not waiting.done()
        await listener.ack(100)
        assert (await asyncio.wait_for(waiting, 10)).first == 101


async def test_a_local_gate_is_not_a_remote_readers_to_hold() -> None:
    async with opened_served() as world:
        fabric = await world.connect()
        await fabric.create_stream("s", StreamOptions(gate=Gate.LOCAL))
        assert not (await fabric.listen("s", flow=True)).flow


async def test_windows_of_a_session_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "WINDOWS_SUM_MAX", 3 * WINDOW_DEFAULT)
    async with opened_served() as world:
        fabric = await world.connect()
        await fabric.create_stream("s")
        listeners = [await fabric.listen("s") for _ in range(3)]
        with pytest.raises(Exhausted):
            await fabric.listen("s")
        await listeners[0].close()
        await fabric.listen("s")


# ------------------------------------------------------------------ big things


async def test_a_large_append_is_one_append() -> None:
    async with opened_served() as world:
        fabric = await world.connect()
        await fabric.create_stream("s")
        items = [b"%d" % number for number in range(APPEND_ITEMS_MAX)]
        appended = await fabric.append("s", items, keys=range(len(items)))
        assert appended[:2] == (1, APPEND_ITEMS_MAX)
        big = [bytes([n]) * (1 << 19) for n in range(8)]  # 4 MiB in parts
        assert (await fabric.append("s", big)).last == APPEND_ITEMS_MAX + 8
        with pytest.raises(KeyExists):  # all or nothing, over all parts
            await fabric.append("s", [b"new"] * 2000 + [b"other"], keys=[*range(9000, 11000), 5])
        assert (await fabric.stream_info("s")).committed == APPEND_ITEMS_MAX + 8
        listener = await fabric.listen("s", first=OLDEST)
        got = await take(listener, APPEND_ITEMS_MAX + 8)
        assert [item.raw for item in got] == items + big
        assert got[9].key == 9


async def test_the_largest_item_and_beyond() -> None:
    async with opened_served() as world:
        fabric = await world.connect()
        await fabric.create_stream("s")
        await fabric.append("s", [b"x" * (1 << 20)])
        listener = await fabric.listen("s", first=OLDEST)
        assert len((await take(listener, 1))[0].raw) == 1 << 20
        with pytest.raises(TooLarge):
            await fabric.append("s", [b"x" * ((1 << 20) + 1)])


async def test_big_lists_come_in_pages() -> None:
    async with opened_served() as world:
        fabric = await world.connect()
        for number in range(40):
            await fabric.put("state", f"{number:02}", b"x" * 50_000)
        entries = await fabric.list_state("state")
        assert [entry.key for entry in entries] == [f"{number:02}" for number in range(40)]
        assert len(await fabric.list_state("state", after="05", limit=7)) == 7


async def test_keys_and_fields_must_match_the_items() -> None:
    async with opened_served() as world:
        fabric = await world.connect()
        await fabric.create_stream("s")
        for keys, fields in (([1], None), (None, [1])):
            with pytest.raises(Invalid):
                await fabric.append("s", [b"a", b"b"], keys=keys, fields=fields)


# ------------------------------------------------------------------ access


async def test_without_a_token_one_may_only_read_if_so_configured() -> None:
    async with opened_served(access=Access(open_rights=READ_ONLY, operator="secret")) as world:
        await world.local.create_stream("s", UNGATED)
        reader, operator = await world.connect(), await world.connect("secret")
        listener = await reader.listen("s")
        await operator.append("s", [b"a"])
        await take(listener, 1)
        for refused in (
            reader.append("s", [b"b"]),
            reader.create_stream("t"),
            reader.remove_stream("s"),
            reader.call("i", "d"),
            reader.put("state", "k", 1),
            reader.reserve("g", instance="i"),
        ):
            with pytest.raises(Denied):
                await refused


async def test_a_token_that_nobody_issued() -> None:
    async with opened_served(access=Access(operator="secret")) as world:
        with pytest.raises(Denied):
            await world.connect("guess")


async def test_capability_tokens() -> None:
    issuer = Issuer(bytes(KEY_BYTES))
    token = issuer.issue("stream:logs/*", Right.READ | Right.WRITE, os.urandom(16))
    work = issuer.issue("instance:shop", Right.CALL, os.urandom(16))
    async with opened_served(access=Access(open_rights=NOBODY, issuer=issuer)) as world:
        await world.local.create_stream("logs/a", UNGATED)
        await world.local.create_stream("other", UNGATED)
        await world.local.create("e", instance="shop", delegate="d")
        await world.local.create("f", instance="bank", delegate="d")
        writer, caller = await world.connect(token), await world.connect(work)
        await writer.append("logs/a", [b"x"])
        with pytest.raises(Denied):
            await writer.append("other", [b"x"])
        assert await caller.cancel("e")
        with pytest.raises(Denied):  # it names an execution of another instance
            await caller.cancel("f")


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("example.org:1", False),
    ],
)
def test_what_is_local(address: str, *, local: bool) -> None:
    assert is_local(address) is local


async def test_others_need_tls_and_tokens() -> None:
    fabric = await LocalFabric.open(MemoryStore())
    with pytest.raises(Invalid, match="TLS"):
        await FabricServer(fabric).start("0.0.0.0:0")
    with pytest.raises(Invalid, match="open rights"):
        Access().check_address("0.0.0.0:0", tls=True)
    Access(open_rights=NOBODY).check_address("0.0.0.0:0", tls=True)
    await fabric.close()


async def test_unix_sockets(tmp_path: Path) -> None:
    fabric = await LocalFabric.open(MemoryStore())
    server = FabricServer(fabric)
    path = tmp_path / "fabric.sock"
    address = await server.start(f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with await connect(address) as remote:
        await remote.create_stream("s")
    await server.stop()
    await fabric.close()


async def test_a_busy_port() -> None:
    async with opened_served() as world:
        other = FabricServer(world.local)
        with pytest.raises(Conflict, match="cannot be bound"):
            await other.start(world.server.address)


# ------------------------------------------------------------------ unary


async def test_unary_calls() -> None:
    async with opened_served() as world, grpc.aio.insecure_channel(world.server.address) as channel:
        do = channel.unary_unary(f"/{SERVICE}/Do")
        create = f.CreateStream("s", UNGATED, None)
        raw = await do(codec.encode_command(f.Command(1, create)))
        assert codec.decode_reply(raw).payload.name == "s"  # type: ignore[union-attr]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await do(codec.encode_command(f.Command(1, f.GetStream("absent"))))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        metadata = dict(refused.value.trailing_metadata())
        assert codec.decode_error(metadata[ERROR_METADATA]).code == "NotFound"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await do(codec.encode_command(f.Command(1, f.Beat())))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_tail_is_a_plain_stream() -> None:
    async with opened_served() as world, grpc.aio.insecure_channel(world.server.address) as channel:
        await world.local.create_stream("s")
        await world.local.append("s", [b"a", b"b"], keys=[3, 4])
        listen = f.Listen(0, "s", "", OLDEST, False, 512, 1 << 18, 1)
        call = channel.unary_stream(f"/{SERVICE}/Tail")(codec.encode_listen(listen))
        items = codec.decode_items(await call.read())
        assert items == f.Items(0, 1, [b"a", b"b"], [3, 4])
        await world.local.end("s")
        assert await call.read() is grpc.aio.EOF


# ------------------------------------------------------------------ clients that break rules


def _frame(*commands: f.Command) -> bytes:
    return codec.join_commands([codec.encode_command(command) for command in commands], [])


HELLO = f.Command(0, f.Hello(b"s" * SESSION_BYTES, PROTOCOL_VERSION, ()))


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff",
        _frame(),
        _frame(f.Command(1, f.Get("s", "k"))),
        _frame(f.Command(0, f.Hello(b"short", PROTOCOL_VERSION, ()))),
        _frame(f.Command(0, f.Hello(b"s" * SESSION_BYTES, 99, ()))),
        _frame(HELLO, HELLO),
        _frame(HELLO, f.Command(0, f.Get("s", "k"))),
    ],
    ids=["garbage", "empty", "no hello", "bad id", "version", "two hellos", "no nonce"],
)
async def test_a_session_that_begins_wrongly_is_refused(frame: bytes) -> None:
    async with opened_served() as world, grpc.aio.insecure_channel(world.server.address) as channel:
        call = channel.stream_stream(f"/{SERVICE}/Run")()
        await call.write(frame)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        await until(lambda: world.server.sessions == 0)


async def test_a_session_belongs_to_its_token() -> None:
    async with opened_served(access=Access(operator="secret")) as world:
        fabric = await world.connect("secret")
        hello = f.Hello(fabric._connection._id, PROTOCOL_VERSION, ())
        async with grpc.aio.insecure_channel(world.server.address) as channel:
            call = channel.stream_stream(f"/{SERVICE}/Run")()
            await call.write(_frame(f.Command(0, hello)))
            assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
        assert await fabric.list_streams() == []


async def test_stray_credits_and_acks_are_ignored() -> None:
    async with opened_served() as world:
        fabric = await world.connect()
        fabric.tell(f.Credit(99, 1))
        fabric.tell(f.ListenerAck(99, 1))
        fabric.tell(f.Abort(99))
        assert await fabric.list_streams() == []
