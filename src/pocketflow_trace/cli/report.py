"""`pocketflow-trace report`: a Markdown page about a run that failed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from pocketflow_trace.analysis.failure_report import report
from pocketflow_trace.cli.options import CommandParser, reading_of
from pocketflow_trace.cli.telling import warn_of_damage
from pocketflow_trace.text import encodable

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUMMARY: Final = """\
Writes a page of Markdown about a run that failed, to be pasted into an issue or given to a coding
agent: the exception, where it was, the way there, the node's input, the shared store and what
changed it last, versions, commit, and how to run it again. It has about 100 lines, and nothing that
the kept run does not have: what was redacted there is redacted here. Read it before you publish it.

Where nothing failed it says so, and tells what was slowest and what was retried most.

exit code: 0 a page was written, 1 no such run, 2 wrong usage"""

_EXAMPLES: Final = (
    ("report", "the last run"),
    ("report last~1 > issue.md", "the one before, into a file"),
)


def main(args: Sequence[str]) -> int:
    """Run `pocketflow-trace report` with these arguments.

    Raises:
        CliError: Wrong usage, or no such run.
    """
    parser = CommandParser("report", _SUMMARY, _EXAMPLES)
    parser.add_run()
    parser.add_shelf()
    reading = reading_of(parser.parse_args(args))
    warn_of_damage(reading)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.writelines(f"{encodable(line, encoding)}\n" for line in report(reading.run))
    return 0
