"""Instrumenting, twice, in turns, beside others; and everything put back as it was."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from typing import TYPE_CHECKING, Any

import pytest
import wrapt
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
from support.framework import AsyncFlow, AsyncNode, BatchNode, Flow, Node, pocketflow
from support.tracing import Recorder, Trace, act, faults_raise, logged, methods_of, note, tracing

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ask(Node):
    """Asks."""

    def exec(self, prep_res: Any) -> Any:
        """The question."""
        note("ask")
        return "why"


class Items(BatchNode):
    """A batch of two."""

    def prep(self, shared: Any) -> Any:
        """The batch."""
        return [1, 2]


def flow() -> Any:
    """Two nodes, one with attempts."""
    ask = Ask(max_retries=2)
    ask >> Items()
    return Flow(start=ask)


LINES = [
    "invoke_workflow AskFlow",
    "  Ask",
    "    Ask attempt",
    "  Items",
    "    Items item",
    "    Items item",
]


@pytest.fixture(autouse=True)
def _pristine() -> Iterator[None]:
    """Whatever a test leaves on the framework's classes is gone after it."""
    before = methods_of(pocketflow)
    yield
    for owner, methods in before:
        for name, value in methods.items():
            if vars(owner).get(name) is not value:
                setattr(owner, name, value)


@pytest.fixture
def provider() -> Iterator[tuple[TracerProvider, Recorder]]:
    """A provider, what it recorded, and an instrumentor that is off afterwards."""
    recorder = Recorder()
    made = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    made.add_span_processor(recorder)
    with faults_raise():
        yield made, recorder
    if PocketFlowInstrumentor().is_instrumented_by_opentelemetry:
        PocketFlowInstrumentor().uninstrument()


def start(provider: TracerProvider, **options: Any) -> None:
    """Instruments as a program does."""
    PocketFlowInstrumentor().instrument(tracer_provider=provider, resource=False, **options)


def test_a_second_instrument_only_warns(provider: tuple[TracerProvider, Recorder]) -> None:
    """Spans are not doubled."""
    tracer_provider, recorder = provider
    start(tracer_provider)
    with logged() as problems:
        start(tracer_provider)
    flow().run({})

    assert problems == ["Attempting to instrument while already instrumented"]
    assert Trace(recorder).lines() == LINES


def test_a_second_uninstrument_only_warns(provider: tuple[TracerProvider, Recorder]) -> None:
    """Nothing is restored twice."""
    start(provider[0])
    PocketFlowInstrumentor().uninstrument()
    before = methods_of(pocketflow)
    with logged() as problems:
        PocketFlowInstrumentor().uninstrument()

    assert problems == ["Attempting to uninstrument while already uninstrumented"]
    assert methods_of(pocketflow) == before


def test_instrumented_again(provider: tuple[TracerProvider, Recorder]) -> None:
    """Off means off, on means on, as often as one likes."""
    before = methods_of(pocketflow)
    for _ in range(3):
        start(provider[0])
        flow().run({})
        PocketFlowInstrumentor().uninstrument()
        flow().run({})
        assert methods_of(pocketflow) == before

    assert Trace(provider[1]).lines() == LINES * 3


def test_each_instrument_has_its_own_options(provider: tuple[TracerProvider, Recorder]) -> None:
    """What an earlier one was told is forgotten."""
    start(provider[0], levels={"Ask": "skip"})
    PocketFlowInstrumentor().uninstrument()
    start(provider[0])
    flow().run({})

    assert Trace(provider[1]).lines() == LINES


