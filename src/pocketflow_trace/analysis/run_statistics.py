"""Adds up many runs: by node, by day and by commit.

Pure. Runs are taken one at a time and forgotten; what stays is a few numbers for each row, and
eight bytes for the time of each node run, since percentiles are exact. What was not told stays out
of a rate or an average: it is not zero.
"""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record import facts
from pocketflow_trace.record.usage import Usage, add_up, rolled_up
from pocketflow_trace.views.lines import is_cancelled, is_failed
from pocketflow_trace.views.totals import totals

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from pocketflow_trace.record.model import Entry, Run
    from pocketflow_trace.views.totals import Totals

_NANOS: Final = 1_000_000_000

NodeName: TypeAlias = tuple[str, str]
"""Name of the flow, and the node's class; empty for the flow itself."""

CommitName: TypeAlias = tuple[str, bool | None]
"""Revision, empty where there is none, and whether files differed from it; None where unknown."""


def percentile(ordered: array[int], percent: float) -> int | None:
    """Return the value of the nearest rank: the smallest that `percent` of all don't exceed.

    Args:
        ordered: Values in ascending order.
        percent: More than 0, at most 100.
    """
    if not ordered:
        return None
    return ordered[math.ceil(percent * len(ordered) / 100) - 1]


@dataclass(slots=True)
class Spending:
    """What model calls used, over several runs.

    Attributes:
        usage: The sums; None where no call is told of.
        runs: Runs that made calls.
        token_runs: Those that told tokens.
        cost_runs: Those that told a price, by currency.
    """

    usage: Usage | None = None
    runs: int = 0
    token_runs: int = 0
    cost_runs: Counter[str] = field(default_factory=Counter[str])

    def add(self, usage: Usage | None) -> None:
        """Add what one run used."""
        if usage is None:
            return
        self.usage = usage if self.usage is None else add_up((self.usage, usage))
        self.runs += 1
        self.token_runs += usage.total.tokens is not None
        self.cost_runs.update(currency for currency, _ in usage.total.costs)

    @property
    def tokens_per_run(self) -> float | None:
        """Average over the runs that told tokens."""
        tokens = None if self.usage is None else self.usage.total.tokens
        return None if tokens is None else tokens / self.token_runs

    @property
    def cost_per_run(self) -> dict[str, Decimal]:
        """Average over the runs that told a price, by currency."""
        costs = () if self.usage is None else self.usage.total.costs
        return {currency: cost / self.cost_runs[currency] for currency, cost in costs}


@dataclass(slots=True)
class NodeStatistics:
    """The runs of one node class in flows of one name, or of such a flow.

    Attributes:
        runs: All.
        unfinished: Those without an end: they still run, or their program was killed.
        cancelled: Those that a cancellation or an interrupt ended.
        errors: Those that an exception left.
        counted: Those whose attempts are known.
        retried: Those of them that took, or had an item that took, more than one.
        times: Of those that ended, in nanoseconds.
        spending: What their model calls used.
    """

    runs: int = 0
    unfinished: int = 0
    cancelled: int = 0
    errors: int = 0
    counted: int = 0
    retried: int = 0
    times: array[int] = field(default_factory=lambda: array("q"))
    spending: Spending = field(default_factory=Spending)

    def add(self, entry: Entry) -> None:
        """Add one run."""
        self.runs += 1
        self.unfinished += entry.end is None
        self.cancelled += is_cancelled(entry)
        self.errors += is_failed(entry)
        if entry.end is not None:
            self.times.append(min(max(entry.end - entry.start, 0), 2**63 - 1))
        if (attempts := facts.count(entry, semconv.NODE_ATTEMPTS)) is not None:
            self.counted += 1
            self.retried += _was_retried(entry, attempts)
        self.spending.add(rolled_up(entry.attributes))

    @property
    def error_rate(self) -> float | None:
        """Share of the runs that ended."""
        return _share(self.errors, self.runs - self.unfinished)

    @property
    def retry_rate(self) -> float | None:
        """Share of the runs whose attempts are known."""
        return _share(self.retried, self.counted)


