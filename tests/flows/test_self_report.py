"""The self-report: what tracing took stands on the outermost span, and nothing else is in it.

A clock of the test's own makes it exact. It stands still but for two things: any code of the
program takes a thousand seconds, and a span that starts or ends takes a processor one second. Only
that one second is tracing.
"""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnusedExpression=false

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor

from opentelemetry.instrumentation.pocketflow.capture import stopwatch
from support.framework import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
)
from support.tracing import compared, tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.tracing import SpanView, Trace

DURATION = "pocketflow.instrumentation.duration"
SECOND = 1_000_000_000


class Clock:
    """Counts the nanoseconds that the test says have passed."""

    def __init__(self) -> None:
        self.now = SECOND

    def __call__(self) -> int:
        """The time."""
        return self.now

    def pass_by(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds * SECOND


class Slow(SpanProcessor):
    """Takes a second for each span that starts, and one for each that ends."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """A span starts."""
        CLOCK.pass_by(1)

    def on_end(self, span: Any) -> None:
        """A span ends."""
        CLOCK.pass_by(1)


CLOCK = Clock()


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "clock", CLOCK)


def work() -> None:
    """What the program does."""
    CLOCK.pass_by(1000)


class Works(Node):
    """Works in each of its methods."""

    def prep(self, shared: Any) -> Any:
        """Works."""
        work()

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Works, and writes."""
        work()
        shared["done"] = shared.get("done", 0) + 1

    def exec(self, prep_res: Any) -> Any:
        """Works."""
        work()


class Unsteady(Works):
    """Fails but for the last time."""

    def exec(self, prep_res: Any) -> Any:
        """Works, and fails."""
        work()
        if self.cur_retry < self.max_retries - 1:
            raise ConnectionError("not now")


class Breaks(Works):
    """Fails for good, once it has handled that."""

    def exec_fallback(self, prep_res: Any, exc: Exception) -> Any:
        """Works, and fails."""
        work()
        raise exc

    def exec(self, prep_res: Any) -> Any:
        """Fails."""
        work()
        raise ValueError("broken")


class Stops(Works):
    """Somebody stops the program."""

    def exec(self, prep_res: Any) -> Any:
        """Works, and is interrupted."""
        work()
        raise KeyboardInterrupt


class Items(Works, BatchNode):
    """A batch."""

    def prep(self, shared: Any) -> Any:
        """Three items."""
        work()
        return [1, 2, 3]


class Each(BatchFlow):
    """A flow for each of three params."""

    def prep(self, shared: Any) -> Any:
        """Three times."""
        work()
        return [{"n": n} for n in range(3)]


class Waits(AsyncNode):
    """Lets others work while it waits."""

    async def exec_async(self, prep_res: Any) -> Any:
        """Works, and waits."""
        work()
        await asyncio.sleep(0)
        work()


class Together(AsyncParallelBatchNode):
    """Items at the same time."""

    async def prep_async(self, shared: Any) -> Any:
        """Three items."""
        return [1, 2, 3]

    async def exec_async(self, prep_res: Any) -> Any:
        """Works, and waits."""
        work()
        await asyncio.sleep(0)
        work()


class EachTogether(AsyncParallelBatchFlow):
    """Flows at the same time."""

    async def prep_async(self, shared: Any) -> Any:
        """Three times."""
        return [{"n": n} for n in range(3)]


class Hidden(Works):
    """Takes the place of the framework's run."""

    def _run(self, shared: Any) -> Any:
        work()


class Walks(Flow):
    """Goes from node to node by itself."""

    def _orch(self, shared: Any, params: Any = None) -> Any:
        node = self.start_node
        while node:
            work()
            node = self.get_next_node(node, node._run(shared))


class Starts(Works):
    """Runs a flow in another thread."""

    def exec(self, prep_res: Any) -> Any:
        """Works while it waits for the thread."""
        work()
        context = contextvars.copy_context()
        with ThreadPoolExecutor(1) as threads:
            threads.submit(context.run, Flow(start=Works()).run, {}).result()


def flow_of(*nodes: Any, kind: Any = Flow) -> Any:
    """Nodes in a row."""
    for one, other in itertools.pairwise(nodes):
        one >> other
    return kind(start=nodes[0])


PROGRAMS: dict[str, Callable[[], Any]] = {
    "a node alone": Works,
    "nodes": lambda: flow_of(Works(), Works(), Works()),
    "attempts": lambda: flow_of(Unsteady(max_retries=3), Works()),
    "an attempt that fails for good": lambda: flow_of(Works(), Breaks(max_retries=2)),
    "an interrupted program": lambda: flow_of(Works(), Stops(max_retries=2)),
    "a batch": lambda: flow_of(Items(max_retries=2), Works()),
    "a batch flow": lambda: flow_of(Works(), kind=Each),
    "a flow in a flow": lambda: flow_of(flow_of(Works(), Works()), Works()),
    "a hidden run": lambda: flow_of(Works(), Hidden(), Works()),
    "a flow with a way of its own": lambda: flow_of(Works(), Works(), kind=Walks),
    "another thread": lambda: flow_of(Starts(), Works()),
}
ASYNC_PROGRAMS: dict[str, Callable[[], Any]] = {
    "async nodes": lambda: flow_of(Waits(), Works(), Waits(max_retries=2), kind=AsyncFlow),
    "a parallel batch": lambda: flow_of(Together(max_retries=2), Waits(), kind=AsyncFlow),
    "a parallel batch flow": lambda: flow_of(Waits(), Waits(), kind=EachTogether),
}


def of(program: Callable[[Any], Any], *, self_report: bool = True, **options: Any) -> Trace:
    """Runs a program with a slow processor."""
    with tracing(self_report=self_report, **options) as running:
        running.provider.add_span_processor(Slow())
        with contextlib.suppress(ValueError, KeyboardInterrupt):
            program(running)
        return running.trace()


def told(trace: Trace) -> list[SpanView]:
    """The spans that tell of tracing."""
    return [node for node in trace.nodes if DURATION in node]


def seconds_of_tracing(trace: Trace) -> int:
    """All that the processor took, but for the end of the span that tells."""
    return 2 * len(trace.nodes) - 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_all_that_tracing_took_and_nothing_of_the_program(name: str) -> None:
    """Whatever the program is made of."""
    trace = of(lambda _: PROGRAMS[name]().run({}))

    (outermost,) = told(trace)
    assert outermost is trace.nodes[0]
    assert outermost[DURATION] == seconds_of_tracing(trace)


@pytest.mark.parametrize("name", ASYNC_PROGRAMS)
def test_what_waits_is_no_part_of_it(name: str) -> None:
    """Others work while a node waits."""
    trace = of(lambda _: asyncio.run(ASYNC_PROGRAMS[name]().run_async({})))

    (outermost,) = told(trace)
    assert outermost is trace.nodes[0]
    assert outermost[DURATION] == seconds_of_tracing(trace)


def test_runs_at_the_same_time_are_told_apart() -> None:
    """Each has its own sum."""

    async def both() -> None:
        short, long = flow_of(Waits(), kind=AsyncFlow), flow_of(Waits(), Waits(), kind=AsyncFlow)
        await asyncio.gather(short.run_async({}), long.run_async({}))

    assert [span[DURATION] for span in told(of(lambda _: asyncio.run(both())))] == [3, 5]


def test_a_run_in_the_node_of_another_is_a_part_of_that() -> None:
    """There is one outermost run, and nothing counts twice."""

    class Runs(Works):
        def exec(self, prep_res: Any) -> Any:
            work()
            flow_of(Works(), Works()).run({})

    trace = of(lambda _: flow_of(Runs()).run({}))

    (outermost,) = told(trace)
    assert outermost[DURATION] == 2 * 5 - 1


def test_the_nodes_of_a_flow_that_is_skipped_tell_each_for_itself() -> None:
    """They are the outermost spans then. One ends when the next one begins, at that one's cost."""
    trace = of(lambda _: flow_of(Works(), Works()).run({}), levels={"Flow": "skip"})

    assert [(span.name, span[DURATION]) for span in told(trace)] == [("Works", 1), ("Works", 2)]


def test_a_coroutine_that_is_never_finished_adds_nothing() -> None:
    """A task may be thrown away while it waits."""
    flow = flow_of(Waits(), kind=AsyncFlow)

    def program(_: Any) -> None:
        coroutine = flow.run_async({})
        coroutine.send(None)
        CLOCK.pass_by(1000)
        coroutine.close()

    (outermost,) = told(of(program))
    assert outermost[DURATION] == 3


@pytest.mark.parametrize("name", [*PROGRAMS, *ASYNC_PROGRAMS])
def test_all_else_in_the_trace_is_as_without(name: str) -> None:
    """The same spans, with the same attributes and exceptions."""

    def program(_: Any) -> None:
        if name in PROGRAMS:
            PROGRAMS[name]().run({})
        else:
            asyncio.run(ASYNC_PROGRAMS[name]().run_async({}))

    with_report, without = of(program), of(program, self_report=False)
    assert with_report.lines() == without.lines()
    assert [set(span.attributes) - {DURATION} for span in with_report.nodes] == [
        set(span.attributes) for span in without.nodes
    ]
    assert [span.patch for span in with_report.nodes] == [span.patch for span in without.nodes]


def test_nobody_is_told_who_has_not_asked() -> None:
    """It is off by default."""
    with tracing() as running:
        flow_of(Works(), Works()).run({})

    assert told(running.trace()) == []


def test_by_a_real_clock_it_is_a_part_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds, more than none."""
    monkeypatch.undo()
    trace = compared(lambda stage: stage.run(flow_of(Works(), Works())), self_report=True)

    (outermost,) = told(trace)
    assert 0 < outermost[DURATION] < 60
