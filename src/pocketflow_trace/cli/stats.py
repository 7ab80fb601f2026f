"""`pocketflow-trace stats`: adds up many kept runs."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import time
from array import array
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from pocketflow_trace.analysis.run_statistics import (
    NodeStatistics,
    RunsStatistics,
    Statistics,
    day_of,
    percentile,
)
from pocketflow_trace.cli.errors import CliError
from pocketflow_trace.cli.options import CommandParser, shelf_of
from pocketflow_trace.keeping.shelf import ShelfError, read
from pocketflow_trace.text import duration, encodable, money, plural, printable
from pocketflow_trace.views.columns import columns
from pocketflow_trace.views.totals import tracing_took

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pocketflow_trace.analysis.run_statistics import CommitName, NodeName, Spending
    from pocketflow_trace.keeping.shelf import Kept, Shelf

VERSION: Final = 1
"""Of the JSON form."""

_NANOS: Final = 1_000_000_000
_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_AGE: Final = re.compile(r"(\d{1,6})([mhdw])")
_SHOWN_COMMIT: Final = 10
_UNKNOWN: Final = "-"

_SUMMARY: Final = """\
Adds up many kept runs: by node (time, errors, retries, tokens and cost), by day and by commit.

p50 and p95 are the times of real node runs (nearest rank). Times are of a node with all its
attempts and waits, rows with a flow's name alone of the whole flow. A rate is the share of node
runs that failed, or that took more than one attempt. `-` is not known, `+` behind a number says
that some calls did not tell theirs. Days are in UTC, as the ids of runs are.

