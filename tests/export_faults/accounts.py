"""Sends spans through an outbox with the SDK's real exporter, and says what became of each."""

from __future__ import annotations

import json
import typing
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from pocketflow_trace.process.tracing import Delivery
from pocketflow_trace.sending.exporter import export_target

if typing.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pytest

HTTP = "http/protobuf"
GRPC = "grpc"


class Office:
    """The way to one collector, as `pocketflow-trace run` has it."""

    def __init__(
        self, url: str, protocol: str, state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        environ = {"XDG_STATE_HOME": str(state)}
        target = export_target(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        )
        assert target is not None
        self.delivery = Delivery(target, environ)
        self.state = state
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.delivery.outbox)
        self.made: list[str] = []

    def post(self, count: int, attributes: Mapping[str, str] | None = None) -> None:
        """Let this many spans end."""
        tracer = self.provider.get_tracer("test")
        for _ in range(count):
            self.made.append(f"span {len(self.made)}")
            tracer.start_span(self.made[-1], attributes=attributes).end()

    def close(self) -> Account:
        """End, as at the end of a program."""
        self.delivery.outbox.shutdown()
        return Account(
            undelivered=_written(self.state),
            rejected=self.delivery.outbox.rejected,
            reason=self.delivery.outbox.reason,
            complaints=self.delivery.complaints(),
        )


@dataclass(frozen=True)
class Account:
    """What became of spans that were not delivered."""

    undelivered: Sequence[str]
    """Names of those in the file."""
    rejected: int
    reason: str
    complaints: Sequence[str]
    """The lines that `pocketflow-trace run` prints."""


class Taken:
    """Remembers the spans of the requests that a collector has taken."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, body: bytes) -> None:
        """Take the body of a request over HTTP."""
        self.note(ExportTraceServiceRequest.FromString(body))

    def note(self, request: ExportTraceServiceRequest) -> None:
        """Take a request."""
        self.names += [
            span.name
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def _written(state: Path) -> list[str]:
    return [
        span["name"]
        for path in sorted(state.rglob("undelivered-*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
