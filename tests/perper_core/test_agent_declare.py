"""What a class may declare as an agent, and what it gets for it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from perper_core.agent.agent import Agent, HandlerKind, on
from perper_core.agent.handles import Context
from perper_core.ports import Kind, StreamOptions
from perper_core.values import Value


class Sample(Agent):
    parallel = 3

    @on("Task", parallel=2)
    async def task(self, context: Context, argument: Value) -> Value:
        return argument

    @on("Thread", retry_on=(OSError,))
    def thread(self, context: Context, argument: Value) -> Value:
        return argument

    @on("Body", output=StreamOptions(kind=Kind.EPHEMERAL), resume=True)
    async def body(self, context: Context, argument: Value) -> AsyncIterator[bytes]:
        yield b""

    async def not_a_handler(self) -> None: ...


def test_form_says_how_it_runs() -> None:
    kinds = {name: spec.kind for name, spec in Sample.delegates.items()}
    assert kinds == {
        "Task": HandlerKind.TASK,
        "Thread": HandlerKind.THREAD,
        "Body": HandlerKind.STREAM,
    }
    assert Sample.delegates["Task"].parallel == 2
    assert Sample.delegates["Body"].resume


def test_only_plain_handlers_are_called_directly() -> None:
    direct = [name for name, spec in Sample.delegates.items() if spec.direct]
    assert direct == ["Task"]  # Thread is retried, so it needs a record; Body is a stream


def test_subclass_overrides_by_method_and_by_name() -> None:
    class Child(Sample):
        def task(self, context: Context, argument: Value) -> Value:  # type: ignore[override]
            return None

        @on("Thread")
        async def other(self, context: Context, argument: Value) -> Value:
            return None

    assert Child.delegates["Task"].kind is HandlerKind.THREAD
    assert Child.delegates["Thread"].attribute == "other"
    assert Sample.delegates["Thread"].attribute == "thread"


def test_two_handlers_of_one_name_are_refused() -> None:
    with pytest.raises(TypeError, match="two handlers for Same"):

        class Twice(Agent):
            @on("Same")
            async def one(self, context: Context, argument: Value) -> None: ...

            @on("Same")
            async def two(self, context: Context, argument: Value) -> None: ...


def test_lifecycle_is_async() -> None:
    with pytest.raises(TypeError, match="Start is an async def"):

        class Blocking(Agent):
            @on("Start")
            def start(self, context: Context, argument: Value) -> None: ...


def test_wrong_forms_are_refused() -> None:
    async def plain(self: object, context: Context, argument: Value) -> None: ...

    async def short(self: object, context: Context) -> None: ...

    def generator(self: object, context: Context, argument: Value) -> Iterator[bytes]:
        yield b""

    async def body(self: object, context: Context, argument: Value) -> AsyncIterator[bytes]:
        yield b""

    for mark, function, match in (
        (on("X"), short, "takes"),
        (on("X"), generator, "async generator"),
        (on("X", resume=True), plain, "for async generators"),
        (on("X", output=StreamOptions()), plain, "for async generators"),
        (on("X", retry_on=(OSError,)), body, "resumed, not retried"),
    ):
        with pytest.raises(TypeError, match=match):
            mark(function)
    with pytest.raises(ValueError, match="parallel"):
        on("X", parallel=-1)
    with pytest.raises(ValueError, match="name"):
        on("")
