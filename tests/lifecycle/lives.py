"""Runs a program plain and traced in processes of their own, and compares all that can be seen.

The program's text is the same each time. Its first line imports `tracing`, which sets up the SDK
where the program does so itself, and is an empty file otherwise: line numbers stay the same.
"""

from __future__ import annotations

import re
import sys
import sysconfig
import typing
from dataclasses import dataclass
from pathlib import Path

import pytest

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.keeping.shelf import Shelf, read
from support import programs
from support.received import outline

if typing.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pocketflow_trace.record.model import Entry
    from support.collector import Collector
    from support.programs import Finished
    from support.received import ReceivedSpan

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

INSTRUMENT = str(Path(sysconfig.get_path("scripts")) / "opentelemetry-instrument")

WAYS: typing.Final[Mapping[str, Sequence[str]]] = {
    "in code": (sys.executable,),
    "zero code": (INSTRUMENT, sys.executable),
    "command": (sys.executable, "-m", "pocketflow_trace", "run", "--no-live"),
}
"""What stands before a program, by the way in which it is traced."""

both_ways = pytest.mark.parametrize("way", ["in code", "zero code"])
"""Runs a test for programs that set up tracing themselves, and for `opentelemetry-instrument`."""

all_ways = pytest.mark.parametrize("way", WAYS)
"""Runs a test in these ways and under `pocketflow-trace run`, which traces the first process."""

PROTOCOL = "http/protobuf"

SOURCE = """\
import tracing
import os, sys
from pocketflow import Flow, Node

class Where(Node):
    def exec(self, prep_res):
        return os.getpid()

class Then(Where):
    pass

def flow():
    where = Where()
    where >> Then()
    return Flow(where)

"""
"""The beginning of programs: the output of every node is the process in which it ran."""

FLOW = ["invoke_workflow WhereFlow", "  Where", "  Then"]
"""The outline of one run of that flow."""

FLUSH = """\
def flush():
    from opentelemetry import trace
    if hasattr(provider := trace.get_tracer_provider(), "force_flush"):
        provider.force_flush()

"""
"""A function for what ends without exit handlers, as OpenTelemetry asks of such programs."""

_ADDRESS = re.compile(r"0x[0-9a-f]+")
_OUR_FRAME = re.compile(
    r' +File ".*/(?:opentelemetry/instrumentation/pocketflow|wrapt)/.*\n(?:    .*\n)*'
)


@dataclass(frozen=True)
class Life:
    """What a traced program left, beside what it would have left without tracing.

    Attributes:
        finished: The process that ended.
        spans: What the collector received.
        kept: The run that was kept, where it ran under the command, which sends nothing here.
    """

    finished: Finished
    spans: Sequence[ReceivedSpan] = ()
    kept: Sequence[Entry] = ()

    @property
    def outline(self) -> list[str]:
        """The names of its spans as an indented tree."""
        return [*outline(self.spans), *kept_outline(self.kept)]

    def names(self) -> list[str]:
        """Return the names of its spans, sorted."""
        kept = (line.strip() for line in kept_outline(self.kept))
        return sorted([*kept, *(span.name for span in self.spans)])

    def processes(self) -> set[int]:
        """Return the processes that sent spans, having checked that no span lies about its own."""
        return processes(self.spans)


def processes(spans: Iterable[ReceivedSpan]) -> set[int]:
    """Return the processes of spans, each of which must be where its node said that it ran."""
    seen: set[int] = set()
    for span in spans:
        pid = span.resource[semconv.PROCESS_PID]
        assert isinstance(pid, int)
        if (said := str(span.attributes.get(semconv.OUTPUT_VALUE))).isdecimal():
            assert pid == int(said), span.name
        seen.add(pid)
    return seen


class Lives:
    """Where programs are run; made by the fixture `lives`.

    Args:
        collector: Where the traced ones send to.
        directory: The folder of their files.
        way: How they are traced; one of `WAYS`.
    """

    def __init__(self, collector: Collector, directory: Path, way: str) -> None:
        self._collector = collector
        self._directory = directory
        self._way = way

    def live(
        self, source: str, env: Mapping[str, str] | None = None, *, before: str = SOURCE
    ) -> Life:
        """Run a program twice, and return what the traced one left.

        Args:
            source: Its text.
            env: Variables beside those of `programs.clean_environment`.
            before: What stands before its text.
        """
        script = programs.write_program(self._directory, before + source).name
        setup = self._directory / "tracing.py"
        setup.write_text("", encoding="utf-8")
        plain = ended([*WAYS["in code"], script], self._directory, env)
        if self._way == "in code":
            setup.write_text(programs.in_code("", PROTOCOL), encoding="utf-8")
        traced = ended(
            [*WAYS[self._way], script], self._directory, {**(env or {}), **self._destination()}
        )
        said, expected = stable(traced.stderr), stable(plain.stderr)
        if self._way == "command":
            said, report = without_report(said, expected)
            assert "tracing lost" not in report
        assert (traced.outcome, said) == (plain.outcome, expected)
        if self._way == "command":
            return Life(traced, kept=read(Shelf(self._directory / "runs").find()).run.roots)
        return Life(traced, self._collector.drain())

    def _destination(self) -> dict[str, str]:
        if self._way == "command":
            return {"POCKETFLOW_TRACE_DIR": str(self._directory / "runs")}
        return programs.otlp_environment(self._collector.http_endpoint, PROTOCOL)


def kept_outline(kept: Iterable[Entry], indent: str = "") -> Iterator[str]:
    """Draw the tree of a kept run as `received.outline` draws that of received spans."""
    for each in kept:
        yield indent + each.name
        yield from kept_outline(each.children, indent + "  ")


def ended(
    command: Sequence[str],
    directory: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = programs.TIMEOUT,
) -> Finished:
    """Run a command to its end.

    Args:
        command: The interpreter, its arguments, and the program.
        directory: The working directory; runs are kept in it, too.
        env: Variables beside those of `programs.clean_environment`.
        timeout: Seconds after which it counts as hung.
    """
    variables = {"XDG_STATE_HOME": str(directory), **(env or {})}
    return programs.ended(command, directory, variables, timeout)


def without_report(traced: str, plain: str) -> tuple[str, str]:
    """Take out the one block that the command prints at a program's end, wherever it stands.

    Returns:
        What is left, and the block.
    """
    begin = 0
    while begin < len(plain) and traced[begin : begin + 1] == plain[begin]:
        begin += 1
    end = max(begin, len(traced) - (len(plain) - begin))
    return traced[:begin] + traced[end:], traced[begin:end]


def stable(stderr: str) -> str:
    """Return what a program wrote to stderr without what tracing and chance may change.

    Tracebacks that Python prints may have our frames between those of the framework, but nothing
    else of ours; and what is at which address is chance.
    """
    return _ADDRESS.sub("0x", _OUR_FRAME.sub("", stderr))
