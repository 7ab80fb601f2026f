"""The collector or Jaeger stop while programs run: the programs never notice, nothing is lost."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import sysconfig
import threading
import typing
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from support import programs
from support.stack import get, running_stack, wait_until

if typing.TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from typing_extensions import Self

    from support.stack import Stack

SERVICE = "stepper"
NODES = 20
SPANS = NODES + 1
"""Of one run of the program: its nodes and the flow."""

STEPPER = f'''\
"""Runs a flow of {NODES} nodes for each line that it reads, and says what came of it."""
import sys
from pocketflow import Flow, Node

class Step(Node):
    def post(self, shared, prep_res, exec_res):
        shared["steps"] = shared.get("steps", 0) + 1

first = step = Step()
for _ in range({NODES - 1}):
    step = step.next(Step())
for line in sys.stdin:
    shared = {{"run": line.strip()}}
    Flow(start=first).run(shared)
    print(shared, flush=True)
'''


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of the test's own, whose programs it may stop."""
    with running_stack(tmp_path) as stack:
        yield stack


class Stepper:
    """The program above, zero-code, one run at a time; it does not outlive its block."""

    def __init__(self, folder: Path, stack: Stack) -> None:
        script = folder / "stepper.py"
        script.write_text(STEPPER, encoding="utf-8")
        instrument = Path(sysconfig.get_path("scripts")) / "opentelemetry-instrument"
        told = {
            "OTEL_SERVICE_NAME": SERVICE,
            # Spans leave soon after they end, so that a run is on its way when the next one begins.
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            # Seconds. The exporter tries 6 times, 1, 2, 4, 8 and 16 s apart, as long as it is not
            # over: by default for 7 s, less than a collector may need to start on a busy machine.
            "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
        }
        self._process = subprocess.Popen(
            [str(instrument), sys.executable, str(script)],
            env=programs.clean_environment(stack.environment() | told),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # there the SDK says that it tries again
            encoding="utf-8",
        )

    def run(self, name: str) -> None:
        """Let it run its flow once; it must say what it says without tracing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._in_time():
            self._process.stdin.write(f"{name}\n")
            self._process.stdin.flush()
            assert self._process.stdout.readline() == f"{{'run': '{name}', 'steps': {NODES}}}\n"

    def end(self) -> None:
        """Let it end; it must end well."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._in_time():
            self._process.stdin.close()
            assert self._process.stdout.read() == ""
            assert self._process.wait() == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with self._process:  # closes its pipes, and waits for its end
            pass

    @contextlib.contextmanager
    def _in_time(self) -> Generator[None]:
        """Kill it when the block takes too long: what the block waits for then comes to an end."""
        watchdog = threading.Timer(programs.TIMEOUT, self._process.kill)
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()


def _stored(stack: Stack) -> dict[str, int]:
    """Return which runs Jaeger has: the name that the store began with, to the number of spans."""
    found: dict[str, int] = {}
    for trace in stack.traces(SERVICE):
        for flow in (span for span in trace["spans"] if not span["references"]):
            tags = {tag["key"]: tag["value"] for tag in flow["tags"]}
            found[tags["input.value"]] = len(trace["spans"])
    return found


def _expected(*names: str) -> dict[str, int]:
    return {f'{{"run":"{name}"}}': SPANS for name in names}


def _collector_says(stack: Stack, metric: str) -> float:
    """Return the sum over the series of one of the collector's own metrics."""
    lines = get(f"{stack.url('collector metrics')}/metrics").body.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(metric + "{"))


def test_the_collector_stops_in_the_middle(own_stack: Stack, tmp_path: Path) -> None:
    """Runs before, during and after its absence do the same, and all of them arrive."""
    with Stepper(tmp_path, own_stack) as stepper:
        stepper.run("before")
        wait_until(lambda: _stored(own_stack) == _expected("before"), "the first run is in Jaeger")

        own_stack.collector.stop()
        stepper.run("during")
        own_stack.collector.start()
        stepper.run("after")
        stepper.end()

    wanted = _expected("before", "during", "after")
    wait_until(lambda: _stored(own_stack) == wanted, "all three runs are in Jaeger")


def test_jaeger_stops_and_the_collector_crashes(own_stack: Stack, tmp_path: Path) -> None:
    """All that the collector accepted is on disk: none is lost."""
    names = [f"run {number}" for number in range(20)]

    with Stepper(tmp_path, own_stack) as stepper:
        for name in names[:10]:
            stepper.run(name)
        own_stack.jaeger.stop()
        for name in names[10:]:
            stepper.run(name)
        stepper.end()
    accepted = "otelcol_receiver_accepted_spans_total"
    # Two pipelines take what the one receiver accepts; it counts once.
    wait_until(
        lambda: _collector_says(own_stack, accepted) == len(names) * SPANS,
        "the collector has accepted all spans",
    )
    own_stack.collector.stop(signal.SIGKILL)
    own_stack.collector.start()
    assert _collector_says(own_stack, "otelcol_exporter_queue_size") > 0
    own_stack.jaeger.start()

    wait_until(lambda: _stored(own_stack) == _expected(*names), "Jaeger has every run, whole")
    wait_until(
        lambda: _collector_says(own_stack, "otelcol_exporter_queue_size") == 0,
        "the queue is empty",
    )


