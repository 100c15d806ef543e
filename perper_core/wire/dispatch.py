"""What each command does: one call of the fabric behind the server, and its reply."""

from collections.abc import Sequence
from typing import TypeVar, assert_never

from perper_core.errors import ERRORS, FabricError, error_named
from perper_core.ports import Fabric
from perper_core.values import Value, encode_value
from perper_core.wire import frames as f
from perper_core.wire.access import Grant, demanded, demanded_of_execution
from perper_core.wire.limits import PAGE_BYTES_MAX

T = TypeVar("T")

ROW_BYTES = 256  # what a row of a list weighs beside its values


async def authorize(fabric: Fabric, grant: Grant, op: f.Op) -> None:
    """Raises Denied unless the grant covers the command."""
    if grant.unlimited:
        return
    demand = demanded(op)
    if demand is not None:
        grant.demand(*demand)
        return
    named = demanded_of_execution(op)
    if named is not None:
        execution, right = named
        info = await fabric.execution(execution)
        grant.demand(f"instance:{info.instance}", right)


async def perform(fabric: Fabric, op: f.FabricOp) -> f.Payload:
    """Do it. Raises FabricError."""
    match op:
        case f.Append():
            return await fabric.append(
                op.stream,
                op.items,
                keys=op.keys or None,
                fields=op.fields or op.field,
                producer=op.producer,
                fence=op.fence,
                wait=op.wait,
            )
        case f.CreateStream():
            return await fabric.create_stream(op.name, op.options, fence=op.fence)
        case f.Ack():
            await fabric.ack(op.stream, op.name, op.offset)
        case f.Forget():
            await fabric.forget(op.stream, op.name)
        case f.End():
            await fabric.end(op.stream, fence=op.fence)
        case f.BreakStream():
            await fabric.break_stream(op.stream, op.failure, fence=op.fence)
        case f.RemoveStream():
            await fabric.remove_stream(op.stream)
        case f.GetStream():
            return await fabric.stream_info(op.stream)
        case f.ListStreams():
            streams = await fabric.list_streams(op.prefix, after=op.after, limit=op.limit)
            return f.StreamPage(*_page(streams, [ROW_BYTES * 2] * len(streams)))
        case f.Get() | f.Put() | f.Remove() | f.ListState():
            return await _perform_on_state(fabric, op)
        case _:
            return await _perform_on_execution(fabric, op)
    return f.Done()


async def _perform_on_execution(fabric: Fabric, op: f.ExecutionOp) -> f.Payload:
    match op:
        case f.Call():
            result = await fabric.call(
                op.instance,
                op.delegate,
                op.argument,
                id=op.id,
                deadline_s=op.deadline_s,
                parent=op.parent,
                options=op.options,
            )
            return f.ValueReply(result)
        case f.Await():
            return f.ValueReply(await fabric.result(op.id, deadline_s=op.deadline_s))
        case f.Create():
            return await fabric.create(
                op.id,
                instance=op.instance,
                delegate=op.delegate,
                argument=op.argument,
                parent=op.parent,
                detached=op.detached,
                options=op.options,
            )
        case f.Finish():
            await fabric.finish(op.id, op.token, op.result)
        case f.Fail():
            await fabric.fail(op.id, op.token, op.failure)
        case f.CancelExecution():
            return f.Flag(await fabric.cancel(op.id, reason=op.reason))
        case f.Retry():
            await fabric.retry(op.id)
        case f.GetExecution():
            return await fabric.execution(op.id)
        case f.ListExecutions():
            rows = await fabric.list_executions(
                instance=op.instance, states=op.states, after=op.after, limit=op.limit
            )
            sizes = [ROW_BYTES + _size(row.argument) + _size(row.result) for row in rows]
            return f.ExecutionPage(*_page(rows, sizes))
        case _:
            assert_never(op)
    return f.Done()


async def _perform_on_state(fabric: Fabric, op: f.StateOp) -> f.Payload:
    match op:
        case f.Get():
            return f.EntryReply(await fabric.get(op.state, op.key))
        case f.Put():
            return f.Version(
                await fabric.put(op.state, op.key, op.value, version=op.version, fence=op.fence)
            )
        case f.Remove():
            return f.Flag(await fabric.remove(op.state, op.key, version=op.version, fence=op.fence))
        case f.ListState():
            entries = await fabric.list_state(op.state, after=op.after, limit=op.limit)
            return f.EntryPage(*_page(entries, [ROW_BYTES + _size(e.value) for e in entries]))
        case _:
            assert_never(op)


def _page(rows: Sequence[T], sizes: Sequence[int]) -> tuple[Sequence[T], bool]:
    """As many rows as fit a page, at least one; whether there are more."""
    total = 0
    for index, size in enumerate(sizes):
        total += size
        if index and total > PAGE_BYTES_MAX:
            return rows[:index], True
    return rows, False


def _size(value: Value) -> int:
    return len(value) if isinstance(value, bytes | str) else len(encode_value(value))


def error_reply(error: FabricError) -> f.Error:
    """How an error travels."""
    return f.Error(error.code, error.message, tuple(error.details.items()))


def error_from(reply: f.Error) -> FabricError:
    """The error that has travelled."""
    details = dict(reply.details)
    if reply.code not in ERRORS:
        details.pop("type", None)
    return error_named(reply.code, reply.message, details)
