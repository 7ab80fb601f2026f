"""Turns spans of the SDK into entries of the model.

What PocketFlow's instrumentation wrote is redacted already. What others wrote, on spans of theirs
or on one of PocketFlow's, is redacted here: entries are shown, kept and pasted somewhere.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, get_args

from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from opentelemetry.instrumentation.pocketflow import semconv
from opentelemetry.instrumentation.pocketflow.capture import redact
from opentelemetry.instrumentation.pocketflow.capture.redact import REDACTED
from pocketflow_trace.record.model import Entry, Failure, Kind, Scalar, Status, Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import Event, ReadableSpan

_OUR_NAMES: Final = frozenset(value for value in vars(semconv).values() if type(value) is str)
"""Names of attributes that PocketFlow's instrumentation writes."""

_STATUS: Final[dict[StatusCode, Status]] = {
    StatusCode.UNSET: "unset",
    StatusCode.OK: "ok",
    StatusCode.ERROR: "error",
}


def is_ours(span: ReadableSpan) -> bool:
    """Tell whether a span is one of PocketFlow's."""
    scope = span.instrumentation_scope
    return scope is not None and scope.name == semconv.SCOPE_NAME


def plain_attributes(attributes: Mapping[str, object] | None) -> dict[str, Value]:
    """Return attributes as the model has them."""
    return {name: _plain(value) for name, value in dict(attributes or {}).items()}


def entry_of(span: ReadableSpan) -> Entry:
    """Return a span as an entry without children; one that still runs has no end."""
    attributes = _without_credentials(plain_attributes(span.attributes), ours=is_ours(span))
    context = span.get_span_context()
    hide = redact.in_use.text
    return Entry(
        kind=kind_of(span),
        name=span.name if is_ours(span) else hide(span.name),
        start=span.start_time or 0,
        end=span.end_time,
        status=_STATUS[span.status.status_code],
        message=hide(span.status.description or ""),
        attributes=attributes,
        failures=_failures(span.events),
        trace_id=format_trace_id(context.trace_id) if context else "",
        span_id=format_span_id(context.span_id) if context else "",
    )


def _without_credentials(attributes: dict[str, Value], *, ours: bool) -> dict[str, Value]:
    return {
        name: value if ours and name in _OUR_NAMES else _redacted(name, value)
        for name, value in attributes.items()
    }


def _redacted(name: str, value: Value) -> Value:
    if isinstance(value, bool | int | float):
        return value
    if redact.in_use.secret_key(name):
        return REDACTED
    if isinstance(value, tuple):
        return tuple(redact.in_use.text(item) if type(item) is str else item for item in value)
    return redact.in_use.text(value)


def kind_of(span: ReadableSpan) -> Kind:
    """Return what a span stands for."""
    value = (span.attributes or {}).get(semconv.SPAN_KIND)
    return next((kind for kind in get_args(Kind) if kind == value), "other")


def _failures(events: Sequence[Event]) -> tuple[Failure, ...]:
    return tuple(_failure(event) for event in events if event.name == semconv.EXCEPTION_EVENT)


def _failure(event: Event) -> Failure:
    attributes = event.attributes or {}
    message = attributes.get(semconv.EXCEPTION_MESSAGE)
    stacktrace = attributes.get(semconv.EXCEPTION_STACKTRACE)
    return Failure(
        type=str(attributes.get(semconv.EXCEPTION_TYPE, "Exception")),
        message=None if message is None else redact.in_use.text(str(message)),
        stacktrace=None if stacktrace is None else redact.in_use.text(str(stacktrace)),
    )


def _plain(value: object) -> Value:
    """Return an attribute's value as the model has it: nothing that JSON could not hold."""
    if isinstance(value, list | tuple):
        return tuple(_scalar(item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - elements are checked one by one
    return _scalar(value)


def _scalar(value: object) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | bool | int | float) else repr(value)
