"""`pocketflow-trace store`: the shared store as it stood at a node."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from pocketflow_trace.analysis.rebuild import History, RebuildError, store_ids, store_near
from pocketflow_trace.cli.errors import CliError
from pocketflow_trace.cli.options import CommandParser, reading_of
from pocketflow_trace.cli.telling import node_runs_of, warn_of_damage
from pocketflow_trace.record import facts
from pocketflow_trace.record.nodes import NAME_HELP
from pocketflow_trace.text import encodable, plural, printable, shorten
from pocketflow_trace.views.pretty import pretty

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from pocketflow_trace.record.model import Entry, Run
from pocketflow_trace.analysis.rebuild import Moment, Rebuilt

VERSION: Final = 1
"""Of the JSON form."""

_MAX_PLACES: Final = 12
"""Places that are named for each way in which something is not shown."""
_MAX_PLACE: Final = 80

_SUMMARY: Final = f"""\
Shows the shared store as JSON, as it stood at the end of a run, or at a node: rebuilt from the
store at its start and the changes that the nodes made.

Without --at it is the end; with it, the moment after a run of that node, or with --before the one
before it. {NAME_HELP}
Without a number it is the last time.

A trace keeps a bounded, redacted picture. On stdout markers stand for what it does not hold:
{{"$cut": "str", "length": 1048576, "head": "Once upon"}} for a long text;
{{"$cut": {{"length": 9}}}} at the end of a list or object for the rest of it; [REDACTED] for a
secret; {{"$opaque": "threading.Lock"}} for a class that is not looked into. A key of the program's
like these has one more `$`. Notes on stderr tell where they are, and which changes are missing.

With --json, one document: {{"version": 1, "run", "store", "at": {{"node", "span_id", "before"}} or
null, "document", "applied", "missing", "lost" (changes), "is_start_known", "unfinished" (nodes),
"is_approximate" (another branch ran), "doubtful" (keys, or null for any), "cut", "opaque",
"redacted" (JSON pointers), "unwatched" (containers)}}.

