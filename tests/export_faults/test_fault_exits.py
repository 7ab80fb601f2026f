"""A program whose collector does not work ends soon, and says what became of its spans.

The bound is generous: what the seconds usually are stands in docs/promises.md.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from support import faults, programs
from support.faults import Answer, FaultyServer

MOST_SECONDS = 12.0
"""By which a run may end later, on a machine that is busy; about 2 are usual."""

PROGRAM = """\
from pocketflow import Flow, Node

class Greet(Node):
    def post(self, shared, prep_res, exec_res):
        shared["number"] = shared.get("number", 0) + 1
        return "again" if shared["number"] < 30 else None

greet = Greet()
greet - "again" >> greet
shared = {}
Flow(start=greet).run(shared)
print("done", shared["number"])
"""

SPANS = 31

FAULTS = {
    "never accepts": faults.never_accepting,
    "never reads": faults.hung,
    "trickles": partial(faults.talking, faults.trickling),
    "503, for a day": partial(faults.answering, Answer(503, {"Retry-After": "86400"})),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program of one flow, and what runs that under `pocketflow-trace`."""
    found = tmp_path_factory.mktemp("program")
    programs.write_program(found, PROGRAM)
    (found / "launch.py").write_text(
        "import sys\nfrom pocketflow_trace.cli import main\n"
        "sys.exit(main(['run', '--no-live', 'main.py']))\n",
        encoding="utf-8",
    )
    return found


@pytest.fixture(scope="module")
def without(folder: Path) -> programs.Finished:
    """The program traced, but sent nowhere."""
    return programs.run(folder / "launch.py")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_end_comes_soon(
    fault: faults.Fault, without: programs.Finished, folder: Path, tmp_path: Path
) -> None:
    """Output and exit code stay as they are; all spans are in a file that a line names."""
    with fault() as server:
        env = {"XDG_STATE_HOME": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": server.url}
        found = programs.run(folder / "launch.py", env)
    assert found.outcome == without.outcome == ("done 30\n", 0)
    assert number_of_undelivered(found.stderr, server) == SPANS
    assert found.seconds - without.seconds < MOST_SECONDS


def number_of_undelivered(stderr: str, server: FaultyServer) -> int:
    """Return how many spans are in the file, having checked that it is the number that is told."""
    line = rf"pocketflow-trace: (\d+) spans could not be sent to {server.url} \(.+\); see (.+)\n"
    told = re.search(line, stderr)
    assert told, stderr
    numbers = [
        len(scope["spans"])
        for text in Path(told[2]).read_text(encoding="utf-8").splitlines()
        for resource in json.loads(text)["resourceSpans"]
        for scope in resource["scopeSpans"]
    ]
    assert sum(numbers) == int(told[1])
    return sum(numbers)
