"""Spans in OTLP's JSON encoding: ids in hexadecimal, enumerations as numbers.

The SDK only encodes to protobuf, and the way from there takes three times as long. A program whose
collector is down makes all its spans take this way, while it runs.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext

Json: TypeAlias = dict[str, Any]
_Attributes: TypeAlias = "Mapping[str, Any] | None"

_KNOWS_IF_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
_LEAST_INT: Final = -(2**63)
_MOST_INT: Final = 2**63 - 1


def otlp_json(spans: Sequence[ReadableSpan]) -> Json:
    """Return an `ExportTraceServiceRequest` with these spans."""
    # By identity: to hash or compare a resource is to encode it.
    resources: dict[int, tuple[Resource, list[ReadableSpan]]] = {}
    for span in spans:
        resources.setdefault(id(span.resource), (span.resource, []))[1].append(span)
    return {"resourceSpans": [_of_resource(*each) for each in resources.values()]}


def _of_resource(resource: Resource, spans: Sequence[ReadableSpan]) -> Json:
    scopes: dict[int, tuple[InstrumentationScope | None, list[Json]]] = {}
    for span in spans:
        scope = span.instrumentation_scope
        scopes.setdefault(id(scope), (scope, []))[1].append(_span(span))
    return _message(
        resource=_message(attributes=_attributes(resource.attributes)),
        scopeSpans=[_of_scope(*each) for each in scopes.values()],
        schemaUrl=_text(resource.schema_url),
    )


def _of_scope(scope: InstrumentationScope | None, spans: Sequence[Json]) -> Json:
    if scope is None:
        return _message(scope={}, spans=spans)
    about = _message(
        name=_text(scope.name),
        version=_text(scope.version or ""),
        attributes=_attributes(scope.attributes),
    )
    return _message(scope=about, spans=spans, schemaUrl=_text(scope.schema_url or ""))


def _span(span: ReadableSpan) -> Json:
    return _message(
        **_ids(span.get_span_context()),
        parentSpanId=f"{span.parent.span_id:016x}" if span.parent else "",
        name=_text(span.name),
        kind=span.kind.value + 1,
        startTimeUnixNano=str(span.start_time or ""),
        endTimeUnixNano=str(span.end_time or ""),
        attributes=_attributes(span.attributes),
        events=[_event(each) for each in span.events],
        links=[_link(each) for each in span.links],
        status=_message(
            code=span.status.status_code.value, message=_text(span.status.description or "")
        ),
        droppedAttributesCount=span.dropped_attributes,
        droppedEventsCount=span.dropped_events,
        droppedLinksCount=span.dropped_links,
        flags=_flags(span.parent),
    )


def _ids(context: SpanContext | None) -> Json:
    if context is None:
        return {}
    state = ",".join(f"{key}={value}" for key, value in context.trace_state.items())
    return {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "traceState": state,
    }


def _flags(context: SpanContext | None) -> int:
    return _KNOWS_IF_REMOTE | (_IS_REMOTE if context and context.is_remote else 0)


def _event(event: Event) -> Json:
    return _message(
        name=_text(event.name),
        timeUnixNano=str(event.timestamp),
        attributes=_attributes(event.attributes),
        droppedAttributesCount=event.dropped_attributes,
    )


def _link(link: Link) -> Json:
    ids = _ids(link.context)
    # The SDK's encoding leaves it out as well.
    ids.pop("traceState", None)
    return _message(
        **ids,
        attributes=_attributes(link.attributes),
        droppedAttributesCount=link.dropped_attributes,
        flags=_flags(link.context),
    )


def _attributes(attributes: _Attributes) -> list[Json]:
    return list(_pairs(attributes or {}))


def _pairs(attributes: Mapping[str, Any]) -> Iterator[Json]:
    """Return keys with values; what OTLP has no form for is left out, as the SDK does."""
    for key, value in attributes.items():
        encoded = _value(value)
        if encoded is not None:
            yield {"key": _text(key), "value": encoded}


def _value(value: Any) -> Json | None:
    if isinstance(value, str):
        return {"stringValue": _text(value)}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        number = int(value)
        return {"intValue": str(number)} if _LEAST_INT <= number <= _MOST_INT else None
    if isinstance(value, float):
        return {"doubleValue": _number(value)}
    return _compound(value)


def _compound(value: Any) -> Json | None:
    if value is None:
        return {}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, Sequence):
        items = [_value(each) for each in cast("Sequence[Any]", value)]
        return None if None in items else {"arrayValue": _message(values=items)}
    if isinstance(value, Mapping):
        pairs = _attributes(cast("Mapping[str, Any]", value))
        return {"kvlistValue": _message(values=pairs)}
    return None


def _number(value: float) -> float | str:
    """Return a number as protobuf's JSON has it, which can write those that JSON cannot."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _text(text: str) -> str:
    """Return text that can be UTF-8: half of a surrogate pair cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _message(**fields: Any) -> Json:
    """Leave out what has its default value; a message within a message stays, as in protobuf."""
    return {name: value for name, value in fields.items() if value or isinstance(value, dict)}
