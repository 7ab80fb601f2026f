"""What is known of a run while it runs, kept up by each start and end at a bounded cost.

A `Run` that holds all entries is made anew for each look at it, which takes a third of a second for
ten thousand spans. A view that looks ten times a second needs less: what runs now, what ended last,
and counts of the rest. Memory follows what runs now, not what has run.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from opentelemetry.trace import StatusCode

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record.entries import entry_of, is_ours, kind_of, plain_attributes
from pocketflow_trace.record.usage import add_up, rolled_up
from pocketflow_trace.views.feed import id_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from pocketflow_trace.record.model import Entry
    from pocketflow_trace.record.usage import Usage
    from pocketflow_trace.views.feed import News

RECENT: Final = 50
"""Ended nodes, and as many failed items, that can still be shown."""

_RUNS: Final = frozenset({"flow", "node"})
_UNITS: Final = _RUNS | {"item"}
_FOLDED: Final = frozenset({"attempt", "phase"})
"""Kinds that are told of in the line of what they belong to."""


@dataclass(slots=True)
class Batch:
    """The progress of a batch.

    Attributes:
        size: Items in all; 0 where unknown.
        done: Items that ended, failed ones among them.
        failed: Items that an exception left.
        retried: Items that took more than one attempt.
        since: Start of the first item, Unix time in nanoseconds.
    """

    size: int = 0
    done: int = 0
    failed: int = 0
    retried: int = 0
    since: int = 0


@dataclass(slots=True, eq=False)
class Branch:
    """A span that runs, or that has ended not long ago. Most are never shown.

    Attributes:
        span: The span, or what it was when it ended.
        kind: What it stands for.
        start: Unix time in nanoseconds.
        parent: What it is in.
        order: Its place in the order of all starts.
        has_ended: Has it ended?
        runs: Nodes and nested flows that have ended in it.
        batch: Its progress, where it has items.
        attempt: The attempt that runs or waits.
        used: What the model calls in it used that have been told of.
        failed_inside: Has something in it failed?
    """

    span: ReadableSpan
    kind: str
    start: int
    parent: Branch | None
    order: int
    has_ended: bool = False
    runs: int = 0
    batch: Batch | None = None
    attempt: Branch | None = None
    used: Usage | None = None
    failed_inside: bool = False

    def entry(self) -> Entry:
        """Return the entry as it is now."""
        return entry_of(self.span)

    def failed(self) -> bool:
        """Tell whether an exception left it."""
        return self.span.status.status_code is StatusCode.ERROR

    def number(self, name: str) -> int:
        """Return a whole-number attribute, or 0 where it is absent."""
        value = (self.span.attributes or {}).get(name)
        return value if isinstance(value, int) else 0


@dataclass(slots=True)
class Counts:
    """Counts over the whole run so far, as in `totals.Totals`.

    Attributes:
        nodes: Node runs that began.
        errors: Failures, each only where it began.
        retries: Attempts beyond the first.
    """

    nodes: int = 0
    errors: int = 0
    retries: int = 0


@dataclass(slots=True)
class Growth:
    """A run that is growing.

    Attributes:
        counts: Counts so far.
        started: Start of the first entry, Unix time in nanoseconds; None before.
        idle_until: Start of the first entry after nothing ran, Unix time in nanoseconds.
    """

    counts: Counts = field(default_factory=Counts)
    started: int | None = None
    idle_until: int = 0
    _running: dict[int, Branch] = field(default_factory=dict[int, Branch])
    _recent: deque[Branch] = field(default_factory=lambda: deque[Branch](maxlen=RECENT))
    _recent_items: deque[Branch] = field(default_factory=lambda: deque[Branch](maxlen=RECENT))
    _used: Usage | None = None
    _begun: int = 0

    def take(self, news: Iterable[News]) -> list[tuple[Branch, bool]]:
        """Take in what happened, in order.

        Returns:
            Those that started or ended, in order, and whether they ended: what started may have
            ended by now.
        """
        taken = [
            (self._end(span) if has_ended else self._start(span), has_ended)
            for span, has_ended in news
        ]
        return [(branch, has_ended) for branch, has_ended in taken if branch is not None]

    def is_idle(self) -> bool:
        """Tell whether nothing runs."""
        return not self._running

    def running(self, limit: int) -> Iterator[Branch]:
        """Yield what runs, the latest first, at most so many."""
        return islice(reversed(self._running.values()), limit)

    def recent(self) -> Iterator[Branch]:
        """Yield what has ended, the last first; nodes and flows before items."""
        yield from reversed(self._recent)
        yield from reversed(self._recent_items)

    def used(self) -> Usage | None:
        """Return what the model calls used that have been told of."""
        roots = (branch.used for branch in self._running.values() if branch.parent is None)
        return add_up(used for used in (self._used, *roots) if used is not None)

    def _start(self, span: ReadableSpan) -> Branch | None:
        parent = None if span.parent is None else self._running.get(span.parent.span_id)
        if parent is None and not is_ours(span):
            return None  # What the program traces around its flows.
        self._begun += 1
        branch = Branch(span, kind_of(span), span.start_time or 0, parent, self._begun)
        if self.started is None:
            self.started = branch.start
        if not self._running:
            self.idle_until = branch.start
        self._running[id_of(span)] = branch
        self._count_start(branch)
        if parent is not None:
            _note_start(parent, branch)
        return branch

    def _count_start(self, branch: Branch) -> None:
        self.counts.nodes += branch.kind == "node"
        is_retry = branch.kind == "attempt" and branch.number(semconv.ATTEMPT_NUMBER) > 1
        self.counts.retries += is_retry

    def _end(self, span: ReadableSpan) -> Branch | None:
        branch = self._running.pop(id_of(span), None)
        if branch is None:
            return None
        branch.span, branch.has_ended = span, True
        self._count_failure(branch)
        _note_usage(branch)
        if branch.parent is None:
            self._used = add_up(used for used in (self._used, branch.used) if used is not None)
        else:
            _note_end(branch.parent, branch)
        self._remember(branch)
        return branch

    def _remember(self, branch: Branch) -> None:
        """Keep what has ended for a while; an item only if it is not told by the batch's count."""
        if branch.kind in _RUNS:
            self._recent.append(branch)
        elif branch.kind == "item" and (branch.failed() or _is_retried(branch)):
            self._recent_items.append(branch)

    def _count_failure(self, branch: Branch) -> None:
        failed = branch.kind in _UNITS and branch.failed()
        self.counts.errors += failed and not branch.failed_inside
        if branch.parent is not None and (failed or branch.failed_inside):
            branch.parent.failed_inside = True


