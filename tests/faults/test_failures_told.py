"""Where an exception of the program can't be told, that it failed is told all the same."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
from opentelemetry.instrumentation.pocketflow.capture import classes, failures
from support.framework import BatchNode, Flow, Node
from support.tracing import Recorder, Trace


class Fails(Node):
    """Fails."""

    def exec(self, prep_res: Any) -> Any:
        """An error."""
        raise ValueError("wrong")


class FailsForAnItem(BatchNode):
    """Fails for its only item."""

    def prep(self, shared: Any) -> Any:
        """The batch."""
        return [1]

    def exec(self, prep_res: Any) -> Any:
        """An error."""
        raise ValueError("wrong")


def no_memory(*args: Any, **kwargs: Any) -> Any:
    """What stands in place of a part of the tracer."""
    raise MemoryError


def traced(flow: Any, *, raises: type[Exception] | None = None, **options: Any) -> Trace:
    """Runs a flow, which may raise."""
    recorder = Recorder()
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(recorder)
    PocketFlowInstrumentor().instrument(tracer_provider=provider, resource=False, **options)
    try:
        if raises is None:
            flow.run({})
        else:
            with pytest.raises(raises):
                flow.run({})
    finally:
        PocketFlowInstrumentor().uninstrument()
    assert set(recorder.started) == set(recorder.ended)
    return Trace(recorder)


@pytest.mark.parametrize(
    "node", [Fails(), Fails(max_retries=2), FailsForAnItem()], ids=["node", "attempts", "item"]
)
def test_an_exception_that_can_not_be_described(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its event is missing."""
    monkeypatch.setattr(failures, "describe", no_memory)

    trace = traced(Flow(start=node), raises=ValueError)

    assert [span["error.type"] for span in trace.nodes] == ["ValueError"] * len(trace.nodes)
    assert all(span.is_error for span in trace.nodes)


@pytest.mark.parametrize("self_report", [False, True])
def test_a_fault_while_a_run_begins(self_report: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the run had not come to is lost, and its place in the tree is not."""
    first = Node()
    first >> Node()  # pyright: ignore[reportUnusedExpression] - it connects them
    monkeypatch.setattr(classes, "params_of", no_memory)

    trace = traced(Flow(start=first), self_report=self_report)

    assert trace.lines() == ["invoke_workflow NodeFlow", "  Node", "  Node"]
