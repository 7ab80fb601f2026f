"""Programs that run for very long: memory stays as it is after the first part of the run.

Every night these are a million node runs each. Both halves are measured in steps.
"""

from __future__ import annotations

import os
import sys
import typing

import pytest
from lives import WAYS, ended

from support import programs

if typing.TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")

MILLION = 1_000_000
IS_NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
TIMEOUT = 3600 if IS_NIGHTLY else 3 * programs.TIMEOUT
STEPS = 10

PROGRAM = """\
import gc, os, sys
import tracing
from pocketflow import Flow, Node

TOTAL, STEPS = int(sys.argv[1]), int(sys.argv[2])

def measure(done):
    if done % (TOTAL // STEPS) == 0:
        tracing.flush()
        gc.collect()
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        print(pages * os.sysconf("SC_PAGE_SIZE"))

class Count(Node):
    def prep(self, shared):
        return shared["done"]

    def exec(self, prep_res):
        return prep_res + 1

    def post(self, shared, prep_res, exec_res):
        shared["done"] = exec_res
        measure(exec_res)
        return "again" if exec_res < TOTAL else "enough"

def one_flow():
    count = Count()
    count - "again" >> count
    count - "enough" >> Node()
    Flow(count).run({"done": 0})

def many_flows():
    shared = {"done": 0}
    for _ in range(TOTAL):
        Flow(Count()).run(shared)

SHAPE()
"""

TRACING = """\
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor

class Nowhere(SpanExporter):
    def export(self, spans):
        return SpanExportResult.SUCCESS

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(Nowhere()))
PocketFlowInstrumentor().instrument(tracer_provider=provider)
flush = provider.force_flush
"""

UNTRACED = "def flush():\n    pass\n"

COMMAND = WAYS["command"][:-1]
"""With the lines that it prints while the program runs, where there is no terminal."""

RUNS = {
    "one flow": ("one_flow", WAYS["in code"], 100_000),
    "many flows": ("many_flows", WAYS["in code"], 15_000),
    "one flow, command": ("one_flow", COMMAND, None),
    "many flows, command": ("many_flows", COMMAND, None),
}
"""The loop, what stands before the program, and the nodes that run where it is not night.

The command keeps the first 10,000 spans, lets thousands wait for the disk, and remembers some
hundred bytes of each until its file is full: only at night it comes to its end.
"""

LEAK = 20
"""Bytes for each node run that are one: the smallest object takes more."""

NOISE = 1_000_000
"""Bytes that a process may gain or lose at any time."""


@pytest.mark.parametrize("run", RUNS)
def test_memory_stays_flat(run: str, tmp_path: Path) -> None:
    """A loop in one flow, and one flow after another; traced by the SDK, and by the command."""
    shape, command, total = RUNS[run]
    total = MILLION if IS_NIGHTLY else total
    if total is None:
        pytest.skip("takes half an hour: `make test-nightly` does it")
    script = programs.write_program(tmp_path, PROGRAM.replace("SHAPE", shape))
    setup = UNTRACED if command is COMMAND else TRACING
    script.with_name("tracing.py").write_text(setup, encoding="utf-8")
    finished = ended([*command, script.name, str(total), str(STEPS)], tmp_path, timeout=TIMEOUT)
    assert finished.exit_code == 0, finished.stderr[-1000:]
    measured = [int(line) for line in finished.stdout.split()]
    assert len(measured) == STEPS
    second_half = measured[STEPS // 2 :]
    assert max(second_half) - second_half[0] < NOISE + LEAK * total // 2, measured