@dataclass(slots=True)
class RunsStatistics:
    """Several runs of programs.

    Attributes:
        runs: All.
        failed: Those in which something failed.
        unfinished: Those whose program has not said that it ended.
        nodes: Node runs.
        errors: What failed in them, each where it began.
        retries: Attempts beyond the first.
        spending: What their model calls used.
        tracing: What tracing itself took in those that tell, in nanoseconds.
        told: The time that these took themselves; 0 where none tells.
    """

    runs: int = 0
    failed: int = 0
    unfinished: int = 0
    nodes: int = 0
    errors: int = 0
    retries: int = 0
    spending: Spending = field(default_factory=Spending)
    tracing: int = 0
    told: int = 0

    def add(self, sums: Totals, *, has_ended: bool) -> None:
        """Add one run.

        Args:
            sums: What it adds up to.
            has_ended: Has its program said that it ended?
        """
        self.runs += 1
        self.failed += sums.errors > 0
        self.unfinished += not has_ended
        self.nodes += sums.nodes
        self.errors += sums.errors
        self.retries += sums.retries
        self.spending.add(sums.usage)
        if sums.tracing is not None:
            self.tracing += sums.tracing
            self.told += sums.nanos

    @property
    def tracing_share(self) -> float | None:
        """What tracing took, as a share of the time of the runs that tell."""
        return _share(self.tracing, self.told)


@dataclass(slots=True)
class Statistics:
    """All that many runs add up to.

    Attributes:
        total: All runs.
        programs: How many of each program.
        first: When the first began: Unix time in nanoseconds; None where there is none.
        last: When the last began.
        nodes: By flow and node.
        days: By day in UTC, such as `2026-11-23`.
        commits: By commit.
    """

    total: RunsStatistics = field(default_factory=RunsStatistics)
    programs: Counter[str] = field(default_factory=Counter[str])
    first: int | None = None
    last: int | None = None
    nodes: dict[NodeName, NodeStatistics] = field(default_factory=dict["NodeName", NodeStatistics])
    days: dict[str, RunsStatistics] = field(default_factory=dict[str, RunsStatistics])
    commits: dict[CommitName, RunsStatistics] = field(
        default_factory=dict["CommitName", RunsStatistics]
    )

    def add(self, run: Run) -> None:
        """Add one run."""
        about, sums = run.about, totals(run)
        self.programs[about.program] += 1
        self.first = about.started if self.first is None else min(self.first, about.started)
        self.last = about.started if self.last is None else max(self.last, about.started)
        day = self.days.setdefault(day_of(about.started), RunsStatistics())
        commit = self.commits.setdefault(_commit(about.resource), RunsStatistics())
        for row in (self.total, day, commit):
            row.add(sums, has_ended=about.ended is not None)
        for entry, flow in facts.with_flows(run):
            if name := _name(entry, flow):
                self.nodes.setdefault(name, NodeStatistics()).add(entry)


def day_of(nanos: int) -> str:
    """Return the day of a time, in UTC as the ids of runs are."""
    return time.strftime("%Y-%m-%d", time.gmtime(nanos // _NANOS))


def _name(entry: Entry, flow: str) -> NodeName | None:
    if entry.kind == "flow":
        return facts.workflow(entry), ""
    return (flow, facts.class_name(entry)) if entry.kind == "node" else None


def _commit(resource: Mapping[str, Any]) -> CommitName:
    revision, dirty = resource.get(semconv.VCS_REF_HEAD_REVISION), resource.get(semconv.VCS_DIRTY)
    name = revision if isinstance(revision, str) else ""
    return name, dirty if isinstance(dirty, bool) else None


def _was_retried(entry: Entry, attempts: int) -> bool:
    if semconv.BATCH_SIZE not in entry.attributes:
        return attempts > 1
    return bool(facts.count(entry, semconv.BATCH_RETRIED))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