def test_only_the_methods_in_the_table_are_wrapped(
    provider: tuple[TracerProvider, Recorder],
) -> None:
    """And only where a class itself defines them."""
    before = dict(methods_of(pocketflow))
    start(provider[0])
    changed = {
        f"{cls.__name__}.{name}"
        for cls, now in methods_of(pocketflow)
        for name, value in now.items()
        if value is not before[cls].get(name)
    }

    assert changed == {
        "BaseNode._exec",
        "BaseNode._run",
        "BaseNode.run",
        "BaseNode.set_params",
        "Node._exec",
        "BatchNode._exec",
        "Flow._orch",
        "Flow._run",
        "Flow.get_next_node",
        "BatchFlow._run",
        "AsyncNode._exec",
        "AsyncNode._run",
        "AsyncNode._run_async",
        "AsyncNode.run_async",
        "AsyncBatchNode._exec",
        "AsyncParallelBatchNode._exec",
        "AsyncFlow._orch_async",
        "AsyncFlow._run_async",
        "AsyncBatchFlow._run_async",
        "AsyncParallelBatchFlow._run_async",
    }


# --- others that wrap the same methods ------------------------------------------------------


WRAPPED = [(pocketflow.BaseNode, "_run"), (pocketflow.Node, "_exec"), (pocketflow.Flow, "_orch")]


class Plain:
    """Another tool, which wraps with plain functions."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.originals: list[tuple[Any, str, Any]] = []

    def wrap(self) -> None:
        """Takes the place of the methods."""
        for owner, name in WRAPPED:
            original = vars(owner)[name]
            self.originals.append((owner, name, original))
            setattr(owner, name, self.wrapper(name, original))

    def wrapper(self, name: str, original: Any) -> Any:
        """What stands there instead."""

        @functools.wraps(original)
        def call(node: Any, *args: Any, **kwargs: Any) -> Any:
            self.seen.append(f"{name} of {type(node).__name__}")
            return original(node, *args, **kwargs)

        return call

    def unwrap(self) -> None:
        """Puts back what was there."""
        for owner, name, original in reversed(self.originals):
            setattr(owner, name, original)


class Wrapt(Plain):
    """Another tool, which wraps with wrapt."""

    def wrapper(self, name: str, original: Any) -> Any:
        """What stands there instead."""

        def call(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            self.seen.append(f"{name} of {type(instance).__name__}")
            return wrapped(*args, **kwargs)

        return wrapt.FunctionWrapper(original, call)


SEEN = [
    "_run of Flow",
    "_orch of Flow",
    "_run of Ask",
    "_exec of Ask",
    "_run of Items",
    "_exec of Items",
    "_exec of Items",
]
SEEN_HERE = [line for line in SEEN if line != "_run of Flow"]

TOOLS = pytest.mark.parametrize("tool", [Plain, Wrapt])


def kinds(recorder: Recorder) -> list[str]:
    """The traced runs, without attempts: those can't be seen through somebody's wrapper."""
    return [line for line in Trace(recorder).lines() if "attempt" not in line]


RUNS = [line for line in LINES if "attempt" not in line]


@TOOLS
def test_a_tool_that_came_first(tool: Any, provider: tuple[TracerProvider, Recorder]) -> None:
    """Both see every run; the other tool's methods are restored."""
    other = tool()
    other.wrap()
    before = methods_of(pocketflow)
    start(provider[0])
    flow().run({})
    PocketFlowInstrumentor().uninstrument()
    assert methods_of(pocketflow) == before
    other.unwrap()

    assert other.seen == SEEN_HERE
    assert kinds(provider[1]) == RUNS


