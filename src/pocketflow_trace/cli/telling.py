"""What commands that show one run have in common to say."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from pocketflow_trace.cli.errors import CliError
from pocketflow_trace.record.nodes import names, node_runs
from pocketflow_trace.text import encodable, plural, printable, shorten

if TYPE_CHECKING:
    from pocketflow_trace.keeping.runfile import Reading
    from pocketflow_trace.record.model import Entry, Run

_MAX_NAMES: Final = 12
_MAX_NAME: Final = 60


def warn_of_damage(reading: Reading) -> None:
    """Say on stderr how many lines of a file could not be read, if there are any."""
    if reading.damaged:
        lines = plural(reading.damaged, "damaged line")
        sys.stderr.write(f"pocketflow-trace: {lines} in the file passed over\n")


def node_runs_of(run: Run, name: str) -> list[Entry]:
    """Return the runs of a node, at least one.

    Raises:
        CliError: There is none; the message says which there are.
    """
    if found := node_runs(run, name):
        return found
    there = [f"{_short(node)} ({count:,}x)" for node, count in names(run).items()]
    rest = len(there) - _MAX_NAMES
    listed = ", ".join([*there[:_MAX_NAMES], *([f"… {rest:,} more"] if rest > 0 else [])])
    message = f"no run of {_short(name)!r}; what ran: {listed or 'nothing'}"
    raise CliError(encodable(message, sys.stderr.encoding or "utf-8"), exit_code=1)


def _short(text: str) -> str:
    return shorten(printable(text), _MAX_NAME)
