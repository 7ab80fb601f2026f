"""A fault at every function and line of ours, one at a time: the program never notices.

Nothing here names what is to fail, only what no guard can be around, with the reason. In CI a share
of the places is tried, the same in each run; `make test-nightly` tries all of them.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Final

import pytest

from support.fault_injection import KINDS
from support.fault_programs import PROGRAMS
from support.fault_trials import NIGHTLY, Interrupted, bench

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.fault_injection import Census, Fault, Place

EXPECTED: Final = KINDS[3:]
"""Kinds that our code is ready for in some places, where nothing is lost by them."""

_OF_THE_PROGRAM: Final = "it stands in the program's stack, and only passes names and calls on"
_BOUNDARY: Final = "it is what catches; where it can't be called, the program's function can't be"

UNGUARDED: Final = {
    "capture/attempts.py __getattribute__": _OF_THE_PROGRAM,
    "capture/attempts.py __setattr__": _OF_THE_PROGRAM,
    "capture/calls.py hook": _OF_THE_PROGRAM,
    "capture/conversation.py __enter__": _OF_THE_PROGRAM,
    "capture/conversation.py __exit__": _OF_THE_PROGRAM,
    "capture/hooks.py hook": _OF_THE_PROGRAM,
    "capture/processor.py _on_ending": "the SDK calls it; there is nothing in it",
    "capture/processor.py on_end": "the SDK calls it; there is one call of what is guarded in it",
    "capture/processor.py on_start": "the SDK calls it; there is one call of what is guarded in it",
    "capture/calls.py _open": _BOUNDARY,
    "capture/calls.py begin": _BOUNDARY,
    "capture/calls.py end": _BOUNDARY,
    "capture/calls.py fail": _BOUNDARY,
    "guard.py safe": _BOUNDARY,
    "guard.py of_user": "what fails in it counts as the fault of an object of the program's",
    "capture/calls.py detach": "it is the last that can be done about a context",
    "capture/frames.py end_if_open": "it is the last that can be done about a span",
}
"""Functions of which an exception may leave something open, or reach the program, and why."""

_A_BLOCK: Final = "Python may be interrupted while it begins or ends any `with` block"

INTERRUPTIBLE: Final = {
    "capture/conversation.py __enter__": _A_BLOCK,
    "capture/conversation.py _begin": _A_BLOCK,
    "capture/conversation.py __exit__": _A_BLOCK,
}
"""Functions in which a signal's exception may leave a context attached, and why."""

each_program = pytest.mark.parametrize(
    "number", range(len(PROGRAMS)), ids=[program.__name__ for program in PROGRAMS]
)


def share(number: int, places: list[Place], one_in: int) -> list[Place]:
    """Those places to be tried where no program before leads; at night, all of the program's."""
    if NIGHTLY:
        return places
    before: list[Census] = [bench(other).census for other in range(number)]
    return [place for place in places if not any(place in known for known in before)][::one_in]


def wrong_after_faults(number: int, places: Iterable[Place], kinds: tuple[Fault, ...]) -> list[str]:
    """What faults did; each place has another kind of them."""
    guarded = [place for place in places if str(place.function) not in UNGUARDED]
    found: list[str] = []
    reached = 0
    for place, kind in zip(guarded, cycle(kinds), strict=False):
        trial = bench(number).fault(place, kind)
        reached += trial.fired
        complaints = trial.complaints(expected=kind in EXPECTED)
        found += [f"{place}, {kind()!r}: {complaint}" for complaint in complaints]
    # A few depend on the time: what is looked up once in a second, or waited for.
    assert reached >= 0.9 * len(guarded)
    return found


@each_program
def test_a_function_fails_where_it_is_called(number: int) -> None:
    """The program is as without us, one line says what was lost, and later runs are whole."""
    places = share(number, bench(number).census.entries(), 2)

    assert places
    assert not wrong_after_faults(number, places, KINDS)


@each_program
def test_a_line_fails(number: int) -> None:
    """What had been done before it is undone, or it is ended."""
    places = share(number, bench(number).census.lines(), 12)

    assert places
    assert not wrong_after_faults(number, places, KINDS[:2])


@each_program
def test_a_function_fails_each_time(number: int) -> None:
    """The line is not repeated: each place that loses something says so once."""
    functions = [place.function for place in share(number, bench(number).census.entries(), 5)]
    found = [
        f"{function}: {complaint}"
        for function in functions
        # A comprehension has no function that could be changed.
        if str(function) not in UNGUARDED and not function.name.startswith("<")
        for complaint in bench(number).lasting(function).complaints()
    ]

    assert not found


@each_program
def test_an_interrupt_strikes_in_the_middle_of_ours(number: int) -> None:
    """KeyboardInterrupt reaches the program, no context stays, and every span is ended."""
    census = bench(number).census
    places = [*share(number, census.entries(), 5), *share(number, census.lines(), 20)]
    found = [
        f"{place}: {complaint}"
        for place in places
        if str(place.function) not in INTERRUPTIBLE
        for complaint in bench(number).fault(place, Interrupted).of_interrupt()
    ]

    assert not found


@pytest.mark.skipif(not NIGHTLY, reason="takes minutes: make test-nightly")
@each_program
def test_a_place_fails_at_a_later_time(number: int) -> None:
    """What was right the first time is right in the middle of a run, and at its end."""
    assert not wrong_after_faults(number, bench(number).census.times(4), KINDS[:1])


def test_what_is_unguarded_is_there() -> None:
    """No exception from the rule outlives its function."""
    censuses = [bench(number).census for number in range(len(PROGRAMS))]
    known = {str(place.function) for census in censuses for place in census}

    assert set(UNGUARDED) <= known
    assert set(INTERRUPTIBLE) <= known