def test_a_plain_function_around_a_coroutine_function(
    provider: tuple[TracerProvider, Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it returns is awaited within the node's run, which is told once."""

    class Waits(AsyncNode):
        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            await asyncio.sleep(0)
            shared["waited"] = True

    original = AsyncNode._run_async

    @functools.wraps(original)
    def logged_run(self: Any, shared: Any) -> Any:
        return original(self, shared)

    monkeypatch.setattr(AsyncNode, "_run_async", logged_run)
    start(provider[0])
    asyncio.run(AsyncFlow(start=Waits()).run_async({}))
    PocketFlowInstrumentor().uninstrument()

    trace = Trace(provider[1])
    assert trace.lines() == ["invoke_workflow WaitsFlow", "  Waits"]
    assert trace.node("Waits").writes == [("add", "/waited", "post")]


@TOOLS
def test_a_tool_that_came_later(tool: Any, provider: tuple[TracerProvider, Recorder]) -> None:
    """Both see every run, and the last to come is the first to go."""
    before = methods_of(pocketflow)
    start(provider[0])
    other = tool()
    other.wrap()
    flow().run({})
    other.unwrap()
    PocketFlowInstrumentor().uninstrument()

    assert other.seen == SEEN_HERE
    assert Trace(provider[1]).lines() == LINES
    assert methods_of(pocketflow) == before


@TOOLS
def test_a_tool_that_came_later_and_stays(
    tool: Any, provider: tuple[TracerProvider, Recorder]
) -> None:
    """It keeps working when we go first; what it puts back of ours only passes on."""
    start(provider[0])
    other = tool()
    other.wrap()
    PocketFlowInstrumentor().uninstrument()
    flow().run({})
    assert other.seen == SEEN_HERE
    other.unwrap()
    flow().run({})

    assert provider[1].started == []


@TOOLS
def test_a_tool_that_came_first_and_went_first(
    tool: Any, provider: tuple[TracerProvider, Recorder]
) -> None:
    """It takes our wrappers of its methods with it; what is left of us still works."""
    before = methods_of(pocketflow)
    other = tool()
    other.wrap()
    start(provider[0])
    other.unwrap()
    flow().run({})
    PocketFlowInstrumentor().uninstrument()

    assert methods_of(pocketflow) == before


def test_instrumented_again_under_a_tool_that_stayed(
    provider: tuple[TracerProvider, Recorder],
) -> None:
    """A wrapper of ours that somebody else holds does not double the spans."""
    start(provider[0])
    other = Plain()
    other.wrap()
    PocketFlowInstrumentor().uninstrument()
    start(provider[0])
    flow().run({})

    assert other.seen == SEEN_HERE
    assert kinds(provider[1]) == RUNS


# --- while things run -----------------------------------------------------------------------


def test_instrumented_while_a_flow_runs(provider: tuple[TracerProvider, Recorder]) -> None:
    """The run that has begun is not traced, its later nodes are, and nothing breaks."""

    class Starts(Node):
        def exec(self, prep_res: Any) -> Any:
            start(provider[0])

    first = Starts()
    first >> Ask()
    Flow(start=first).run({})

    assert [label.strip() for label in Trace(provider[1]).lines()] == ["Ask"]


def test_uninstrumented_by_another_thread(provider: tuple[TracerProvider, Recorder]) -> None:
    """Spans that were begun are ended, and none begins."""

    class Stops(Node):
        def exec(self, prep_res: Any) -> Any:
            thread = threading.Thread(target=PocketFlowInstrumentor().uninstrument)
            thread.start()
            thread.join()

    before = methods_of(pocketflow)
    start(provider[0])
    first = Stops()
    first >> Ask()
    Flow(start=first).run({})

    assert Trace(provider[1]).lines() == ["invoke_workflow StopsFlow", "  Stops"]
    assert set(provider[1].started) == set(provider[1].ended)
    assert methods_of(pocketflow) == before


def test_methods_look_as_before_while_traced() -> None:
    """Names, signatures and docs are those of the framework."""

    def look() -> list[Any]:
        return [
            (
                cls.__name__,
                name,
                inspect.signature(method),
                method.__qualname__,
                method.__doc__,
                inspect.iscoroutinefunction(method),
            )
            for cls, methods in methods_of(pocketflow)
            for name, method in ((name, getattr(cls, name)) for name in sorted(methods))
            if inspect.isfunction(method) or "FunctionWrapper" in type(method).__name__
        ]

    plain = look()
    with tracing():
        assert look() == plain


def test_a_subclass_made_while_traced_works_afterwards() -> None:
    """Nothing of the wrappers is inherited by value."""
    with tracing():

        class Made(AsyncNode):
            async def exec_async(self, prep_res: Any) -> Any:
                note("made")

    outcome = act(lambda stage: stage.run_async(AsyncFlow(start=Made())))

    assert outcome.log == ("made",)
    assert outcome.raised == ()
