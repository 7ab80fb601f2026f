"""Records to span attributes, events and status. Knows the names, and nothing of PocketFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from opentelemetry.trace import Status, StatusCode, get_tracer_provider

from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.emit.usage import add_usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.trace import Span, Tracer

    from opentelemetry.instrumentation.pocketflow.record import (
        Attempt,
        Attempts,
        Batch,
        Content,
        Failure,
        Item,
        Location,
        Phases,
        Route,
        Run,
        Step,
        Store,
    )

Attributes: TypeAlias = "dict[str, str | bool | int | float | Sequence[str]]"

_API_PACKAGE = "opentelemetry.trace"
_JSON = "application/json"
_NO_CHANGE = "[]"


def may_record(tracer: Tracer) -> bool:
    """Can spans of a tracer, or of the global provider, record anything?

    The API's own classes cannot: its no-op, and the proxies that stand in until a provider is set.
    Any other implementation can, so what counts is where a class was defined.
    """
    return not (
        type(tracer).__module__ == _API_PACKAGE
        and type(get_tracer_provider()).__module__ == _API_PACKAGE
    )


def start_attributes(kind: str, *, openinference: bool) -> Attributes:
    """What every span carries from its start."""
    attributes: Attributes = {semconv.SPAN_KIND: kind}
    if openinference:
        attributes[semconv.OPENINFERENCE_SPAN_KIND] = "CHAIN"
    return attributes


def class_attributes(name: str, base: str, location: Location) -> Attributes:
    """What tells the class of a flow or node."""
    attributes: Attributes = {
        semconv.NODE_CLASS: name,
        semconv.NODE_BASE: base,
        semconv.CODE_FUNCTION_NAME: location.function,
    }
    if location.file is not None:
        attributes[semconv.CODE_FILE_PATH] = location.file
    if location.line is not None:
        attributes[semconv.CODE_LINE_NUMBER] = location.line
    return attributes


def workflow_attributes(name: str) -> Attributes:
    """What marks a span as a workflow by the GenAI conventions."""
    return {
        semconv.GEN_AI_OPERATION_NAME: semconv.INVOKE_WORKFLOW,
        semconv.GEN_AI_WORKFLOW_NAME: name,
    }


def add_place(attributes: Attributes, node_id: str | None, iteration: int | None) -> None:
    """Adds where in the graph a run is, as far as that is known."""
    if node_id is not None:
        attributes[semconv.NODE_ID] = node_id
    if iteration is not None:
        attributes[semconv.NODE_ITERATION] = iteration


def _add_step(attributes: Attributes, step: Step) -> None:
    if step.action is not None:
        attributes[semconv.NODE_ACTION] = step.action
    if step.next is not None:
        attributes[semconv.NODE_NEXT] = step.next
    if step.dead_end:
        attributes[semconv.NODE_DEAD_END] = True


def begin_store(span: Span, store_id: int, initial: str) -> None:
    """Sets what a store is when the outermost run on it begins."""
    span.set_attributes({semconv.SHARED_ID: store_id, semconv.SHARED_INITIAL: initial})


def begin_graph(span: Span, text: str | None, digest: str | None) -> None:
    """Sets the graph of a flow that begins."""
    if text is not None and digest is not None:
        span.set_attributes({semconv.GRAPH: text, semconv.GRAPH_HASH: digest})


# What is `openinference` below says whether own model calls are told in its words, too.


def finish_run(span: Span, run: Run, *, openinference: bool) -> None:
    """Sets what is known at the end of a run. Does not end the span."""
    attributes: Attributes = {}
    _add_step(attributes, run.step)
    _add_phases(attributes, run.phases)
    _add_attempts(attributes, run.attempts)
    _add_batch(attributes, run.batch)
    _add_store(attributes, run.store)
    _add_content(attributes, run.content)
    _add_route(attributes, run.route)
    # A flow stays one, also where it is told of calls itself.
    add_usage(attributes, run.usage, openinference=openinference and run.route is None)
    _conclude(span, attributes, run.error_type, cancelled=run.cancelled)


def add_own_time(span: Span, seconds: float) -> None:
    """Sets how long the instrumentation itself took in an outermost run."""
    span.set_attribute(semconv.INSTRUMENTATION_DURATION, seconds)


def finish_item(span: Span, item: Item, *, openinference: bool) -> None:
    """Sets what is known at the end of an item. Does not end the span."""
    attributes: Attributes = {}
    _add_attempts(attributes, item.attempts)
    if item.content is not None:
        _add_content(attributes, item.content)
    _add_route(attributes, item.route)
    add_usage(attributes, item.usage, openinference=openinference)
    _conclude(span, attributes, item.error_type, cancelled=item.cancelled)


def finish_attempt(span: Span, attempt: Attempt, *, openinference: bool) -> None:
    """Sets what is known at the end of an attempt. Does not end the span."""
    attributes: Attributes = {}
    if attempt.wait is not None:
        attributes[semconv.ATTEMPT_WAIT] = attempt.wait
    add_usage(attributes, attempt.usage, openinference=openinference)
    _conclude(span, attributes, attempt.error_type, cancelled=attempt.cancelled)


def finish_phase(span: Span, error_type: str | None, *, cancelled: bool) -> None:
    """Sets how a phase ended. Does not end the span."""
    _conclude(span, {}, error_type, cancelled=cancelled)


def _conclude(
    span: Span, attributes: Attributes, error_type: str | None, *, cancelled: bool
) -> None:
    if cancelled:
        attributes[semconv.OUTCOME] = semconv.OUTCOME_CANCELLED
    if error_type is not None:
        attributes[semconv.ERROR_TYPE] = error_type
        span.set_status(Status(StatusCode.ERROR, error_type))
    if attributes:
        span.set_attributes(attributes)


def add_exception(span: Span, failure: Failure) -> None:
    """Adds the event of an exception, on the innermost span it left."""
    attributes: dict[str, str] = {
        semconv.EXCEPTION_TYPE: failure.type,
        semconv.EXCEPTION_STACKTRACE: failure.stacktrace,
    }
    if failure.message is not None:
        attributes[semconv.EXCEPTION_MESSAGE] = failure.message
    span.add_event(semconv.EXCEPTION_EVENT, attributes)


def _add_phases(attributes: Attributes, phases: Phases | None) -> None:
    if phases is None:
        return
    if phases.prep is not None:
        attributes[semconv.PREP_DURATION] = phases.prep
    if phases.exec is not None:
        attributes[semconv.EXEC_DURATION] = phases.exec
    if phases.post is not None:
        attributes[semconv.POST_DURATION] = phases.post


def _add_attempts(attributes: Attributes, attempts: Attempts | None) -> None:
    if attempts is None:
        return
    attributes[semconv.NODE_ATTEMPTS] = attempts.made
    if attempts.allowed is not None:
        attributes[semconv.NODE_MAX_RETRIES] = attempts.allowed
    if attempts.fallback:
        attributes[semconv.NODE_FALLBACK] = True
    if attempts.waited:
        attributes[semconv.WAIT_DURATION] = attempts.waited


def _add_batch(attributes: Attributes, batch: Batch | None) -> None:
    if batch is None:
        return
    attributes[semconv.BATCH_SIZE] = batch.size
    attributes[semconv.BATCH_FAILED] = batch.failed
    attributes[semconv.BATCH_ITEMS_TRACED] = batch.traced
    if batch.retried is not None:
        attributes[semconv.BATCH_RETRIED] = batch.retried
    if batch.fallbacks is not None:
        attributes[semconv.BATCH_FALLBACKS] = batch.fallbacks


def _add_store(attributes: Attributes, store: Store | None) -> None:
    if store is None:
        return
    attributes[semconv.SHARED_ID] = store.id
    if store.patch != _NO_CHANGE:
        attributes[semconv.SHARED_DIFF] = store.patch
    if store.initial is not None:
        attributes[semconv.SHARED_INITIAL] = store.initial
    if store.omitted:
        attributes[semconv.SHARED_DIFF_OMITTED] = store.omitted
    for name, keys in (
        (semconv.SHARED_ADDED, store.added),
        (semconv.SHARED_CHANGED, store.changed),
        (semconv.SHARED_REMOVED, store.removed),
        (semconv.SHARED_CONFLICTS, store.conflicts),
    ):
        if keys:
            attributes[name] = keys
    if store.concurrent:
        attributes[semconv.SHARED_CONCURRENT] = True
    if store.unwatched:
        attributes[semconv.SHARED_UNWATCHED] = store.unwatched


def _add_content(attributes: Attributes, content: Content) -> None:
    if content.input is not None:
        attributes[semconv.INPUT_VALUE] = content.input
        attributes[semconv.INPUT_MIME_TYPE] = _JSON
    if content.output is not None:
        attributes[semconv.OUTPUT_VALUE] = content.output
        attributes[semconv.OUTPUT_MIME_TYPE] = _JSON
    if content.params is not None:
        attributes[semconv.NODE_PARAMS] = content.params


def _add_route(attributes: Attributes, route: Route | None) -> None:
    if route is None:
        return
    if route.path is not None:
        attributes[semconv.FLOW_PATH] = route.path
    attributes[semconv.FLOW_NODE_RUNS] = route.node_runs
    if route.graph is not None and route.graph_hash is not None:
        attributes[semconv.GRAPH] = route.graph
        attributes[semconv.GRAPH_HASH] = route.graph_hash
