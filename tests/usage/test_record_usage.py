"""`record_usage`: credited to what runs, wherever it is called; wrong values never disturb."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor, guard, record_usage
from support.framework import (
    AsyncBatchNode,
    AsyncNode,
    AsyncParallelBatchNode,
    BatchNode,
    Flow,
    Node,
)
from support.hostile import ALARM, trap
from support.tracing import Recorder, SpanView, Trace, note, traced


class Model(str, Enum):
    """Models as programs name them."""

    SMALL = "small-model"


def tell(tokens: int = 10) -> None:
    """Tells of one call."""
    record_usage(model="my-model", input_tokens=tokens)


def usage(span: SpanView) -> tuple[int | None, int | None]:
    """Calls and input of a span."""
    return span.get("usage.calls"), span.get("usage.input_tokens")


@pytest.fixture(autouse=True)
def fresh_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has been logged yet."""
    monkeypatch.setattr(guard, "_reported", set[str]())


# --- Where it is called ---------------------------------------------------------------------


@pytest.mark.parametrize("where", ["prep", "exec", "post", "exec_fallback"])
def test_in_each_method_of_a_node(where: str) -> None:
    """The node and the flow have it; nothing was wasted."""

    class Tells(Node):
        def prep(self, shared: Any) -> Any:
            if where == "prep":
                tell()

        def exec(self, prep_res: Any) -> Any:
            if where == "exec":
                tell()
            if where == "exec_fallback":
                raise ValueError("no")

        def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
            tell()

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            if where == "post":
                tell()

    trace = traced(lambda stage: stage.run(Flow(start=Tells())))

    assert [usage(span) for span in trace.nodes] == [(1, 10), (1, 10)]
    assert trace.values("usage.wasted.calls") == []
    assert trace.node("Tells")["gen_ai.usage.input_tokens"] == 10


@pytest.mark.parametrize("where", ["prep", "exec", "post", "fallback"])
def test_in_each_method_of_an_async_node(where: str) -> None:
    """Also after it has waited."""

    class Tells(AsyncNode):
        async def _tell(self, here: str) -> None:
            await asyncio.sleep(0)
            if where == here:
                tell()

        async def prep_async(self, shared: Any) -> Any:
            await self._tell("prep")

        async def exec_async(self, prep_res: Any) -> Any:
            await self._tell("exec")
            if where == "fallback":
                raise ValueError("no")

        async def exec_fallback_async(self, prep_res: Any, exc: Any) -> Any:
            await self._tell("fallback")

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            await self._tell("post")

    trace = traced(lambda stage: stage.run_async(Tells()))

    assert usage(trace.node("Tells")) == (1, 10)
    assert trace.values("usage.wasted.calls") == []


def sync_batch(stage: Any) -> Any:
    """Items one after another."""

    class Items(BatchNode):
        def prep(self, shared: Any) -> Any:
            return [1, 2, 3]

        def exec(self, prep_res: Any) -> Any:
            tell(prep_res)

    return stage.run(Items())


def async_batch(stage: Any) -> Any:
    """Items one after another, async."""

    class Items(AsyncBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return [1, 2, 3]

        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)
            tell(prep_res)

    return stage.run_async(Items())


