"""`pocketflow-trace export`: a kept run reaches a real collector as the live export did."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false, reportUnusedExpression=false

from __future__ import annotations

import json
import typing
from dataclasses import replace
from typing import Any

import pytest
from kept_programs import about, collected, keep
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from traced_programs import TRACED, run

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor, semconv
from pocketflow_trace.cli import main
from pocketflow_trace.record.collector import RunCollector
from pocketflow_trace.record.entries import plain_attributes
from pocketflow_trace.record.model import Run, walk
from support import faults
from support.collector import Collector, free_port, running_collector
from support.framework import BatchNode, Flow, Node
from support.sample_programs import RESEARCH, RESEARCH_OUTLINE

if typing.TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.received import ReceivedSpan


COUNT = 7
"""Spans of the program below."""


class Ask(Node):
    """Fails once."""

    def exec(self, prep_res: Any) -> str:
        """What it does."""
        if self.cur_retry == 0:
            raise TimeoutError("too slow")
        return "answer"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        """What it writes, and where it leads."""
        shared["answer"] = exec_res


class Count(BatchNode):
    """Fails at the end."""

    def prep(self, shared: Any) -> Any:
        """What it works on."""
        return [1, 0]

    def exec(self, item: int) -> float:
        """What it does."""
        return 1 / item


def program() -> None:
    """Run a flow that fails."""
    start = Ask(max_retries=2)
    start >> Count()
    with pytest.raises(ZeroDivisionError):
        Flow(start=start).run({"question": "why?"})


@pytest.fixture
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A real collector."""
    with running_collector(tmp_path_factory.mktemp("rotel")) as running:
        yield running


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of kept runs, and no other settings."""
    for name in ("ENDPOINT", "PROTOCOL", "TIMEOUT", "TRACES_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    monkeypatch.setenv("POCKETFLOW_TRACE_DIR", str(tmp_path))
    return tmp_path


def live_export(endpoint: str) -> Run:
    """Run the program with a live export over http, and return the run that was collected."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )

    resource = Resource({"service.name": "main", "process.pid": 1, "process.command_args": ["a"]})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    collector = RunCollector()
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.add_span_processor(collector)
    PocketFlowInstrumentor().instrument(tracer_provider=provider)
    try:
        program()
    finally:
        PocketFlowInstrumentor().uninstrument()
        exporter.shutdown()
    told = replace(about(), resource=plain_attributes(provider.resource.attributes))
    return replace(collector.snapshot(), about=told)


