"""What a collector that does not work costs: ``python -m benchmarks.export_faults`` prints tables.

**The flow's own time.** Two tracers take turns in one process, in random order: one whose exporter
discards, and one that sends as `pocketflow-trace run` does, to a collector that has the fault. The
numbers are medians of the ratios of all rounds, of the CPU time of the thread that runs the flow
and of the time that passes. Before each turn the process must have come to rest, so that one does
not pay for the other. The collector is a process of its own.

**The exit.** How long the exporter's shutdown takes with 100 spans waiting: what a program's end
waits for. The tracer of `pocketflow-trace run` besides the SDK's `BatchSpanProcessor`.

It takes about ten minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks import machine, report, tracers
from pocketflow_trace.sending.exporter import ExportTarget, make_exporter
from pocketflow_trace.sending.outbox import Outbox
from pocketflow_trace.sending.undelivered import UndeliveredFile
from pocketflow_trace.sending.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from benchmarks.tracers import Tracer

_ROOT: Final = Path(__file__).resolve().parents[1]
_HTTP: Final = "http/protobuf"
_GRPC: Final = "grpc"
_FAULTS: Final = (
    "takes all",
    "refused",
    "never reads",
    "never accepts",
    "trickles",
    "slow: 1 s",
    "503, at once",
    "503, for a day",
    "not HTTP",
    "redirects",
)
_OVER_GRPC: Final = ("refused", "never reads", "never accepts")
_NODES: Final = 600
"""More than a batch: each turn begins an export."""
_WAIT: Final = 0.002
"""Seconds that a node of the second flow waits, as for a very quick model."""
_WAITING: Final = 100
_REST: Final = 0.05
_MOST_REST: Final = 4.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables.

    Args:
        arguments: of the command; by default those of the process.

    Returns:
        0.
    """
    options = _parser().parse_args(arguments)
    if options.serve:
        _serve(options.serve)
        return 0
    # The SDK's exporters tell of each failure.
    logging.disable()
    print(report.table(("measured on", ""), list(machine.describe().items())))
    cases = [(_HTTP, name) for name in _FAULTS] + [(_GRPC, name) for name in _OVER_GRPC]
    if not options.exits:
        print("\n" + _flow_table(cases, options.rounds), flush=True)
    print("\n" + _exit_table(cases), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.export_faults")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--exits", action="store_true", help="leave the flow's own time out")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    return parser


# --- The collector, a process of its own ----------------------------------------------------


def _serve(name: str) -> None:
    """Runs one collector until stdin ends, having printed its URL."""
    sys.path.insert(0, str(_ROOT / "tests"))
    from support import faults  # noqa: PLC0415 - the tests' own collectors

    def answering(*answer: Any) -> Any:
        return partial(faults.answering, faults.Answer(*answer))

    makers: Mapping[str, Any] = {
        "takes all": answering(200),
        "refused": faults.refused,
        "never reads": faults.hung,
        "never accepts": faults.never_accepting,
        "trickles": partial(faults.talking, faults.trickling),
        "slow: 1 s": partial(faults.slow, 1.0),
        "503, at once": answering(503, {"Retry-After": "0"}),
        "503, for a day": answering(503, {"Retry-After": "86400"}),
        "not HTTP": partial(faults.talking, faults.saying(b"220 mail.example ESMTP\r\n")),
        "redirects": answering(302, {"Location": "/login"}),
    }
    with makers[name]() as server:
        print(server.url, flush=True)
        sys.stdin.read()


@contextlib.contextmanager
def _collector(name: str) -> Generator[str]:
    command = [sys.executable, "-m", "benchmarks.export_faults", "--serve", name]
    # The interpreter that runs this, and arguments that stand above.
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
    ) as server:
        yield server.stdout.readline().strip() if server.stdout else ""
        server.communicate("")


# --- The flow's own time --------------------------------------------------------------------


class Spent(NamedTuple):
    """What a run has taken, in seconds."""

    cpu: float
    """Of the thread that runs the flow."""
    wall: float


def _flow_table(cases: Sequence[tuple[str, str]], rounds: int) -> str:
    rows: list[Sequence[str]] = []
    for protocol, name in cases:
        busy = _ratios(protocol, name, rounds, 0)
        waiting = _ratios(protocol, name, rounds, _WAIT)
        numbers = (busy.cpu, busy.wall, waiting.cpu, waiting.wall)
        rows.append((f"{name} ({protocol})", *(f"{number:.3f}" for number in numbers)))
        print(*rows[-1], file=sys.stderr, flush=True)
    head = (
        "collector",
        "nodes that do nothing: CPU",
        "elapsed",
        "nodes that wait 2 ms: CPU",
        "elapsed",
    )
    return report.table(head, rows)


