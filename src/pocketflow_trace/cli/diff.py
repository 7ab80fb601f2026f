"""`pocketflow-trace diff`: compares two runs."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, Final, get_args

from pocketflow_trace.analysis.comparison import Aspect, Comparison, Thresholds, compare, essence
from pocketflow_trace.cli.errors import CliError
from pocketflow_trace.cli.options import CommandParser, reading_of
from pocketflow_trace.cli.telling import warn_of_damage
from pocketflow_trace.text import brief_json, duration, encodable, plural, printable, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pocketflow_trace.analysis.comparison import Difference
    from pocketflow_trace.record.model import About

VERSION: Final = 1
"""Of the JSON form."""

_USUAL: Final = Thresholds()

_SUMMARY: Final = """\
Compares two runs of a program: routes, how often nodes ran, results, writes to the shared store,
failures, attempts, times, tokens and cost. Nodes are matched by the flows around them, their place
in the graph and their iteration. The first line says the essence.

Times count as different from 1.5 times and 50 ms on, tokens and cost from 1.1 times. That commit,
command or versions differ is told, but is no difference of what the program did.

exit code: 0 no difference; 1 a difference; 2 wrong usage, no such run, or one that can't be read"""

_EXAMPLES: Final = (
    ("diff last~1 last", "what did the last change do?"),
    ("diff 3f2a 91bc --ignore time,tokens,cost", "only what it did"),
)

_MAX_VALUE: Final = 120
_MAX_PATHS: Final = 6
_MAX_LINES: Final = 200


def main(args: Sequence[str]) -> int:
    """Run `pocketflow-trace diff` with these arguments.

    Raises:
        CliError: Wrong usage, or a run is not there; its exit code is 2, as 1 means different.
    """
    options = _parser().parse_args(args)
    ignored = _ignored(options.ignore)
    limits = Thresholds(options.time_ratio, cost_ratio=options.cost_ratio)
    try:
        a, b = reading_of(options, "a"), reading_of(options, "b")
    except CliError as exc:
        raise CliError(str(exc)) from exc
    found = _without(compare(a.run, b.run, limits), ignored)
    for reading in (a, b):
        warn_of_damage(reading)
    if options.json:
        _write([json.dumps(_data(found, a.run.about, b.run.about), indent=2)])
    else:
        _write(_page(found, a.run.about, b.run.about))
    return 1 if found.differences else 0


def _parser() -> CommandParser:
    parser = CommandParser("diff", _SUMMARY, _EXAMPLES)
    parser.add_argument("a", metavar="A", help="the run to compare with: an id, `last~1` or a file")
    parser.add_argument("b", metavar="B", nargs="?", default="last", help="by default the last run")
    parser.add_shelf()
    aspects = ", ".join(get_args(Aspect))
    parser.add_argument(
        "--ignore", metavar="LIST", default="", help=f"leave out some of: {aspects}"
    )
    for name, of, usual in (
        ("--time-ratio", "a time", _USUAL.time_ratio),
        ("--cost-ratio", "tokens or a cost", _USUAL.cost_ratio),
    ):
        text = f"how many times greater {of} must be to count ({usual:g})"
        parser.add_argument(name, metavar="X", type=_ratio, default=usual, help=text)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _ratio(text: str) -> float:
    """Return a ratio.

    Raises:
        ArgumentTypeError: It is no number from 1.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number from 1")
    return value


def _ignored(text: str) -> set[str]:
    names = {name.strip() for name in text.split(",") if name.strip()}
    unknown = names - set(get_args(Aspect))
    if unknown:
        known = ", ".join(get_args(Aspect))
        raise CliError(f"--ignore: no such thing as {', '.join(sorted(unknown))}; known: {known}")
    return names


def _without(found: Comparison, ignored: set[str]) -> Comparison:
    kept = [each for each in found.differences if each.aspect not in ignored]
    return Comparison(tuple(kept), found.facts, found.compared)


def _write(lines: Sequence[str]) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.writelines(f"{encodable(line, encoding)}\n" for line in lines)


# --- As JSON --------------------------------------------------------------------------------


def _data(found: Comparison, a: About, b: About) -> dict[str, Any]:
    return {
        "version": VERSION,
        "equal": not found.differences,
        "summary": essence(found),
        "a": {"id": a.id, "program": a.program},
        "b": {"id": b.id, "program": b.program},
        "compared": found.compared,
        "facts": [{"name": name, "a": one, "b": other} for name, one, other in found.facts],
        "differences": [
            {"aspect": each.aspect, "where": list(each.where), "a": each.a, "b": each.b}
            for each in found.differences
        ],
    }


# --- As text --------------------------------------------------------------------------------


def _page(found: Comparison, a: About, b: About) -> list[str]:
    lines = [printable(essence(found)), f"A: {_title(a)}", f"B: {_title(b)}"]
    lines += [f"   {name}: {_short(one)} → {_short(other)}" for name, one, other in found.facts]
    where = None
    for each in found.differences:
        if each.where != where:
            lines += ["", printable(" > ".join(each.where))]
            where = each.where
        lines += [f"  {line}" for line in _told(each)]
    rest = len(lines) - _MAX_LINES
    if rest <= 0:
        return lines
    return [*lines[:_MAX_LINES], f"… {plural(rest, 'more line')}; --json has all"]


def _title(about: About) -> str:
    return printable(" ".join(filter(None, (about.id, about.program)))) or "a run without a name"


def _told(each: Difference) -> Iterator[str]:
    match each.aspect:
        case "runs":
            yield _runs(each.a, each.b)
        case "failure":
            yield f"ending: {_ending(each.a)} → {_ending(each.b)}"
        case "writes":
            yield from _writes(each.a, each.b)
        case "time":
            times = [duration(round(seconds * 1_000_000_000)) for seconds in (each.a, each.b)]
            yield f"time: {times[0]} → {times[1]} ({_factor(each.a, each.b)})"
        case "tokens":
            yield f"tokens: {each.a:,} → {each.b:,} ({_factor(each.a, each.b)})"
        case "cost":
            yield f"cost: {_costs(each.a)} → {_costs(each.b)}"
        case other:
            yield f"{other}: {_short(each.a)} → {_short(each.b)}"


def _runs(a: int, b: int) -> str:
    if not a:
        return f"only in B: {plural(b, 'run')}"
    if not b:
        return f"only in A: {plural(a, 'run')}"
    return f"ran {plural(a, 'time')} → {plural(b, 'time')}"


def _ending(failure: str | None) -> str:
    return "ok" if failure is None else printable(failure)


def _writes(a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    paths = list({**a, **b})
    for path in paths[:_MAX_PATHS]:
        was, now = _change(a.get(path)), _change(b.get(path))
        yield f"wrote {shorten(printable(path), _MAX_VALUE)}: {was} → {now}"
    if len(paths) > _MAX_PATHS:
        yield f"… {plural(len(paths) - _MAX_PATHS, 'more path')}"


def _change(change: dict[str, Any] | None) -> str:
    if change is None:
        return "not written"
    if change.get("op") == "remove":
        return "removed"
    return _short(change["value"]) if "value" in change else "written"


def _costs(costs: dict[str, float]) -> str:
    return ", ".join(f"{cost:.6g} {printable(currency)}" for currency, cost in costs.items())


def _factor(a: float, b: float) -> str:
    return f"{b / a:.3g} times" if a else "from none"


def _short(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, str):
        return shorten(printable(value), _MAX_VALUE)
    return brief_json(value, _MAX_VALUE)
