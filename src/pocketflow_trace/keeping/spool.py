"""Writes the events of a run to its file from a thread, so that the program never waits for a disk.

The thread is a daemon: a disk that hangs cannot keep the program from ending. It hands lines to the
operating system two or three milliseconds after they came, while the program waits for something.
In a program that computes all the time it must wait for its turn, 5 ms for each busy thread, three
times for each write and ten times to make the file; code in C that keeps others from running delays
it as long. What was handed over survives the program, however it dies.

While the program forks, the thread is not there: Python would warn of it, and the child would
inherit whatever it is in the middle of. The next event brings it back.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Final, TypeAlias

from opentelemetry.instrumentation.pocketflow.guard import guarded
from pocketflow_trace.forks import CAN_BE_SEEN, REST_WAIT, await_end, rest_in_forks
from pocketflow_trace.keeping.runfile import done_line
from pocketflow_trace.keeping.transcript import Event, Transcript
from pocketflow_trace.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pocketflow_trace.keeping.draft import Draft

MAX_WAITING: Final = 4_096
"""Events that may wait for the disk; after that no span is begun. Ends may wait twice as many."""

LINGER: Final = 0.001
"""Seconds in which events gather, so that a busy program is not interrupted for each."""

PAUSES: Final = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Seconds between the attempts to write to a disk that fails."""

EXIT_WAIT: Final = 2.0
"""Seconds that the program's exit is delayed at most."""

IDLE: Final = 0.5
"""Seconds without an event after which there is time for other things."""

_BATCH: Final = 256
"""Events in one write."""


_Item: TypeAlias = Event | threading.Event | None
"""An event to write, one to set when all before it is written, or nothing at all, to wake up."""


