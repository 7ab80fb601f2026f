"""Faults in what shows and keeps a run: neither the program nor its own spans notice."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any, Final

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from opentelemetry.instrumentation.pocketflow.guard import guarded
from pocketflow_trace import attach
from pocketflow_trace.sending.outbox import Outbox
from pocketflow_trace.sending.undelivered import UndeliveredFile
from pocketflow_trace.sending.witness import Witness
from support.fault_injection import KINDS
from support.fault_programs import retries
from support.fault_trials import NIGHTLY, Bench, Traced

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.fault_injection import Place
    from support.tracing import Program, Recorder, Stage

UNGUARDED: Final = {
    "pocketflow_trace/process/attaching.py on_start": "it only passes on, to what is guarded",
    "pocketflow_trace/process/attaching.py on_end": "it only passes on, to what is guarded",
    "pocketflow_trace/process/attaching.py close": "the program calls it; its steps are guarded",
}
"""Functions of which an exception may reach the program, and why."""


class Attached(Bench):
    """A program whose run is shown, kept and sent, and that closes all of that at its end.

    Args:
        folder: where the files are written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._closing: tuple[Callable[[], None], ...] = ()
        super().__init__(self._run_and_close)

    def _run_and_close(self, stage: Stage) -> Any:
        result = retries(stage)
        for close in self._closing:
            close()
        return result

    def prepare(self) -> None:
        """Attaches to the provider; what that raises is for the program, which asks for it."""
        self._count += 1
        self.sent = InMemorySpanExporter()
        outbox = Outbox(
            self.sent, UndeliveredFile({"XDG_STATE_HOME": str(self._folder)}), Witness()
        )
        self.provider.add_span_processor(outbox)
        attachment = attach(file=self._file, tracer_provider=self.provider)
        self._closing = (attachment.close, guarded(None)(outbox.shutdown))

    @property
    def _file(self) -> Path:
        return self._folder / f"{self._count}.jsonl"

    def run(self, recorder: Recorder, program: Program | None = None) -> Traced:
        """Runs the program; what was shown, kept and sent belongs to what came of it."""
        with contextlib.redirect_stderr(io.StringIO()) as shown:
            traced = super().run(recorder, program)
        kept = self._file.read_text(encoding="utf-8").count("\n") if self._file.exists() else 0
        counts = (
            f"{len(shown.getvalue().splitlines())} lines shown",
            f"{kept} lines kept",
            f"{len(self.sent.get_finished_spans())} spans sent",
        )
        return Traced(traced.outcome, (*traced.lines, *counts), traced.open)


@pytest.fixture(scope="module")
def attached(tmp_path_factory: pytest.TempPathFactory) -> Attached:
    """A bench for a program under our own set-up."""
    return Attached(tmp_path_factory.mktemp("runs"))


def of_tools(places: list[Place], one_in: int) -> list[Place]:
    """Those places that are in the tools, or some of them."""
    found = [place for place in places if str(place.function).startswith("pocketflow_trace/")]
    return found if NIGHTLY else found[::one_in]


@pytest.mark.parametrize(("what", "one_in"), [("entries", 3), ("lines", 16)])
def test_what_shows_keeps_or_sends_a_run_fails(attached: Attached, what: str, one_in: int) -> None:
    """The program and its spans are the same, one line tells of it, and the next run is whole."""
    census = attached.census
    places = of_tools(census.entries() if what == "entries" else census.lines(), one_in)
    found = [
        f"{place}: {complaint}"
        for place in places
        if str(place.function) not in UNGUARDED
        for complaint in attached.fault(place, KINDS[0]).complaints()
    ]

    assert len(places) > 30
    assert not found
