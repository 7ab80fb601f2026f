"""What the README says, held against the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def program() -> str:
    """The ten-line program."""
    found = re.search(r"<!-- program: begin -->\n```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_program_is_ten_lines() -> None:
    """A reader takes it in at a glance."""
    assert len([line for line in program().splitlines() if line.strip()]) == 8


def test_the_program_runs_and_is_traced() -> None:
    """As it stands there, with a provider that keeps the spans."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with_provider = program().replace(
        ".instrument()", ".instrument(tracer_provider=provider, resource=False)"
    )
    try:
        exec(compile(with_provider, "README.md", "exec"), {"provider": provider})  # noqa: S102
    finally:
        PocketFlowInstrumentor().uninstrument()
    node, flow = exporter.get_finished_spans()
    assert (flow.name, node.name) == ("invoke_workflow GreetFlow", "Greet")
    attributes = dict(node.attributes or {})
    assert attributes["pocketflow.shared.added"] == ("greeting",)
    assert '"value":"Hello, Ada!"' in str(attributes["pocketflow.shared.diff"])


@pytest.mark.parametrize("mode", ["code", "command"])
def test_both_ways_of_use_run_the_program(mode: str, tmp_path: Path) -> None:
    """In a process of its own, in code and by `pocketflow-trace run`."""
    text = program()
    if mode == "command":
        text = text.replace("PocketFlowInstrumentor().instrument()\n", "")
    (tmp_path / "main.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "main.py"]
    if mode == "command":
        command = [sys.executable, "-m", "pocketflow_trace", "run", "main.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert ("Greet" in done.stderr) == (mode == "command")


def test_the_tables_are_those_of_the_code() -> None:
    """`make readme` writes them."""
    command = [sys.executable, "scripts/readme_tables.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_name_is_in_the_table() -> None:
    """No attribute is emitted that the README does not explain."""
    from opentelemetry.instrumentation.pocketflow import semconv  # noqa: PLC0415 - read here only

    names = [
        value
        for name, value in vars(semconv).items()
        if name.isupper() and "." in str(value) and not name.startswith(("SCHEMA", "SCOPE"))
    ]
    assert len(names) > 60
    for name in names:
        assert f"| `{name}` |" in README


DEPTH = """
import sys
from pocketflow import Flow, Node
if sys.argv[1:]:
    from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    PocketFlowInstrumentor().instrument(tracer_provider=TracerProvider(), resource=False)
depth = 0
class Deeper(Node):
    def exec(self, prep_res):
        global depth
        depth += 1
        Flow(start=Deeper()).run({})
try:
    Flow(start=Deeper()).run({})
except RecursionError:
    print(depth)
"""


def test_nested_flows_reach_a_quarter_of_the_depth_at_least() -> None:
    """The limit that the README names: about a third, on the Python versions that we support."""
    depths: list[int] = []
    for mode in ([], ["traced"]):
        command = [sys.executable, "-c", DEPTH, *mode]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        depths.append(int(done.stdout))
    plain, traced = depths
    assert plain // 4 <= traced < plain
