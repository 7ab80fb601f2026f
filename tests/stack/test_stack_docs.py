"""What docs/production.md tells a reader to type works against the stack as it is written."""

from __future__ import annotations

import re
import typing

from support import programs
from support.stack import ROOT, wait_until

if typing.TYPE_CHECKING:
    from pathlib import Path

    from support.stack import Stack

PAGE = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
ENDPOINT = "http://localhost:4318"

FLOW = """\
from pocketflow import Flow, Node

class Greet(Node):
    def post(self, shared, prep_res, exec_res):
        shared["greeting"] = "hello"

Flow(start=Greet()).run({})
"""


def _variables() -> dict[str, str]:
    """Return what the page exports for a program that is run without code."""
    found = re.findall(r"^export (\w+)=(\S+)$", PAGE, re.MULTILINE)
    assert found
    return dict(found)


def _arrived(stack: Stack, service: str) -> bool:
    counted = f'pocketflow_node_duration_seconds_count{{job="{service}"}}'
    return len(stack.traces(service)) == 1 and len(stack.query(counted)) == 1


def test_the_exports(stack: Stack, tmp_path: Path) -> None:
    """With the page's variables, a program's trace and its numbers arrive, and it says nothing."""
    variables = _variables()
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == ENDPOINT
    moved = {"OTEL_EXPORTER_OTLP_ENDPOINT": stack.url("otlp http")}

    done = programs.run(programs.write_program(tmp_path, FLOW), variables | moved, zero_code=True)

    assert (done.outcome, done.stderr) == (("", 0), "")
    service = variables["OTEL_SERVICE_NAME"]
    wait_until(lambda: _arrived(stack, service), "trace and numbers arrive")


def test_the_program(stack: Stack, tmp_path: Path) -> None:
    """So it is with the page's set-up in code, at the end of the program at the latest."""
    match = re.search(r"<!-- program: begin -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert match is not None
    in_code = match[1].replace('"my-agent"', '"in-code"')
    moved = {"OTEL_EXPORTER_OTLP_ENDPOINT": stack.url("otlp http")}

    done = programs.run(programs.write_program(tmp_path, in_code + FLOW), moved)

    assert (done.outcome, done.stderr) == (("", 0), "")
    wait_until(lambda: _arrived(stack, "in-code"), "trace and numbers arrive")
