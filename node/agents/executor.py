"""The executor agent: runs blocks when asked over the fabric (architecture: executor).

`Execute` and `Build` are executions with canonical bytes in and out, idempotent, never
dead-lettered. Message bodies beyond what one argument may hold (contract 21) go ahead in parts, by
`Hold`. It stands on the certified tip and learns of a new one when it is asked for a child.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

from consensus.block import BODY_BYTES_MAX, HEADER_BYTES_MAX, Block, Body, Header
from consensus.effects import Build, Commit, Execute
from consensus.encoding import ID, Schema, blob, list_of
from consensus.events import BlockBuilt, BlockExecuted, BuildFaulted, ExecutionFaulted
from consensus.ids import Id, MessageId
from consensus.messages import MESSAGE_BYTES_MAX, Message, decoded
from consensus.state import State
from consensus.stateproof import Proof
from node import codec
from node.agents.pages import pages
from node.execution.line import Line
from node.execution.ports import HostFault, Outcome
from node.runtime import ExecutionFault
from perper_core.agent.agent import Agent, on
from perper_core.agent.handles import Context
from perper_core.errors import FabricError
from perper_core.limits import VALUE_BYTES_MAX
from perper_core.values import Value

EXECUTION_DEADLINE_S = 600.0  # time never decides an outcome; this bounds a lost executor
INLINE_MESSAGES_MAX = 64  # a block with fewer runs on the event loop: a thread would cost more
ARGUMENT_BYTES_MAX = VALUE_BYTES_MAX - 4096  # with bodies inside; else they go ahead by Hold
PART_BYTES_MAX = 512 * 1024  # of bodies in one Hold
HELD_BYTES_MAX = 96 * 1024 * 1024  # three candidates of the largest messages that gas allows
ORDER_MESSAGES_MAX = 8192
ID_ROW_BYTES = 38  # an id in a list
BODY_ROW_BYTES = 3  # the head of a body in a list

_BODIES = list_of(blob(MESSAGE_BYTES_MAX), ORDER_MESSAGES_MAX)
_EXECUTE = Schema(
    "execute",
    1,
    [blob(HEADER_BYTES_MAX), blob(BODY_BYTES_MAX), _BODIES],
    max_bytes=VALUE_BYTES_MAX,
)
_BUILD = Schema(
    "build",
    1,
    [blob(VALUE_BYTES_MAX), list_of(ID, ORDER_MESSAGES_MAX), _BODIES],
    max_bytes=VALUE_BYTES_MAX,
)
_HOLD = Schema("hold", 1, [_BODIES], max_bytes=VALUE_BYTES_MAX)


class ExecutorAgent(Agent):
    """Handlers of the executor; one instance a chain."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._busy = asyncio.Lock()  # one block at a time: candidates share the state's tree
        self._held: dict[MessageId, Message] = {}  # bodies that came ahead, the oldest first
        self._held_bytes = 0

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """While held, no block runs and the map does not turn."""
        async with self._busy:
            yield

    async def prove(self, key: bytes) -> Proof:
        """Presence or absence of a key in the state of the tip."""
        async with self._busy:
            return self.line.tip.map.prove(key)

    @on("Hold")
    async def hold(self, context: Context, argument: Value) -> Value:
        """Bodies for a block or a build to come, until HELD_BYTES_MAX of later ones came."""
        assert isinstance(argument, bytes), "the consensus agent sends bytes"
        (raws,) = _HOLD.decode(argument)
        for raw in raws:
            message = decoded(raw)
            if self._held.pop(message.id, None) is None:
                self._held_bytes += len(raw)
            self._held[message.id] = message
        while self._held_bytes > HELD_BYTES_MAX:
            oldest = self._held.pop(next(iter(self._held)))
            self._held_bytes -= len(oldest.raw)
        return len(raws)

    def _bodies(self, ids: Sequence[MessageId], raws: Sequence[bytes]) -> list[Message]:
        """What is ordered, from the argument or of what is held.

        Raises ExecutionFault when this executor began after they came: the order is repeated.
        """
        if raws or not ids:
            return [decoded(raw) for raw in raws]
        if any(wanted not in self._held for wanted in ids):
            raise ExecutionFault("bodies that came ahead are not held any more")
        return [self._held[wanted] for wanted in ids]

    @on("Execute")
    async def execute(self, context: Context, argument: Value) -> Value:
        """Bytes of ["execute", header, body, bodies] → bytes of BlockExecuted."""
        assert isinstance(argument, bytes), "the consensus agent sends bytes"
        header, body, raws = _EXECUTE.decode(argument)
        block = Block(Header.decode(header), Body.decode(body))
        messages = self._bodies(block.body.messages, raws)
        async with self._busy:
            try:
                if len(messages) <= INLINE_MESSAGES_MAX:
                    return codec.to_bytes(self.line.execute(block, messages))
                event = await asyncio.to_thread(self.line.execute, block, messages)
                return codec.to_bytes(event)
            except HostFault as fault:
                return codec.to_bytes(ExecutionFaulted(block.id, str(fault), _culprits(fault)))

    @on("Build")
    async def build(self, context: Context, argument: Value) -> Value:
        """Bytes of ["build", order without messages, ids, bodies] → bytes of BlockBuilt."""
        assert isinstance(argument, bytes), "the consensus agent sends bytes"
        raw, ids, raws = _BUILD.decode(argument)
        order = codec.from_bytes(raw)
        assert isinstance(order, Build), "only builds are ordered here"
        order = replace(order, messages=tuple(self._bodies(ids, raws)))
        async with self._busy:
            try:
                if len(order.messages) <= INLINE_MESSAGES_MAX:
                    return codec.to_bytes(self.line.build(order))
                return codec.to_bytes(await asyncio.to_thread(self.line.build, order))
            except HostFault as fault:
                cause, inputs = str(fault), _culprits(fault)
                return codec.to_bytes(BuildFaulted(order.height, order.round, cause, inputs))


