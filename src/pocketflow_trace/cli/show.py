"""`pocketflow-trace show`: the tree of a kept run, or all that it tells of one node."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pocketflow_trace.cli.errors import CliError
from pocketflow_trace.cli.options import CommandParser, reading_of
from pocketflow_trace.cli.telling import node_runs_of, warn_of_damage
from pocketflow_trace.keeping.life import words
from pocketflow_trace.record.model import to_json
from pocketflow_trace.record.nodes import NAME_HELP
from pocketflow_trace.text import encodable, plural, printable
from pocketflow_trace.views.details import details_of
from pocketflow_trace.views.verbosity import VARIABLE, VERBOSITIES, Look, verbosity_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import TextIO

    from pocketflow_trace.record.model import Entry, Run
    from pocketflow_trace.views.verbosity import Verbosity

MAX_NODES: Final = 50
"""Runs of a node that are told of in full."""

_SUMMARY: Final = f"""\
Shows a kept run as `pocketflow-trace run` shows it. Where the program did not end in order, the
first line says so, and whether it was killed or still runs.

With --node, all that the run tells of one node instead: inputs, outputs, params, attempts with
their tracebacks, what it changed in the store, what it used. {NAME_HELP}

With --json, the run as it is kept, or with --node that node's part of it, as one document:
{{"version": 1, "dropped" (spans not kept), "about": {{"id", "program", "started", "ended" (null:
not in order), "resource"}}, "entries": [{{"parent" (position in this list, or null), "kind" (flow,
node, item, attempt, phase, other), "name", "start", "end" (null: unfinished), "status" (unset, ok,
error), "message", "attributes", "failures": [{{"type", "message", "stacktrace"}}], "trace_id",
"span_id"}}]}}. Times are Unix times in nanoseconds.

exit code: 0 the run was shown, 1 no such run or node, 2 wrong usage"""

_EXAMPLES: Final = (
    ("show", "the last run"),
    ("show last~1 --verbosity verbose", "the one before, with inputs and outputs"),
    ("show --node Search", "everything about each run of Search"),
    ("show --node Search:2", "about its second run alone"),
    ("show --json | jq '.entries[].name'", "for other programs"),
)


def main(args: Sequence[str]) -> int:
    """Run `pocketflow-trace show` with these arguments.

    Raises:
        CliError: Wrong usage, or there is no such run or node.
    """
    options = _parser().parse_args(args)
    verbosity = _verbosity(options)
    reading = reading_of(options)
    warn_of_damage(reading)
    run = reading.run
    found = node_runs_of(run, options.node) if options.node else []
    if options.json:
        part = replace(run, roots=tuple(found)) if found else run
        sys.stdout.write(json.dumps(to_json(part), allow_nan=False) + "\n")
        return 0
    if run.about.ended is None:
        sys.stdout.write(f"unfinished: {words(run.about)}\n")
    if found:
        _show_nodes(found, sys.stdout)
    else:
        _show_run(run, verbosity, sys.stdout)
    return 0


def _parser() -> CommandParser:
    parser = CommandParser("show", _SUMMARY, _EXAMPLES)
    parser.add_run()
    parser.add_argument("--node", metavar="NODE", help="only this node, with all details")
    parser.add_argument(
        "--verbosity", choices=VERBOSITIES, help=f"by default that of {VARIABLE}, else normal"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_shelf()
    return parser


def _verbosity(options: argparse.Namespace) -> Verbosity:
    if options.verbosity is not None:
        return options.verbosity
    try:
        return verbosity_of(os.environ)
    except ValueError as exc:
        raise CliError(str(exc)) from exc


def _show_run(run: Run, verbosity: Verbosity, file: TextIO) -> None:
    from pocketflow_trace.views.console import print_run  # noqa: PLC0415 - rich, only when used

    if run.roots:
        print_run(run, file, look=Look(verbosity=verbosity))
    else:
        file.write(f"{printable(run.about.program)}: no flow or node of PocketFlow ran\n")


def _show_nodes(found: Sequence[Entry], file: TextIO) -> None:
    from pocketflow_trace.views.page import print_lines  # noqa: PLC0415 - rich, only when used

    shown = found[:MAX_NODES]
    blocks = [details_of(entry, place, len(found)) for place, entry in enumerate(shown, 1)]
    print_lines([line for block in blocks for line in [*block, []]][:-1], file)
    if rest := len(found) - len(shown):
        more = f"… {plural(rest, 'more run')}; see them by their number, as in NODE:{len(found)}"
        file.write(encodable(more, file.encoding or "utf-8") + "\n")
