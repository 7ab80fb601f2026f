"""The harness itself, proved with spans of the plain SDK before anything of ours relies on it."""

from __future__ import annotations

import time
import typing
import urllib.error
import urllib.request

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from support import faults, programs
from support.collector import Collector, CollectorError
from support.received import one, outline

if typing.TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace.export import SpanExporter


def _exporter(collector: Collector, protocol: str) -> SpanExporter:
    if protocol == "grpc":
        return GrpcExporter(endpoint=collector.grpc_endpoint, insecure=True)
    return HttpExporter(endpoint=f"{collector.http_endpoint}/v1/traces")


def _provider(collector: Collector, protocol: str) -> TracerProvider:
    resource = Resource.create({"service.name": "harness", "process.command_args": ["a", "b"]})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_exporter(collector, protocol)))
    return provider


def test_a_span_arrives_with_all_it_holds(collector: Collector, protocol: str) -> None:
    """Every kind of attribute, an event, a status, a parent, resource and scope come back equal."""
    provider = _provider(collector, protocol)
    tracer = provider.get_tracer("scope", "1.2.3", "https://opentelemetry.io/schemas/1.37.0")
    attributes = {
        "text": "naïve ✓",
        "whole": -(2**40),
        "real": 0.5,
        "yes": True,
        "names": ["a", "b"],
        "numbers": [1, 2, 3],
        "none": list[str](),
    }
    with tracer.start_as_current_span("outer") as outer:
        inner = tracer.start_span(
            "inner", kind=SpanKind.CLIENT, attributes=attributes, start_time=5
        )
        inner.add_event("exception", {"exception.type": "ValueError"}, timestamp=6)
        inner.set_status(Status(StatusCode.ERROR, "it broke"))
        inner.end(7)
    provider.shutdown()

    spans = collector.wait_for(2)

    assert outline(spans) == ["outer", "  inner"]
    received = one(spans, "inner")
    assert received.attributes == attributes
    assert type(received.attributes["yes"]) is bool
    assert received.trace_id == format(outer.get_span_context().trace_id, "032x")
    assert received.parent_span_id == format(outer.get_span_context().span_id, "016x")
    assert (received.kind, received.start, received.end) == ("CLIENT", 5, 7)
    assert (received.status, received.status_message) == ("ERROR", "it broke")
    (event,) = received.events_named("exception")
    assert (event.time, event.attributes) == (6, {"exception.type": "ValueError"})
    assert received.resource["service.name"] == "harness"
    assert received.resource["process.command_args"] == ["a", "b"]
    assert (received.scope_name, received.scope_version) == ("scope", "1.2.3")
    assert received.schema_url == "https://opentelemetry.io/schemas/1.37.0"
    assert one(spans, "outer").status == "UNSET"


def test_drain_holds_all_that_was_sent(collector: Collector, protocol: str) -> None:
    """Stopping the collector at once loses nothing of 3,000 spans and repeats nothing."""
    provider = _provider(collector, protocol)
    tracer = provider.get_tracer("scope")
    for number in range(3000):
        tracer.start_span(str(number)).end()
        if number % 500 == 0:
            provider.force_flush()
    provider.shutdown()

    names = [span.name for span in collector.drain()]

    assert sorted(names, key=int) == [str(number) for number in range(3000)]


def test_wait_for_says_what_is_missing(collector: Collector) -> None:
    """A wait that fails names what did arrive and shows the collector's own log."""
    provider = _provider(collector, "http/protobuf")
    provider.get_tracer("scope").start_span("the only one").end()
    provider.shutdown()
    collector.wait_for(lambda spans: any(span.name == "the only one" for span in spans))

    with pytest.raises(CollectorError, match=r"the only one(.|\n)*Starting Rotel"):
        collector.wait_for(2, timeout=0.05)


def test_programs_see_nothing_of_our_environment(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables of the test run that would change tracing don't reach a program; given ones do."""
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_RESOURCE_ATTRIBUTES", "PYTHONPATH", "HTTP_PROXY"):
        monkeypatch.setenv(name, "leaked")
    source = (
        "import os, sys\n"
        "print(sorted(k for k, v in os.environ.items() if v == 'leaked' or k == 'GIVEN'))\n"
        "print('é', file=sys.stderr)\n"
        "sys.exit(7)\n"
    )

    done = programs.run(programs.write_program(workdir, source), {"GIVEN": "1"})

    assert (done.stdout, done.stderr, done.exit_code) == ("['GIVEN']\n", "é\n", 7)
    assert done.outcome == ("['GIVEN']\n", 7)


def test_zero_code_runs_the_program_under_the_sdk(collector: Collector, workdir: Path) -> None:
    """`opentelemetry-instrument` sets a provider up from the environment that is handed in."""
    source = "from opentelemetry import trace\ntrace.get_tracer('own').start_span('mine').end()\n"
    script = programs.write_program(workdir, source)
    env = programs.otlp_environment(collector.grpc_endpoint, "grpc")

    done = programs.run(script, {**env, "OTEL_SERVICE_NAME": "svc"}, zero_code=True)

    assert done.exit_code == 0, done.stderr
    assert one(collector.drain(), "mine").resource["service.name"] == "svc"


def _post(url: str, timeout: float) -> int:
    request = urllib.request.Request(url, data=b"x", method="POST")  # noqa: S310 - our loopback
    with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310 - our loopback
        status: int = response.status
        return status


def test_refused_refuses() -> None:
    """Nothing listens on the port, and none can take it meanwhile."""
    with (
        faults.refused() as server,
        pytest.raises(urllib.error.URLError, match="Connection refused"),
    ):
        _post(server.url, timeout=5)


def test_hung_takes_the_request_and_does_not_answer() -> None:
    """The client connects, sends, and runs into its own timeout."""
    with faults.hung() as server, pytest.raises(TimeoutError):
        _post(server.url, timeout=0.1)
    assert server.calls == 1


def test_unavailable_answers_503() -> None:
    """Each request gets its 503 at once."""
    with faults.unavailable() as server:
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError, match="503") as caught:
                _post(server.url, timeout=5)
            caught.value.close()
    assert server.calls == 2


def test_slow_answers_late() -> None:
    """The answer is a good one, and comes after the delay."""
    with faults.slow(0.2) as server:
        start = time.monotonic()
        assert _post(server.url, timeout=5) == 200
        assert time.monotonic() - start >= 0.2


def test_leaving_a_slow_server_does_not_wait_for_its_delay() -> None:
    """A test that is done with a slow server goes on at once."""
    start = time.monotonic()
    with faults.slow(30) as server, pytest.raises(TimeoutError):
        _post(server.url, timeout=0.05)
    assert time.monotonic() - start < 10
