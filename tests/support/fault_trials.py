"""Tries what a program comes to when something of ours fails, and what becomes of later runs."""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NoOpTracer

from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor, guard
from opentelemetry.instrumentation.pocketflow.capture import processor
from support.fault_injection import Census, OurFault, broken, census, injected
from support.fault_programs import PROGRAMS, Client
from support.tracing import Outcome, Program, Recorder, Trace, act, faults_raise, logged

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from support.fault_injection import Fault, Function, Place

NIGHTLY: Final = "nightly" in {
    os.environ.get("HYPOTHESIS_PROFILE"),
    os.environ.get("POCKETFLOW_NIGHTLY") and "nightly",
}
"""Is there time for all places? Else a share of them is tried, the same in each run."""

LOST: Final = "PocketFlow tracing lost something in "
"""How the line begins that says so."""
_LEFT_OUT: Final = "; this is left out of the trace."
"""What the line says where what failed was reading an argument of the program's."""


class Interrupted(KeyboardInterrupt):
    """What a signal's handler raises, wherever the program is."""


@dataclass(frozen=True)
class Traced:
    """What a program comes to, and its spans."""

    outcome: Outcome | None
    """None where it left a context attached."""
    lines: tuple[str, ...]
    open: int
    """How many spans were begun and not ended."""


class Bench:
    """Runs one program again and again, and compares.

    Args:
        program: what is run.
        **options: of the instrumentor.
    """

    def __init__(self, program: Program, **options: Any) -> None:
        self._program = program
        self._options = options
        self.plain = act(program)
        for _ in range(2):  # what is looked up once in a process is known the second time
            with self.instrumented() as recorder, faults_raise():
                self.prepare()
                self.sound = self.run(recorder)
        assert not differences(self.plain, self.sound)

    def prepare(self) -> None:
        """Sets up what one run needs, before anything may fail."""

    @functools.cached_property
    def census(self) -> Census:
        """What of ours is reached in a run."""
        with self.instrumented() as recorder, faults_raise():
            self.prepare()
            return census(lambda: self.run(recorder))

    def run(self, recorder: Recorder, program: Program | None = None) -> Traced:
        """Runs the program, or another one."""
        recorder.started.clear()
        recorder.ended.clear()
        outcome = _act(program or self._program)
        still_open = len(set(recorder.started) - set(recorder.ended))
        return Traced(outcome, _lines(recorder), still_open)

    def fault(self, place: Place, fault: Fault) -> Trial:
        """Runs the program with one fault, and once more without it."""
        with self.instrumented() as recorder:
            self.prepare()
            with logged() as lines, injected(place, fault) as injection:
                faulty = self.run(recorder)
            fired, in_sdk = injection.fired, injection.in_sdk
            return Trial(self, fired, in_sdk, faulty, lines, *self._later(recorder))

    def lasting(self, function: Function) -> Trial:
        """Runs the program with a function that always raises, and once more without that."""
        with self.instrumented() as recorder:
            self.prepare()
            before = OurFault.made
            with logged() as lines, broken(function):
                faulty = self.run(recorder)
            fired = OurFault.made > before
            return Trial(self, fired, False, faulty, lines, *self._later(recorder), lasting=True)

    def _later(self, recorder: Recorder) -> tuple[Traced, list[str]]:
        self.prepare()
        with logged() as lines:
            return self.run(recorder), lines

    @contextlib.contextmanager
    def instrumented(self) -> Generator[Recorder]:
        """Traces the program, and the client that it uses."""
        recorder = Recorder()
        provider = self.provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
        provider.add_span_processor(recorder)
        meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
        processor._with_metric.clear()
        guard._reported.clear()
        instrumentor = PocketFlowInstrumentor()
        instrumentor.instrument(
            tracer_provider=provider, meter_provider=meters, resource=False, **self._options
        )
        Client.tracer = provider.get_tracer("opentelemetry.instrumentation.openai_v2")
        try:
            yield recorder
        finally:
            instrumentor.uninstrument()
            Client.tracer = NoOpTracer()


_OPTIONS: Final[tuple[dict[str, Any], ...]] = (
    {"phase_spans": True},
    {},
    {"phase_spans": True},
    {"content": "keys"},
)
"""Those with which each of the programs is traced."""


@functools.cache
def bench(number: int) -> Bench:
    """A bench for one of the programs."""
    return Bench(PROGRAMS[number], **_OPTIONS[number])


@dataclass(frozen=True)
class Trial:
    """What one fault did."""

    bench: Bench
    fired: bool
    """Was the place reached?"""
    in_sdk: bool
    """Was it the SDK that called ours, in the middle of beginning or ending a span?"""
    faulty: Traced
    logged: list[str]
    later: Traced
    later_logged: list[str]
    lasting: bool = False
    """Does it fail each time?"""

    def complaints(self, *, expected: bool = False) -> Generator[str]:
        """What is not as it should be after a fault.

        Args:
            expected: may our code have been ready for that kind of fault, and said nothing?
        """
        yield from differences(self.bench.plain, self.faulty)
        if self.faulty.open:
            yield f"{self.faulty.open} spans were not ended"
        yield from self._of_log(expected=expected)
        yield from self._of_later_runs()

    def of_interrupt(self) -> Generator[str]:
        """What is not as it should be after a KeyboardInterrupt in the middle of ours."""
        if not self.fired:
            return
        outcome = self.faulty.outcome
        if outcome is None:
            yield "a context stayed attached"
        else:
            if [end.type for end in outcome.raised[:1]] != [Interrupted.__qualname__]:
                yield f"the program ends with {outcome.raised or outcome.result}"
            if outcome.log != self.bench.plain.log[: len(outcome.log)]:
                yield f"the program did {outcome.log}"
        if self.faulty.open and not self.in_sdk:
            yield f"{self.faulty.open} spans were not ended"
        if self.logged:
            yield f"it logged {self.logged}"
        yield from self._of_later_runs()

    def _of_log(self, *, expected: bool) -> Generator[str]:
        said = [line for line in self.logged if line.startswith(LOST) or _LEFT_OUT in line]
        if said != self.logged or len(set(said)) != len(said):
            yield f"it logged {self.logged}"
        elif len(said) > 1 and not self.lasting:
            yield f"one fault is told of {len(said)} times: {said}"
        elif not said and self.fired and not expected:
            yield "nothing says what was lost"

    def _of_later_runs(self) -> Generator[str]:
        for difference in differences(self.bench.plain, self.later):
            yield f"later, {difference}"
        if self.later.lines != self.bench.sound.lines:
            yield f"later, the trace is {self.later.lines}"
        if self.later_logged:
            yield f"later, it logged {self.later_logged}"


def differences(plain: Outcome, traced: Traced) -> Sequence[str]:
    """What of a program is another than without us."""
    if traced.outcome is None:
        return ["a context stayed attached"]
    before, after = vars(plain), vars(traced.outcome)
    return [f"{k} is {after[k]!r}, not {before[k]!r}" for k in before if before[k] != after[k]]


def _lines(recorder: Recorder) -> tuple[str, ...]:
    """The trace; a fault may have kept a span from being told to its end."""
    try:
        return tuple(Trace(recorder).lines())
    except AssertionError as exc:
        return (str(exc),)


def _act(program: Program) -> Outcome | None:
    """What the program comes to; None where a context stays attached, which is then undone."""
    before = context_api.get_current()
    try:
        return act(program)
    except AssertionError:
        context_api.attach(before)
        return None
