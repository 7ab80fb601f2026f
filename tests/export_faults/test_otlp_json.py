"""OTLP's JSON encoding holds what the SDK's protobuf encoding does."""

from __future__ import annotations

import base64
import enum
import json
import typing

import drawn_spans
import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from pocketflow_trace.sending.otlp_json import otlp_json

IDS = ("traceId", "spanId", "parentSpanId")


class Colour(enum.IntEnum):
    """Numbers that print as words."""

    RED = 1


def decoded(spans: list[ReadableSpan]) -> ExportTraceServiceRequest:
    """Encode, and read that with protobuf's own reader, which wants ids in base64."""
    data = json.loads(json.dumps(otlp_json(spans), allow_nan=False))
    for resource in data.get("resourceSpans", []):
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for item in (span, *span.get("links", [])):
                    for name in IDS & item.keys():
                        item[name] = base64.b64encode(bytes.fromhex(item[name])).decode()
    return json_format.ParseDict(data, ExportTraceServiceRequest())


def plain(message: typing.Any) -> typing.Any:
    """Return a message as values that compare: two NaN are the same here."""
    return json_format.MessageToDict(message)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(drawn_spans.spans(), max_size=3))
def test_as_the_sdk(spans: list[ReadableSpan]) -> None:
    """Field by field, whatever the spans have."""
    assert plain(decoded(spans)) == plain(encode_spans(spans))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Colour.RED, {"intValue": "1"}),
        (float("nan"), {"doubleValue": "NaN"}),
        (float("-inf"), {"doubleValue": "-Infinity"}),
        ("half \ud800", {"stringValue": "half ?"}),
        (b"\x00\xff", {"bytesValue": "AP8="}),
        ([1, None], {"arrayValue": {"values": [{"intValue": "1"}, {}]}}),
        ({"a": {"b": True}}, None),
        ([], {"arrayValue": {}}),
    ],
)
def test_values(value: typing.Any, expected: dict[str, typing.Any] | None) -> None:
    """Numbers of 64 bits are texts, and so are those that JSON lacks."""
    span = ReadableSpan("a", SpanContext(1, 2, is_remote=False), attributes={"key": value})
    [pair] = otlp_json([span])["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
    if expected is None:
        inner = {"key": "b", "value": {"boolValue": True}}
        expected = {
            "kvlistValue": {"values": [{"key": "a", "value": {"kvlistValue": {"values": [inner]}}}]}
        }
    assert pair == {"key": "key", "value": expected}


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, object()])
def test_what_has_no_form_is_left_out(value: typing.Any) -> None:
    """It does not cost the span its other attributes."""
    attributes = {"odd": value, "even": 2}
    span = ReadableSpan("a", SpanContext(1, 2, is_remote=False), attributes=attributes)
    found = otlp_json([span])["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
    assert found == [{"key": "even", "value": {"intValue": "2"}}]
