"""Runs programs in a real pseudo-terminal, whose screen a terminal emulator keeps."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import sys
import time
import typing

from support.programs import TIMEOUT, clean_environment

if sys.platform != "win32":
    import fcntl
    import pty
    import termios

import pyte

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

CTRL_C = b"\x03"


class Terminal:
    """A terminal with a process in it.

    Attributes:
        pid: The process.
        output: All bytes that the terminal got.
    """

    def __init__(self, pid: int, file: int, rows: int, columns: int) -> None:
        self.pid = pid
        self.output = b""
        self._file = file
        self._screen: typing.Any = pyte.HistoryScreen(columns, rows, history=5_000, ratio=0.5)
        self._stream: typing.Any = pyte.ByteStream(self._screen)
        self._status: int | None = None

    @property
    def lines(self) -> list[str]:
        """The screen's lines without trailing blanks."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """The screen's text."""
        return "\n".join(self.lines).rstrip()

    @property
    def history(self) -> list[str]:
        """The lines that have scrolled away, and those of the screen."""
        width = self._screen.columns
        above = [
            "".join(line[column].data for column in range(width)).rstrip()
            for line in self._screen.history.top
        ]
        return [*above, *self.text.splitlines()]

    @property
    def has_margins(self) -> bool:
        """Whether scrolling is limited to a part of the screen."""
        margins = self._screen.margins
        return margins is not None and (margins.top, margins.bottom) != (0, self._screen.lines - 1)

    @property
    def cursor(self) -> tuple[int, int]:
        """Row and column of the cursor, from 0."""
        return self._screen.cursor.y, self._screen.cursor.x

    def until(self, check: Callable[[], bool]) -> None:
        """Take output until something holds.

        Raises:
            AssertionError: It did not come to hold.
        """
        deadline = time.monotonic() + TIMEOUT
        while not check():
            assert time.monotonic() < deadline, self.text
            assert self._take(), f"ended\n{self.text}"

    def until_shown(self, text: str) -> None:
        """Take output until the screen shows a text."""
        self.until(lambda: text in self.text)

    def type(self, keys: bytes) -> None:
        """Type."""
        os.write(self._file, keys)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size, as a window does; the process gets SIGWINCH."""
        self._screen.resize(rows, columns)
        set_size(self._file, rows, columns)

    def wait(self) -> int:
        """Take output to the end; return the exit code, or the negative number of a signal."""
        deadline = time.monotonic() + TIMEOUT
        while self._take():
            assert time.monotonic() < deadline, f"still running\n{self.text}"
        if self._status is None:
            _, status = os.waitpid(self.pid, 0)
            self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def _take(self) -> bool:
        """Take what there is within a tenth of a second; False at the end."""
        if not select.select([self._file], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._file, 65_536)
        except OSError:  # What Linux says when nobody has the terminal open any more.
            return False
        self.output += data
        self._stream.feed(data)
        return bool(data)


def set_size(file: int, rows: int, columns: int) -> None:
    """Set a terminal's size."""
    fcntl.ioctl(file, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextlib.contextmanager
def terminal(
    command: tuple[str, ...],
    *args: str,
    cwd: Path,
    rows: int = 24,
    columns: int = 80,
    env: Mapping[str, str] | None = None,
) -> Generator[Terminal]:
    """Run a command in a terminal; what still runs at the end of the block is killed."""
    variables = clean_environment({"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(env or {})})
    main, side = pty.openpty()
    set_size(main, rows, columns)
    pid = os.fork()
    if pid == 0:
        os.close(main)
        _log_in(side)
        # Whoever runs the tests in the background may have these ignored, and that is inherited.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(cwd)
        os.execve(command[0], [*command, *args], variables)  # noqa: S606 - a program under test
    os.close(side)
    shown = Terminal(pid, main, rows, columns)
    try:
        yield shown
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
        shown.wait()
        os.close(main)


def _log_in(side: int) -> None:
    """Make a terminal that of this process."""
    os.setsid()
    fcntl.ioctl(side, termios.TIOCSCTTY, 0)
    for standard in range(3):
        os.dup2(side, standard)
