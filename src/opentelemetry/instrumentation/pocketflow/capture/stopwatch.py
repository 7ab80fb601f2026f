"""How long the instrumentation itself takes, for those who ask for it with `Config.self_report`.

What it does is timed in pieces: to find out what a call is, to begin, to leave, to end. No node
runs within a piece, and no piece waits for one, so the sum is the instrumentation's own. What the
user added to it, such as span processors and a function for prices, is a part of that. A stopwatch
travels in the OpenTelemetry context, as the current frame does.
"""

from __future__ import annotations

import threading
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, TypeVar

from opentelemetry import context as context_api

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from typing_extensions import TypeVarTuple, Unpack

    Ts = TypeVarTuple("Ts")

T = TypeVar("T")

_STOPWATCH_KEY: Final = context_api.create_key("pocketflow-stopwatch")

clock = perf_counter_ns
"""Real time: where a processor waits for the network, so does the program."""


class _Here(threading.local):
    """What this thread is doing just now."""

    def __init__(self) -> None:
        self.piece = _Piece()


class _Piece:
    __slots__ = ("began",)

    def __init__(self) -> None:
        self.began = 0
        """By the clock; 0 where the program's own code runs."""


_here: Final = _Here()


class Stopwatch:
    """Adds up what one outermost run costs, on whatever threads it runs."""

    __slots__ = ("_nanos", "owner")

    def __init__(self) -> None:
        # By thread, since branches may run in several. With a lock instead, a finalizer or a signal
        # handler that runs a flow could wait for what it interrupts.
        self._nanos: dict[int, int] = {}
        self.owner: object = None
        """The run that tells the sum."""

    def timed(self, function: Callable[[Unpack[Ts]], T], *args: Unpack[Ts]) -> T:
        """Calls a function of the instrumentation; one inside another is a part of that."""
        piece = _here.piece
        if piece.began:
            return function(*args)
        piece.began = clock()
        try:
            return function(*args)
        finally:
            began, piece.began = piece.began, 0
            self._add(clock() - began)

    def seconds(self) -> float:
        """The sum, with what this thread is doing just now. The rest of that is counted anew."""
        piece = _here.piece
        if piece.began:
            now = clock()
            self._add(now - piece.began)
            piece.began = now
        return sum(list(self._nanos.values())) / 1e9

    def _add(self, nanos: int) -> None:
        thread = threading.get_ident()
        self._nanos[thread] = self._nanos.get(thread, 0) + nanos


def stopwatch_in(context: Context) -> Stopwatch | None:
    """The stopwatch of the outermost run in a context; None where nobody asked for one."""
    found: Any = context.get(_STOPWATCH_KEY)
    return found


def with_stopwatch(stopwatch: Stopwatch, around: Context) -> Context:
    """A context in which what is done counts for a stopwatch."""
    return context_api.set_value(_STOPWATCH_KEY, stopwatch, around)


def timed_here(function: Callable[[Unpack[Ts]], T], *args: Unpack[Ts]) -> T:
    """Calls a function of the instrumentation by the stopwatch of the current context, if any."""
    stopwatch = stopwatch_in(context_api.get_current())
    return function(*args) if stopwatch is None else stopwatch.timed(function, *args)
