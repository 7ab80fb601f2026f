"""`pocketflow-trace doctor`: tells what is installed and active, and what would be captured."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Final

from pocketflow_trace.cli.options import CommandParser
from pocketflow_trace.text import encodable, plural, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pocketflow_trace.analysis.checkup import Finding

VERSION: Final = 1
"""Of the JSON form."""

_MARKS: Final = {"ok": "ok ", "info": "   ", "problem": "!! "}

_SUMMARY: Final = """\
Tells what is installed, which instrumentors are active under opentelemetry-instrument, where spans
would go and whether something listens there, what would be captured, and where runs are kept. It
looks at the environment that it is called in, so call it as you would call the program. Values that
may be secret are never printed. A connection takes at most a second or two.

exit code: 0 no problem, 1 at least one (marked with !!), 2 wrong usage"""

_EXAMPLES: Final = (
    ("doctor", "why do I see nothing?"),
    ("doctor --json", "for other programs, or for an issue"),
)


def main(args: Sequence[str]) -> int:
    """Run `pocketflow-trace doctor` with these arguments.

    Raises:
        CliError: Wrong usage.
    """
    parser = CommandParser("doctor", _SUMMARY, _EXAMPLES)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(args)
    # The instrumentation and the exporters, which no other use of this module needs.
    from pocketflow_trace.analysis.checkup import checkup  # noqa: PLC0415

    found = checkup(os.environ)
    encoding = sys.stdout.encoding or "utf-8"
    lines = [_json(found)] if options.json else _page(found)
    sys.stdout.writelines(f"{encodable(line, encoding)}\n" for line in lines)
    return 1 if _problems(found) else 0


def _problems(found: Sequence[Finding]) -> int:
    return sum(1 for finding in found if finding.status == "problem")


def _json(found: Sequence[Finding]) -> str:
    checks = [
        {
            "section": finding.section,
            "name": finding.name,
            "status": finding.status,
            "text": finding.text,
        }
        for finding in found
    ]
    return json.dumps(
        {"version": VERSION, "problems": _problems(found), "checks": checks}, indent=2
    )


def _page(found: Sequence[Finding]) -> Iterator[str]:
    section = ""
    for finding in found:
        if finding.section != section:
            yield from ([""] if section else [])
            yield finding.section
            section = finding.section
        mark = _MARKS[finding.status]
        yield f"  {mark}{printable(finding.name)}: {printable(finding.text)}"
    problems = _problems(found)
    yield ""
    yield plural(problems, "problem") if problems else "no problem found"
