"""`pocketflow-trace graph`: the flows of a run as a Mermaid flowchart."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from pocketflow_trace.cli.errors import CliError
from pocketflow_trace.cli.options import CommandParser, reading_of
from pocketflow_trace.cli.telling import warn_of_damage
from pocketflow_trace.record.model import walk
from pocketflow_trace.text import encodable, printable, shorten
from pocketflow_trace.views.diagram import flows, mermaid

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_NAME: Final = 60

_SUMMARY: Final = """\
Draws each flow of a run as a Mermaid flowchart, with the path that was taken: thick arrows with the
times they were taken, dotted ones that never were; on each node its runs and their total time. A
node that failed has a red border, one whose action had no successor an orange one and a `dead end`
behind it, one that never ran a dashed one. A flow in a flow is drawn in a box of its own.

GitHub, GitLab and many editors draw it in a block of Markdown: ```mermaid ... ```

exit code: 0 a flow was drawn, 1 no such run or flow, 2 wrong usage"""

_EXAMPLES: Final = (
    ("graph", "of the last run"),
    ("graph last~1 > flow.mmd", "of the run before, into a file"),
    ("graph --flow ReviewFlow", "one flow alone, by its name"),
)


def main(args: Sequence[str]) -> int:
    """Run `pocketflow-trace graph` with these arguments.

    Raises:
        CliError: Wrong usage, or there is no such run or flow.
    """
    parser = CommandParser("graph", _SUMMARY, _EXAMPLES)
    parser.add_run()
    parser.add_argument("--flow", metavar="NAME", help="only the flow of that name")
    parser.add_shelf()
    options = parser.parse_args(args)
    reading = reading_of(options)
    warn_of_damage(reading)
    found = flows(list(walk(reading.run.roots)))
    chosen = [flow for flow in found if options.flow in {None, flow.name}]
    if not chosen:
        there = ", ".join(shorten(printable(flow.name), _MAX_NAME) for flow in found)
        raise CliError(f"no such flow in this run; there is: {there or 'none'}", exit_code=1)
    sys.stdout.write(encodable(mermaid(chosen), sys.stdout.encoding or "utf-8"))
    return 0
