"""Faults of the tracer itself: the program never notices, and every span that began is ended."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow import (
    PocketFlowInstrumentor,
    guard,
    record_usage,
)
from opentelemetry.instrumentation.pocketflow.capture import (
    classes,
    execs,
    failures,
    graph,
    journal,
    routes,
    runs,
    session,
    watch,
)
from opentelemetry.instrumentation.pocketflow.capture.usage import ledger
from opentelemetry.instrumentation.pocketflow.emit import metrics, spans
from support.framework import AsyncFlow, AsyncParallelBatchNode, BatchFlow, BatchNode, Flow, Node
from support.tracing import Recorder, Stage, act, note


class Work(Node):
    """Fails once, and works in the second attempt."""

    def exec(self, prep_res: Any) -> Any:
        """Counts on the framework's own counter."""
        note("exec", self.cur_retry)
        record_usage(model="m", input_tokens=1)
        if self.cur_retry == 0:
            raise OSError("once")
        return "done"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Writes."""
        shared["done"] = shared.get("done", 0) + 1


class Hidden(Node):
    """Takes the place of the framework's run."""

    def _run(self, shared: Any) -> Any:
        note("hidden")
        shared["hidden"] = True


class Items(BatchNode):
    """A batch."""

    def prep(self, shared: Any) -> Any:
        """The batch."""
        return [1, 2]


class Parallel(AsyncParallelBatchNode):
    """A parallel batch."""

    async def prep_async(self, shared: Any) -> Any:
        """The batch."""
        return [1, 2]

    async def exec_async(self, prep_res: Any) -> Any:
        """An item."""
        await asyncio.sleep(0)


class Each(BatchFlow):
    """A batch flow."""

    def prep(self, shared: Any) -> Any:
        """The params."""
        return [{"n": 1}]


class Walks(Flow):
    """Goes from node to node by itself."""

    def _orch(self, shared: Any, params: Any = None) -> Any:
        node = self.start_node
        while node:
            node = self.get_next_node(node, node._run(shared))


class Breaks(Node):
    """Fails for good."""

    def exec(self, prep_res: Any) -> Any:
        """An error."""
        raise ValueError("broken")


def program(stage: Stage) -> Any:
    """Everything at once."""
    work = Work(max_retries=2)
    each = Each(start=Work(max_retries=2))
    work >> Hidden() >> Items() >> each >> Walks(start=Work(max_retries=2)) >> Parallel()
    asyncio.run(AsyncFlow(start=work).run_async(stage.watch(work)))
    broken = Flow(start=Breaks(max_retries=2))
    return stage.run(broken)


FAULTS: list[tuple[Any, str]] = [
    (classes, "max_retries_of"),
    (classes, "params_of"),
    (classes, "start_of"),
    (classes, "successors_of"),
    (classes, "hides_its_run"),
    (execs, "may_retry"),
    (execs, "type_name"),
    (execs.TracedAttempts, "on_begin"),
    (execs.TracedAttempts, "on_failure"),
    (failures, "describe"),
    (graph.Graph, "id_of"),
    (journal.Journal, "mark"),
    (watch, "fit"),
    (routes, "get_current_span"),
    (routes.RouteScope, "place"),
    (runs, "StoreWatch"),
    (runs, "action_text"),
    (runs, "describe"),
    (runs, "preview_text"),
    (runs, "size_of"),
    (runs.NodeRun, "start_attributes"),
    (session.Session, "name_of"),
    (session.Session, "start_attributes"),
    (spans, "add_exception"),
    (spans, "finish_attempt"),
    (spans, "finish_item"),
    (spans, "finish_run"),
    (ledger.Account, "begin_attempt"),
    (ledger.Account, "charge"),
    (ledger.Account, "close"),
    (ledger.Account, "end_attempt"),
    (ledger.Account, "usage"),
    (runs, "find_calls"),
    (metrics.Metrics, "flow_ended"),
    (metrics.Metrics, "model_call"),
    (metrics.Metrics, "node_ended"),
    (watch.StoreWatch, "close"),
    (watch.StoreWatch, "show"),
    (runs, "is_recorded"),
]


def broken(*args: Any, **kwargs: Any) -> Any:
    """What stands in place of a part of the tracer."""
    raise RuntimeError("a fault of ours")


def observed(provider: TracerProvider, **options: Any) -> Any:
    """The program's outcome while it is traced."""
    before = context_api.get_current()
    instrumentor = PocketFlowInstrumentor()
    meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    instrumentor.instrument(
        tracer_provider=provider, meter_provider=meters, resource=False, **options
    )
    try:
        return vars(act(program))
    finally:
        instrumentor.uninstrument()
        assert context_api.get_current() is before


@pytest.mark.parametrize("phase_spans", [False, True])
@pytest.mark.parametrize(("owner", "name"), FAULTS, ids=[name for _, name in FAULTS])
def test_a_fault_never_reaches_the_program(
    owner: Any,
    name: str,
    phase_spans: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Results, exceptions and order are as before; the fault is logged, and spans are ended."""
    plain = vars(act(program))
    recorder = Recorder()
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(recorder)
    assert not guard.reraise
    monkeypatch.setattr(guard, "_reported", set[str]())
    monkeypatch.setattr(owner, name, broken)

    with caplog.at_level(logging.WARNING):
        assert observed(provider, phase_spans=phase_spans) == plain

    assert set(recorder.started) == set(recorder.ended)
    assert any("the program is not affected" in text for text in caplog.messages)
    assert len(caplog.messages) == len(set(caplog.messages))


def test_a_span_processor_that_fails() -> None:
    """What somebody's processor raises at the end of a span stays with the tracer."""

    class Bad(Recorder):
        def on_end(self, span: Any) -> None:
            raise RuntimeError("not ours")

    plain = vars(act(program))
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(Bad())

    assert observed(provider) == plain


def test_a_provider_that_can_not_make_spans() -> None:
    """A tracer that raises is a tracer that makes no spans."""

    class Bad(TracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
            tracer = super().get_tracer(*args, **kwargs)
            tracer.start_span = broken
            return tracer

    plain = vars(act(program))

    assert observed(Bad(shutdown_on_exit=False)) == plain