exit code: 0 the store was shown, 1 no such run, node or store, 2 wrong usage"""

_EXAMPLES: Final = (
    ("store", "at the end of the last run"),
    ("store last~1 --at Search", "after the last time that Search ran, in the run before"),
    ("store --at Search:2 --before", "before it ran for the second time"),
    ("store --at Answer | jq .context", "one key"),
)


def main(args: Sequence[str]) -> int:
    """Run `pocketflow-trace store` with these arguments.

    Raises:
        CliError: Wrong usage, or there is no such run, node or store.
    """
    options = _options(args)
    reading = reading_of(options)
    warn_of_damage(reading)
    run = reading.run
    entry = node_runs_of(run, options.at)[-1] if options.at else None
    history = History(run, _store(run, entry, options.store))
    rebuilt = history.rebuild(_moment(history, entry, before=options.before))
    if options.json:
        _print(json.dumps(_data(run, entry, rebuilt, before=options.before), indent=2))
    else:
        _print(pretty(rebuilt.document))
        for note in _notes(rebuilt):
            sys.stderr.write(f"{encodable(note, sys.stderr.encoding or 'utf-8')}\n")
    return 0


def _options(args: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser("store", _SUMMARY, _EXAMPLES)
    parser.add_run()
    parser.add_argument("--at", metavar="NODE[:N]", help="the node at which to look")
    parser.add_argument("--before", action="store_true", help="before that node ran, not after")
    parser.add_argument("--store", metavar="ID", help="which store, where a run has several")
    parser.add_argument("--json", action="store_true", help="as JSON with all that is to be said")
    parser.add_shelf()
    options = parser.parse_args(args)
    if options.before and not options.at:
        parser.error("--before needs --at")
    if options.store is not None and not options.store.isdecimal():
        parser.error(f"--store is {options.store!r}; it is a number")
    return options


def _print(text: str) -> None:
    sys.stdout.write(encodable(text, sys.stdout.encoding or "utf-8") + "\n")


# --- Which store, and when ------------------------------------------------------------------


def _store(run: Run, entry: Entry | None, named: str | None) -> int:
    """Return the id of the store that is asked for.

    Raises:
        CliError: There is none, or it is not clear which.
    """
    ids = store_ids(run)
    if not ids:
        raise CliError("this run tells of no store; was its content captured?", exit_code=1)
    if named is not None:
        return _named(run, entry, ids, int(named))
    if entry is not None:
        if (near := store_near(run, entry)) is None:
            raise CliError(f"{facts.place(entry)} does not tell its store; {_choice(run, ids)}", 1)
        return near
    if len(ids) > 1:
        raise CliError(f"this run has {len(ids)} stores; {_choice(run, ids)}", exit_code=2)
    return ids[0]


def _named(run: Run, entry: Entry | None, ids: Sequence[int], store: int) -> int:
    if store not in ids:
        raise CliError(f"this run has no store {store}; {_choice(run, ids)}", exit_code=1)
    if entry is not None and store_near(run, entry) not in {None, store}:
        where = f"{printable(facts.place(entry))} ran on store {store_near(run, entry)}"
        raise CliError(f"{where}, not on {store}", exit_code=1)
    return store


def _choice(run: Run, ids: Sequence[int]) -> str:
    lines = [_described(History(run, store)) for store in ids[:_MAX_PLACES]]
    rest = len(ids) - len(lines)
    lines += [f"… {rest:,} more"] if rest else []
    return "choose one with --store ID:\n  " + "\n  ".join(lines)


def _described(history: History) -> str:
    """Return `2  of ReviewFlow, 14 changes`."""
    owner = history.first or next(iter(history.entries), None)
    name = shorten(printable(facts.place(owner)), _MAX_PLACE) if owner is not None else "?"
    return f"{history.store}  of {name}, {plural(history.changes, 'change')}"


def _moment(history: History, entry: Entry | None, *, before: bool) -> Moment:
    if entry is None:
        return history.at_end()
    try:
        return history.before(entry) if before else history.after(entry)
    except RebuildError as exc:
        raise CliError(f"{printable(str(exc))} with --before", exit_code=1) from exc


# --- Saying it ------------------------------------------------------------------------------


def _data(run: Run, entry: Entry | None, rebuilt: Rebuilt, *, before: bool) -> dict[str, Any]:
    at = None
    if entry is not None:
        at = {"node": facts.place(entry), "span_id": entry.span_id, "before": before}
    return {"version": VERSION, "run": run.about.id, "at": at, **asdict(rebuilt)}


def _notes(rebuilt: Rebuilt) -> Iterator[str]:
    """Yield what the store is without, a line each."""
    if not rebuilt.is_start_known:
        yield "note: what was in the store at first is not known, since its flow had not ended"
    if rebuilt.unfinished:
        names = _listed(rebuilt.unfinished)
        yield f"note: these had not ended, so what they changed last is not known: {names}"
    if rebuilt.missing or rebuilt.lost:
        yield from _missing(rebuilt)
    if rebuilt.is_approximate:
        yield "note: another branch worked on the store at that moment; its changes may differ"
    for what, places in (
        ("cut", rebuilt.cut),
        ("not looked into or not captured", rebuilt.opaque),
        ("redacted", rebuilt.redacted),
    ):
        # That the store itself is cut, where its start is not known, has been said.
        known = [place for place in places if place or rebuilt.is_start_known]
        if known:
            yield f"note: {what}: {_listed([place or 'the store itself' for place in known])}"
    if rebuilt.unwatched:
        count = plural(rebuilt.unwatched, "container")
        yield f"note: {count} beyond the limits, whose inner changes were not seen"


def _missing(rebuilt: Rebuilt) -> Iterator[str]:
    parts: list[str] = []
    if rebuilt.missing:
        parts.append(f"{plural(rebuilt.missing, 'change')} not in the trace")
    if rebuilt.lost:
        parts.append(f"{plural(rebuilt.lost, 'change')} that fit nowhere")
    doubtful = "any key" if rebuilt.doubtful is None else _listed(rebuilt.doubtful) or "none"
    yield f"note: {' and '.join(parts)}; what may be wrong: {doubtful}"


def _listed(names: Sequence[str]) -> str:
    shown = [shorten(printable(name), _MAX_PLACE) for name in names[:_MAX_PLACES]]
    rest = len(names) - len(shown)
    return ", ".join([*shown, f"… {rest:,} more"] if rest else shown)
