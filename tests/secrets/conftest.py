"""Programs traced in this process, and all that comes out of it."""

from __future__ import annotations

import contextlib
import io
import logging
import typing
from dataclasses import dataclass, field

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor, guard
from pocketflow_trace.keeping.file_exporter import PocketFlowFileExporter
from support.sink import Sink, running_sink

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


@dataclass
class Output:
    """All that came out of a traced program."""

    sink: Sink
    directory: Path
    log: io.StringIO = field(default_factory=io.StringIO)

    @property
    def parts(self) -> dict[str, bytes]:
        """It by where it went."""
        files = (path.read_bytes() for path in self.directory.rglob("*") if path.is_file())
        return {
            "sent": self.sink.data,
            "kept": b"\n".join(files),
            "logged": self.log.getvalue().encode(),
        }


@pytest.fixture
def traced_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AbstractContextManager[Output]]:
    """Traces a block with options of the instrumentor; all is written when it ends."""
    monkeypatch.setenv("POCKETFLOW_TRACE_DIR", str(tmp_path / "runs"))

    @contextlib.contextmanager
    def traced(**options: typing.Any) -> Generator[Output]:
        with running_sink() as sink:
            output = Output(sink, tmp_path / "runs")
            with _logged(output.log), _instrumented(sink, options):
                yield output

    return traced


@contextlib.contextmanager
def _logged(log: io.StringIO) -> Generator[None]:
    handler = logging.StreamHandler(log)
    logger = logging.getLogger("opentelemetry.instrumentation.pocketflow")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextlib.contextmanager
def _instrumented(sink: Sink, options: dict[str, typing.Any]) -> Generator[None]:
    tracers = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    spans = OTLPSpanExporter(f"{sink.url}/v1/traces", compression=Compression.Gzip)
    tracers.add_span_processor(BatchSpanProcessor(spans, max_queue_size=100_000))
    tracers.add_span_processor(SimpleSpanProcessor(PocketFlowFileExporter()))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{sink.url}/v1/metrics"))
    meters = MeterProvider([reader], resource=Resource({}), shutdown_on_exit=False)
    instrumentor = PocketFlowInstrumentor()
    instrumentor.instrument(
        tracer_provider=tracers, meter_provider=meters, **{"resource": False, **options}
    )
    try:
        yield
    finally:
        instrumentor.uninstrument()
        tracers.shutdown()
        meters.shutdown()


@pytest.fixture(autouse=True)
def _log_each_fault_anew() -> Iterator[None]:
    """What other tests have logged once is logged once more."""
    guard._reported.clear()
    yield
    guard._reported.clear()
