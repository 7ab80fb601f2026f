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

import time
from typing import TYPE_CHECKING, Final

from pocketflow_trace.text import crop, encodable, width
from pocketflow_trace.views.feed import Feed
from pocketflow_trace.views.frame import frame
from pocketflow_trace.views.growth import Growth
from pocketflow_trace.views.lines import STYLES
from pocketflow_trace.views.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketflow_trace.views.lines import Line
    from pocketflow_trace.views.region import Region

DELAY: Final = 0.5
"""Seconds that something must have run before the view appears."""

MIN_COLUMNS: Final = 10

_SGR: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_A_SECOND: Final = 1_000_000_000


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
        self._thread = Worker(self._step, region.release)
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
