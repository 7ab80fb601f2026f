"""Where kept runs are: finds, lists and reads their files."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pocketflow_trace.keeping import runfile
from pocketflow_trace.sending.undelivered import state_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketflow_trace.keeping.runfile import Reading
    from pocketflow_trace.record.model import About

DIRECTORY_VARIABLE: Final = "POCKETFLOW_TRACE_DIR"
"""Names the folder of kept runs."""

SUFFIX: Final = ".jsonl"
"""Of the file of a run whose program has ended."""

PARTIAL_SUFFIX: Final = ".partial"
"""Of a file that is being written, or whose program was killed."""

LAST: Final = "last"
_LAST: Final = re.compile(rf"{LAST}(?:~(\d{{1,6}}))?")
_MAX_HEADER: Final = 1_000_000
"""Characters of a first line."""


class ShelfError(Exception):
    """No such run, or it cannot be read; the message says what there is."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept run, by the first line of its file.

    Attributes:
        path: The file.
        about: Which program, when and where; its end is not known from here.
        is_complete: Has the program ended in order? If not, it still runs or was killed.
        size: Bytes of the file.
    """

    path: Path
    about: About
    is_complete: bool
    size: int


def new_id(now: float | None = None) -> str:
    """Return an id for a run that begins: sortable by time, and with an end that is easy to type.

    Args:
        now: Unix time in seconds; None for the time of the clock.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    return f"{stamp}-{secrets.token_hex(2)}"


class Shelf:
    """A folder of kept runs. It need not exist."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Shelf:
        """Return the shelf that an environment names, else that in the user's state folder.

        Raises:
            ShelfError: The user has no home directory.
        """
        named = environ.get(DIRECTORY_VARIABLE, "").strip()
        try:
            if named:
                return cls(Path(named).expanduser())
            return cls(state_directory(environ) / "runs")
        except RuntimeError as exc:
            raise ShelfError(f"{exc}; name a folder by {DIRECTORY_VARIABLE}") from exc

    def path_of(self, run_id: str, *, partial: bool = False) -> Path:
        """Return where the file of a run is or will be."""
        return self.directory / f"{run_id}{PARTIAL_SUFFIX if partial else SUFFIX}"

    def kept(self) -> list[Kept]:
        """Return the runs, newest first. What is no run's file is passed over."""
        found: list[Kept] = []
        for path in self._files():
            with contextlib.suppress(OSError, ShelfError):
                found.append(_kept(path))
        return sorted(found, key=lambda kept: (kept.about.started, kept.about.id), reverse=True)

    def find(self, name: str = LAST) -> Path:
        """Return the file of a run.

        Args:
            name: `last`, `last~2` for the second before it, an id or a part of one, or the path of
                a file.

        Raises:
            ShelfError: There is none, or more than one.
        """
        if match := _LAST.fullmatch(name):
            return self._last(int(match[1] or 0))
        if os.sep in name or name.endswith((SUFFIX, PARTIAL_SUFFIX)):
            path = Path(name)
            if path.is_file():
                return path
            raise ShelfError(f"no file {name}")
        return self._named(name)

    def _last(self, back: int) -> Path:
        kept = self.kept()
        if not kept:
            raise ShelfError(f"no run is kept in {self.directory}")
        if back >= len(kept):
            raise ShelfError(f"there are only {len(kept)} kept runs in {self.directory}")
        return kept[back].path

    def _named(self, name: str) -> Path:
        paths = [path for path in self._files() if name in path.stem]
        exact = [path for path in paths if path.stem == name]
        if len(exact or paths) == 1:
            return (exact or paths)[0]
        if not paths:
            raise ShelfError(f"no run {name!r} in {self.directory}; see: pocketflow-trace list")
        ids = ", ".join(sorted(path.stem for path in paths)[:5])
        raise ShelfError(f"{name!r} fits {len(paths)} runs: {ids}")

    def _files(self) -> list[Path]:
        try:
            entries = list(self.directory.iterdir())
        except OSError:
            return []
        return [path for path in entries if path.suffix in {SUFFIX, PARTIAL_SUFFIX}]


def _kept(path: Path) -> Kept:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            about = runfile.read_about(file.readline(_MAX_HEADER))
    except runfile.RunFileError as exc:
        raise ShelfError(f"{path}: {exc}") from exc
    return Kept(path, about, path.suffix == SUFFIX, path.stat().st_size)


def read(path: Path) -> Reading:
    """Read the file of a run.

    Raises:
        ShelfError: It cannot be read, is none, or is of a version that this program does not know.
    """
    try:
        # What is damaged may be anything; the lines around it are still read.
        with path.open(encoding="utf-8", errors="replace") as file:
            return runfile.read(file)
    except OSError as exc:
        raise ShelfError(f"{path}: {exc.strerror or exc}") from exc
    except runfile.RunFileError as exc:
        raise ShelfError(f"{path}: {exc}") from exc
