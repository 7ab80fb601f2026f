"""The live view: the tree of a run in the terminal, while the run grows.

It lives in rows of its own at the bottom of the terminal, which `region` takes from the program's
output without touching it: read there how the two share one terminal. It appears only when
something has run for half a second, so that a short run looks as it always did, and goes when
nothing runs, so that a prompt between two runs has the terminal for itself. It also goes while the
program reads single keys or hides what is typed.

Spans come by a `Feed`, and everything else happens in a daemon thread: what a frame costs depends
on the window, not on the run. Rich is not used here. It would have to be imported before the
program has started, and a program may have a module of that name.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

from pocketflow_trace.feed import Feed
from pocketflow_trace.forks import REST_WAIT, await_end, rest_in_forks
from pocketflow_trace.frame import frame
from pocketflow_trace.growth import Growth
from pocketflow_trace.lines import STYLES
from pocketflow_trace.text import crop, encodable, width

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pocketflow_trace.lines import Line
    from pocketflow_trace.region import Region

INTERVAL: Final = 0.1
"""Seconds between two frames."""

DELAY: Final = 0.5
"""Seconds that something must have run before the view appears."""

MIN_COLUMNS: Final = 10

_SGR: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_A_SECOND: Final = 1_000_000_000
_PATIENCE: Final = 1.0
"""Seconds to wait for the thread at the end; a terminal that stands still must not hold us up."""


class Thread:
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


class LiveView:
    """Draws what a feed tells into a region."""

    def __init__(self, region: Region, *, colours: bool, encoding: str) -> None:
        """Draws nothing before the first span.

        Args:
            region: Where to draw.
            colours: Whether to use colours.
            encoding: What the terminal can show.
        """
        self._region = region
        self._colours = colours
        self._encoding = encoding
        self._growth = Growth()
        self._thread = Thread(self._step, region.release)
        self.feed = Feed(self._thread.start)

    def close(self) -> None:
        """Give the region back."""
        self._thread.close()

    def _step(self) -> None:
        self._growth.take(self.feed.take())
        now = time.time_ns()
        rows, columns = self._region.room()
        late = now - self._growth.idle_until >= DELAY * _A_SECOND
        fits = rows > 1 and columns >= MIN_COLUMNS
        if self._growth.is_idle() or not (late and fits and self._region.is_free()):
            self._region.release()
            return
        ascii_only = encodable("⠋├", self._encoding) != "⠋├"
        lines = frame(self._growth, now, rows, ascii_only=ascii_only)
        self._region.draw([self._painted(line, columns) for line in lines])

    def _painted(self, line: Line, columns: int) -> str:
        pieces = [(encodable(text, self._encoding), style) for text, style in line]
        return painted(pieces, columns, colours=self._colours)


def painted(line: Line, columns: int, *, colours: bool) -> str:
    """Return a line as text for a terminal, cut to so many columns.

    Args:
        line: Text that the terminal's encoding can hold.
        columns: How wide it may be.
        colours: Whether to use control codes for colours.
    """
    pieces: list[str] = []
    for text, style in fitted(line, columns):
        code = _SGR.get(STYLES.get(style, "")) if colours else None
        pieces.append(f"\x1b[{code}m{text}\x1b[0m" if code else text)
    return "".join(pieces)


def fitted(line: Line, columns: int) -> Sequence[tuple[str, str]]:
    """Return a line cut to so many columns, with `~` at its end where it was longer."""
    if sum(width(text) for text, _ in line) <= columns:
        return line
    pieces: Line = []
    left = columns - 1
    for text, style in line:
        pieces.append((crop(text, left), style))
        left -= width(text)
        if left <= 0:
            break
    return [*pieces, ("~", "quiet")]
