"""What a span says in words, outside of its attributes, is masked as these are."""

from __future__ import annotations

import typing

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Status, StatusCode

from support.stack import wait_until

if typing.TYPE_CHECKING:
    from support.stack import Stack

KEY = "sk-" + "proj-Ab12" * 5


def _send(stack: Stack, service: str, name: str, message: str, event: str) -> None:
    """Send one span of somebody else's, which failed."""
    exporter = OTLPSpanExporter(endpoint=f"{stack.url('otlp http')}/v1/traces")
    provider = TracerProvider(resource=Resource({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = provider.get_tracer("somebody").start_span(name, attributes={"tries": 2})
    span.add_event(event, {"line": 7})
    span.set_status(Status(StatusCode.ERROR, message))
    span.end()
    provider.shutdown()


def _stored(stack: Stack, service: str) -> typing.Any:
    wait_until(lambda: stack.traces(service), f"Jaeger has the span of {service}")
    ((span,),) = (trace["spans"] for trace in stack.traces(service))
    return span


def _tags(span: typing.Any) -> dict[str, typing.Any]:
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def _event(span: typing.Any) -> dict[str, typing.Any]:
    (log,) = span["logs"]
    return {field["key"]: field["value"] for field in log["fields"]}


def test_names_and_errors_are_masked(stack: Stack) -> None:
    """A key in a span's name, its status or an event's name reaches neither Jaeger nor a label."""
    _send(stack, "chatty", f"GET {KEY}", f"refused {KEY} twice", f"tried {KEY}")

    span = _stored(stack, "chatty")
    assert KEY not in str(span)
    assert span["operationName"] == "GET ****"
    assert _tags(span)["otel.status_description"] == "refused **** twice"
    assert _event(span)["event"] == "tried ****"
    counted = 'pocketflow_spans_calls_total{job="chatty"}'
    wait_until(lambda: stack.query(counted), "Prometheus has counted the span")
    assert [series["metric"]["span_name"] for series in stack.query(counted)] == ["GET ****"]


def test_what_is_no_credential_stays(stack: Stack) -> None:
    """Nothing else is changed or left behind: name, status, event, attributes."""
    _send(stack, "plain", "GET /users", "not found", "tried")

    span = _stored(stack, "plain")
    assert span["operationName"] == "GET /users"
    assert _event(span) == {"event": "tried", "line": 7}
    assert _tags(span) == {
        "error": True,
        "otel.scope.name": "somebody",
        "otel.status_code": "ERROR",
        "otel.status_description": "not found",
        "span.kind": "internal",
        "tries": 2,
    }