exit code: 0 there is something to add up, 1 no such run, 2 wrong usage"""

_EXAMPLES: Final = (
    ("stats", "all kept runs"),
    ("stats --program main --since 7d", "of one program, of the last seven days"),
    ("stats --json | jq .nodes", "for other programs"),
)


def main(args: Sequence[str]) -> int:
    """Run `pocketflow-trace stats` with these arguments.

    Raises:
        CliError: Wrong usage, or there is no run to add up.
    """
    options = _parser().parse_args(args)
    shelf = shelf_of(options)
    kept = _chosen(shelf, options)
    found = Statistics()
    unreadable = _add_all(found, kept)
    if not found.total.runs:
        raise CliError(_nothing(shelf, options), exit_code=1)
    if options.json:
        lines = [json.dumps(_data(found, unreadable), indent=2)]
    else:
        lines = _page(found, options.limit)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.writelines(f"{encodable(line, encoding)}\n" for line in lines)
    return 0


def _parser() -> CommandParser:
    parser = CommandParser("stats", _SUMMARY, _EXAMPLES)
    parser.add_shelf()
    parser.add_argument("--program", metavar="NAME", help="of this program; `*` and `?` fit any")
    parser.add_argument(
        "--since", metavar="WHEN", type=_since, help="begun since 30m, 12h, 7d, 2w or 2026-11-01"
    )
    parser.add_argument(
        "--limit", metavar="N", type=_limit, default=30, help="rows of a table; 0 for all (30)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _since(text: str) -> int:
    """Return Unix time in nanoseconds.

    Raises:
        ArgumentTypeError: It is neither an age nor a date.
    """
    if match := _AGE.fullmatch(text):
        return time.time_ns() - int(match[1]) * _UNITS[match[2]] * _NANOS
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        allowed = "must be an age such as 30m, 12h, 7d or 2w, or a date such as 2026-11-01"
        raise argparse.ArgumentTypeError(f"{text!r}: {allowed}") from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return int(aware.timestamp()) * _NANOS


def _limit(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from 0")
    return int(text)


def _chosen(shelf: Shelf, options: argparse.Namespace) -> list[Kept]:
    """Return the runs that the options ask for, by the first lines of their files."""
    return [
        kept
        for kept in shelf.kept()
        if kept.about.started >= (options.since or 0)
        and (options.program is None or fnmatchcase(kept.about.program, options.program))
    ]


def _add_all(found: Statistics, kept: Sequence[Kept]) -> int:
    """Read the runs one by one, and return how many could not be read."""
    unreadable = 0
    for each in kept:
        try:
            reading = read(each.path)
        except ShelfError as exc:
            unreadable += 1
            sys.stderr.write(f"pocketflow-trace: {printable(str(exc))}\n")
            continue
        found.add(reading.run)
        if reading.damaged:
            damaged = plural(reading.damaged, "damaged line")
            sys.stderr.write(f"pocketflow-trace: {each.path.name}: {damaged} passed over\n")
    return unreadable


def _nothing(shelf: Shelf, options: argparse.Namespace) -> str:
    of = f" of {options.program}" if options.program else ""
    since = " since then" if options.since else ""
    return f"no run{of}{since} is kept in {shelf.directory}"


# --- As JSON --------------------------------------------------------------------------------


def _data(found: Statistics, unreadable: int) -> dict[str, Any]:
    return {
        "version": VERSION,
        "runs": found.total.runs,
        "unreadable": unreadable,
        "programs": dict(found.programs),
        "first": _time(found.first),
        "last": _time(found.last),
        "total": _runs_data(found.total),
        "nodes": [_node_data(*row) for row in _by_time(found.nodes)],
        "days": [{"day": day, **_runs_data(each)} for day, each in sorted(found.days.items())],
        "commits": [
            {"revision": revision or None, "dirty": dirty, **_runs_data(each)}
            for (revision, dirty), each in found.commits.items()
        ],
    }


def _time(nanos: int | None) -> str | None:
    if nanos is None:
        return None
    return datetime.fromtimestamp(nanos // _NANOS, timezone.utc).isoformat()


def _node_data(name: NodeName, node: NodeStatistics) -> dict[str, Any]:
    times = _ordered(node)
    return {
        "flow": name[0],
        "node": name[1] or None,
        "runs": node.runs,
        "unfinished": node.unfinished,
        "cancelled": node.cancelled,
        "errors": node.errors,
        "error_rate": node.error_rate,
        "retried": node.retried,
        "retry_rate": node.retry_rate,
        "p50_seconds": _seconds(percentile(times, 50)),
        "p95_seconds": _seconds(percentile(times, 95)),
        "total_seconds": _seconds(sum(times)),
        **_spending_data(node.spending),
    }


def _runs_data(runs: RunsStatistics) -> dict[str, Any]:
    return {
        "runs": runs.runs,
        "failed": runs.failed,
        "unfinished": runs.unfinished,
        "nodes": runs.nodes,
        "errors": runs.errors,
        "retries": runs.retries,
        "tracing_seconds": _seconds(runs.tracing) if runs.told else None,
        "tracing_share": runs.tracing_share,
        **_spending_data(runs.spending),
    }


def _spending_data(spending: Spending) -> dict[str, Any]:
    """Return tokens and costs; a price as text, so that it stays exact."""
    usage = spending.usage
    return {
        "calls": usage.total.calls if usage else None,
        "tokens": usage.total.tokens if usage else None,
        "tokens_per_run": spending.tokens_per_run,
        "unmetered_calls": usage.unmetered if usage else None,
        "cost": {name: str(cost) for name, cost in usage.total.costs} if usage else {},
        "cost_per_run": {name: f"{cost:.6g}" for name, cost in spending.cost_per_run.items()},
        "unpriced_models": list(usage.unpriced) if usage else [],
    }


def _seconds(nanos: int | None) -> float | None:
    return None if nanos is None else nanos / _NANOS


# --- As text --------------------------------------------------------------------------------


def _page(found: Statistics, limit: int) -> list[str]:
    width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 120
    nodes = [_node_row(*row) for row in _by_time(found.nodes)]
    days = [_runs_row(day, each) for day, each in sorted(found.days.items(), reverse=True)]
    commits = [_runs_row(_commit(name), each) for name, each in found.commits.items()]
    return [
        _heading(found),
        "",
        *_table(_NODE_HEADER, nodes, width, limit),
        "",
        *_table(("day", *_RUNS_HEADER), days, width, limit),
        "",
        *_table(("commit", *_RUNS_HEADER), commits, width, limit),
    ]


_NODE_HEADER: Final = (
    "flow > node",
    "runs",
    "p50",
    "p95",
    "errors",
    "retried",
    "tokens/run",
    "cost/run",
)
_RUNS_HEADER: Final = ("runs", "failed", "errors", "retries", "tokens", "cost")


def _heading(found: Statistics) -> str:
    total = found.total
    programs = [printable(name) or "without a name" for name, _ in found.programs.most_common(3)]
    more = len(found.programs) - len(programs)
    names = ", ".join((*programs, *([f"{more} more"] if more else [])))
    days = " to ".join(dict.fromkeys(day_of(each or 0) for each in (found.first, found.last)))
    unfinished = f", {total.unfinished:,} unfinished" if total.unfinished else ""
    tracing = f", {tracing_took(total.tracing, total.told)}" if total.told else ""
    return (
        f"{plural(total.runs, 'run')} of {names}, {days}: "
        f"{total.failed:,} failed{unfinished}, {plural(total.nodes, 'node run')}{tracing}"
    )


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int, limit: int
) -> list[str]:
    shown = rows[:limit] if limit else rows
    lines = columns(header, shown, width)
    rest = len(rows) - len(shown)
    return [*lines, f"… {rest:,} more; --limit 0 for all"] if rest else lines


def _by_time(
    nodes: Mapping[NodeName, NodeStatistics],
) -> list[tuple[NodeName, NodeStatistics]]:
    """Return flow by flow, each with its nodes, those first that took most time in all."""
    time_of = {name: sum(node.times) for name, node in nodes.items()}
    of_flow: dict[str, int] = {}
    for (flow, _), nanos in time_of.items():
        of_flow[flow] = max(of_flow.get(flow, 0), nanos)

    def rank(row: tuple[NodeName, NodeStatistics]) -> tuple[int, str, bool, int]:
        (flow, node), _ = row
        return -of_flow[flow], flow, bool(node), -time_of[row[0]]

    return sorted(nodes.items(), key=rank)


def _node_row(name: NodeName, node: NodeStatistics) -> list[str]:
    times = _ordered(node)
    flow, of = printable(name[0]), printable(name[1])
    return [
        f"{flow} > {of}" if flow and of else flow or of,
        f"{node.runs:,}",
        _duration(percentile(times, 50)),
        _duration(percentile(times, 95)),
        _rate(node.error_rate),
        _rate(node.retry_rate),
        _tokens(node.spending.tokens_per_run, node.spending),
        _prices(node.spending.cost_per_run, node.spending),
    ]


def _runs_row(name: str, runs: RunsStatistics) -> list[str]:
    usage = runs.spending.usage
    return [
        name,
        f"{runs.runs:,}",
        f"{runs.failed:,}",
        f"{runs.errors:,}",
        f"{runs.retries:,}",
        _tokens(usage.total.tokens if usage else None, runs.spending),
        _prices(dict(usage.total.costs) if usage else {}, runs.spending),
    ]


def _commit(name: CommitName) -> str:
    revision, dirty = name
    if not revision:
        return "unknown"
    return printable(revision[:_SHOWN_COMMIT]) + (" + changes" if dirty else "")


def _ordered(node: NodeStatistics) -> array[int]:
    return array("q", sorted(node.times))


def _duration(nanos: int | None) -> str:
    return _UNKNOWN if nanos is None else duration(nanos)


def _rate(share: float | None) -> str:
    return _UNKNOWN if share is None else f"{share:.1%}"


def _tokens(count: float | None, spending: Spending) -> str:
    if count is None:
        return _UNKNOWN
    return f"{count:,.0f}{'+' if spending.usage and spending.usage.unmetered else ''}"


def _prices(costs: Mapping[str, Any], spending: Spending) -> str:
    mark = "+" if spending.usage and spending.usage.unpriced else ""
    return ", ".join(f"{money(cost, name)}{mark}" for name, cost in costs.items()) or _UNKNOWN
