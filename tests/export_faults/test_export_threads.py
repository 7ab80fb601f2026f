"""No flow waits for a collector: exports happen in another thread, and flows end meanwhile."""

from __future__ import annotations

import threading
import typing
from functools import partial

import pytest
from accounts import HTTP, Taken
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
from pocketflow_trace.sending import exporter, outbox
from pocketflow_trace.sending.exporter import ExportTarget, make_exporter
from pocketflow_trace.sending.outbox import Outbox
from pocketflow_trace.sending.undelivered import UndeliveredFile
from pocketflow_trace.sending.witness import Witness
from support import faults
from support.framework import Flow, Node

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    MakeProcessor: typing.TypeAlias = typing.Callable[[SpanExporter], SpanProcessor]

FLOWS = 20


class Greet(Node):
    """Writes one key."""

    def post(self, shared: dict[str, str], prep_res: object, exec_res: object) -> None:
        """Write it."""
        shared["greeting"] = "hello"


class Watched(SpanExporter):
    """Passes on to an exporter, and remembers where that was called from."""

    def __init__(self, inner: SpanExporter) -> None:
        self.inner = inner
        self.began = threading.Event()
        self.ended = threading.Event()
        self.threads: set[int] = set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Pass on."""
        self.threads.add(threading.get_ident())
        self.began.set()
        try:
            return self.inner.export(spans)
        finally:
            self.ended.set()

    def shutdown(self) -> None:
        """Pass on."""
        self.inner.shutdown()


def ours(state: Path, inner: SpanExporter) -> SpanProcessor:
    """Return what `pocketflow-trace run` sends with."""
    return Outbox(inner, UndeliveredFile({"XDG_STATE_HOME": str(state)}), Witness())


def the_sdks(_state: Path, inner: SpanExporter) -> SpanProcessor:
    """Return what everybody else sends with; its first export is under way at once."""
    return BatchSpanProcessor(inner, schedule_delay_millis=1)


@pytest.fixture(params=[ours, the_sdks])
def make_processor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MakeProcessor:
    """Both ways to send."""
    monkeypatch.setattr(outbox, "INTERVAL", 0.001)
    monkeypatch.setattr(exporter, "TIMEOUT", 30.0)
    return partial(request.param, tmp_path / "state")


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    """A provider to which PocketFlow's spans go."""
    made = TracerProvider(shutdown_on_exit=False)
    instrumentor = PocketFlowInstrumentor()
    instrumentor.instrument(tracer_provider=made)
    yield made
    instrumentor.uninstrument()
    made.shutdown()


def watched(url: str, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Return the real exporter to a URL."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    return Watched(make_exporter(ExportTarget(HTTP, url), {}, Witness()))


def run_flows() -> None:
    """Run some flows, one after the other."""
    for _ in range(FLOWS):
        shared: dict[str, str] = {}
        Flow(start=Greet()).run(shared)
        assert shared == {"greeting": "hello"}


def test_flows_end_while_a_collector_thinks(
    make_processor: MakeProcessor, provider: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request has come and has no answer; all flows end; then it is answered."""
    taken = Taken()
    with faults.answering(faults.Answer(delay=60), take=taken) as server:
        export = watched(server.url, monkeypatch)
        provider.add_span_processor(make_processor(export))
        run_flows()
        assert server.called.wait(20)
        run_flows()
        assert (server.calls, export.ended.is_set()) == (1, False)
        server.released.set()
        provider.shutdown()
    assert len(taken.names) == 2 * FLOWS * len(("node", "flow"))
    assert threading.get_ident() not in export.threads


@pytest.mark.parametrize("fault", [faults.hung, faults.never_accepting])
def test_flows_end_while_nobody_answers(
    fault: faults.Fault,
    make_processor: MakeProcessor,
    provider: TracerProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An export is under way that will not end by itself, and flows do."""
    monkeypatch.setattr(outbox, "EXIT_WAIT", 0.05)
    with fault() as server:
        export = watched(server.url, monkeypatch)
        provider.add_span_processor(make_processor(export))
        run_flows()
        assert export.began.wait(20)
        run_flows()
        assert not export.ended.is_set()
        assert threading.get_ident() not in export.threads
        # Else the SDK's processor would wait for the export when the provider shuts down.
        export.shutdown()
    assert export.ended.wait(20)
