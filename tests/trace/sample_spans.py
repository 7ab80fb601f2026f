"""Makes spans with the real SDK, named as the core names them, at times set by hand."""

from __future__ import annotations

import contextlib
import json
import typing

from opentelemetry.sdk.trace import TracerProvider

from opentelemetry import trace
from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record.collector import RunCollector

if typing.TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from opentelemetry.util.types import AttributeValue

    from pocketflow_trace.record.model import Run

MILLISECOND = 1_000_000


class Stage:
    """A provider with a collector, and spans whose start and end are given in milliseconds."""

    def __init__(self, collector: RunCollector | None = None) -> None:
        self.collector = collector or RunCollector()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.collector)

    @property
    def run(self) -> Run:
        """What the collector knows now."""
        return self.collector.snapshot()

    @contextlib.contextmanager
    def span(
        self,
        name: str,
        start: int,
        end: int | None,
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        scope: str = semconv.SCOPE_NAME,
        error: Exception | None = None,
    ) -> Generator[trace.Span]:
        """Run a block inside a span.

        Args:
            name: Its name.
            start: Milliseconds.
            end: Milliseconds; None leaves it unfinished.
            attributes: Its attributes.
            scope: Its instrumentation scope.
            error: An exception that it records and fails with.
        """
        tracer = self.provider.get_tracer(scope)
        span = tracer.start_span(name, attributes=attributes, start_time=start * MILLISECOND)
        with trace.use_span(span, end_on_exit=False):
            yield span
        if error is not None:
            span.add_event(
                semconv.EXCEPTION_EVENT,
                {
                    semconv.EXCEPTION_TYPE: type(error).__name__,
                    semconv.EXCEPTION_MESSAGE: str(error),
                },
            )
            fail(span, type(error).__name__)
        if end is not None:
            span.end(end * MILLISECOND)

    def leaf(self, name: str, start: int, end: int | None, **options: typing.Any) -> None:
        """Make a span with nothing in it; options as for `span`."""
        with self.span(name, start, end, **options):
            pass


def fail(span: trace.Span, error_type: str) -> None:
    """Mark a span as one that an exception passed through."""
    span.set_attribute(semconv.ERROR_TYPE, error_type)
    span.set_status(trace.Status(trace.StatusCode.ERROR))


def flow(name: str, **more: AttributeValue) -> dict[str, AttributeValue]:
    """Return the attributes of a flow; further ones by their constant's name in lower case."""
    return {
        semconv.SPAN_KIND: semconv.KIND_FLOW,
        semconv.GEN_AI_OPERATION_NAME: semconv.INVOKE_WORKFLOW,
        semconv.GEN_AI_WORKFLOW_NAME: name,
        **_named(more),
    }


def node(name: str, **more: AttributeValue) -> dict[str, AttributeValue]:
    """Return the attributes of a node; its id is its class unless given."""
    return {
        semconv.SPAN_KIND: semconv.KIND_NODE,
        semconv.NODE_CLASS: name,
        semconv.NODE_ID: name,
        **_named(more),
    }


def item(index: int, **more: AttributeValue) -> dict[str, AttributeValue]:
    """Return the attributes of a batch item."""
    return {semconv.SPAN_KIND: semconv.KIND_ITEM, semconv.ITEM_INDEX: index, **_named(more)}


def attempt(number: int, **more: AttributeValue) -> dict[str, AttributeValue]:
    """Return the attributes of an attempt."""
    return {
        semconv.SPAN_KIND: semconv.KIND_ATTEMPT,
        semconv.ATTEMPT_NUMBER: number,
        **_named(more),
    }


