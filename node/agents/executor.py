"""The executor agent: runs blocks when asked over the fabric (architecture: executor).

`Execute` and `Build` are executions with canonical bytes in and out, idempotent, never
dead-lettered. It stands on the certified tip and learns of a new one when it is asked for a child.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from consensus.block import Block, Body, Header
from consensus.effects import Build, Commit, Execute
from consensus.encoding import Schema, blob, list_of
from consensus.events import BlockBuilt, BlockExecuted
from consensus.messages import MESSAGE_BYTES_MAX, decoded
from consensus.state import State
from consensus.stateproof import Proof
from node import codec
from node.execution.line import Line
from node.execution.ports import Outcome
from node.runtime import ExecutionFault
from perper_core.agent.agent import Agent, on
from perper_core.agent.handles import Context
from perper_core.errors import FabricError
from perper_core.values import Value

EXECUTE_BYTES_MAX = 96 * 1024 * 1024
EXECUTION_DEADLINE_S = 600.0  # time never decides an outcome; this bounds a lost executor
INLINE_MESSAGES_MAX = 64  # a block with fewer runs on the event loop: a thread would cost more

_EXECUTE = Schema(
    "execute",
    1,
    [blob(EXECUTE_BYTES_MAX), blob(EXECUTE_BYTES_MAX), list_of(blob(MESSAGE_BYTES_MAX), 8192)],
    max_bytes=EXECUTE_BYTES_MAX,
)


class ExecutorAgent(Agent):
    """Handlers of the executor; one instance a chain."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._busy = asyncio.Lock()  # one block at a time: candidates share the state's tree

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """While held, no block runs and the map does not turn."""
        async with self._busy:
            yield

    async def prove(self, key: bytes) -> Proof:
        """Presence or absence of a key in the state of the tip."""
        async with self._busy:
            return self.line.tip.map.prove(key)

    @on("Execute")
    async def execute(self, context: Context, argument: Value) -> Value:
        """Bytes of ["execute", header, body, messages] → bytes of BlockExecuted."""
        assert isinstance(argument, bytes), "the consensus agent sends bytes"
        header, body, raws = _EXECUTE.decode(argument)
        block = Block(Header.decode(header), Body.decode(body))
        messages = [decoded(raw) for raw in raws]
        async with self._busy:
            if len(messages) <= INLINE_MESSAGES_MAX:
                return codec.to_bytes(self.line.execute(block, messages))
            event = await asyncio.to_thread(self.line.execute, block, messages)
            return codec.to_bytes(event)

    @on("Build")
    async def build(self, context: Context, argument: Value) -> Value:
        """Bytes of the Build order → bytes of BlockBuilt."""
        assert isinstance(argument, bytes), "the consensus agent sends bytes"
        order = codec.from_bytes(argument)
        assert isinstance(order, Build), "only builds are ordered here"
        async with self._busy:
            if len(order.messages) <= INLINE_MESSAGES_MAX:
                return codec.to_bytes(self.line.build(order))
            return codec.to_bytes(await asyncio.to_thread(self.line.build, order))


class FabricExecutor:
    """The runtime's `Executor`: asks the executor agent over the fabric."""

    def __init__(self, context: Context, agent: ExecutorAgent, state: State, instance: str) -> None:
        self._context, self._agent, self._state = context, agent, state
        self._instance = instance

    async def execute(self, effect: Execute) -> BlockExecuted:
        block = effect.block
        raws = [message.raw for message in effect.messages]
        argument = _EXECUTE.encode((block.header.raw, block.body.raw, raws))
        event = codec.from_bytes(await self._call("Execute", argument))
        assert isinstance(event, BlockExecuted), "the executor answers with an outcome"
        return event

    async def build(self, effect: Build) -> BlockBuilt:
        event = codec.from_bytes(await self._call("Build", codec.to_bytes(effect)))
        assert isinstance(event, BlockBuilt), "the executor answers with a block"
        return event

    async def _call(self, delegate: str, argument: bytes) -> bytes:
        try:
            result = await self._context.call(
                self._instance, delegate, argument, deadline_s=EXECUTION_DEADLINE_S
            )
        except FabricError as error:
            raise ExecutionFault(str(error)) from error
        assert isinstance(result, bytes), "executions answer with bytes"
        return result

    def outcome(self, effect: Commit) -> Outcome:
        return self._agent.line.outcome(effect.block.id)

    def still(self) -> AbstractAsyncContextManager[None]:
        return self._agent.still()

    def advance(self, effect: Commit) -> None:
        self._agent.line.advance(effect.block.id, self._state)