def test_jaeger_keeps_what_it_has(own_stack: Stack, tmp_path: Path) -> None:
    """A trace that was there before a restart is there after it, and after a crash."""
    with Stepper(tmp_path, own_stack) as stepper:
        stepper.run("kept")
        stepper.end()
    wait_until(lambda: _stored(own_stack) == _expected("kept"), "the run is in Jaeger")

    own_stack.jaeger.stop()
    own_stack.jaeger.start()
    assert _stored(own_stack) == _expected("kept")

    own_stack.jaeger.stop(signal.SIGKILL)
    own_stack.jaeger.start()
    assert _stored(own_stack) == _expected("kept")


def _provider(stack: Stack, service: str) -> tuple[TracerProvider, OTLPSpanExporter]:
    """Return a provider of somebody else's spans, which nothing of ours has cut or redacted."""
    exporter = OTLPSpanExporter(endpoint=stack.at("otlp grpc"), insecure=True)
    return TracerProvider(resource=Resource({"service.name": service})), exporter


def test_a_batch_that_grpc_would_refuse(stack: Stack) -> None:
    """512 spans of 20 KB are 10 MB in one request, and all of them arrive."""
    provider, exporter = _provider(stack, "talkative")
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
    tracer = provider.get_tracer("somebody")
    for number in range(512):
        tracer.start_span(f"span {number}", attributes={"text": "x" * 20_000}).end()
    assert provider.force_flush()

    def names() -> set[str]:
        found = stack.traces("talkative")
        return {span["operationName"] for trace in found for span in trace["spans"]}

    wait_until(lambda: len(names()) == 512, "Jaeger has all 512 spans")
    provider.shutdown()


def test_a_value_that_jaeger_would_refuse(stack: Stack) -> None:
    """A span with a value of 100,000 characters is kept, and the value cut."""
    provider, exporter = _provider(stack, "long-winded")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = provider.get_tracer("somebody").start_span("long", attributes={"text": "x" * 100_000})
    span.add_event("said", {"text": "y" * 100_000})
    span.end()

    wait_until(lambda: stack.traces("long-winded"), "Jaeger has the span")
    ((stored,),) = (trace["spans"] for trace in stack.traces("long-winded"))
    assert {tag["value"] for tag in stored["tags"] if tag["key"] == "text"} == {"x" * 60_000}
    ((field,),) = (
        [field["value"] for field in log["fields"] if field["key"] == "text"]
        for log in stored["logs"]
    )
    assert field == "y" * 60_000
    provider.shutdown()


# Put together here, so that no scanner takes them for real ones.
CREDENTIALS = {
    "openai": "sk-" + "proj-Ab12" * 5,
    "anthropic": "sk-ant-" + "api03-Xy9_" * 4,
    "google": "AIza" + "B" * 35,
    "amazon": "AKIA" + "ABCDEFGH12345678",
    "github": "ghp_" + "a1B2" * 9,
    "gitlab": "glpat-" + "x" * 20,
    "slack": "xoxb-" + "1234567890-abcdef",
    "hugging face": "hf_" + "q" * 34,
    "groq": "gsk_" + "z" * 50,
    "token": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0abc." + "c2lnbmF0dXJl",
    "header": "Bearer " + "abcdefghijklmnop1234",
    "url": "postgres://ada:hunter2@db/shop",
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nMIIE" + "\n-----END RSA PRIVATE KEY-----",
}
NAMED = ("api_key", "x-api-key", "db.password", "client_secret", "http.request.header.cookie")
ORDINARY = {
    "gen_ai.usage.input_tokens": 12,
    "text": "The risk-averse tokeniser read https://example.com/a@b and asked: sk-what?",
    "token_type": "input",
}


def test_credentials_of_others_are_masked(stack: Stack) -> None:
    """What an instrumentation of somebody else lets through does not reach the store."""
    provider, exporter = _provider(stack, "careless")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    said = {f"said.{name}": f"it is {value} indeed" for name, value in CREDENTIALS.items()}
    named: dict[str, str] = dict.fromkeys(NAMED, "correct horse")
    span = provider.get_tracer("somebody").start_span("leak", attributes=said | named | ORDINARY)
    span.add_event("said", {"text": f"key {CREDENTIALS['openai']}"})
    span.end()

    wait_until(lambda: stack.traces("careless"), "Jaeger has the span")
    ((stored,),) = (trace["spans"] for trace in stack.traces("careless"))
    tags = {tag["key"]: tag["value"] for tag in stored["tags"]}
    text = str(stored)
    assert [name for name, value in CREDENTIALS.items() if value in text] == []
    assert [name for name in NAMED if "horse" in tags[name]] == []
    assert {name: tags[name] for name in ORDINARY} == ORDINARY
    assert tags["said.openai"].startswith("it is ")
    assert tags["said.openai"].endswith(" indeed")
    provider.shutdown()