def _named(more: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    return {getattr(semconv, name.upper()): value for name, value in more.items()}


def diff(*operations: Mapping[str, object]) -> str:
    """Return operations as the text of a store's patch."""
    return json.dumps(operations)


def agent_run() -> Run:
    """Return a research agent's run: a loop, a retry, a failed branch of a nested flow."""
    stage = Stage()
    with stage.span("invoke_workflow Agent", 0, 1240, flow("Agent")):
        changes = diff({"op": "add", "path": "/query", "value": "cats", "phase": "post", "seq": 1})
        attributes = node(
            "Decide",
            node_iteration=1,
            node_action="search",
            node_next="Search",
            shared_added=("query",),
            shared_diff=changes,
        )
        stage.leaf("Decide", 0, 310, attributes=attributes)
        _search(stage)
        attributes = node("Decide", node_iteration=2, node_action="answer", node_next="Answer")
        stage.leaf("Decide", 830, 900, attributes=attributes)
        stage.leaf("Answer", 900, 1240, attributes=node("Answer", node_action="done"))
    return stage.run


def _search(stage: Stage) -> None:
    changes = diff(
        {"op": "replace", "path": "/context", "was": "", "value": "Cats purr.", "phase": "post"},
        {"op": "remove", "path": "/draft", "was": [1, 2], "phase": "exec"},
    )
    attributes = node(
        "Search",
        node_action="decide",
        node_next="Decide",
        node_attempts=2,
        node_max_retries=3,
        shared_changed=("context",),
        shared_diff=changes,
    )
    with stage.span("Search", 310, 830, attributes):
        failed = attempt(1, attempt_wait=0.1)
        error = TimeoutError("read timed out")
        stage.leaf("Search attempt", 310, 400, attributes=failed, error=error)
        with stage.span("Search attempt", 500, 830, attempt(2)):
            stage.leaf("chat gpt-5", 510, 820, scope="some.llm.client")


def used(
    calls: int, tokens: int | None = None, cost: float | None = None, **more: AttributeValue
) -> dict[str, AttributeValue]:
    """Return the roll-up of some model calls; further ones by name without `usage_`.

    Args:
        calls: Model calls.
        tokens: Input and output; None where nobody told.
        cost: Their price in US dollars, unless `currency` is given; None where it is not known.
        more: For example `wasted_calls=1`.
    """
    attributes = {semconv.USAGE_CALLS: calls, semconv.USAGE_CURRENCY: "USD"}
    told = {semconv.USAGE_TOTAL_TOKENS: tokens, semconv.USAGE_COST: cost}
    attributes |= {name: value for name, value in told.items() if value is not None}
    return attributes | _named({f"usage_{name}": value for name, value in more.items()})


def paid_run() -> Run:
    """Return a run whose second node pays for an attempt that fails, then for one that works."""
    stage = Stage()
    wasted = {"wasted_calls": 1, "wasted_total_tokens": 812, "wasted_cost": 0.0021}
    with stage.span("invoke_workflow Chat", 0, 900, flow("Chat") | used(3, 2948, 0.0071, **wasted)):
        plan = node("Plan", node_next="Write") | used(1, 615, 0.0008)
        stage.leaf("Plan", 0, 100, attributes=plan)
        write = node("Write", node_attempts=2, node_max_retries=3, node_action="done")
        with stage.span("Write", 100, 900, write | used(2, 2333, 0.0063, **wasted)):
            failed = attempt(1, attempt_wait=0) | used(1, 812, 0.0021, **wasted)
            error = ValueError("no JSON in the answer")
            with stage.span("Write attempt", 100, 400, failed, error=error):
                _chat(stage, 100, 390, 800, 12)
            with stage.span("Write attempt", 400, 900, attempt(2) | used(1, 1521, 0.0042)):
                _chat(stage, 400, 890, 1500, 21)
    return stage.run


def _chat(stage: Stage, start: int, end: int, tokens_in: int, tokens_out: int) -> None:
    attributes = {
        semconv.GEN_AI_INPUT_TOKENS: tokens_in,
        semconv.GEN_AI_OUTPUT_TOKENS: tokens_out,
    }
    stage.leaf("chat gpt-5", start, end, attributes=attributes, scope="some.llm.client")
