"""The file of a run that is being written: made, grown, and given its final name at the end.

Nothing here waits for a file to reach the disk itself (`fsync`): what was written survives the
death of the program, not a power failure.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from pocketflow_trace.folders import make_private
from pocketflow_trace.keeping.runfile import header_line
from pocketflow_trace.keeping.shelf import PARTIAL_SUFFIX, Shelf, new_id

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pocketflow_trace.record.model import About

Destination: TypeAlias = Shelf | Path
"""A folder of kept runs, or the very file to write."""

_TRIES: Final = 5
"""Ids that are tried where another program has taken the same."""

_LOOK: Final = 0.5
"""Seconds between two looks whether the file is still there.

Not before each write: after each call of the system, a thread waits for its next turn among the
program's threads.
"""

_COPY: Final = 1_000_000
"""Bytes that are copied at once."""

_HIGH: Final = (900, 200)
"""Descriptors from here on are used where the limit allows for them.

The system gives the lowest free number to each file that is opened: the program may count on these,
and if it closes all that are open, what it opens next does not get ours.
"""

_FRESH: Final = 60.0
"""Seconds in which a file may have been made and not yet locked."""

_OLD: Final = 7 * 86_400.0
"""Seconds after which a file that cannot be locked counts as left behind."""

_NO_FOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class _Names:
    """Where a run goes.

    Attributes:
        written: The file that is written to.
        final: What it is called when all is written; None where `written` is a pipe or a device.
        is_ours_alone: No other program can mean the same file.
    """

    written: Path
    final: Path | None
    is_ours_alone: bool = False


class Draft:
    """The file, used by one thread.

    `flush` and `finish` raise OSError where the disk does, and can then be called again: they go on
    where they stopped. A file that somebody deleted is written anew, one that the program closed is
    opened again.
    """

    def __init__(self, destination: Destination, about: About) -> None:
        """Touches no disk yet.

        Args:
            destination: Where to write.
            about: For the first line; the id is given when the file is made.
        """
        self._destination = destination
        self._about = about
        self._names: _Names | None = None
        self._fd = -1
        self._identity: tuple[int, int] = (0, 0)
        self._looked = 0.0
        self._is_closed = False
        self._has_content = False
        self._rest = b""

    @property
    def path(self) -> Path | None:
        """The file that holds what was written; None as long as there is none."""
        names = self._names
        if names is None or not self._has_content:
            return None
        return (self._is_closed and names.final) or names.written

    def add(self, data: bytes) -> None:
        """Take whole lines for the next `flush`."""
        self._rest += data

    def flush(self) -> None:
        """Hand everything to the operating system.

        Raises:
            OSError: The file cannot be made or written.
        """
        if self._names is None:
            self._open()
        elif time.monotonic() - self._looked > _LOOK:
            self._recover(self._names)
        self._write()

    def _write(self) -> None:
        looked, self._looked = self._looked, 0.0  # Where it fails, look at once.
        while self._rest:
            written = os.write(self._fd, self._rest)
            self._rest = self._rest[written:]
            self._has_content = True
        self._looked = looked

    def finish(self) -> None:
        """Write what is left and give the file its final name.

        Raises:
            OSError: That failed.
        """
        self._looked = 0.0
        self.flush()
        names = self._names
        if names is not None and names.final is not None and sys.platform != "win32":
            os.replace(names.written, names.final)  # noqa: PTH105 - one call, no Path is made
        os.close(self._fd)
        if names is not None and names.final is not None and sys.platform == "win32":
            os.replace(names.written, names.final)  # noqa: PTH105 - an open file has no other name
        self._is_closed = True

    def abandon(self) -> None:
        """Leave the file as it is; one without a line goes."""
        if self._names is None or not self._holds_own_file():
            return
        os.close(self._fd)
        if not self._has_content and self._names.final is not None:
            with contextlib.suppress(OSError):
                self._names.written.unlink()

    def _open(self) -> None:
        for left in reversed(range(_TRIES)):
            about = replace(self._about, id=new_id(self._about.started / 1e9))
            names = _names(self._destination, about.id)
            try:
                self._use(_create(names))
            except FileExistsError:
                if not left:
                    raise
                continue
            self._names = names
            self._rest = header_line(about).encode("ascii") + self._rest
            return

    def _use(self, fd: int) -> None:
        self._fd, self._identity = fd, _identity(os.fstat(fd))
        self._looked = time.monotonic()

    def _recover(self, names: _Names) -> None:
        """Open again what the program closed, write anew what somebody deleted.

        A number that was closed may stand for another file by now, which is not ours to write to.
        """
        if not self._holds_own_file():
            self._reopen(names)
        if names.final is not None and _identity_at(names.written) != self._identity:
            self._use(_moved(self._fd, names))
        self._looked = time.monotonic()

    def _holds_own_file(self) -> bool:
        try:
            return _identity(os.fstat(self._fd)) == self._identity
        except OSError:
            return False

    def _reopen(self, names: _Names) -> None:
        if names.final is None or _identity_at(names.written) != self._identity:
            raise OSError(errno.EBADF, "the program closed it")
        self._fd = _aside(os.open(names.written, os.O_RDWR | os.O_APPEND | _NO_FOLLOW))
        _lock(self._fd)


def is_left_behind(path: Path, now: float | None = None) -> bool:
    """Tell whether nobody writes to the file of an unfinished run any more.

    Args:
        path: The file.
        now: Unix time in seconds; None for the time of the clock.

    Raises:
        OSError: The file cannot be opened.
    """
    age = (time.time() if now is None else now) - path.stat().st_mtime
    if age < _FRESH:
        return False
    if sys.platform == "win32":
        return True  # Windows itself refuses to delete a file that is open.
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return age > _OLD
    finally:
        os.close(fd)
    return True


def _names(destination: Destination, run_id: str) -> _Names:
    if isinstance(destination, Shelf):
        partial = destination.path_of(run_id, partial=True)
        return _Names(partial, destination.path_of(run_id), is_ours_alone=True)
    if _is_stream(destination):
        return _Names(destination, None)
    final = Path(os.path.realpath(destination))
    return _Names(final.with_name(final.name + PARTIAL_SUFFIX), final)


def _is_stream(path: Path) -> bool:
    """Is it a pipe, a device, or a name of something that is open already?"""
    if path.parts[1:2] == ("dev",):
        return True
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _create(names: _Names) -> int:
    """Open a new file, or a pipe or device that is there.

    Raises:
        FileExistsError: There is a run of this name.
        OSError: Something else is in the way.
    """
    if names.final is None:
        return _aside(os.open(names.written, os.O_WRONLY))
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | _NO_FOLLOW
    if names.is_ours_alone:
        flags |= os.O_EXCL
        make_private(names.written.parent)
        if names.final.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(names.final))
    fd = _aside(os.open(names.written, flags, 0o600))
    try:
        _lock(fd)
        if not names.is_ours_alone:
            os.ftruncate(fd, 0)
    except OSError:
        os.close(fd)
        raise
    return fd


def _lock(fd: int) -> None:
    """Show other programs that this file is being written, where the file system can do that.

    Raises:
        OSError: Another program is writing it.
    """
    if sys.platform == "win32":
        return
    os.fchmod(fd, 0o600)  # The program's umask may have taken away even that.
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise OSError(exc.errno, "another program is writing it") from exc
    except OSError:
        return


def _aside(fd: int) -> int:
    """Return a descriptor of a high number for the same file, where the limit allows for one."""
    if sys.platform == "win32":
        return fd
    for lowest in _HIGH:
        with contextlib.suppress(OSError):
            high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
            os.close(fd)
            return high
    return fd


def _moved(fd: int, names: _Names) -> int:
    """Write the file anew from the one that is still open; return the new one's descriptor.

    Raises:
        OSError: That failed.
    """
    new = _create(names)
    try:
        _copy(fd, new)
    except OSError:
        os.close(new)
        with contextlib.suppress(OSError):
            names.written.unlink()
        raise
    os.close(fd)
    return new


def _copy(source: int, target: int) -> None:
    os.lseek(source, 0, os.SEEK_SET)  # Appending moves it back to the end by itself.
    while data := os.read(source, _COPY):
        while data:
            data = data[os.write(target, data) :]


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _identity_at(path: Path) -> tuple[int, int] | None:
    try:
        return _identity(path.stat())
    except FileNotFoundError:
        return None
