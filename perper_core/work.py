"""Work: the executions of one server, from creation to outcome (contract 10-13, 16, 20, 22).

The truth is in the records; here are the queues of groups, who waits for results, and timers. Does
not know streams.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from perper_core.access import WRITER_BYTES, Access
from perper_core.dispatch import Dispatch
from perper_core.errors import (
    Cancelled,
    Exhausted,
    KeyExists,
    NotFound,
    OutcomeUnknown,
    fabric_closed,
)
from perper_core.executions import (
    Cancel,
    Command,
    Concluded,
    Effect,
    Execution,
    Fail,
    Finish,
    Forget,
    Offer,
    Recall,
    Release,
    Reply,
    Reserve,
    Retry,
    check_fence,
    created,
    decode_execution,
    encode_execution,
    step,
)
from perper_core.expiry import Expiry
from perper_core.failures import error_of
from perper_core.limits import EXECUTIONS_OPEN_MAX, SCAN_ITEMS_MAX
from perper_core.metrics import Counters
from perper_core.ports import (
    ExecutionInfo,
    ExecutionOptions,
    ExecutionState,
    Failure,
    Fence,
)
from perper_core.records import (
    EXECUTION,
    Step,
    child_index,
    child_key,
    execution_key,
    name_bytes,
    opened,
    sealed,
)
from perper_core.stores.ports import Write
from perper_core.values import Value, decode_value, encode_value


class Work:
    """Executions over a durable and a volatile store."""

    def __init__(
        self,
        durable: Access,
        volatile: Access,
        *,
        clock: Callable[[], float],
        dice: Callable[[int], bytes],
        on_lost: Callable[[str], None],
        owner_lives: Callable[[bytes], Awaitable[bool]] | None,
        counters: Counters,
    ) -> None:
        self._durable = durable
        self._volatile = volatile
        self._dice = dice
        self._on_lost = on_lost
        self._owner_lives = owner_lives
        self._counters = counters
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._closed = False
        self.dispatch = Dispatch(durable.writer, self._change, self._jitter)
        self.expiry = Expiry(self.forget, self.erase, clock)

    # -------------------------------------------------------------- records

    async def _home(self, id: str) -> Access:
        """The store that has the execution."""
        key = execution_key(id)
        if self._volatile is not self._durable and await self._volatile.load(key) is not None:
            return self._volatile
        return self._durable

    async def load(self, id: str) -> Execution:
        """The record. Raises NotFound."""
        found = await (await self._home(id)).load(execution_key(id))
        if found is None:
            raise NotFound("no such execution", id=id)
        return decode_execution(found[1])

    async def _change(self, id: str, command: Command) -> Step[Execution, Reply, Effect]:
        """Step the record and perform the effects."""
        done: Step[Execution, Reply, Effect] | None = None

        def turn(_: object, body: bytes | None) -> bytes:
            nonlocal done
            if body is None:
                raise NotFound("no such execution", id=id)
            record = decode_execution(body)
            done = step(record, command)
            return body if done.record is record else encode_execution(done.record)

        await (await self._home(id)).change(execution_key(id), turn, repeat=True)
        assert done is not None, "a change without a step"
        self._counters.reservations += isinstance(command, Reserve)
        self._counters.lost_reservations += isinstance(command, Release) and command.lost
        for effect in done.effects:
            self._perform(id, done.record, effect)
        return done

    def _perform(self, id: str, record: Execution, effect: Effect) -> None:
        match effect:
            case Offer(after_ms):
                self.dispatch.offer(id, record, after_ms)
            case Recall(lease, reason):
                self.dispatch.recall(id, lease, reason)
            case Concluded():
                self._counters.concluded_executions += 1
                self._conclude(id, record)

    # -------------------------------------------------------------- life

    async def create(
        self,
        id: str,
        *,
        instance: str,
        delegate: str,
        argument: Value,
        parent: Fence | None,
        detached: bool,
        options: ExecutionOptions,
    ) -> ExecutionInfo:
        """See the port."""
        name_bytes(instance, "instance name")
        name_bytes(delegate, "delegate name")
        new = created(
            instance,
            delegate,
            encode_value(argument),
            parent=parent.execution if parent is not None else "",
            detached=detached,
            options=options,
        )
        if len(self.dispatch) >= EXECUTIONS_OPEN_MAX:
            raise Exhausted("too many open executions", open_max=EXECUTIONS_OPEN_MAX)
        access = self._durable if options.durable else self._volatile
        if parent is not None:
            await self.check(parent)
            await self._index_child(access, parent.execution, id)
        there: Execution | None = None

        def turn(_: object, body: bytes | None) -> bytes:
            nonlocal there
            if body is None:
                there = None
                return encode_execution(new)
            there = decode_execution(body)
            if there.digest != new.digest:
                raise KeyExists("the execution's id has other content", id=id)
            return body  # contract 12: re-attach

        await access.change(execution_key(id), turn, repeat=True)
        record = new if there is None else there
        self._counters.created_executions += there is None
        if record.open and id not in self.dispatch:
            self.dispatch.offer(id, record, options.delay_ms if there is None else 0)
        if parent is not None and not detached:
            await self._cancel_if_orphan(id, parent.execution)
        return info_of(id, record)

    async def _index_child(self, access: Access, parent: str, id: str) -> None:
        stamp = access.stamp(None)
        await access.write([Write(child_key(parent, id), None, sealed(stamp, id.encode()))])

    async def _cancel_if_orphan(self, id: str, parent: str) -> None:
        """The parent may have been cancelled while the child was written, too late to find it."""
        if (await self.load(parent)).state is ExecutionState.CANCELLED:
            await self.cancel(id, reason="its parent was cancelled")
            raise Cancelled("the parent is cancelled", parent=parent)

    async def check(self, fence: Fence) -> None:
        """Raises StaleToken unless the fence's reservation is held (contract 11), NotFound."""
        check_fence(await self.load(fence.execution), fence.token)

    async def finish(self, id: str, token: int, result: Value) -> None:
        await self._change(id, Finish(token, encode_value(result)))
        self.dispatch.free(id, token)

    async def fail(self, id: str, token: int, failure: Failure) -> None:
        await self._change(id, Fail(token, failure, self._jitter()))
        self.dispatch.free(id, token)

    async def cancel(self, id: str, *, reason: str) -> bool:
        done = await self._change(id, Cancel(reason))
        if not done.reply:
            return False
        await self._cancel_children(self._durable, id)
        if self._volatile is not self._durable:
            await self._cancel_children(self._volatile, id)
        return True

    async def _cancel_children(self, access: Access, parent: str) -> None:
        index, after = child_index(parent), b""
        while found := await access.store.scan(index, after, SCAN_ITEMS_MAX):
            for key, raw in found:
                after = key
                child = opened(raw)[1].decode()
                try:
                    if not (await self.load(child)).detached:
                        await self.cancel(child, reason="its parent was cancelled")
                except NotFound:
                    continue  # indexed, but never created

    def _jitter(self) -> float:
        return int.from_bytes(self._dice(4), "big") / (1 << 32)

    async def retry(self, id: str) -> None:
        await self._change(id, Retry())
        self.expiry.revived(id)

    # -------------------------------------------------------------- outcomes

    async def result(self, id: str, deadline_s: float) -> Value:
        """See the port."""
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_s
        while True:
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.setdefault(id, set()).add(waiter)
            try:
                record = await self.load(id)
                if not record.open:
                    self.expiry.read(id)
                    return outcome_of(id, record)
                if self._closed:
                    raise fabric_closed()
                left = end - loop.time()
                if left <= 0:
                    raise OutcomeUnknown("no outcome within the deadline", id=id)
                await asyncio.wait([waiter], timeout=left)
            finally:
                waiting = self._waiters.get(id)
                if waiting is not None:
                    waiting.discard(waiter)
                    if not waiting:
                        del self._waiters[id]

    def _conclude(self, id: str, record: Execution) -> None:
        self.dispatch.conclude(id)
        for waiter in self._waiters.get(id, ()):
            if not waiter.done():
                waiter.set_result(None)
        self.expiry.concluded(id)
        if record.state is not ExecutionState.FINISHED:
            self._on_lost(id)

    async def forget(self, id: str) -> None:
        """Drop argument and result of a concluded execution; the id stays taken."""
        await self._change(id, Forget())

    async def erase(self, id: str) -> None:
        """Remove a concluded execution altogether, with its entry among its parent's children."""
        access = await self._home(id)
        found = await access.load(execution_key(id))
        if found is None or (record := decode_execution(found[1])).open:
            return
        keys = [execution_key(id)]
        if record.parent:
            keys.append(child_key(record.parent, id))
        await access.remove_all(keys)

    # -------------------------------------------------------------- begin and end

    async def recover(self, *, everything: bool) -> None:
        """Take up what the store holds. `everything`: no other server can live, so leases of
        others are lost."""
        after = EXECUTION
        while found := await self._durable.store.scan(EXECUTION, after, SCAN_ITEMS_MAX):
            for key, raw in found:
                after = key
                await self._take_up(key[1:].decode(), decode_execution(opened(raw)[1]), everything)

    async def follow(self) -> None:
        """Another server may have changed executions: look for new ones to offer, and at those
        awaited here."""
        await self.recover(everything=False)
        for waiters in self._waiters.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def _take_up(self, id: str, record: Execution, everything: bool) -> None:
        await self.dispatch.look_after(id, record, self.load)
        if not record.open:
            if id in self.dispatch:
                self._conclude(id, record)
            elif not self.expiry.knows(id):
                self.expiry.concluded(id)
            return
        if not self.dispatch.paused(id):
            self.dispatch.offer(id, record, 0)
        for lease in record.leases:
            server = lease.worker[:WRITER_BYTES]
            if server == self._durable.writer:
                continue
            if everything or (
                self._owner_lives is not None and not await self._owner_lives(server)
            ):
                await self._change(id, Release(lease.token, True, self._jitter()))

    async def page(
        self, instance: str, states: Sequence[ExecutionState], after: str, limit: int
    ) -> list[ExecutionInfo]:
        """See the port: both stores, in order of ids."""
        infos: dict[str, ExecutionInfo] = {}
        for access in (self._durable, self._volatile):
            last, count = EXECUTION + after.encode(), 0
            while count < limit and (
                found := await access.store.scan(EXECUTION, last, SCAN_ITEMS_MAX)
            ):
                for key, raw in found:
                    last, id = key, key[1:].decode()
                    record = decode_execution(opened(raw)[1])
                    if (not instance or record.instance == instance) and (
                        not states or record.state in states
                    ):
                        infos[id] = info_of(id, record)
                        count += 1
        return [infos[id] for id in sorted(infos, key=str.encode)[:limit]]

    async def close(self) -> None:
        """Reservations end, leases are given back, waiters get Cancelled."""
        await self.dispatch.close()
        self._closed = True
        await self.expiry.close()
        for waiters in self._waiters.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)


def info_of(id: str, record: Execution) -> ExecutionInfo:
    """A record as callers see it."""
    return ExecutionInfo(
        id=id,
        instance=record.instance,
        delegate=record.delegate,
        state=record.state,
        token=record.token,
        attempts=record.attempts,
        parent=record.parent,
        argument=decode_value(record.argument) if record.argument else None,
        result=decode_value(record.result) if record.result else None,
        failure=record.failure,
    )


def outcome_of(id: str, record: Execution) -> Value:
    """The result, or the error that stands for it."""
    match record.state:
        case ExecutionState.FINISHED if record.forgotten:
            raise NotFound("the result is not kept any more", id=id)
        case ExecutionState.FINISHED:
            return decode_value(record.result)
        case ExecutionState.CANCELLED:
            reason = record.failure.message if record.failure is not None else "cancelled"
            raise Cancelled(reason, id=id)
        case _:
            assert record.failure is not None, "failed without a failure"
            raise error_of(record.failure)
