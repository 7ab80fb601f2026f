"""A signal that strikes while ours runs, and a stack that ends while ours runs."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from support.fault_injection import injected
from support.fault_programs import PROGRAMS
from support.fault_trials import Bench, bench, differences
from support.framework import Flow, Node
from support.tracing import act, logged, note

if TYPE_CHECKING:
    from collections.abc import Generator

    from support.tracing import Program, Stage

STRUCK: Final = {"enter", "start_attributes", "returned", "mark", "finish_run", "preview_text"}
"""Functions in which the key is pressed: while a span begins, ends, or is written."""

LIMIT: Final = 500
"""Frames that a program has in these tests."""

MARGIN: Final = 12
"""Frames, counted from the end of the stack, in which a flow may fail that would not without us."""

WHOLE: Final = 60
"""Frames that are enough for a flow and a whole trace of it."""


def press_ctrl_c() -> KeyboardInterrupt:
    """Has the process get SIGINT; Python's own handler raises here, in the middle of ours."""
    signal.raise_signal(signal.SIGINT)
    raise AssertionError("the signal's handler did not raise")


@pytest.fixture
def _handler_of_python() -> Generator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_handler_of_python")
@pytest.mark.parametrize("number", range(3), ids=[program.__name__ for program in PROGRAMS[:3]])
def test_ctrl_c(number: int) -> None:
    """The program ends as by any Ctrl-C; under asyncio, that is a cancellation of the main task."""
    entries = bench(number).census.entries()
    places = [place for place in entries if place.function.name in STRUCK]
    assert len(places) >= len(STRUCK)

    for place in places:
        with bench(number).instrumented() as recorder:
            with logged() as lines, injected(place, press_ctrl_c) as injection:
                interrupted = bench(number).run(recorder)
            later = bench(number).run(recorder)

        assert injection.fired
        assert interrupted.outcome is not None, f"{place}: a context stayed attached"
        assert [end.type for end in interrupted.outcome.raised[:1]] == ["KeyboardInterrupt"]
        assert (interrupted.open, lines) == (0, []), place
        assert later == bench(number).sound


def shallow(stage: Stage) -> Any:
    """A program that needs few frames."""

    class Step(Node):
        def exec(self, prep_res: Any) -> Any:
            note("exec")
            return "done"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            note("post")
            shared["done"] = exec_res

    return stage.run(Flow(start=Step()))


def with_room(room: int, program: Program) -> Program:
    """The program, run where so many frames are left."""

    def down(frames: int, stage: Stage) -> Any:
        return program(stage) if frames <= 0 else down(frames - 1, stage)

    return lambda stage: down(LIMIT - room, stage)


@pytest.fixture
def _little_stack() -> Generator[None]:
    before, frame, depth = sys.getrecursionlimit(), sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    sys.setrecursionlimit(depth + LIMIT)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("_little_stack")
def test_the_stack_ends_while_ours_runs() -> None:
    """A flow fails within a margin of where it does without us, and otherwise only its trace."""
    rooms = range(2, WHOLE + 20)
    plain = {room: act(with_room(room, shallow)) for room in rooms}
    traced = Bench(shallow)
    least = next(room for room in rooms if not plain[room].raised)

    for room in rooms:
        with traced.instrumented() as recorder:
            with logged() as lines:
                tight = traced.run(recorder, with_room(room, shallow))
            later = traced.run(recorder)

        assert tight.outcome is not None, f"{room} frames: a context stayed attached"
        if room >= least + MARGIN or tight.outcome.raised == ():
            assert not differences(plain[room], tight), f"{room} frames"
        else:
            assert tight.outcome.raised[0].type == "RecursionError", f"{room} frames"
        # One that the SDK itself could not begin to the end is nobody's to end.
        assert tight.open <= 1
        assert len(set(lines)) == len(lines)
        assert room < WHOLE or (tight.lines, lines) == (traced.sound.lines, [])
        assert later == traced.sound
