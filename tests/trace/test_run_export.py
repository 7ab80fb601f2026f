"""`pocketflow-trace run` with a collector: one that works, and ones that do not."""

from __future__ import annotations

import json
import re
import typing
from pathlib import Path

import pytest
from test_run_command import FLOW, TREE, timeless
from traced_programs import TRACED, both, run

from support import faults
from support.collector import Collector, running_collector

if typing.TYPE_CHECKING:
    from collections.abc import Iterator

    from support.faults import Fault

SPANS = ["Ask", "Say", "invoke_workflow AskFlow"]

MAX_DELAY = 12.0
"""Seconds that a run may take with a broken collector, on a busy machine; about 2 are usual."""

FAULTS: list[tuple[Fault, str, str]] = [
    # What the exporters say differs by their version.
    (faults.refused, "http/protobuf", "Connection refused"),
    (faults.refused, "grpc", "Connection refused|UNAVAILABLE"),
    (faults.hung, "http/protobuf", "timed out"),
    (faults.hung, "grpc", "Deadline Exceeded|DEADLINE_EXCEEDED"),
    (faults.unavailable, "http/protobuf", "503 Service Unavailable"),
]


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """A directory with a program that draws random numbers and runs a flow."""
    text = (
        "import logging, random\n"
        "logging.basicConfig(level=logging.DEBUG)\n"
        "random.seed(1)\nflow().run({})\nprint(random.random())\n"
    )
    (tmp_path / "main.py").write_text(FLOW + text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A real collector."""
    with running_collector(tmp_path_factory.mktemp("rotel")) as running:
        yield running


def environment(url: str, protocol: str, state: Path) -> dict[str, str]:
    """Return the variables that ask for an export."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "XDG_STATE_HOME": str(state),
    }


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_delivered(cwd: Path, collector: Collector, protocol: str) -> None:
    """A collector gets every span, under the program's name; the user sees just the tree."""
    env = environment(collector.endpoint(protocol), protocol, cwd / "state")
    assert timeless(both("main.py", cwd=cwd, env=env).tree()) == TREE
    received = collector.wait_for(3)
    assert sorted(span.name for span in received) == SPANS
    assert [span.resource["service.name"] for span in received] == ["main"] * 3
    assert not list((cwd / "state").rglob("undelivered*"))


@pytest.mark.parametrize(("fault", "protocol", "reason"), FAULTS)
def test_not_delivered(cwd: Path, fault: Fault, protocol: str, reason: str) -> None:
    """A broken collector delays the exit a little; one line says why, and where the spans are."""
    with fault() as server:
        env = environment(server.url, protocol, cwd / "state")
        result = both("main.py", cwd=cwd, env=env)
    tree, line = timeless(result.tree()).split("pocketflow-trace: ")
    assert tree == TREE
    assert line.startswith(f"3 spans could not be sent to {server.url} (")
    assert re.search(reason, line)
    assert line.count("\n") == 1
    assert names_in(file_named_in(line)) == SPANS
    assert result.traced.seconds - result.plain.seconds < MAX_DELAY


def file_named_in(line: str) -> Path:
    """Return the path that the line tells the user to see."""
    found = re.search(r"; see (.+\.jsonl)\n", line)
    assert found
    return Path(found[1])


def names_in(path: Path) -> list[str]:
    """Return the names of the spans in a file of undelivered ones."""
    return sorted(
        span["name"]
        for line in path.read_text(encoding="utf-8").splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    )


def test_impossible_protocol(cwd: Path) -> None:
    """What cannot be exported as asked is not run at all."""
    env = environment("http://127.0.0.1:1", "http/json", cwd / "state")
    done = run(TRACED, "main.py", cwd=cwd, env=env)
    assert (done.exit_code, done.stdout) == (2, b"")
    assert done.text == (
        "pocketflow-trace: OTEL_EXPORTER_OTLP_PROTOCOL is 'http/json'; "
        "known are http/protobuf and grpc\n"
    )


def test_rejected_settings(cwd: Path) -> None:
    """Settings that the exporter rejects end the command before the program has begun."""
    env = environment("http://127.0.0.1:1", "grpc", cwd / "state")
    env["OTEL_EXPORTER_OTLP_TIMEOUT"] = "soon"
    done = run(TRACED, "main.py", cwd=cwd, env=env)
    assert (done.exit_code, done.stdout) == (2, b"")
    assert done.text.startswith("pocketflow-trace: the OTLP exporter rejects its settings: ")


def test_state_cannot_be_written(cwd: Path) -> None:
    """Where the spans cannot be written either, the line says that they are lost, and why."""
    (cwd / "state").write_text("in the way", encoding="utf-8")
    with faults.refused() as server:
        env = environment(server.url, "http/protobuf", cwd / "state")
        tree = both("main.py", cwd=cwd, env=env).tree()
    assert tree.endswith(
        "(Connection refused); they are lost, and the file failed: Not a directory\n"
        "pocketflow-trace: this run is not kept: Not a directory\n"
    )


def test_program_with_its_own_export(cwd: Path, collector: Collector) -> None:
    """A program that exports by itself delivers each span once: ours stays out of it."""
    (cwd / "main.py").write_text(
        f"""\
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
PocketFlowInstrumentor().instrument()
{FLOW}
flow().run({{}})
""",
        encoding="utf-8",
    )
    env = environment(collector.http_endpoint, "http/protobuf", cwd / "state")
    done = run(TRACED, "main.py", cwd=cwd, env=env)
    assert timeless(done.text) == TREE
    assert sorted(span.name for span in collector.drain()) == SPANS
