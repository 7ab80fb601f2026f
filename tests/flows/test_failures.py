"""Exceptions are told once, where they left; cancellation is no error; all goes on unchanged."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
import builtins
import contextvars
import gc
import sys
import warnings
from typing import Any

import pytest

from opentelemetry import context as context_api
from support.framework import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    BatchNode,
    Flow,
    Node,
)
from support.tracing import Stage, Trace, note, traced, tracing


class Breaks(Node):
    """Fails."""

    def exec(self, prep_res: Any) -> Any:
        """An error with a message."""
        raise ValueError("broken")


class Slow(AsyncNode):
    """Waits for what never comes."""

    async def exec_async(self, prep_res: Any) -> Any:
        """Tells when it is cancelled."""
        note("waiting")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            note("cancelled")
            raise


def told(trace: Trace) -> list[str]:
    """The exceptions in a trace, by the span that tells them."""
    return [f"{node.name}: {e['exception.type']}" for node in trace.nodes for e in node.events]


# --- told once ------------------------------------------------------------------------------


def test_a_node_that_runs_a_failing_flow() -> None:
    """The exception crosses two flows and two nodes, and is told on the innermost."""

    class Outer(Node):
        def exec(self, prep_res: Any) -> Any:
            Flow(start=Breaks()).run({})

    trace = traced(lambda stage: stage.run(Flow(start=Outer())), raises=ValueError)

    assert trace.lines() == [
        "invoke_workflow OuterFlow [ValueError]",
        "  Outer [ValueError]",
        "    invoke_workflow BreaksFlow [ValueError]",
        "      Breaks [ValueError, recorded]",
    ]


def test_an_exception_that_crosses_gather() -> None:
    """A task's exception is raised again in the task that waits: it is told where it began."""

    class Fails(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)
            raise ValueError("in a task")

    class Gathers(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.gather(Fails().run_async({}), AsyncFlow(start=Fails()).run_async({}))

    trace = traced(
        lambda stage: stage.run_async(AsyncFlow(start=Gathers())), nested=False, raises=ValueError
    )

    assert told(trace) == ["Fails: ValueError", "Fails: ValueError"]
    assert trace.lines()[:2] == [
        "invoke_workflow GathersFlow [ValueError]",
        "  Gathers [ValueError]",
    ]


def test_an_exception_that_is_raised_again() -> None:
    """`raise` in a handler is the same exception, which was told already."""

    class Handles(Node):
        def exec(self, prep_res: Any) -> Any:
            try:
                Breaks().run({})
            except ValueError:
                note("seen")
                raise

    trace = traced(lambda stage: stage.run(Handles()), raises=ValueError)

    assert trace.lines() == ["Handles [ValueError]", "  Breaks [ValueError, recorded]"]


def test_an_exception_raised_from_another() -> None:
    """The new exception is told where it left, with its cause."""

    class Translates(Node):
        def exec(self, prep_res: Any) -> Any:
            try:
                Breaks().run({})
            except ValueError as exc:
                raise RuntimeError("translated") from exc

    trace = traced(
        lambda stage: stage.run(Translates()), max_span_bytes=60_000, raises=RuntimeError
    )

    assert trace.lines() == [
        "Translates [RuntimeError, recorded]",
        "  Breaks [ValueError, recorded]",
    ]
    text = str(trace.node("Translates").events[0]["exception.stacktrace"])
    assert text.index("ValueError: broken") < text.index("RuntimeError: translated")


def test_an_exception_kept_and_raised_later() -> None:
    """One exception object in two nodes: it is told once more, or not, but never lost."""

    class First(Node):
        def exec(self, prep_res: Any) -> Any:
            raise ValueError("kept")

        def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
            kept.append(exc)

    class Second(Node):
        def exec(self, prep_res: Any) -> Any:
            raise kept[-1]

    kept: list[Exception] = []

    def program(stage: Stage) -> Any:
        first = First()
        first >> Second()
        return stage.run(Flow(start=first))

    trace = traced(program, raises=ValueError)

    assert told(trace)[0] == "First: ValueError"
    assert trace.node("Second").is_error


def test_a_caught_exception_leaves_its_caller_alone() -> None:
    """A node that catches what another one raised is no error."""

    class Catches(Node):
        def exec(self, prep_res: Any) -> Any:
            try:
                Breaks().run({})
            except ValueError:
                return "caught"

    assert traced(lambda stage: stage.run(Catches())).lines() == [
        "Catches",
        "  Breaks [ValueError, recorded]",
    ]


def test_a_fallback_that_raises_the_same_exception() -> None:
    """The framework's own fallback raises what failed: that is told on the attempt alone."""
    trace = traced(lambda stage: stage.run(Flow(start=Breaks(max_retries=2))), raises=ValueError)

    assert told(trace) == ["Breaks attempt: ValueError"] * 2


def test_items_beyond_the_cap_tell_their_exception_once() -> None:
    """A parallel batch without item spans for most of its items."""

    class Items(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return range(4)

        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)
            if prep_res == 2:
                raise ValueError(prep_res)

    trace = traced(
        lambda stage: stage.run_async(Items(max_retries=2)),
        max_batch_items=1,
        nested=False,
        raises=ValueError,
    )

    assert told(trace)[-1] == "Items item: ValueError"
    assert len(set(told(trace))) == 1
    assert trace.node("Items")["batch.failed"] == 1


def test_an_exception_group_is_one_exception() -> None:
    """A task group's exception is told with what it is."""
    group = getattr(asyncio, "TaskGroup", None)
    if group is None:
        pytest.skip("task groups came with Python 3.11")

    class Groups(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            async with group() as tasks:
                tasks.create_task(Inner().run_async({}))

    class Inner(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)
            raise ValueError("inner")

    def program(stage: Stage) -> Any:
        return stage.run_async(Groups())

    trace = traced(program, nested=False, raises=vars(builtins)["ExceptionGroup"])

    assert trace.lines() == [
        "Groups [ExceptionGroup, recorded]",
        "  Inner [ValueError, recorded]",
    ]


def test_an_exception_whose_str_fails() -> None:
    """It goes on as it is, and the span says that it had no message."""

    class NastyError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    class Raises(Node):
        def exec(self, prep_res: Any) -> Any:
            raise NastyError

    trace = traced(lambda stage: stage.run(Raises()), raises=NastyError)

    assert "str()" in str(trace.node("Raises").events[0]["exception.message"])


def test_an_exception_is_not_given_to_the_caller_with_anything_on_it() -> None:
    """No notes, no attributes: the object is what the program raised."""
    caught: list[BaseException] = []

    def program(stage: Stage) -> Any:
        try:
            Flow(start=Breaks(max_retries=2)).run({})
        except ValueError as exc:
            caught.append(exc)

    traced(program)

    assert [vars(exc) for exc in caught] == [{}, {}]
    assert [exc.__context__ for exc in caught] == [None, None]


# --- cancellation ---------------------------------------------------------------------------


def test_a_cancelled_task() -> None:
    """Every span inside says that it was cancelled; none is an error."""

    async def program(stage: Stage) -> Any:
        flow = AsyncFlow(start=Slow(max_retries=2))
        task = asyncio.create_task(stage.run_async(flow))
        await asyncio.sleep(0.002)
        task.cancel()
        await task

    trace = traced(program, raises=asyncio.CancelledError)

    assert trace.lines() == [
        "invoke_workflow SlowFlow [cancelled]",
        "  Slow [cancelled]",
        "    Slow attempt [cancelled]",
    ]


def test_wait_for_a_node_that_is_too_slow() -> None:
    """The timeout's exception belongs to who set the timeout."""

    class Impatient(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.wait_for(Slow().run_async({}), 0.002)

    trace = traced(lambda stage: stage.run_async(Impatient()), raises=asyncio.TimeoutError)

    assert trace.node("Impatient")["error.type"].endswith("TimeoutError")
    assert len(trace.node("Impatient").events) == 1
    assert trace.node("Slow").label == "Slow [cancelled]"


def test_a_timeout_around_a_flow() -> None:
    """The flow was cancelled, whatever its caller makes of it."""

    async def program(stage: Stage) -> Any:
        try:
            await asyncio.wait_for(stage.run_async(AsyncFlow(start=Slow())), 0.002)
        except asyncio.TimeoutError:
            return "late"

    trace = traced(program)

    assert trace.lines() == ["invoke_workflow SlowFlow [cancelled]", "  Slow [cancelled]"]


def test_a_timeout_inside_exec() -> None:
    """`asyncio.timeout` turns the cancellation of its body into an error of the node."""
    timeout = getattr(asyncio, "timeout", None)
    if timeout is None:
        pytest.skip("asyncio.timeout came with Python 3.11")

    class Impatient(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            async with timeout(0.002):
                await Slow().run_async({})

    trace = traced(lambda stage: stage.run_async(Impatient(max_retries=2)), raises=TimeoutError)

    attempt = ["  Impatient attempt [TimeoutError, recorded]", "    Slow [cancelled]"]
    assert trace.lines() == ["Impatient [TimeoutError]", *attempt, *attempt]


def test_a_node_that_swallows_its_cancellation() -> None:
    """Then it was not cancelled."""

    class Stubborn(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "still here"

    async def program(stage: Stage) -> Any:
        task = asyncio.create_task(stage.run_async(Stubborn()))
        await asyncio.sleep(0.001)
        task.cancel()
        return await task

    assert traced(program).lines() == ["Stubborn"]


def test_cancellation_during_a_wait() -> None:
    """The failed attempt stays what it was; the node was cancelled."""

    class Retries(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            raise OSError("once")

    async def program(stage: Stage) -> Any:
        task = asyncio.create_task(stage.run_async(Retries(max_retries=2, wait=60)))
        await asyncio.sleep(0.002)
        task.cancel()
        await task

    trace = traced(program, raises=asyncio.CancelledError)

    assert trace.lines() == ["Retries [cancelled]", "  Retries attempt [OSError, recorded]"]
    assert trace.node("Retries attempt")["attempt.wait"] == 60
    assert 0 < trace.node("Retries")["node.wait.duration"] < 30


def test_cancellation_of_parallel_items() -> None:
    """Items that ran when the batch was cancelled say so; none failed."""

    class Items(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return [0, 1]

        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.Event().wait()

    async def program(stage: Stage) -> Any:
        task = asyncio.create_task(stage.run_async(Items()))
        await asyncio.sleep(0.002)
        task.cancel()
        await task

    trace = traced(program, nested=False, raises=asyncio.CancelledError)

    assert trace.lines() == ["Items [cancelled]", *["  Items item [cancelled]"] * 2]
    assert trace.node("Items")["batch.failed"] == 0


def test_cancellation_of_a_parallel_batch_flow() -> None:
    """The same for items that are ways through a flow."""

    class Items(AsyncParallelBatchFlow):
        async def prep_async(self, shared: Any) -> Any:
            return [{"n": 0}, {"n": 1}]

    async def program(stage: Stage) -> Any:
        task = asyncio.create_task(stage.run_async(Items(start=Slow())))
        await asyncio.sleep(0.002)
        task.cancel()
        await task

    trace = traced(program, nested=False, raises=asyncio.CancelledError)

    item = ["  Items item [cancelled]", "    Slow [cancelled]"]
    assert trace.lines() == ["invoke_workflow Items [cancelled]", *item, *item]
    assert trace.nodes[0]["batch.failed"] == 0


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_base_exceptions_pass_through_a_flow(exception: type[BaseException]) -> None:
    """All spans end, contexts are detached, and the exception arrives."""

    class Stops(BatchNode):
        def prep(self, shared: Any) -> Any:
            return [1]

        def exec(self, prep_res: Any) -> Any:
            raise exception("stop")

    trace = traced(
        lambda stage: stage.run(Flow(start=Flow(start=Stops(max_retries=2)))), raises=exception
    )

    assert trace.lines() == [
        "invoke_workflow StopsFlow [cancelled]",
        "  invoke_workflow StopsFlow [cancelled]",
        "    Stops [cancelled]",
        "      Stops item [cancelled]",
        "        Stops attempt [cancelled]",
    ]


# --- coroutines that are closed, or never begun ---------------------------------------------


def close_here(coroutine: Any) -> None:
    """Closes a coroutine in the context it ran in."""
    coroutine.close()


def close_elsewhere(coroutine: Any) -> None:
    """Closes a coroutine in another context."""
    contextvars.Context().run(coroutine.close)


@pytest.mark.parametrize("phase_spans", [False, True])
@pytest.mark.parametrize("close", [close_here, close_elsewhere])
def test_a_coroutine_that_is_closed(close: Any, phase_spans: bool) -> None:
    """Its spans end as cancelled, whoever closes it, and no context stays behind."""

    class Waits(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await Forever()

    class Forever:
        def __await__(self) -> Any:
            yield

    def program(stage: Stage) -> Any:
        def drive() -> None:
            before = context_api.get_current()
            coroutine = AsyncFlow(start=Waits(max_retries=2)).run_async({})
            coroutine.send(None)
            close(coroutine)
            if close is close_here:
                assert context_api.get_current() is before

        contextvars.copy_context().run(drive)

    trace = traced(program, phase_spans=phase_spans)

    assert [node.label for node in trace.nodes if node["span.kind"] != "phase"] == [
        "invoke_workflow WaitsFlow [cancelled]",
        "Waits [cancelled]",
        "Waits attempt [cancelled]",
    ]
    phases = [node["phase"] for node in trace.nodes if node["span.kind"] == "phase"]
    assert sorted(phases) == (["exec", "prep", "prep"] if phase_spans else [])


def test_a_coroutine_of_items_that_is_closed() -> None:
    """Contexts of items and attempts are left in order as well."""

    class Waits(BatchNode, AsyncNode):
        async def prep_async(self, shared: Any) -> Any:
            return [1]

        async def _exec(self, items: Any) -> Any:
            return [await AsyncNode._exec(self, item) for item in items]

        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(60)

    async def program(stage: Stage) -> Any:
        before = context_api.get_current()
        coroutine = Waits(max_retries=2).run_async({})
        coroutine.send(None)
        coroutine.close()
        assert context_api.get_current() is before

    assert traced(program).lines()[0] == "Waits [cancelled]"


def test_a_coroutine_that_is_dropped() -> None:
    """The garbage collector ends its spans."""

    class Waits(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(60)

    def drive() -> None:
        coroutine = Waits().run_async({})
        coroutine.send(None)

    async def program(stage: Stage) -> Any:
        contextvars.copy_context().run(drive)
        gc.collect()

    assert traced(program).lines() == ["Waits [cancelled]"]


@pytest.mark.parametrize("method", ["run_async", "_run_async", "_exec"])
def test_a_coroutine_that_is_never_awaited(method: str) -> None:
    """The interpreter's warning keeps the user's name; there is no span for what did not run."""

    def leave(node: Any) -> None:
        getattr(node, method)({})

    def names() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            leave(Slow())
            gc.collect()
        return [str(warning.message).split("\n")[0] for warning in caught]

    plain = names()
    with tracing() as running:
        assert names() == plain == [f"coroutine 'AsyncNode.{method}' was never awaited"]
    assert running.recorder.started == []


def test_an_item_beyond_the_cap_that_retries_has_a_span() -> None:
    """What failed in it is told, and the others are only counted."""

    class Shaky(BatchNode):
        def prep(self, shared: Any) -> Any:
            return list(range(6))

        def exec(self, prep_res: Any) -> Any:
            if prep_res == 4 and self.cur_retry == 0:
                raise ValueError("no 4")
            return prep_res

    trace = traced(lambda stage: stage.run(Shaky(max_retries=2)), max_batch_items=1)

    assert trace.lines() == [
        "Shaky",
        "  Shaky item",
        "    Shaky attempt",
        "  Shaky item [recorded]",
    ]
    late = trace.node("Shaky item", 2)
    assert (late["item.index"], late["node.attempts"]) == (4, 2)
    assert trace.node("Shaky")["batch.items_traced"] == 2
    assert trace.node("Shaky")["batch.retried"] == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no exception groups before Python 3.11")
def test_the_members_of_an_exception_group_are_told() -> None:
    """The group alone says nothing of what went wrong."""
    group: Any = getattr(builtins, "ExceptionGroup")  # noqa: B009 - absent before 3.11

    class Groups(Node):
        def exec(self, prep_res: Any) -> Any:
            raise group("two", [ValueError("first"), KeyError("second")])

    trace = traced(lambda stage: stage.run(Groups()), raises=group)

    [event] = trace.node("Groups").events
    for part in ("Sub-exception 1 of 2", "ValueError: first", "KeyError: 'second'"):
        assert part in str(event["exception.stacktrace"])


def test_a_long_message_is_cut_with_its_true_size() -> None:
    """However long it is, and without the first part of a secret at the cut."""
    secret = "sk-" + "ant-" + "a1B2" * 12

    class Long(Node):
        def exec(self, prep_res: Any) -> Any:
            raise ValueError("x" * 900 + secret + "y" * 100_000)

    trace = traced(lambda stage: stage.run(Long()), raises=ValueError)

    [event] = trace.node("Long").events
    message = str(event["exception.message"])
    assert f"({900 + len(secret) + 100_000} characters in all)" in message
    assert len(message.encode()) <= 183
    assert "sk-" not in message