def without_event_times(span: ReceivedSpan) -> ReceivedSpan:
    """Return a span without what a kept run does not hold: when its events were."""
    return replace(span, events=tuple(replace(event, time=0) for event in span.events))


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_same_as_live(
    shelf: Path, collector: Collector, protocol: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every span of the kept run arrives as it did when it ran, down to scope and resource."""
    ran = live_export(collector.http_endpoint)
    keep(ran, shelf, ran.about)
    live = collector.wait_for(COUNT)
    endpoint = collector.endpoint(protocol)
    args = ["export", "--to", "otlp", "--endpoint", endpoint, "--protocol", protocol]
    assert main(args) == 0
    assert capsys.readouterr().err == (
        f"pocketflow-trace: {COUNT} spans sent to {endpoint} ({protocol})\n"
    )
    later = collector.wait_for(2 * COUNT)[COUNT:]
    assert {without_event_times(s).span_id for s in later} == {s.span_id for s in live}
    by_id = {span.span_id: without_event_times(span) for span in live}
    for span in map(without_event_times, later):
        assert span == by_id[span.span_id]
    assert [e for s in later for e in s.events_named("exception")]


def test_the_same_as_a_run_sent(shelf: Path, collector: Collector) -> None:
    """So does a program that was kept by `pocketflow-trace run`, which sent it live as well."""
    (shelf / "main.py").write_text(RESEARCH, encoding="utf-8")
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint,
        "POCKETFLOW_TRACE_DIR": str(shelf),
    }
    assert run(TRACED, "main.py", cwd=shelf, env=env).exit_code == 0
    count = len(RESEARCH_OUTLINE)
    live = {span.span_id: without_event_times(span) for span in collector.wait_for(count)}
    assert main(["export", "--to", "otlp", "--endpoint", collector.http_endpoint]) == 0
    later = collector.wait_for(2 * count)[count:]
    assert {span.span_id: without_event_times(span) for span in later} == live
    assert len(live) == count


def test_settings_from_the_environment(
    shelf: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenTelemetry's own variables name the collector where no option does."""
    keep(collected(lambda _: program())[0], shelf)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert main(["export", "--to", "otlp"]) == 0
    names = {span.name for span in collector.wait_for(COUNT)}
    assert {"invoke_workflow AskFlow", "Ask", "Ask attempt", "Count"} <= names


def unfinished(ran: Run) -> Run:
    """Return a run whose root had not ended."""
    return replace(ran, roots=(replace(ran.roots[0], end=None, status="unset", message=""),))


def test_an_unfinished_run(
    shelf: Path, collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    """What had not ended is sent with the last known time, and marked."""
    keep(unfinished(collected(lambda _: program())[0]), shelf, is_complete=False)
    args = ["export", "--to", "otlp", "--endpoint", collector.http_endpoint]
    assert main(args) == 0
    assert "1 span had not ended; marked with pocketflow.unfinished\n" in capsys.readouterr().err
    spans = collector.wait_for(COUNT)
    (root,) = [span for span in spans if span.parent_span_id is None]
    assert root.attributes["pocketflow.unfinished"] is True
    assert root.end == max(span.end for span in spans)
    assert sum("pocketflow.unfinished" in span.attributes for span in spans) == 1


def test_many_spans_go_in_several_requests(shelf: Path, collector: Collector) -> None:
    """A run of any size arrives, and no request is too large."""

    def many(stage: Any) -> None:
        for _ in range(300):
            Ask(max_retries=2).run({})

    ran, _ = collected(many)
    keep(ran, shelf)
    count = len(list(walk(ran.roots)))
    args = ["export", "--to", "otlp", "--endpoint", collector.grpc_endpoint, "--protocol", "grpc"]
    assert main(args) == 0
    assert len(collector.wait_for(count)) == count == 900


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_nobody_there(
    shelf: Path,
    protocol: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line says what was not sent, and the exit code is 1."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    keep(collected(lambda _: program())[0], shelf)
    endpoint = f"http://127.0.0.1:{free_port()}"
    assert main(["export", "--to", "otlp", "--endpoint", endpoint, "--protocol", protocol]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"pocketflow-trace: 0 of {COUNT} spans sent to {endpoint} ({protocol}): ")
    assert err.count("\n") == 1


def test_a_collector_that_refuses(
    shelf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is the server's."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    keep(collected(lambda _: program())[0], shelf)
    with faults.unavailable() as server:
        assert main(["export", "--to", "otlp", "--endpoint", server.url]) == 1
    assert "503 Service Unavailable" in capsys.readouterr().err


def test_json_lines(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is an OTLP request, with ids in hexadecimal, on stdout or in a private file."""
    ran, _ = collected(lambda _: program())
    keep(ran, shelf)
    assert main(["export", "--to", "otlp-json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    (resource,) = json.loads(line)["resourceSpans"]
    spans = [span for scope in resource["scopeSpans"] for span in scope["spans"]]
    assert {span["spanId"] for span in spans} == {entry.span_id for entry in walk(ran.roots)}
    assert {scope["scope"]["name"] for scope in resource["scopeSpans"]} == {semconv.SCOPE_NAME}
    out = shelf / "run.json"
    assert main(["export", "--to", "otlp-json", "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == line + "\n"
    assert out.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("args", "exit_code", "message"),
    [
        ([], 2, "the following arguments are required: --to"),
        (["--to", "otlp", "--out", "x"], 2, "--out needs --to otlp-json"),
        (["--to", "otlp-json", "--endpoint", "x"], 2, "--endpoint and --protocol need --to otlp"),
        (["nope", "--to", "otlp"], 1, "no run 'nope'"),
        (["--to", "otlp-json", "--out", "/nowhere/x"], 1, "No such file or directory"),
    ],
)
def test_wrong_usage(
    shelf: Path, args: list[str], exit_code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told in one line, and the exit code says whose mistake it is."""
    keep(collected(lambda _: program())[0], shelf)
    assert main(["export", *args]) == exit_code
    assert message in capsys.readouterr().err
