"""Content: objects by id, from the node's store or from named peers, checked by hash.

The store belongs to the node and comes through a port; this module adds the query `content/1`, the
check of every byte against its id, and the patience of `get`. It knows no codec: an id is 36 opaque
bytes whose last 32 are the sha256 of the object. network §4, §5
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from enum import IntEnum
from hashlib import sha256
from typing import Final

from network.errors import LocalError, QueryError, Refused, RemoteError, TooBig
from network.limits import (
    BLAME_WRONG_BYTES,
    CONTENT_IDS_PER_QUERY,
    CONTENT_MEMORY_BYTES,
    CONTENT_OPEN_MAX,
    CONTENT_PASS_WAIT_S,
    CONTENT_PASSES,
    CONTENT_QUERY_S,
    CONTENT_REPLY_BYTES,
    DIGEST_BYTES,
    ID_BYTES,
    OBJECT_BYTES_MAX,
)
from network.ports import Class, ContentStore, Got, Id, Missing, PeerId, PinScope
from network.records import malformed

PROTO: Final = "content/1"
_U32 = struct.Struct(">I")
REQUEST_MAX: Final = _U32.size + CONTENT_IDS_PER_QUERY * ID_BYTES
REPLY_MAX: Final = CONTENT_REPLY_BYTES + CONTENT_IDS_PER_QUERY * (1 + _U32.size)

Ask = Callable[[PeerId, str, bytes, Class, float, int], Awaitable[bytes]]
Blame = Callable[[PeerId, int, str], None]


class State(IntEnum):
    """First byte of each answer. wire"""

    HERE = 0  # u32 length and the bytes follow
    MISSING = 1
    LATER = 2  # no room in this reply
    TOO_BIG = 3  # beyond the asker's bound for one object


def matches(id: Id, data: bytes) -> bool:
    """Are these the bytes that `id` names?"""
    return sha256(data).digest() == id[-DIGEST_BYTES:]


def encode_request(max_bytes: int, ids: Sequence[Id]) -> bytes:
    """u32 bound of one object, then ids of 36 bytes."""
    return _U32.pack(max_bytes) + b"".join(ids)


def decode_request(data: bytes) -> tuple[int, list[Id]]:
    """`Refused` for a wrong form."""
    count, rest = divmod(len(data) - _U32.size, ID_BYTES)
    if rest or not 0 < count <= CONTENT_IDS_PER_QUERY:
        raise Refused("request for content has a wrong length")
    ids = [data[at : at + ID_BYTES] for at in range(_U32.size, len(data), ID_BYTES)]
    return _U32.unpack_from(data)[0], ids


def decode_reply(data: bytes, count: int) -> list[State | bytes]:
    """One answer per asked id, in their order. `RemoteError` for a wrong form."""
    answers: list[State | bytes] = []
    at = 0
    for _ in range(count):
        if at >= len(data) or data[at] > State.TOO_BIG:
            raise malformed("reply with content")
        state = State(data[at])
        at += 1
        if state is not State.HERE:
            answers.append(state)
            continue
        if at + _U32.size > len(data):
            raise malformed("reply with content is cut off")
        end = at + _U32.size + _U32.unpack_from(data, at)[0]
        if end > len(data):
            raise malformed("reply with content is cut off")
        answers.append(data[at + _U32.size : end])
        at = end
    if at != len(data):
        raise malformed("bytes after the reply with content")
    return answers


class Content:
    """The content half of the port. `ask` and `blame` are the exchange's."""

    def __init__(self, store: ContentStore, ask: Ask, blame: Blame) -> None:
        self._store = store
        self._ask = ask
        self._blame = blame
        self._open = asyncio.Semaphore(CONTENT_OPEN_MAX)
        self._turns: dict[PeerId, tuple[asyncio.Lock, list[None]]] = {}

    async def put(self, objects: Sequence[tuple[Id, bytes]], pin: PinScope | None) -> None:
        for id, data in objects:
            _check_id(id)
            if len(data) > OBJECT_BYTES_MAX:
                raise LocalError(f"object of {len(data)} bytes, more than {OBJECT_BYTES_MAX}")
            if not matches(id, data):
                raise LocalError("object is not what its id names")
        await self._store.put(objects, pin)

    async def has(self, ids: Sequence[Id]) -> set[Id]:
        return await self._store.has(ids)

    async def unpin(self, scope: PinScope) -> None:
        await self._store.unpin(scope)

    async def get(
        self, ids: Sequence[Id], max_bytes: int, sources: Sequence[PeerId], deadline: float
    ) -> AsyncIterator[Got | Missing]:
        for id in ids:
            _check_id(id)
        left: dict[Id, str] = {}
        for id in dict.fromkeys(ids):
            data = await self._store.get(id)
            if data is not None and len(data) <= max_bytes:
                yield Got(id, data, None)
            else:
                left[id] = "no source has it" if data is None else "larger than asked"
        loop = asyncio.get_running_loop()
        usable = list(dict.fromkeys(sources))
        for turn in range(CONTENT_PASSES):
            if not left or not usable:
                break
            if turn:
                await asyncio.sleep(min(CONTENT_PASS_WAIT_S * turn, deadline - loop.time()))
            for source in list(usable):
                async for got in self._from(source, left, max_bytes, deadline, usable):
                    yield got
                if loop.time() >= deadline:
                    left = dict.fromkeys(left, "deadline")
                    usable = []
                    break
        for id, cause in left.items():
            yield Missing(id, cause)

    async def _from(
        self,
        source: PeerId,
        left: dict[Id, str],
        max_bytes: int,
        deadline: float,
        usable: list[PeerId],
    ) -> AsyncIterator[Got]:
        """What `source` has of `left`. A source that answered for all of it, or that lied, leaves
        `usable`; one that could not be reached stays for the next pass."""
        want = list(left)
        while want:
            batch, want = want[:CONTENT_IDS_PER_QUERY], want[CONTENT_IDS_PER_QUERY:]
            try:
                answers = await self._query(source, batch, max_bytes, deadline)
            except QueryError as error:
                left.update(dict.fromkeys(batch, error.cause))
                return
            except RemoteError as error:
                self._blame(source, error.points, error.cause)
                left.update(dict.fromkeys(batch, error.cause))
                break
            for id, answer in zip(batch, answers, strict=True):
                if isinstance(answer, bytes):
                    del left[id]
                    yield Got(id, answer, source)
                elif answer is State.LATER:
                    want.insert(0, id)
                elif answer is State.TOO_BIG:
                    left[id] = "larger than asked"
                else:
                    left[id] = "no source has it"
        usable.remove(source)

    async def _query(
        self, source: PeerId, batch: list[Id], max_bytes: int, deadline: float
    ) -> list[State | bytes]:
        """Answers whose bytes are what their ids name and no larger than asked."""
        request = encode_request(max_bytes, batch)
        async with self._turn(source, deadline):
            until = min(deadline, asyncio.get_running_loop().time() + CONTENT_QUERY_S)
            reply = await self._ask(source, PROTO, request, Class.CONTENT, until, REPLY_MAX)
        answers = decode_reply(reply, len(batch))
        if answers[0] is State.LATER:
            raise malformed("content reply without progress")
        for id, answer in zip(batch, answers, strict=True):
            if isinstance(answer, bytes):
                if len(answer) > max_bytes:
                    raise malformed("content larger than asked")
                if not matches(id, answer):
                    raise RemoteError("wrong bytes for an id", BLAME_WRONG_BYTES)
        return answers

    @asynccontextmanager
    async def _turn(self, source: PeerId, deadline: float) -> AsyncIterator[None]:
        """One open fetch per source, 64 in all. network §4"""
        lock, users = self._turns.setdefault(source, (asyncio.Lock(), []))
        users.append(None)
        try:
            async with asyncio.timeout_at(deadline) as limit:
                await self._open.acquire()
                try:
                    async with lock:
                        limit.reschedule(None)
                        yield
                finally:
                    self._open.release()
        except TimeoutError as error:
            raise QueryError("deadline") from error
        finally:
            users.pop()
            if not users:
                del self._turns[source]

    async def serve(self, peer: PeerId, data: bytes) -> bytes:
        """Handler of `content/1`."""
        max_bytes, ids = decode_request(data)
        parts: list[bytes] = []
        room = CONTENT_REPLY_BYTES
        for id in ids:
            found = await self._store.get(id)
            if found is None:
                parts.append(bytes((State.MISSING,)))
            elif len(found) > min(max_bytes, OBJECT_BYTES_MAX):
                parts.append(bytes((State.TOO_BIG,)))
            elif len(found) > room:
                parts.append(bytes((State.LATER,)))
            else:
                parts += (bytes((State.HERE,)), _U32.pack(len(found)), found)
                room -= len(found)
        return b"".join(parts)


