"""Chooses how a run is shown while it runs: drawn in the terminal, told in plain lines, or not."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final, TypeAlias

from pocketflow_trace.views.live import LiveView
from pocketflow_trace.views.region import Region, is_capable, start_guard
from pocketflow_trace.views.ticker import Ticker

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketflow_trace.views.verbosity import Look

View: TypeAlias = LiveView | Ticker

_STDERR: Final = 2

_OUT_OF_THE_WAY: Final = 100
"""Least number of our file descriptors: the program's are numbered as if there were none."""


def open_view(look: Look, environ: Mapping[str, str]) -> View | None:
    """Return the view for this process's stderr, or None where there is to be none.

    It must be called before the program has started: see `region.start_guard`.

    Args:
        look: What is asked for.
        environ: Environment variables: TERM and NO_COLOR.
    """
    if look.live is False or sys.__stderr__ is None:
        return None
    encoding = "ascii" if look.ascii else sys.__stderr__.encoding
    try:
        if os.isatty(_STDERR):
            return _terminal_view(look, environ, encoding)
        return Ticker(_own_copy(_STDERR), look.verbosity, encoding)
    except OSError:
        return None  # No stderr, or no more processes or files: the run is shown at its end.


def _terminal_view(look: Look, environ: Mapping[str, str], encoding: str) -> View | None:
    """Return a drawing view where it can be one, else plain lines.

    Raises:
        OSError: The terminal or a process for its guard is not to be had.
    """
    if not is_capable(environ.get("TERM", ""), force=look.live is True):
        return Ticker(_own_copy(_STDERR), look.verbosity, encoding)
    if look.verbosity == "minimal" and not look.live:
        return None
    terminal = _own_copy(_STDERR)
    # As the first process of a container, this one would become the guard's parent.
    guard = None if os.getpid() == 1 else _own_copy(start_guard(terminal), close=True)
    if guard is None and not look.live:
        return None
    colours = not environ.get("NO_COLOR")
    return LiveView(Region(terminal, guard), colours=colours, encoding=encoding)


def _own_copy(file: int, *, close: bool = False) -> int:
    """Return a copy of a file descriptor that child processes do not get.

    Args:
        file: The file descriptor.
        close: Whether to close the original.

    Raises:
        OSError: It is not open, or there are too many.
    """
    if sys.platform == "win32":
        return os.dup(file)
    copy = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)
    if close:
        os.close(file)
    return copy
