"""What a whole run adds up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record import facts
from pocketflow_trace.record.model import walk
from pocketflow_trace.record.usage import add_up, rolled_up
from pocketflow_trace.text import duration, percent
from pocketflow_trace.views.lines import is_failed, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pocketflow_trace.record.model import Entry, Run
    from pocketflow_trace.record.usage import Usage

_NANOS: Final = 1_000_000_000
_UNITS: Final = frozenset({"flow", "node", "item"})
"""What can fail as such: a failed attempt is a retry, a failed model call a cause."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over a run.

    Attributes:
        nodes: Node runs.
        errors: Flows, nodes and items that failed, each only where the error began.
        retries: Attempts beyond the first.
        nanos: Time from the first start to the last end, in nanoseconds.
        usage: What the model calls used, each once; None where none is told of.
        tracing: What tracing itself took, in nanoseconds; None where it does not tell.
    """

    nodes: int
    errors: int
    retries: int
    nanos: int
    usage: Usage | None
    tracing: int | None = None


def totals(run: Run) -> Totals:
    """Add up all entries of a run."""
    entries = list(walk(run.roots))
    return Totals(
        nodes=sum(1 for entry in entries if entry.kind == "node"),
        errors=len(_failed(entries)),
        retries=sum(retries(entry) for entry in entries if entry.kind == "node"),
        nanos=_nanos(entries),
        usage=add_up(_outermost_usages(run)),
        tracing=_tracing(entries),
    )


def tracing_took(tracing: int, nanos: int) -> str:
    """Return what tracing took, and how much that is of the time of what it traced.

    There is no such share where flows do so little that their spans take longer than they do.
    """
    share = f" ({percent(tracing, nanos)})" if tracing < nanos else ""
    return f"tracing took {duration(tracing)}{share}"


def failures(run: Run) -> list[Entry]:
    """Return the flows, nodes and items where an error began, in order."""
    return _failed(list(walk(run.roots)))


def _failed(entries: Sequence[Entry]) -> list[Entry]:
    """Find failures from the inside out, leaving out those that only let one pass."""
    failed_inside: set[int] = set()
    found: list[Entry] = []
    for entry in reversed(entries):
        inner = any(id(child) in failed_inside for child in entry.children)
        failed = entry.kind in _UNITS and is_failed(entry)
        if failed and not inner:
            found.append(entry)
        if failed or inner:
            failed_inside.add(id(entry))
    return found[::-1]


def retries(node: Entry) -> int:
    """Return how many attempts of a node, or of its items, came after a first one."""
    items = [child for child in node.children if child.kind == "item"]
    attempts = number(node, semconv.NODE_ATTEMPTS)
    if semconv.BATCH_SIZE not in node.attributes:
        return max(attempts - 1, 0) or _later_attempts(node)
    if is_failed(node) or node.end is None:
        return sum(max(number(item, semconv.NODE_ATTEMPTS) - 1, 0) for item in items)
    return max(attempts - number(node, semconv.BATCH_SIZE), 0)


def _later_attempts(node: Entry) -> int:
    """Count the attempts seen of a node that has not ended, and so has no count of its own."""
    return sum(1 for child in node.children if number(child, semconv.ATTEMPT_NUMBER) > 1)


def _tracing(entries: Iterable[Entry]) -> int | None:
    """Add up what the outermost flows and nodes tell of it, each for itself."""
    told = [facts.seconds(entry, semconv.INSTRUMENTATION_DURATION) for entry in entries]
    known = [seconds for seconds in told if seconds is not None]
    return round(sum(known) * _NANOS) if known else None


def _nanos(entries: Sequence[Entry]) -> int:
    if not entries:
        return 0
    ends = [entry.start if entry.end is None else entry.end for entry in entries]
    return max(ends) - min(entry.start for entry in entries)


def _outermost_usages(run: Run) -> Iterator[Usage]:
    """Yield the roll-ups that are in no other: those of the root flows, where they ended.

    A flow that has not ended has none yet; then the outermost ones inside it stand for it.
    """
    pending = list(reversed(run.roots))
    while pending:
        entry = pending.pop()
        usage = None if entry.kind == "other" else rolled_up(entry.attributes)
        if usage is None:
            pending.extend(reversed(entry.children))
        else:
            yield usage
