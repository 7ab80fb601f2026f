"""One long run in a process of its own: ``python -m benchmarks.long_run plain|traced NODES``.

Prints CPU seconds and the peak of the process's memory as JSON. See `processes`.
"""

from __future__ import annotations

import json
import sys
from time import thread_time
from typing import Any

from benchmarks.machine import peak_bytes
from benchmarks.tracers import instrumented, plain

_MEBI = 1 << 20


def main() -> None:
    """Runs one node again and again."""
    mode, nodes = sys.argv[1], int(sys.argv[2])
    tracer = instrumented() if mode == "traced" else plain()

    class Step(tracer.framework.Node):
        def prep(self, shared: Any) -> int:
            return shared["count"]

        def exec(self, prep_res: int) -> int:
            return prep_res + 1

        def post(self, shared: Any, prep_res: int, exec_res: int) -> str:
            del prep_res
            shared["count"] = exec_res
            return "again" if exec_res < nodes else "done"

    step: Any = Step()
    step.next(step, "again")
    step.next(tracer.framework.BaseNode(), "done")
    flow = tracer.framework.Flow(start=step)
    begin = thread_time()
    flow.run({"count": 0})
    seconds = thread_time() - begin
    peak = peak_bytes()
    tracer.close()
    print(json.dumps({"seconds": seconds, "peak_mib": peak / _MEBI}))


if __name__ == "__main__":
    main()