def _culprits(fault: HostFault) -> tuple[Id, ...]:
    return () if fault.culprit is None else (Id(fault.culprit),)


class FabricExecutor:
    """The runtime's `Executor`: asks the executor agent over the fabric."""

    def __init__(self, context: Context, agent: ExecutorAgent, state: State, instance: str) -> None:
        self._context, self._agent, self._state = context, agent, state
        self._instance = instance

    async def execute(self, effect: Execute) -> BlockExecuted | ExecutionFaulted:
        block = effect.block
        raws = await self._ahead(effect.messages, len(block.header.raw) + len(block.body.raw))
        argument = _EXECUTE.encode((block.header.raw, block.body.raw, raws))
        event = codec.from_bytes(await self._call("Execute", argument))
        assert isinstance(event, BlockExecuted | ExecutionFaulted), "the executor answers"
        return event

    async def build(self, effect: Build) -> BlockBuilt | BuildFaulted:
        ids = [message.id for message in effect.messages]
        order = codec.to_bytes(replace(effect, messages=()))
        raws = await self._ahead(effect.messages, len(order) + len(ids) * ID_ROW_BYTES)
        event = codec.from_bytes(await self._call("Build", _BUILD.encode((order, ids, raws))))
        assert isinstance(event, BlockBuilt | BuildFaulted), "the executor answers"
        return event

    async def _ahead(self, messages: Sequence[Message], beside: int) -> list[bytes]:
        """The bodies to send in the order itself, with `beside` bytes; none if they went ahead."""
        raws = [message.raw for message in messages]
        if beside + sum([len(raw) + BODY_ROW_BYTES for raw in raws]) <= ARGUMENT_BYTES_MAX:
            return raws
        for part in pages(raws, PART_BYTES_MAX):
            await self._call("Hold", _HOLD.encode((part,)))
        return []

    async def _call(self, delegate: str, argument: bytes) -> Any:
        try:
            result = await self._context.call(
                self._instance, delegate, argument, deadline_s=EXECUTION_DEADLINE_S
            )
        except FabricError as error:
            raise ExecutionFault(str(error)) from error
        return result

    def outcome(self, effect: Commit) -> Outcome:
        return self._agent.line.outcome(effect.block.id)

    def still(self) -> AbstractAsyncContextManager[None]:
        return self._agent.still()

    def advance(self, effect: Commit) -> None:
        self._agent.line.advance(effect.block.id, self._state)