class MemoryStore:
    """A bounded `ContentStore` in memory, for tests and for nodes without one."""

    def __init__(self, bytes_max: int = CONTENT_MEMORY_BYTES) -> None:
        self._bytes_max = bytes_max
        self._size = 0
        self._objects: dict[Id, bytes] = {}
        self._scopes: dict[Id, dict[PinScope | None, None]] = {}

    async def put(self, objects: Sequence[tuple[Id, bytes]], pin: PinScope | None) -> None:
        """All or nothing. `TooBig` beyond the bound."""
        new = {id: data for id, data in objects if id not in self._objects}
        added = sum(map(len, new.values()))
        if self._size + added > self._bytes_max:
            raise TooBig("content store is full")
        self._objects.update(new)
        self._size += added
        for id, _ in objects:
            self._scopes.setdefault(id, {})[pin] = None

    async def get(self, id: Id) -> bytes | None:
        return self._objects.get(id)

    async def has(self, ids: Sequence[Id]) -> set[Id]:
        return {id for id in ids if id in self._objects}

    async def unpin(self, scope: PinScope) -> None:
        for id, scopes in list(self._scopes.items()):
            if scopes.pop(scope, scope) is None and not scopes:
                self._size -= len(self._objects.pop(id))
                del self._scopes[id]


def _check_id(id: Id) -> None:
    if len(id) != ID_BYTES:
        raise LocalError(f"an id has {ID_BYTES} bytes, not {len(id)}")