class Spool:
    """Takes events from any thread; a thread of its own writes them."""

    def __init__(
        self, draft: Draft, transcript: Transcript, on_idle: Callable[[], object] | None = None
    ) -> None:
        """Starts the thread.

        Args:
            draft: The file.
            transcript: What makes lines of events.
            on_idle: Is called in the thread, once, when there is time: it is not to delay lines.

        Raises:
            RuntimeError: The interpreter is about to end and allows no new thread.
        """
        self._draft = draft
        self._transcript = transcript
        self._on_idle = on_idle
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._deadline = 0.0
        # Reentrant, because a signal's handler may run a flow anywhere in here.
        self._lock = threading.RLock()
        self._missed = 0
        self._ended = 0
        self._problem = ""
        self._is_resting = False
        self._has_finished = False
        self._never_rests = not CAN_BE_SEEN
        self._pid = os.getpid()
        self._thread = self._start()
        if not self._never_rests:
            rest_in_forks(self.rest)

    def put(self, event: Event) -> bool:
        """Take an event without waiting for anything; False where there is no room for it."""
        limit = MAX_WAITING if event.entry.end is None else 2 * MAX_WAITING
        if self._problem or self._closing.is_set() or self._queue.qsize() >= limit:
            return False
        self._queue.put(event)
        self._resume()
        return True

    def miss(self, count: int) -> None:
        """Count spans that were not put, or take back that they were counted."""
        with self._lock:
            self._missed += count

    @property
    def path(self) -> Path | None:
        """The file; None where none was made, or it is gone."""
        return self._draft.path

    def flush(self, seconds: float) -> bool:
        """Wait until all events so far are written; False if that took longer."""
        written = threading.Event()
        self._queue.put(written)
        self._resume()
        return self._is_over() or written.wait(seconds)

    def end(self) -> None:
        """Let the thread write what is left and finish the file; take no further event."""
        if not self._closing.is_set():
            self._ended = time.time_ns()
            self._deadline = time.monotonic() + EXIT_WAIT
            self._closing.set()
            self._queue.put(None)
            self._resume()

    def close(self) -> None:
        """End, and wait for the thread, until `EXIT_WAIT` seconds after the end at most."""
        self.end()
        self._thread.join(max(self._deadline - time.monotonic(), 0))
        if self._thread.is_alive() and not self._has_finished:
            self._problem = self._problem or "the disk does not answer"
        elif not self._is_over():
            # It rested, and Python 3.12 starts no thread at the program's end. The disk has just
            # answered.
            guarded(None)(self._work)()

    def complaint(self) -> str:
        """Return one line about a run that could not be kept; empty where it was."""
        if not self._problem:
            return ""
        path = self._draft.path
        what = f"is kept in part only, in {path}" if path else "is not kept"
        return printable(f"this run {what}: {self._problem}")

    def rest(self) -> None:
        """Let the thread write what there is and end, until the next event."""
        if self._never_rests or os.getpid() != self._pid:
            return
        with self._lock:
            self._is_resting = True
            self._queue.put(None)
            self._thread.join(REST_WAIT)
            self._is_resting = False
            self._never_rests = self._thread.is_alive()
        await_end(self._thread)

    def _resume(self) -> None:
        """Start the thread again, if it rests."""
        if self._thread.is_alive() or self._is_over():
            return
        with self._lock, contextlib.suppress(RuntimeError):
            # The error: the interpreter is about to end and allows no new thread.
            if not self._thread.is_alive():
                self._thread = self._start()

    def _start(self) -> threading.Thread:
        work = guarded(None)(self._work)
        thread = threading.Thread(target=work, name="pocketflow-trace-file", daemon=True)
        thread.start()
        return thread

    # --- In the thread --------------------------------------------------------------------

    def _work(self) -> None:
        while not (self._closing.is_set() and self._queue.empty()):
            batch = self._next_batch()
            self._draft.add(self._transcript.lines(e for e in batch if isinstance(e, Event)))
            if not self._insist(self._draft.flush):
                self._release(batch)
                return
            _tell(batch)
            if self._is_resting and self._queue.empty():
                return
        self._finish()

    def _finish(self) -> None:
        missed = max(self._transcript.dropped + self._missed, 0)
        self._draft.add(done_line(self._ended, missed).encode("ascii"))
        self._insist(self._draft.finish)
        self._has_finished = True
        self._idle()

    def _next_batch(self) -> Sequence[_Item]:
        """Wait for events and take them."""
        batch = [self._next()]
        self._closing.wait(LINGER)
        with contextlib.suppress(queue.Empty):
            while len(batch) < _BATCH:
                batch.append(self._queue.get_nowait())
        return batch

    def _next(self) -> _Item:
        if self._on_idle is not None:
            with contextlib.suppress(queue.Empty):
                return self._queue.get(timeout=IDLE)
            if self._draft.path is not None:
                self._idle()
        return self._queue.get()

    def _idle(self) -> None:
        on_idle, self._on_idle = self._on_idle, None
        if on_idle is not None:
            on_idle()

    def _release(self, batch: Sequence[_Item]) -> None:
        """Let nobody wait for what will not be written."""
        while batch:
            _tell(batch)
            batch = [] if self._queue.empty() else self._next_batch()

    def _insist(self, action: Callable[[], None]) -> bool:
        """Try until it works; False, with `_problem` set, where it does not.

        Once the program has ended, there is one attempt.
        """
        for pause in (*PAUSES, None):
            reason = _reason(action)
            if not reason:
                return True
            if pause is None or self._closing.is_set():
                self._problem = reason
                self._draft.abandon()
                return False
            self._closing.wait(pause)
        return False

    def _is_over(self) -> bool:
        return bool(self._problem) or self._has_finished


def _tell(batch: Sequence[_Item]) -> None:
    """Say that this is done with, to those who want to know."""
    for waiting in batch:
        if isinstance(waiting, threading.Event):
            waiting.set()


def _reason(action: Callable[[], None]) -> str:
    """Return why an action failed; empty where it did not."""
    try:
        action()
    except OSError as exc:
        return exc.strerror or str(exc) or type(exc).__name__
    return ""
