"""Rows at the bottom of a terminal that belong to a view, while a program uses the terminal above.

The crux of a live view is that it shares the terminal with the program, and that nothing tells us
when the program writes, reads or prompts: putting something of ours in place of `sys.stdout` would
change the program, and writes of its child processes would not pass there anyway. A view that moves
the cursor up and draws over its last frame destroys whatever was written since.

So the view never moves the cursor to where the program writes. It keeps rows at the bottom for
itself by the terminal's scroll margins: output scrolls in the rows above, and never reaches ours.
One frame is one `write`, which a terminal takes as a whole, and which leaves cursor and colours as
they were. Output, echo and prompts go where they would go, whoever writes them.

Margins outlive the process that set them. The region is therefore only kept while something runs,
and given back by a guard process where this one is killed. The cursor is never hidden.

Used alone, this is right wherever lines are read and written. A program that takes over the screen
or the keyboard (curses, readline, a password prompt) is told by its terminal settings: see
`is_free`.
"""

from __future__ import annotations

import os
import select
import sys

if sys.platform != "win32":
    import termios

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_SAVE, _RESTORE = "\x1b7", "\x1b8"
_DOWN: Final = "\x1bD"
"""Moves down a line; scrolls at the margin, keeps the column."""

_UP: Final = "\x1b[A"
_NO_MARGINS: Final = f"{_SAVE}\x1b[r{_RESTORE}"
# By way of the next line, so that what the program wrote beside its cursor stays.
_ERASE_BELOW: Final = f"{_DOWN}\x1b[J\x1b[1K{_UP}"

RELEASE: Final = f"{_NO_MARGINS}{_ERASE_BELOW}"
"""Gives the rows back; harmless where there are none."""

MIN_HEIGHT: Final = 10
"""Rows that a terminal must have to give some of them away."""

MAX_ROWS: Final = 20
_PATIENCE: Final = 0.5
"""Seconds that a terminal may take no output, before the view does without a frame."""

_TAKEN, _FREE = b"1", b"0"


class Region:
    """The rows of one view. Not safe to use from several threads at once."""

    def __init__(self, terminal: int, guard: int | None) -> None:
        """Takes no rows yet.

        Args:
            terminal: File descriptor of the terminal.
            guard: What `start_guard` returned; None for a region without.
        """
        self._terminal = terminal
        self._guard = guard
        self._size = (0, 0)
        self._rows: list[str] = []

    def room(self) -> tuple[int, int]:
        """Return the rows and columns that a frame may have now; no rows in a small window.

        Raises:
            OSError: The terminal is gone.
        """
        columns, lines = os.get_terminal_size(self._terminal)
        rows = min(lines // 2, MAX_ROWS) if lines >= MIN_HEIGHT else 0
        # The last column stays free: some terminals go to the next line as soon as it is written.
        return rows, max(columns - 1, 1)

    def draw(self, rows: Sequence[str]) -> None:
        """Show rows of text, none wider than there is room; writes only what is new.

        Nothing is drawn where the terminal takes no output just now.

        Raises:
            OSError: The terminal is gone.
        """
        size = os.get_terminal_size(self._terminal)
        resized = bool(self._rows) and size != self._size
        before = [] if resized else self._rows
        # Smaller frames leave the rows where they are: giving back and taking again would flicker.
        after = ["" for _ in range(len(before) - len(rows))] + list(rows)
        if len(after) >= size.lines or not self._is_ready():
            return
        taking = _take(len(before), len(after), size.lines)
        drawing = _draw(before, after, size.lines)
        if taking:
            self._tell(_TAKEN)
        self._rows, self._size = after, size
        self._write((RELEASE if resized else "") + taking + drawing)

    def release(self) -> None:
        """Give all rows back; where the terminal takes no output just now, a later call does.

        Raises:
            OSError: The terminal is gone.
        """
        if self._rows and self._is_ready():
            self._rows = []
            self._write(RELEASE)
            self._tell(_FREE)

    def is_free(self) -> bool:
        """Tell whether the program leaves the terminal as a shell hands it over.

        If not, it reads single keys, hides what is typed, or stands in the background, and what it
        does to the screen is its own business.
        """
        try:
            flags = termios.tcgetattr(self._terminal)[3]
            in_front = os.tcgetpgrp(self._terminal) == os.getpgrp()
        except (OSError, termios.error):
            return False
        wanted = termios.ICANON | termios.ECHO
        return in_front and flags & wanted == wanted

    def _tell(self, state: bytes) -> None:
        if self._guard is not None:
            os.write(self._guard, state)

    def _is_ready(self) -> bool:
        """Tell whether the terminal takes output: the user may have stopped it."""
        return bool(select.select([], [self._terminal], [], _PATIENCE)[1])

    def _write(self, text: str) -> None:
        """Write all of a text: a part of one would leave rows and margins in an unknown state."""
        data = text.encode("utf-8", "backslashreplace")
        while data:
            try:
                data = data[os.write(self._terminal, data) :]
            except (
                BlockingIOError
            ):  # The program may have made its terminal one that does not block.
                self._is_ready()


def _take(before: int, after: int, height: int) -> str:
    """Return what makes the region larger; the cursor stays on the text it is on."""
    more = after - before
    if more <= 0:
        return ""
    return f"{_DOWN * more}{_UP * more}{_SAVE}\x1b[1;{height - after}r{_RESTORE}"


def _draw(before: Sequence[str], after: Sequence[str], height: int) -> str:
    """Return what makes the rows new that differ."""
    old = [*[None] * (len(after) - len(before)), *before]
    first = height - len(after) + 1
    new = "".join(
        f"\x1b[{first + place};1H\x1b[0m\x1b[2K{row}"
        for place, row in enumerate(after)
        if row != old[place]
    )
    return f"{_SAVE}{new}{_RESTORE}" if new else ""


def is_capable(term: str, *, force: bool = False) -> bool:
    """Tell whether a terminal can have a region.

    Args:
        term: Its type, by the variable TERM.
        force: Whether to take one that does not say so for capable.
    """
    return sys.platform != "win32" and (force or term not in {"", "dumb", "unknown"})


# --- The guard ------------------------------------------------------------------------------


def start_guard(terminal: int) -> int:
    """Start a process that gives the rows back where this one ends without doing so.

    It must be called before the program has threads and hooks. The guard is no child of this
    process, is in a session of its own, holds nothing but the terminal, and ends when this process
    and its forks have ended.

    Args:
        terminal: File descriptor of the terminal.

    Returns:
        A file descriptor that tells the guard whether rows are taken.

    Raises:
        OSError: No process could be started.
    """
    if sys.platform == "win32":
        raise OSError("no guard on this platform")
    listen, tell = os.pipe()
    child = os.fork()
    if child == 0:
        _become_guard(terminal, listen)
    os.waitpid(child, 0)
    os.close(listen)
    return tell


def _become_guard(terminal: int, listen: int) -> None:
    """Go on as a process that nobody waits for; does not return."""
    try:
        if os.fork() == 0:
            os.setsid()
            os.chdir("/")
            low, high = sorted((terminal, listen))
            os.closerange(0, low)
            os.closerange(low + 1, high)
            os.closerange(high + 1, max(1024, high + 1))
            watch(terminal, listen)
    finally:
        os._exit(0)


def watch(terminal: int, listen: int) -> None:
    """Wait for the end of what is told, then give rows back that are still taken.

    Raises:
        OSError: The terminal is gone.
    """
    state = _FREE
    while told := os.read(listen, 4096):
        state = told[-1:]
    if state == _TAKEN:
        os.write(terminal, RELEASE.encode())
