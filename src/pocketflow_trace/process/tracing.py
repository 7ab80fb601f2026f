"""Sets up tracing for a program that knows nothing of it: provider, collector, export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
from opentelemetry.instrumentation.pocketflow.environment_variables import (
    OTEL_PYTHON_POCKETFLOW_SELF_REPORT,
)
from pocketflow_trace.keeping.keeper import RunKeeper, destination_of
from pocketflow_trace.keeping.shelf import ShelfError
from pocketflow_trace.process.claim import claim_process
from pocketflow_trace.process.clients import watch_clients
from pocketflow_trace.process.provider import FollowingTracerProvider, own_provider
from pocketflow_trace.record.collector import RunCollector
from pocketflow_trace.sending.exporter import export_target, make_exporter
from pocketflow_trace.sending.outbox import Outbox
from pocketflow_trace.sending.undelivered import UndeliveredFile
from pocketflow_trace.sending.witness import Witness
from pocketflow_trace.text import plural, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import TracerProvider

    from pocketflow_trace.process.clients import Watch
    from pocketflow_trace.record.model import Run
    from pocketflow_trace.sending.exporter import ExportTarget


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
        exporter = make_exporter(target, environ, self._witness)
        self.outbox = Outbox(exporter, self._undelivered, self._witness)

    def complaints(self) -> list[str]:
        """Return a line each about spans that no collector took, and that one has rejected."""
        lines = (self._undelivered_line(), self._rejected_line())
        return [printable(self._target.without_login(line)) for line in lines if line]

    def _undelivered_line(self) -> str:
        left = self._undelivered
        if not left.count:
            return ""
        return (
            f"{plural(left.count, 'span')} could not be sent to {self._target.endpoint} "
            f"({self.outbox.reason}); {_whereabouts(left)}"
        )

    def _rejected_line(self) -> str:
        rejected, message = self.outbox.rejected, self._witness.objection
        if not rejected:
            return ""
        why = f" ({message})" if message else ""
        return f"{plural(rejected, 'span')} sent to {self._target.endpoint} were rejected{why}"


def _whereabouts(left: UndeliveredFile) -> str:
    """Say where spans are that could not be sent."""
    if left.path is None:
        return f"they are lost, and the file failed: {left.problem}"
    if left.lost:
        return f"see {left.path}, which lacks {left.lost:,} of them: {left.problem}"
    return f"see {left.path}"


class Keeping:
    """The file of the run, and what became of it."""

    def __init__(self, file: str | None, environ: Mapping[str, str]) -> None:
        """Touches no disk.

        Args:
            file: As for `start_tracing`.
            environ: Environment variables.
        """
        self.keeper: RunKeeper | None = None
        self._problem = ""
        try:
            self.keeper = None if file is None else RunKeeper(destination_of(file, environ))
        except (ShelfError, OSError) as exc:  # The second: the working directory is gone.
            self._problem = printable(f"this run is not kept: {exc}")

    def complaint(self) -> str:
        """Return one line about a run that could not be kept; empty where it was."""
        return self._problem or ("" if self.keeper is None else self.keeper.complaint())

    def kept_as(self) -> str:
        """Return the id of the run in the folder of kept runs; empty where it is not there."""
        return "" if self.keeper is None else self.keeper.kept_as()


class Tracing:
    """Tracing of this process, from `start_tracing` to `close`."""

    def __init__(
        self,
        collector: RunCollector,
        delivery: Delivery | None,
        keeping: Keeping,
        clients: Watch | None,
    ) -> None:
        self._collector = collector
        self._delivery = delivery
        self._keeping = keeping
        self._clients = clients

    def close(self) -> None:
        """Write and send what is left; takes about two seconds at most."""
        keeper = self._keeping.keeper
        if keeper is not None:
            keeper.end()  # Disk and network have the same two seconds.
        if self._delivery is not None:
            self._delivery.outbox.shutdown()
        if keeper is not None:
            keeper.close()

    def run(self) -> Run:
        """Return what ran so far."""
        return self._collector.snapshot()

    def hint(self) -> str:
        """Return one line on what could be seen of model calls but is not; empty where all is."""
        return "" if self._clients is None else self._clients.hint()

    def kept_as(self) -> str:
        """Return by what name the run is kept; empty where it is not, or not in the folder."""
        return self._keeping.kept_as()

    def complaints(self) -> list[str]:
        """Return a line for each thing that went wrong: spans not sent, a run not kept."""
        sent = [] if self._delivery is None else self._delivery.complaints()
        kept = self._keeping.complaint()
        return [*sent, kept] if kept else sent


def start_tracing(
    service_name: str,
    environ: Mapping[str, str],
    *,
    clients: bool = True,
    watching: Sequence[SpanProcessor] = (),
    file: str | None = None,
) -> Tracing:
    """Trace PocketFlow in this process, and export to a collector if the environment names one.

    Args:
        service_name: `service.name`, unless the environment gives one.
        environ: Environment variables; the SDK itself reads those of the process.
        clients: Whether to instrument the clients of model providers, too.
        watching: Further processors that are told of every span.
        file: The file in which to keep the run; an empty string for a new one in the folder of
            kept runs, None for none.

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
    keeping = Keeping(file, environ)
    keepers = [] if keeping.keeper is None else [keeping.keeper]
    for processor in (collector, *watching, *keepers):
        provider.add_span_processor(processor)
    claim_process()
    _instrument(provider, environ)
    watch = watch_clients(provider, environ) if clients else None
    return Tracing(collector, delivery, keeping, watch)


def _instrument(provider: FollowingTracerProvider, environ: Mapping[str, str]) -> None:
    """Instrument PocketFlow so that the program can still do the same, with its own settings.

    `instrument` works once; a second call logs a warning and changes nothing. The program's own
    call must neither warn nor be without effect, so the first one takes the place of ours.
    """
    # The environment is asked by the instrumentor itself.
    ours = {} if environ.get(OTEL_PYTHON_POCKETFLOW_SELF_REPORT) else {"self_report": True}
    instrumentor = PocketFlowInstrumentor()
    instrument = instrumentor.instrument

    def instrument_for_program(
        *, tracer_provider: TracerProvider | None = None, **settings: Any
    ) -> None:
        del instrumentor.instrument
        provider.prefer(tracer_provider)
        instrumentor.uninstrument()
        # A `Config` is complete: nothing can be added to it.
        added = {} if "config" in settings else ours
        instrument(tracer_provider=provider, **{**added, **settings})

    if instrumentor.is_instrumented_by_opentelemetry:  # By `opentelemetry-instrument`.
        instrumentor.uninstrument()
    instrument(tracer_provider=provider, **ours)
    instrumentor.instrument = instrument_for_program
