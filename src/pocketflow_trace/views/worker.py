"""A thread of ours that draws, out of the way of the program's signals and forks."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Final

from pocketflow_trace.forks import REST_WAIT, await_end, rest_in_forks

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL: Final = 0.1
"""Seconds between two frames."""

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

    def rest(self) -> None:
        """End until the next start; what is drawn stays."""
        thread = self._thread
        if thread is None or self._never_rests or os.getpid() != self._pid:
            return
        self._stop.set()
        thread.join(REST_WAIT)
        self._never_rests = thread.is_alive()
        await_end(thread)

    def close(self) -> None:
        """End, having called `last`; waits for it for a second at most."""
        if self._thread is None:
            return
        self.start()  # it may rest
        self._is_over = True
        self._stop.set()
        self._thread.join(_PATIENCE)

    def _work(self, stop: threading.Event) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            while not stop.wait(INTERVAL):
                self._step()
            if self._is_over:
                self._last()
        except OSError:
            self._is_over = True  # The terminal or pipe is gone: nobody looks any more.
