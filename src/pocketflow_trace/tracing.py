"""Sets up tracing for a program that knows nothing of it: provider, collector, export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
from pocketflow_trace.clients import watch_clients
from pocketflow_trace.collector import RunCollector
from pocketflow_trace.exporter import export_target, make_exporter
from pocketflow_trace.outbox import Outbox
from pocketflow_trace.provider import FollowingTracerProvider, own_provider
from pocketflow_trace.text import plural, printable
from pocketflow_trace.undelivered import UndeliveredFile
from pocketflow_trace.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import TracerProvider

    from pocketflow_trace.exporter import ExportTarget
    from pocketflow_trace.model import Run


class Delivery:
    """The way of spans to a collector, and what became of them."""

    def __init__(self, target: ExportTarget, environ: Mapping[str, str]) -> None:
        """Prepares the way; nothing is sent before a span ends.

        Raises:
            ExportError: The SDK's exporter rejects its settings.
        """
        self._target = target
        self._undelivered = UndeliveredFile(environ)
        self._witness = Witness()
        exporter = make_exporter(target, environ, self._witness.note)
        self.outbox = Outbox(exporter, self._undelivered, self._witness)

    def complaint(self) -> str:
        """Return one line about spans that no collector took; empty where there are none."""
        lost = self._undelivered
        if not lost.count:
            return ""
        where = f"see {lost.path}" if lost.path else "they are lost"
        problem = f", and the file failed: {lost.problem}" if lost.problem else ""
        return printable(
            f"{plural(lost.count, 'span')} could not be sent to {self._target.endpoint} "
            f"({self._witness.reason or 'no answer in time'}); {where}{problem}"
        )


class Tracing:
    """Tracing of this process, from `start_tracing` to `close`."""

    def __init__(self, collector: RunCollector, delivery: Delivery | None) -> None:
        self._collector = collector
        self._delivery = delivery

    def close(self) -> None:
        """Send what is left; takes about two seconds at most."""
        if self._delivery is not None:
            self._delivery.outbox.shutdown()

    def run(self) -> Run:
        """Return what ran so far."""
        return self._collector.snapshot()

    def complaint(self) -> str:
        """Return one line about spans that no collector took; empty where there are none."""
        return "" if self._delivery is None else self._delivery.complaint()


def start_tracing(
    service_name: str, environ: Mapping[str, str], *, clients: bool = True
) -> Tracing:
    """Trace PocketFlow in this process, and export to a collector if the environment names one.

    Args:
        service_name: `service.name`, unless the environment gives one.
        environ: Environment variables; the SDK itself reads those of the process.
        clients: Whether to instrument the clients of model providers, too.

    Raises:
        ExportError: The environment asks for an export that is impossible.
    """
    target = export_target(environ)
    delivery = None if target is None else Delivery(target, environ)
    own = own_provider(service_name)
    if delivery is not None:
        # Only ours: a provider of the program's has its own exporters.
        own.add_span_processor(delivery.outbox)
    provider, collector = FollowingTracerProvider(own), RunCollector()
    provider.add_span_processor(collector)
    _instrument(provider)
    if clients:
        watch_clients(provider, environ)
    return Tracing(collector, delivery)


def _instrument(provider: FollowingTracerProvider) -> None:
    """Instrument PocketFlow so that the program can still do the same, with its own settings.

    `instrument` works once; a second call logs a warning and changes nothing. The program's own
    call must neither warn nor be without effect, so the first one takes the place of ours.
    """
    instrumentor = PocketFlowInstrumentor()
    instrument = instrumentor.instrument

    def instrument_for_program(
        *, tracer_provider: TracerProvider | None = None, **settings: Any
    ) -> None:
        del instrumentor.instrument
        provider.prefer(tracer_provider)
        instrumentor.uninstrument()
        instrument(tracer_provider=provider, **settings)

    if instrumentor.is_instrumented_by_opentelemetry:  # By `opentelemetry-instrument`.
        instrumentor.uninstrument()
    instrument(tracer_provider=provider)
    instrumentor.instrument = instrument_for_program
