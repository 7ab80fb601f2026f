"""`pocketflow-trace prune`: deletes old runs."""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from pocketflow_trace.cli.errors import CliError
from pocketflow_trace.cli.options import PROGRAM, CommandParser, shelf_of
from pocketflow_trace.keeping.pruning import LIMITS, Limits, prune
from pocketflow_trace.text import plural, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketflow_trace.keeping.pruning import Pruning
    from pocketflow_trace.keeping.shelf import Kept

VERSION: Final = 1
"""Of the JSON document."""

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGE: Final = re.compile(r"(\d{1,9})([smhdw])")
_MEGABYTE: Final = 1_000_000

_SUMMARY: Final = f"""\
Deletes old runs. Without options, what each new run does by itself: the newest {LIMITS.runs} runs
stay, as long as they have no more than {(LIMITS.size or 0) // _MEGABYTE:,} MB in all. With both
--keep and --older-than, a run is deleted if both allow it.

Nothing but runs is deleted, and none that is being written. Exit code: 0, or 1 if a run could not
be deleted."""


def main(args: Sequence[str]) -> int:
    """Run `pocketflow-trace prune` with these arguments.

    Raises:
        CliError: Wrong usage.
    """
    options = _parser().parse_args(args)
    result = prune(shelf_of(options), _limits(options), dry_run=options.dry_run)
    if options.json:
        sys.stdout.write(json.dumps(_document(result, dry_run=options.dry_run)) + "\n")
    else:
        sys.stdout.write(_report(result, dry_run=options.dry_run))
    for item, reason in result.failed:
        sys.stderr.write(f"{PROGRAM}: {printable(f'{item.path}: {reason}')}\n")
    return 1 if result.failed else 0


def _parser() -> CommandParser:
    parser = CommandParser(
        "prune",
        _SUMMARY,
        [
            ("prune --older-than 30d --dry-run", "what a month's limit would delete"),
            ("prune --keep 10", "all but the newest ten"),
        ],
    )
    parser.add_argument("--keep", metavar="N", type=_count, help="the newest N runs stay")
    parser.add_argument(
        "--older-than",
        metavar="AGE",
        type=_age,
        help="runs that began less than AGE ago stay: 90m, 12h, 30d, 8w",
    )
    parser.add_argument("--all", action="store_true", help="delete every run")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be deleted")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_shelf()
    return parser


def _limits(options: argparse.Namespace) -> Limits:
    if options.all:
        if options.keep is not None or options.older_than is not None:
            raise CliError("--all goes with neither --keep nor --older-than")
        return Limits(runs=0)
    if options.keep is None and options.older_than is None:
        return LIMITS
    return Limits(runs=options.keep, age=options.older_than)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of runs")
    return int(text)


def _age(text: str) -> float:
    match = _AGE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; one looks like 90m, 12h, 30d or 8w")
    return float(match[1]) * _UNITS[match[2]]


def _report(result: Pruning, *, dry_run: bool) -> str:
    lines = [printable(f"{item.about.id}  {item.about.program}") for item in result.deleted]
    verb = "would delete" if dry_run else "deleted"
    size = sum(item.size for item in result.deleted) / _MEGABYTE
    lines.append(f"{verb} {plural(len(lines), 'run')}, {size:,.1f} MB")
    return "".join(f"{line}\n" for line in lines)


def _document(result: Pruning, *, dry_run: bool) -> dict[str, Any]:
    return {
        "version": VERSION,
        "dry_run": dry_run,
        "deleted": [_row(item) for item in result.deleted],
        "failed": [{**_row(item), "reason": reason} for item, reason in result.failed],
    }


def _row(item: Kept) -> dict[str, Any]:
    return {"id": item.about.id, "path": str(item.path), "size": item.size}
