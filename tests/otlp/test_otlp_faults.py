"""A collector that is down, hangs or fails changes nothing in the program that is traced.

Only the end may come later: the SDK tries to send what it still holds. `PATIENCE` bounds that.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass

import pytest

from support import faults, programs, sample_programs

if typing.TYPE_CHECKING:
    from pathlib import Path

PATIENCE = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
"""One second for all tries of one export; by default it is ten."""

LONGEST_DELAY = 10.0
"""Seconds by which a run may end later than without tracing: that second, the imports and slack."""

LEAVES_WITH_5 = sample_programs.RESEARCH + "raise SystemExit(5)\n"
"""The agent, with an exit code that nothing but the program itself can have chosen."""

BUSY = (
    sample_programs.TINY
    + """
import sys, time
start = time.monotonic()
for _ in range(50):
    Tiny(start=Greet()).run({})
print(time.monotonic() - start, file=sys.stderr)
"""
)
"""Fifty more runs; the first line on stderr is the seconds that they took."""


@pytest.fixture(
    params=[faults.refused, faults.hung, faults.unavailable], ids=["refused", "hung", "503"]
)
def fault(request: pytest.FixtureRequest) -> faults.Fault:
    """Each way in which a collector can fail; to gRPC the 503 is a server that speaks no HTTP/2."""
    chosen: faults.Fault = request.param
    return chosen


@dataclass(frozen=True)
class Comparison:
    """The same program without tracing, and traced with a collector that does not work."""

    plain: programs.Finished
    traced: programs.Finished

    @property
    def delay(self) -> float:
        """Seconds by which the traced run took longer."""
        return self.traced.seconds - self.plain.seconds


def _compare(
    directory: Path, source: str, fault: faults.Fault, protocol: str, *, zero_code: bool
) -> Comparison:
    plain = programs.run(programs.write_program(directory / "plain", source))
    text = source if zero_code else programs.in_code(source, protocol)
    script = programs.write_program(directory / "traced", text)
    with fault() as server:
        env = programs.otlp_environment(server.url, protocol) | PATIENCE
        traced = programs.run(script, env, zero_code=zero_code)
    # Otherwise the fault was not met, and the test would prove nothing.
    assert "failed to export" in traced.stderr.lower(), traced.stderr
    return Comparison(plain, traced)


def test_a_faulty_collector_changes_no_result(
    fault: faults.Fault, protocol: str, zero_code: bool, workdir: Path
) -> None:
    """Output and exit code are those of a plain run, and the end comes soon."""
    runs = _compare(workdir, LEAVES_WITH_5, fault, protocol, zero_code=zero_code)

    assert runs.traced.outcome == runs.plain.outcome
    assert runs.traced.exit_code == 5
    assert runs.traced.stdout.startswith("done {")
    assert runs.delay < LONGEST_DELAY


def test_a_faulty_collector_hides_no_exception(
    fault: faults.Fault, zero_code: bool, workdir: Path
) -> None:
    """The exception that ends a program still is what its user reads."""
    runs = _compare(workdir, sample_programs.FAILING, fault, "http/protobuf", zero_code=zero_code)

    assert runs.traced.outcome == runs.plain.outcome == ("fetched\n", 1)
    message = "ValueError: invalid literal for int() with base 10: 'x'"
    assert message in runs.plain.stderr.splitlines()
    assert message in runs.traced.stderr.splitlines()
    assert runs.traced.stderr.count("Traceback") == 1


def test_a_run_does_not_wait_for_a_slow_collector(workdir: Path, zero_code: bool) -> None:
    """Spans are sent while flows run, and no flow waits for the answer."""
    text = BUSY if zero_code else programs.in_code(BUSY, "http/protobuf")
    script = programs.write_program(workdir, text)

    with faults.slow(30) as server:
        env = programs.otlp_environment(server.url, "http/protobuf") | PATIENCE
        # An export every millisecond, so that one is under way from the first flow on.
        traced = programs.run(script, {**env, "OTEL_BSP_SCHEDULE_DELAY": "1"}, zero_code=zero_code)

    assert traced.outcome == ("{'greeting': 'hello'}\n", 0), traced.stderr
    assert server.calls > 0
    assert float(traced.stderr.splitlines()[0]) < 1.0, "one export's own timeout"
