"""A thread of ours that draws, out of the way of the program's signals and forks."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from pocketflow_trace.forks import REST_WAIT, await_end, rest_in_forks

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL: Final = 0.1
"""Seconds between two frames."""

_MOMENT: Final = 0.2
"""Seconds that the program waits for what must be shown before it goes on."""

_PATIENCE: Final = 1.0
"""Seconds to wait for the thread at the end; a terminal that stands still must not hold us up."""


class Worker:
    """Calls a step again and again in a daemon thread, from the first span on until it is closed.

    Signals are the program's: the thread blocks them all, so that none is handled in it, and none
    that its own writing causes ends the program. While the program forks, it is not there; the next
    span that starts brings it back.
    """

    def __init__(self, step: Callable[[], None], last: Callable[[], None]) -> None:
        """Starts nothing yet.

        Args:
            step: Called ten times a second; an OSError from it ends the thread for good.
            last: Called at the end, in the same thread.
        """
        self._step = step
        self._last = last
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._kick = threading.Event()
        self._waiting: deque[threading.Event] = deque()
        self._is_over = False
        self._never_rests = False
        rest_in_forks(self.rest)

    def start(self) -> None:
        """Start; where there can be no thread, such as in a program that ends, nothing is shown."""
        if self._is_over or (self._thread is not None and self._thread.is_alive()):
            return
        self._stop = threading.Event()
        work = threading.Thread(
            target=self._work, args=(self._stop,), name="pocketflow-trace", daemon=True
        )
        with contextlib.suppress(RuntimeError):
            work.start()
            self._thread = work

    def hurry(self) -> None:
        """Have a step made now; waits for it for a moment at most, whatever holds it up."""
        if self._thread is not None and self._thread.is_alive():
            done = threading.Event()
            self._waiting.append(done)
            self._kick.set()
            done.wait(_MOMENT)

    def rest(self) -> None:
        """End until the next start; what is drawn stays."""
        thread = self._thread
        if thread is None or self._never_rests or os.getpid() != self._pid:
            return
        self._end()
        thread.join(REST_WAIT)
        self._never_rests = thread.is_alive()
        await_end(thread)

    def close(self) -> None:
        """End, having called `last`; waits for it for a second at most."""
        if self._thread is None:
            return
        self.start()  # it may rest
        self._is_over = True
        self._end()
        self._thread.join(_PATIENCE)

    def _end(self) -> None:
        self._stop.set()
        self._kick.set()

    def _work(self, stop: threading.Event) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            while not self._is_to_end(stop):
                waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
                self._step()
                for done in waiting:
                    done.set()
            if self._is_over:
                self._last()
        except OSError:
            self._is_over = True  # The terminal or pipe is gone: nobody looks any more.

    def _is_to_end(self, stop: threading.Event) -> bool:
        """Wait for the next step."""
        self._kick.wait(INTERVAL)
        self._kick.clear()
        return stop.is_set()