def _ratios(protocol: str, name: str, rounds: int, wait: float) -> Spent:
    """What a run takes with a fault, through what it takes with an exporter that discards."""
    with _collector(name) as url, _sending(protocol, url) as provider:
        ways = {"discard": tracers.instrumented(), "fault": tracers.instrumented(provider)}
        pairs = [_round(ways, wait) for _ in range(rounds + 1)][1:]
        for way in ways.values():
            way.close()
    cpu = [pair["fault"].cpu / pair["discard"].cpu for pair in pairs]
    wall = [pair["fault"].wall / pair["discard"].wall for pair in pairs]
    return Spent(statistics.median(cpu), statistics.median(wall))


def _round(ways: Mapping[str, Tracer], wait: float) -> dict[str, Spent]:
    return {name: _spent(ways[name], wait) for name in random.sample(list(ways), len(ways))}


def _spent(tracer: Tracer, wait: float) -> Spent:
    flow = _flow(tracer, wait)
    _rest()
    cpu, wall = time.thread_time(), time.perf_counter()
    flow.run({})
    return Spent(time.thread_time() - cpu, time.perf_counter() - wall)


def _flow(tracer: Tracer, wait: float) -> Any:
    class Step(tracer.framework.Node):
        def exec(self, prep_res: Any) -> Any:
            if wait:
                time.sleep(wait)
            return prep_res

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            del prep_res, exec_res
            shared["number"] = shared.get("number", 0) + 1
            return "again" if shared["number"] < _NODES else "end"

    step = Step()
    step.next(step, "again")
    step.next(tracer.framework.Node(), "end")
    return tracer.framework.Flow(start=step)


def _rest() -> None:
    """Waits until no thread of this process has anything to do."""
    deadline = time.monotonic() + _MOST_REST
    while time.monotonic() < deadline:
        before = time.process_time()
        time.sleep(_REST)
        if time.process_time() - before < _REST / 50:
            return


@contextlib.contextmanager
def _sending(protocol: str, url: str) -> Generator[TracerProvider]:
    """A provider that sends as `pocketflow-trace run` does."""
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url
    witness = Witness()
    with tempfile.TemporaryDirectory() as state:
        exporter = make_exporter(ExportTarget(protocol, url), {}, witness)
        box = Outbox(exporter, UndeliveredFile({"XDG_STATE_HOME": state}), witness)
        provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
        provider.add_span_processor(box)
        yield provider
        provider.shutdown()


# --- The exit -------------------------------------------------------------------------------


def _exit_table(cases: Sequence[tuple[str, str]]) -> str:
    rows: list[Sequence[str]] = []
    for protocol, name in cases:
        with _collector(name) as url, _sending(protocol, url) as provider:
            ours = _shutdown(provider)
        theirs = [_shutdown_of_sdk(protocol, name, timeout) for timeout in ("", "1")]
        rows.append((f"{name} ({protocol})", *(f"{seconds:.1f}" for seconds in (ours, *theirs))))
        print(*rows[-1], file=sys.stderr, flush=True)
    head = (
        "seconds at the end",
        "`pocketflow-trace run`",
        "`BatchSpanProcessor`",
        "... OTEL_EXPORTER_OTLP_TIMEOUT=1",
    )
    return report.table(head, rows)


def _shutdown_of_sdk(protocol: str, name: str, timeout: str) -> float:
    os.environ.pop("OTEL_EXPORTER_OTLP_TIMEOUT", None)
    if timeout:
        os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = timeout
    with _collector(name) as url:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url
        module = f"opentelemetry.exporter.otlp.proto.{protocol.partition('/')[0]}.trace_exporter"
        exporter = importlib.import_module(module).OTLPSpanExporter()
        provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        seconds = _shutdown(provider)
    os.environ.pop("OTEL_EXPORTER_OTLP_TIMEOUT", None)
    return seconds


def _shutdown(provider: TracerProvider) -> float:
    tracer = provider.get_tracer("exit")
    for number in range(_WAITING):
        tracer.start_span(f"span {number}").end()
    start = time.perf_counter()
    provider.shutdown()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
