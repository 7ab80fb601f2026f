"""Deletes old runs, so that the folder of kept runs does not grow for ever."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pocketflow_trace.keeping.draft import is_left_behind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pocketflow_trace.keeping.shelf import Kept, Shelf


@dataclass(frozen=True, slots=True)
class Limits:
    """What a folder may hold.

    A run goes if it is neither among the newest nor young, of which only what is set counts. The
    oldest go, too, as long as the folder is too large.

    Attributes:
        runs: How many runs are the newest.
        age: Seconds since its start in which a run is young.
        size: Bytes of all files.
    """

    runs: int | None = None
    age: float | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Pruning:
    """What pruning did.

    Attributes:
        deleted: Runs that are gone, or would be.
        failed: Runs that could not be deleted, each with the reason.
    """

    deleted: tuple[Kept, ...] = ()
    failed: tuple[tuple[Kept, str], ...] = ()


LIMITS: Final = Limits(runs=100, size=1_000_000_000)
"""What is pruned to when a run begins."""


def surplus(kept: Sequence[Kept], limits: Limits, now: float | None = None) -> list[Kept]:
    """Return the runs that should go, newest first; those that are being written stay.

    Args:
        kept: All runs of a folder, newest first.
        limits: What it may hold.
        now: Unix time in seconds; None for the time of the clock.
    """
    now = time.time() if now is None else now
    return [item for item in _beyond(kept, limits, now) if _may_go(item, now)]


def prune(shelf: Shelf, limits: Limits, *, dry_run: bool = False) -> Pruning:
    """Delete the runs of a folder that are beyond the limits.

    Nothing but complete runs, and those whose program is gone, is ever deleted.

    Args:
        shelf: The folder.
        limits: What it may hold.
        dry_run: Only tell what would be deleted.
    """
    going = surplus(shelf.kept(), limits)
    if dry_run:
        return Pruning(tuple(going))
    failed = {item.path: reason for item in going if (reason := _delete(item))}
    return Pruning(
        tuple(item for item in going if item.path not in failed),
        tuple((item, failed[item.path]) for item in going if item.path in failed),
    )


def _beyond(kept: Sequence[Kept], limits: Limits, now: float) -> Iterator[Kept]:
    size = 0
    for rank, item in enumerate(kept):
        size += item.size
        is_too_large = limits.size is not None and rank > 0 and size > limits.size
        if is_too_large or _is_past(rank, now - item.about.started / 1e9, limits):
            yield item


def _is_past(rank: int, age: float, limits: Limits) -> bool:
    """Tell whether a run is neither among the newest nor young, as far as that is asked."""
    if limits.runs is None and limits.age is None:
        return False
    among_newest = limits.runs is not None and rank < limits.runs
    young = limits.age is not None and age <= limits.age
    return not among_newest and not young


def _may_go(item: Kept, now: float) -> bool:
    if item.is_complete:
        return True
    try:
        return is_left_behind(item.path, now)
    except OSError:
        return False


def _delete(item: Kept) -> str:
    """Delete a file; return why that failed, or nothing."""
    try:
        item.path.unlink(missing_ok=True)
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""
