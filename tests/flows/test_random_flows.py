"""Random programs: traced they come out as plain ones, and their spans tell all that happened."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.patches import applied
from support.random_flows import Plan, async_plans, build, stores, sync_plans
from support.tracing import Program, Stage, Trace, compared

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def program_of(plan: Plan, store: dict[str, Any], *, is_async: bool) -> Program:
    """Builds and runs a flow on a store of its own."""

    def program(stage: Stage) -> Any:
        flow, own = build(plan), copy.deepcopy(store)
        return stage.run_async(flow, own) if is_async else stage.run(flow, own)

    return program


def check(trace: Trace) -> None:
    """What must be true of every trace."""
    log = trace.result.log
    kinds = [node["span.kind"] for node in trace.nodes]
    assert kinds.count("node") == sum(entry[0] == "run" for entry in log)
    assert kinds.count("flow") == sum(entry[0] == "flow" for entry in log)
    assert trace.nodes[0].json("shared.initial") is not None
    final = applied(trace.nodes[0].json("shared.initial"), trace.patches())
    assert final == trace.result.stores[0]
    nodes = [span for span in trace.nodes if span["span.kind"] == "node"]
    made = sum(span.get("node.attempts") or 0 for span in nodes)
    assert made == sum(entry[0] == "exec" for entry in log)


@MANY
@given(sync_plans, stores)
def test_sync_flows(plan: Plan, store: dict[str, Any]) -> None:
    """Sync flows, batch flows and flows in flows."""
    program = program_of(plan, store, is_async=False)
    check(compared(program, max_span_bytes=10_000_000))


@MANY
@given(async_plans, stores)
def test_async_flows(plan: Plan, store: dict[str, Any]) -> None:
    """Async flows with parallel batches, on one store."""
    program = program_of(plan, store, is_async=True)
    check(compared(program, nested=False, max_span_bytes=10_000_000))


@settings(MANY, max_examples=60)
@given(
    async_plans,
    stores,
    st.sampled_from(["off", "keys", "values"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
    st.sampled_from(["skip", "timing", "keys", "full", "on_error", None]),
)
def test_with_any_options(
    plan: Plan,
    store: dict[str, Any],
    content: str,
    phase_spans: bool,
    self_report: bool,
    items: int,
    level: str | None,
) -> None:
    """Whatever is asked of the tracer, the program comes out the same."""
    compared(
        program_of(plan, store, is_async=True),
        nested=False,
        content=content,
        phase_spans=phase_spans,
        self_report=self_report,
        max_batch_items=items,
        levels={"[SI]*": level} if level is not None else {},
        max_span_bytes=1024,
    )
