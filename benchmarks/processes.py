"""What is measured in processes of their own: imports, and how long runs grow."""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import sys
from typing import NamedTuple

IMPORTS = {
    "nothing": "pass",
    "`opentelemetry.trace`": "import opentelemetry.trace",
    "`opentelemetry.sdk.trace`": "import opentelemetry.sdk.trace",
    "`opentelemetry.instrumentation.pocketflow`": "import opentelemetry.instrumentation.pocketflow",
    "both of these": (
        "import opentelemetry.sdk.trace; import opentelemetry.instrumentation.pocketflow"
    ),
}
"""What a program imports."""


def imports(rounds: int) -> dict[str, float]:
    """Milliseconds of CPU for each import, beyond those of an interpreter that imports nothing.

    Args:
        rounds: how many processes are started for each.
    """
    samples: dict[str, list[float]] = {name: [] for name in IMPORTS}
    order = list(IMPORTS)
    for number in range(rounds + 1):
        random.shuffle(order)
        for name in order:
            spent = _cpu_of(IMPORTS[name])
            if number:  # the first round writes the bytecode
                samples[name].append(spent)
    pairs = {name: zip(found, samples["nothing"], strict=True) for name, found in samples.items()}
    return {
        name: 1e3 * statistics.median(spent - nothing for spent, nothing in found)
        for name, found in pairs.items()
        if name != "nothing"
    }


def _cpu_of(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _python("-c", code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Length(NamedTuple):
    """What tracing adds to a run of that many nodes."""

    nodes: int
    us_per_node: float
    """Microseconds of CPU, of the thread that runs the nodes."""
    mib: float
    """Memory of the process at its peak, beyond that of the same run without tracing."""


def run_lengths(lengths: tuple[int, ...]) -> list[Length]:
    """Runs of growing length, each once with and once without tracing."""
    return [_length(nodes) for nodes in lengths]


def _length(nodes: int) -> Length:
    plain, traced = (_long_run(mode, nodes) for mode in ("plain", "traced"))
    added = (traced["seconds"] - plain["seconds"]) / nodes * 1e6
    return Length(nodes, added, traced["peak_mib"] - plain["peak_mib"])


def _long_run(mode: str, nodes: int) -> dict[str, float]:
    return json.loads(_python("-m", "benchmarks.long_run", mode, str(nodes)))


def _python(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    # The interpreter that runs this, and arguments that stand above.
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return done.stdout
