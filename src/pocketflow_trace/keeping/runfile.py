"""The file of a kept run: lines of JSON, written while the program runs, read back as a `Run`.

Not OTLP, because OTLP tells of spans that have ended: here a span is told of when it starts, too,
so that what a killed program was doing can be seen. Each line is an object with one member:

    {"run": {"format": "pocketflow-trace", "version": 1, "about": {...}}}  the first line
    {"start": {"parent": KEY | null, ...}}  an entry as its span began; a later one knows more
    {"end": {"parent": KEY | null, ...}}  the same when it had ended; may come without a start
    {"done": {"ended": NANOSECONDS, "dropped": COUNT}}  the last, if the program came so far

The members of an entry are those of `model.entry_to_json`; a KEY is `TRACE_ID-SPAN_ID`. A line that
cannot be read is passed over and counted: the rest of the file still tells its part.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from pocketflow_trace.record.model import (
    About,
    Entry,
    ModelError,
    Run,
    about_from_json,
    about_to_json,
    entry_from_json,
    entry_to_json,
    grow,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT: Final = "pocketflow-trace"

VERSION: Final = 1
"""Version of the format; raised when a reader of the older form would misread it."""


class RunFileError(ValueError):
    """The file is not that of a run, or of a version that this program does not know."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file says.

    Attributes:
        run: The run as far as the file tells of it.
        damaged: Lines that could not be read.
    """

    run: Run
    damaged: int = 0


# --- Writing --------------------------------------------------------------------------------


def header_line(about: About) -> str:
    """Return the first line."""
    return _line("run", {"format": FORMAT, "version": VERSION, "about": about_to_json(about)})


def start_line(entry: Entry, parent: str | None) -> str:
    """Return the line of an entry that begins; the parent is a key, or None for a root."""
    return _line("start", {"parent": parent, **entry_to_json(entry)})


def end_line(entry: Entry, parent: str | None) -> str:
    """Return the line of an entry that has ended; the parent is a key, or None for a root."""
    return _line("end", {"parent": parent, **entry_to_json(entry)})


def done_line(ended: int, dropped: int) -> str:
    """Return the last line.

    Args:
        ended: Unix time in nanoseconds at which the program ended.
        dropped: Spans that are not in the file.
    """
    return _line("done", {"ended": ended, "dropped": dropped})


def key_of(entry: Entry) -> str:
    """Return what other lines call an entry."""
    return f"{entry.trace_id}-{entry.span_id}"


def _line(member: str, value: dict[str, Any]) -> str:
    # ASCII, so that whatever a program put into a string, the line is the same in any encoding.
    return json.dumps({member: value}, allow_nan=False, separators=(",", ":")) + "\n"


# --- Reading --------------------------------------------------------------------------------


def read(lines: Iterable[str]) -> Reading:
    """Read the lines of a file.

    Raises:
        RunFileError: The first line is not that of a run, or its version is not known.
    """
    rest = iter(lines)
    reader = _Reader(_about(next(rest, "")))
    for line in rest:
        reader.take(line)
    return reader.reading()


def read_about(line: str) -> About:
    """Read the first line of a file alone, for a list of many.

    Raises:
        RunFileError: It is not that of a run, or its version is not known.
    """
    return _about(line)


def _about(line: str) -> About:
    member, header = _parsed(line)
    if member != "run":
        raise RunFileError("not a file of pocketflow-trace")
    if header.get("format") != FORMAT:
        raise RunFileError("not a file of pocketflow-trace")
    version = header.get("version")
    if version != VERSION:
        newer = type(version) is int and version > VERSION
        advice = "; a newer pocketflow-trace reads it" if newer else ""
        raise RunFileError(f"a file of version {version!r}, this program reads {VERSION}{advice}")
    try:
        return about_from_json(header.get("about"))
    except ModelError as exc:
        raise RunFileError(f"its first line is damaged: {exc}") from exc


def _parsed(line: str) -> tuple[str, dict[str, object]]:
    """Return the one member of a line, name and object; no name where it is something else."""
    try:
        data: object = json.loads(line)
    except (ValueError, RecursionError):
        return "", {}
    if isinstance(data, dict):
        for name, value in cast("dict[str, object]", data).items():
            if isinstance(value, dict):
                return name, cast("dict[str, object]", value)
    return "", {}


class _Reader:
    """Puts lines together."""

    def __init__(self, about: About) -> None:
        self._about = about
        self._entries: dict[str, Entry] = {}
        self._parents: dict[str, str | None] = {}
        self._dropped = 0
        self._damaged = 0

    def take(self, line: str) -> None:
        """Take one line."""
        name, row = _parsed(line)
        if name in {"start", "end"}:
            self._take_entry(row, has_ended=name == "end")
        elif name == "done":
            self._take_done(row)
        elif line.strip():
            self._damaged += 1

    def _take_done(self, row: dict[str, object]) -> None:
        ended, dropped = row.get("ended"), row.get("dropped")
        if type(ended) is int and type(dropped) is int:
            self._about = replace(self._about, ended=ended)
            self._dropped = dropped
        else:
            self._damaged += 1

    def _take_entry(self, row: dict[str, object], *, has_ended: bool) -> None:
        try:
            entry = entry_from_json(row)
        except ModelError:
            self._damaged += 1
            return
        key, parent = key_of(entry), row.get("parent")
        known = self._entries.get(key)
        if has_ended or known is None or known.end is None:  # threads may write out of order
            self._entries[key] = entry
            self._parents[key] = parent if isinstance(parent, str) else None

    def reading(self) -> Reading:
        """Return what was put together."""
        roots = grow(self._entries, self._parents)
        return Reading(Run(roots, self._dropped, self._about), self._damaged)
