"""The file of spans that no collector took."""

from __future__ import annotations

import base64
import json
import stat
import sys
import typing
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link

from pocketflow_trace.sending.otlp_json import otlp_json
from pocketflow_trace.sending.undelivered import UndeliveredFile, state_directory


@pytest.fixture
def spans() -> tuple[ReadableSpan, ...]:
    """A parent and its child; the child has an event and a link to the parent."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("parent") as parent:
        links = [Link(parent.get_span_context())]
        with tracer.start_as_current_span("child", links=links) as child:
            child.add_event("exception", {"exception.type": "ValueError"})
    return exporter.get_finished_spans()


def decoded(line: str) -> ExportTraceServiceRequest:
    """Read OTLP JSON with protobuf's own reader, which wants ids in base64."""
    data = json.loads(line)
    for resource in data["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for item in (span, *span.get("links", [])):
                    for name in {"traceId", "spanId", "parentSpanId"} & item.keys():
                        item[name] = base64.b64encode(bytes.fromhex(item[name])).decode()
    return json_format.ParseDict(data, ExportTraceServiceRequest())


def test_otlp_json(spans: tuple[ReadableSpan, ...]) -> None:
    """Ids are hexadecimal and enums numbers, as OTLP's JSON wants them."""
    child, parent = otlp_json(spans)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    context = spans[0].get_span_context()
    assert context is not None
    assert child["traceId"] == parent["traceId"] == f"{context.trace_id:032x}"
    assert child["parentSpanId"] == parent["spanId"] == child["links"][0]["spanId"]
    assert child["kind"] == 1
    assert "parentSpanId" not in parent


def test_write(tmp_path: Path, spans: tuple[ReadableSpan, ...]) -> None:
    """Each batch is a line that holds all that would have been sent; only the user may read it."""
    file = UndeliveredFile({"XDG_STATE_HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
    file.write(spans)
    file.write(spans[:1])
    assert file.path is not None
    lines: list[str] = file.path.read_text(encoding="utf-8").splitlines()
    assert [decoded(line) for line in lines] == [encode_spans(spans), encode_spans(spans[:1])]
    assert (file.count, file.problem) == (3, "")
    assert file.path.parent == tmp_path / "pocketflow-trace"
    if sys.platform != "win32":
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


def test_no_place_to_write(tmp_path: Path, spans: tuple[ReadableSpan, ...]) -> None:
    """A directory that cannot be made is a problem to tell, not an exception."""
    (tmp_path / "pocketflow-trace").write_text("a file is in the way", encoding="utf-8")
    file = UndeliveredFile({"XDG_STATE_HOME": str(tmp_path)})
    file.write(spans)
    assert (file.path, file.count, file.problem) == (None, 2, "File exists")


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({}, "linux", "{home}/.local/state"),
        ({"XDG_STATE_HOME": ""}, "linux", "{home}/.local/state"),
        ({"XDG_STATE_HOME": "relative"}, "linux", "{home}/.local/state"),
        ({"XDG_STATE_HOME": "/srv/state"}, "linux", "/srv/state"),
        ({"XDG_STATE_HOME": "/srv/state"}, "darwin", "/srv/state"),
        ({}, "darwin", "{home}/Library/Application Support"),
        ({}, "win32", "{home}/AppData/Local"),
        ({"LOCALAPPDATA": "/data"}, "win32", "/data"),
    ],
)
def test_state_directory(
    environ: dict[str, str], platform: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG's variable wins where it is an absolute path; else the platform's place is used."""
    monkeypatch.setattr(Path, "home", _home)
    found = state_directory(environ, platform)
    assert found == Path(expected.format(home="/home/me")) / "pocketflow-trace"


def _home(*_: typing.Any) -> Path:
    return Path("/home/me")
