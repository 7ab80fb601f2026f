"""Delivery within bounded time, and what becomes of spans that cannot be delivered."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
import typing

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pocketflow_trace.sending import outbox
from pocketflow_trace.sending.exporter import (
    ExportError,
    ExportTarget,
    export_target,
    make_exporter,
)
from pocketflow_trace.sending.outbox import Outbox
from pocketflow_trace.sending.undelivered import UndeliveredFile
from pocketflow_trace.sending.witness import Witness
from support import faults

if typing.TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Failing(SpanExporter):
    """An exporter that fails, and logs why as the SDK's do."""

    def __init__(self) -> None:
        self.calls = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Fail, after a line to the log."""
        self.calls += 1
        logger = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        logger.error("Failed to export %s batch code: %s, reason: %s", "span", 404, "Not Found")
        return SpanExportResult.FAILURE


class Hanging(SpanExporter):
    """An exporter that does not return before it is told to."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Wait."""
        self.released.wait()
        return SpanExportResult.SUCCESS


@pytest.fixture
def undelivered(tmp_path: Path) -> UndeliveredFile:
    """A file in a directory of the test's."""
    return UndeliveredFile({"XDG_STATE_HOME": str(tmp_path)})


def send(outbox: Outbox, count: int) -> None:
    """Let this many spans end."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(outbox)
    tracer = provider.get_tracer("test")
    for number in range(count):
        tracer.start_span(f"span {number}").end()


def written(file: UndeliveredFile) -> list[str]:
    """Return the names of the spans in the file."""
    assert file.path is not None
    return [
        span["name"]
        for line in file.path.read_text(encoding="utf-8").splitlines()
        for span in json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    ]


def test_delivered(undelivered: UndeliveredFile) -> None:
    """Everything goes out by the end, in order, and no file is made."""
    exporter = InMemorySpanExporter()
    box = Outbox(exporter, undelivered, Witness())
    send(box, 1_500)
    box.shutdown()
    names = [span.name for span in exporter.get_finished_spans()]
    assert names == [f"span {number}" for number in range(1_500)]
    assert undelivered.path is None


def test_force_flush(undelivered: UndeliveredFile) -> None:
    """A flush does not wait for a full batch."""
    exporter = InMemorySpanExporter()
    box = Outbox(exporter, undelivered, Witness())
    send(box, 3)
    start = time.monotonic()
    assert box.force_flush()
    assert time.monotonic() - start < outbox.INTERVAL / 2
    assert len(exporter.get_finished_spans()) == 3
    box.shutdown()


def test_failure(undelivered: UndeliveredFile, caplog: pytest.LogCaptureFixture) -> None:
    """After a failure nothing more is tried for a while; all spans are in the file."""
    exporter, witness = Failing(), Witness()
    box = Outbox(exporter, undelivered, witness)
    send(box, 1_500)
    box.shutdown()
    assert exporter.calls == 1
    assert written(undelivered) == [f"span {number}" for number in range(1_500)]
    assert undelivered.count == 1_500
    assert witness.reason == "404, reason: Not Found"
    assert caplog.records == []


def test_hanging(undelivered: UndeliveredFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that never ends holds up the exit no longer than promised; nothing is lost."""
    monkeypatch.setattr(outbox, "EXIT_WAIT", 0.2)
    exporter, witness = Hanging(), Witness()
    box = Outbox(exporter, undelivered, witness)
    send(box, 600)
    start = time.monotonic()
    box.shutdown()
    seconds = time.monotonic() - start
    assert 0.2 <= seconds < 1.5
    assert sorted(written(undelivered)) == sorted(f"span {number}" for number in range(600))
    assert witness.reason == "no answer in time"
    exporter.released.set()


def test_no_span_no_thread(undelivered: UndeliveredFile) -> None:
    """A program that runs no flow gets no thread."""
    before = threading.active_count()
    box = Outbox(InMemorySpanExporter(), undelivered, Witness())
    assert threading.active_count() == before
    box.shutdown()


def test_other_threads_may_log(undelivered: UndeliveredFile) -> None:
    """The program's own exporters keep their log lines."""
    box = Outbox(Failing(), undelivered, Witness())
    send(box, 1)
    assert box.force_flush()
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    record = logger.makeRecord(logger.name, logging.ERROR, "file", 1, "theirs", (), None)
    assert logger.filter(record)
    box.shutdown()


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_exporters_leave_global_random_alone(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that fails and is tried again draws nothing from the program's random numbers."""
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    provider.get_tracer("test").start_span("span").end()
    with faults.refused() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        witness = Witness()
        exporter = make_exporter(ExportTarget(protocol, server.url), {}, witness)
        random.seed(1)
        state = random.getstate()
        box = Outbox(exporter, UndeliveredFile({"XDG_STATE_HOME": str(tmp_path)}), witness)
        box.on_end(spans.get_finished_spans()[0])
        box.shutdown()
    assert witness.reason
    assert random.getstate() == state


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, ("http/protobuf", "http://a")),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://me:secret@b:1/v1/traces",
            },
            ("http/protobuf", "https://b:1/v1/traces"),
        ),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ("http/protobuf", "http://localhost:4318")),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            ("grpc", "http://localhost:4317"),
        ),
    ],
)
def test_export_target(environ: dict[str, str], expected: tuple[str, str] | None) -> None:
    """OpenTelemetry's variables say where spans go; passwords in a URL are not repeated."""
    assert export_target(environ) == (None if expected is None else ExportTarget(*expected))


def test_unknown_protocol() -> None:
    """A protocol that no exporter speaks is an error that names those that are known."""
    environ = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}
    with pytest.raises(ExportError, match="'http/json'; known are http/protobuf and grpc"):
        export_target(environ)
