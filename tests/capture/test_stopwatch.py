"""The stopwatch of the self-report: pieces of time, added up."""

from __future__ import annotations

import sys
import threading
from itertools import count
from typing import TYPE_CHECKING

import pytest

from opentelemetry.instrumentation.pocketflow.capture import stopwatch
from opentelemetry.instrumentation.pocketflow.capture.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Generator

THREADS, PIECES = 8, 2_000
SECOND = 1_000_000_000


class Ticks(threading.local):
    """A clock of each thread's own: a second passes whenever it is read."""

    def __init__(self) -> None:
        self.seconds = count(1)

    def __call__(self) -> int:
        """The time."""
        return next(self.seconds) * SECOND


@pytest.fixture(autouse=True)
def _ticks(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """A clock that ticks, and threads that are often interrupted."""
    monkeypatch.setattr(stopwatch, "clock", Ticks())
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def nothing() -> None:
    """What is timed."""


def test_pieces_of_several_threads_add_up() -> None:
    """None is lost where threads end theirs at the same time."""
    watch = Stopwatch()

    def work() -> None:
        for _ in range(PIECES):
            watch.timed(nothing)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.seconds() == THREADS * PIECES


def test_a_piece_inside_another_is_a_part_of_it() -> None:
    """Also where it is for another stopwatch: the time is counted once."""
    outer, inner = Stopwatch(), Stopwatch()
    outer.timed(inner.timed, nothing)
    assert (outer.seconds(), inner.seconds()) == (1, 0)


def test_what_is_told_in_the_middle_of_a_piece_is_not_told_again() -> None:
    """The rest of the piece goes to whom the piece is for."""
    outermost, following = Stopwatch(), Stopwatch()
    assert following.timed(outermost.seconds) == 1
    assert (outermost.seconds(), following.seconds()) == (1, 1)


def test_a_piece_that_is_interrupted_ends() -> None:
    """What comes after is not taken for a part of it."""
    watch = Stopwatch()

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch.timed(interrupted)
    watch.timed(nothing)
    assert watch.seconds() == 2