def _note_start(parent: Branch, child: Branch) -> None:
    if child.kind == "attempt":
        parent.attempt = child
    if child.kind == "item":
        batch = parent.batch = parent.batch or Batch(since=child.start)
        batch.size = child.number(semconv.BATCH_SIZE) or batch.size


def _note_end(parent: Branch, child: Branch) -> None:
    parent.runs += child.kind in _RUNS
    if child.kind == "attempt" and parent.attempt is child and not child.failed():
        parent.attempt = None
    if child.kind == "item" and parent.batch is not None:
        parent.batch.done += 1
        parent.batch.failed += child.failed()
        parent.batch.retried += _is_retried(child)


def _is_retried(item: Branch) -> bool:
    return item.number(semconv.NODE_ATTEMPTS) > 1


def _note_usage(branch: Branch) -> None:
    """Let what was used stand in all that the branch is in; at its end it tells the sum itself."""
    if branch.kind == "other":
        return
    if branch.number(semconv.USAGE_CALLS):
        branch.used = rolled_up(plain_attributes(branch.span.attributes))
    if branch.parent is not None and branch.used is not None:
        parts = [branch.used] if branch.parent.used is None else [branch.parent.used, branch.used]
        branch.parent.used = add_up(parts)


def shown_parent(branch: Branch) -> Branch | None:
    """Return what a branch stands under in a view; attempts and phases have no line there."""
    parent = branch.parent
    while parent is not None and parent.kind in _FOLDED:
        parent = parent.parent
    return parent


def is_folded(branch: Branch) -> bool:
    """Tell whether a branch has no line of its own."""
    return branch.kind in _FOLDED