def parallel_batch(stage: Any) -> Any:
    """Items at the same time."""

    class Items(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return [1, 2, 3]

        async def exec_async(self, prep_res: Any) -> Any:
            for _ in range(4 - prep_res):  # they end in reverse
                await asyncio.sleep(0)
            tell(prep_res)

    return stage.run_async(Items())


@pytest.mark.parametrize("program", [sync_batch, async_batch, parallel_batch])
def test_in_the_items_of_a_batch(program: Any) -> None:
    """Each has its own, and the node has all."""
    trace = traced(program)

    assert [usage(item) for item in trace.all("Items item")] == [(1, 1), (1, 2), (1, 3)]
    assert usage(trace.node("Items")) == (3, 6)


def test_in_the_attempts_of_items_that_run_at_once() -> None:
    """Each attempt has its own call; what failed is wasted."""

    class Items(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return [[1, 2], [10, 20]]

        async def exec_async(self, prep_res: Any) -> Any:
            tokens = prep_res.pop(0)
            await asyncio.sleep(0)
            tell(tokens)
            if prep_res:
                raise ValueError("again")

    trace = traced(lambda stage: stage.run_async(Items(max_retries=2)))

    assert sorted(usage(span) for span in trace.all("Items attempt")) == [
        (1, 1),
        (1, 2),
        (1, 10),
        (1, 20),
    ]
    assert [usage(item) for item in trace.all("Items item")] == [(2, 3), (2, 30)]
    assert [item["usage.wasted.input_tokens"] for item in trace.all("Items item")] == [1, 10]
    assert usage(trace.node("Items")) == (4, 33)
    assert trace.node("Items")["usage.wasted.input_tokens"] == 11


def test_in_a_thread_with_a_copied_context() -> None:
    """Threads that the context was not copied to are no part of a run."""

    class Threads(Node):
        def exec(self, prep_res: Any) -> Any:
            threads = [
                threading.Thread(target=copy_context().run, args=(tell, 1)),
                threading.Thread(target=copy_context().run, args=(tell, 2)),
                threading.Thread(target=tell, args=(100,)),
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    trace = traced(lambda stage: stage.run(Threads()))

    assert usage(trace.node("Threads")) == (2, 3)


def test_in_a_nested_flow_and_in_the_flows_own_methods() -> None:
    """The inner flow has its nodes' calls and its own; the outer all."""

    class Inner(Flow):
        def prep(self, shared: Any) -> Any:
            tell(1)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            tell(4)

    class Tells(Node):
        def exec(self, prep_res: Any) -> Any:
            tell(2)

    trace = traced(lambda stage: stage.run(Flow(start=Inner(start=Tells()))))

    assert [usage(span) for span in trace.nodes] == [(3, 7), (3, 7), (1, 2)]
    own = [span.get("gen_ai.usage.input_tokens") for span in trace.nodes]
    assert own == [None, 5, 2]


def test_a_generator_tells_where_it_is_read() -> None:
    """By post of the same node here: the node has it."""

    class Streams(Node):
        def exec(self, prep_res: Any) -> Any:
            def stream() -> Any:
                yield "hi"
                tell()

            return stream()

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            note("read", list(exec_res))

    trace = traced(lambda stage: stage.run(Flow(start=Streams())))

    assert [usage(span) for span in trace.nodes] == [(1, 10), (1, 10)]


def test_outside_of_a_run_it_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """With right values and wrong ones, instrumented or not, strict or not."""
    for options in ({}, {"strict": True}):
        instrumentor = PocketFlowInstrumentor()
        record_usage(input_tokens="ten")  # pyright: ignore[reportArgumentType] - that is the point
        instrumentor.instrument(tracer_provider=TracerProvider(), resource=False, **options)
        try:
            record_usage(input_tokens=1)
            record_usage(model=object())  # pyright: ignore[reportArgumentType] - that is the point
        finally:
            instrumentor.uninstrument()
    assert caplog.messages == []


def test_all_that_can_be_told() -> None:
    """Each argument has its attribute, the price in the currency of the option."""

    class Tells(Node):
        def exec(self, prep_res: Any) -> Any:
            record_usage(
                provider="my.provider",
                model=Model.SMALL,
                input_tokens=100,
                output_tokens=50,
                cached_tokens=30,
                cache_write_tokens=20,
                reasoning_tokens=10,
                cost=Decimal("0.0042"),
            )

    span = traced(lambda stage: stage.run(Tells()), currency="eur", openinference=False).node(
        "Tells"
    )

    told = {name: value for name, value in span.attributes.items() if "usage" in name}
    assert told == {
        "gen_ai.usage.cache_read.input_tokens": 30,
        "gen_ai.usage.cache_write.input_tokens": 20,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 50,
        "gen_ai.usage.reasoning.output_tokens": 10,
        "pocketflow.usage.cache_write_tokens": 20,
        "pocketflow.usage.cached_tokens": 30,
        "pocketflow.usage.calls": 1,
        "pocketflow.usage.cost": 0.0042,
        "pocketflow.usage.currency": "EUR",
        "pocketflow.usage.input_tokens": 100,
        "pocketflow.usage.output_tokens": 50,
        "pocketflow.usage.reasoning_tokens": 10,
        "pocketflow.usage.total_tokens": 150,
    }
    assert (span["gen_ai.provider.name"], span["gen_ai.request.model"]) == (
        "my.provider",
        "small-model",
    )


@pytest.mark.parametrize("cost", [0.1, np.float64(0.1), Decimal("0.1")], ids=repr)
def test_prices_of_any_kind_of_number(cost: Any) -> None:
    """A float is taken as it is written, that of NumPy as well: three times 0.1 is 0.3."""

    class Tells(Node):
        def exec(self, prep_res: Any) -> Any:
            for _ in range(3):
                record_usage(cost=cost)

    span = traced(lambda stage: stage.run(Tells())).node("Tells")

    assert span["usage.cost"] == 0.3
    assert span["usage.unmetered_calls"] == 3


# --- Wrong values ---------------------------------------------------------------------------

NAME_RULE = "must be a name: 1 to 200 letters, digits or . _ : / @ + -"
TOKENS_RULE = "must be a whole number from 0"
WRONG: list[tuple[str, Any, type[Exception], str, str]] = [
    ("provider", 3, TypeError, "3", "must be a string"),
    ("model", b"gpt", TypeError, "", "must be a string"),
    ("model", "two words", ValueError, '"two words"', NAME_RULE),
    ("model", "", ValueError, '""', NAME_RULE),
    ("model", "x" * 201, ValueError, '{"$cut":"str","length":201', NAME_RULE),
    *(
        (f"{name}_tokens", value, error, shown, TOKENS_RULE)
        for name in ("input", "output", "cached", "cache_write", "reasoning")
        for value, error, shown in [
            ("10", TypeError, '"10"'),
            (True, TypeError, "true"),
            (1.0, TypeError, "1.0"),
            (-1, ValueError, "-1"),
            (2**53 + 1, ValueError, str(2**53 + 1)),
        ]
    ),
    ("cost", "0.1", TypeError, '"0.1"', "must be a number, best a Decimal"),
    ("cost", False, TypeError, "false", "must be a number, best a Decimal"),
    ("cost", -0.5, ValueError, "-0.5", "must be a number from 0"),
    ("cost", float("nan"), ValueError, "", "must be a number from 0"),
    ("cost", Decimal("Infinity"), ValueError, "", "must be a number from 0"),
    ("cost", Decimal("1e999999"), ValueError, "", "must be a number from 0"),
]


def run_telling(*calls: dict[str, Any], **options: Any) -> SpanView:
    """The span of a node that passes these to `record_usage`, and may have something logged."""

    class Tells(Node):
        def exec(self, prep_res: Any) -> Any:
            with ALARM.armed():
                for call in calls:
                    record_usage(**call)

    recorder = Recorder()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(recorder)
    instrumentor = PocketFlowInstrumentor()
    instrumentor.instrument(tracer_provider=provider, resource=False, **options)
    try:
        Tells().run({})
    finally:
        instrumentor.uninstrument()
    return Trace(recorder).node("Tells")


@pytest.mark.parametrize(("option", "value", "error", "shown", "rule"), WRONG)
def test_a_wrong_value_is_logged_once_and_left_out(
    option: str,
    value: Any,
    error: type[Exception],
    shown: str,
    rule: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The message names option, value and what is allowed; what else was told counts."""
    other = "output_tokens" if option == "input_tokens" else "input_tokens"
    call = {option: value, other: 7}

    span = run_telling(call, call)

    assert span["usage.calls"] == 2
    assert span[f"usage.{other}"] == 14
    assert f"usage.{option}" not in span
    (message,) = caplog.messages
    assert f"record_usage: {option}={shown}" in message
    assert rule in message


@pytest.mark.parametrize(("option", "value", "error", "shown", "rule"), WRONG)
def test_strict_raises(
    option: str, value: Any, error: type[Exception], shown: str, rule: str
) -> None:
    """For development: where the wrong value was given, so that it is found."""
    with pytest.raises(error) as caught:
        run_telling({option: value}, strict=True)

    assert f"record_usage: {option}={shown}" in str(caught.value)
    assert rule in str(caught.value)
    assert not guard.strict


def test_each_option_is_logged_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    """One wrong option does not hide another."""
    span = run_telling({"input_tokens": "x", "model": 1, "cost": "y"})

    assert len(caplog.messages) == 3
    assert span["usage.unmetered_calls"] == 1


OPTIONS = ("provider", "model", "input_tokens", "output_tokens", "cached_tokens", "cost")


@pytest.mark.parametrize("base", [str, int, float, object, list, dict, Decimal])
@pytest.mark.parametrize("option", OPTIONS)
def test_no_code_of_a_value_runs(
    base: type[Any], option: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither to read it, nor to show it in a message."""
    ALARM.calls.clear()

    span = run_telling({option: trap(base)()}, {"input_tokens": 3})

    assert ALARM.calls == []
    assert span["usage.calls"] == 2
    assert len(caplog.messages) <= 1
