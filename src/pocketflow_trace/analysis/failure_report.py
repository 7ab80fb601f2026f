"""Writes one Markdown page about a run that failed, for an issue or a coding agent.

Pure. It says what failed, where, on which way, with which input, what the store was, with which
versions, and how to run it again: nothing that is not in the run, which is redacted already. Of a
run in which nothing failed it tells what was slowest and what was retried most.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.analysis.markdown import code, fence
from pocketflow_trace.record import facts
from pocketflow_trace.record.model import walk
from pocketflow_trace.text import brief_json, duration, plural
from pocketflow_trace.views.lines import is_cancelled, is_failed, title
from pocketflow_trace.views.totals import totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pocketflow_trace.record.model import Entry, Failure, Run

Outcome: TypeAlias = Literal["failed", "unfinished", "cancelled"]

MAX_STEPS: Final = 12
"""Nodes shown on the way to the failure: the last ones."""

MAX_CHANGES: Final = 10
"""Changes of the store that are shown: the last ones."""

_TRACEBACK_LINES: Final = 24
_DATA_LINES: Final = 14
_SLOWEST: Final = 5
_SHOWN_COMMIT: Final = 12

_FRAME: Final = re.compile(r'\s*File "(?P<file>.*)", line \d+')
_INSTALLED: Final = re.compile(r"[\\/](site-packages|dist-packages|lib[\\/]python3[^\\/]*)[\\/]")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Where a run went wrong.

    Attributes:
        outcome: How it ended there.
        chain: From the outermost flow to the innermost flow, node or item.
    """

    outcome: Outcome
    chain: tuple[Entry, ...]


def find_trouble(run: Run) -> Trouble | None:
    """Return where a run failed; else where it was when it stopped; None where all went well.

    Where several failed, it is the last one.
    """
    checks: tuple[tuple[Outcome, Callable[[Entry], bool]], ...] = (
        ("failed", is_failed),
        ("cancelled", is_cancelled),
        ("unfinished", lambda entry: entry.end is None),
    )
    for outcome, check in checks:
        if chain := _chain(run, check):
            return Trouble(outcome, chain)
    return None


def _chain(run: Run, check: Callable[[Entry], bool]) -> tuple[Entry, ...]:
    """Return the way to the last unit for which a check holds, and inside of which for none."""
    chain: tuple[Entry, ...] = ()
    pending: list[tuple[Entry, tuple[Entry, ...]]] = [(root, ()) for root in reversed(run.roots)]
    while pending:
        entry, outer = pending.pop()
        here = (*outer, entry) if entry.kind in facts.UNITS else outer
        if entry.kind in facts.UNITS and check(entry):
            chain = here
        pending.extend((child, here) for child in reversed(entry.children))
    return chain


def report(run: Run) -> list[str]:
    """Return the page as lines of Markdown, about 100 at most."""
    trouble = find_trouble(run)
    body = _without_trouble(run) if trouble is None else _with_trouble(run, trouble)
    return [*body, *_surroundings(run)]


# --- What failed and where ------------------------------------------------------------------


def _with_trouble(run: Run, trouble: Trouble) -> Iterator[str]:
    failure = _failure(trouble.chain[-1])
    yield f"# {_headline(run, trouble, failure)}"
    yield ""
    yield from _where(trouble)
    if failure is not None:
        yield from _what(failure)
    yield from _way(trouble)
    yield from _inputs(trouble)
    yield from _store(run, trouble)


def _headline(run: Run, trouble: Trouble, failure: Failure | None) -> str:
    name = code(_name(trouble))
    program = f" in {code(run.about.program)}" if run.about.program else ""
    if trouble.outcome == "unfinished":
        return f"{name} had not ended when the program stopped{program}"
    if trouble.outcome == "cancelled":
        return f"{name} was cancelled{program}"
    kind = failure.type if failure else facts.text(trouble.chain[-1], semconv.ERROR_TYPE)
    return f"{code(kind or 'An error')} in {name}{program}"


def _failure(unit: Entry) -> Failure | None:
    failures = [failure for entry in walk([unit]) for failure in entry.failures]
    return failures[-1] if failures else None


def _where(trouble: Trouble) -> Iterator[str]:
    unit = trouble.chain[-1]
    node = next((entry for entry in reversed(trouble.chain) if entry.kind != "item"), unit)
    yield f"- where: {' > '.join(code(_called(entry)) for entry in trouble.chain)}"
    yield from _source(node)
    if attempts := facts.count(unit, semconv.NODE_ATTEMPTS):
        allowed = facts.count(node, semconv.NODE_MAX_RETRIES)
        yield f"- attempts: {attempts}{f' of {allowed}' if allowed else ''}"
    if iteration := facts.count(unit, semconv.NODE_ITERATION):
        yield f"- iteration: {iteration}"
    if unit.end is not None:
        yield f"- time: {duration(unit.end - unit.start)}"
    if params := facts.text(unit, semconv.NODE_PARAMS):
        yield f"- params: {code(params)}"


def _source(node: Entry) -> Iterator[str]:
    if file := facts.text(node, semconv.CODE_FILE_PATH):
        name = facts.text(node, semconv.CODE_FUNCTION_NAME) or facts.class_name(node)
        line = facts.count(node, semconv.CODE_LINE_NUMBER)
        yield f"- code: {code(name)} in {code(f'{file}:{line}' if line else file)}"


def _name(trouble: Trouble) -> str:
    """Return `Search`, or `Search item 3`."""
    unit = trouble.chain[-1]
    if unit.kind != "item":
        return facts.place(unit)
    outer = " ".join(facts.place(entry) for entry in trouble.chain[-2:-1])
    return f"{outer} item {facts.count(unit, semconv.ITEM_INDEX)}".strip()


def _called(entry: Entry) -> str:
    if entry.kind != "item":
        return facts.place(entry)
    index, size = (
        facts.count(entry, semconv.ITEM_INDEX),
        facts.count(entry, semconv.BATCH_SIZE),
    )
    return f"item {index}{f' of {size}' if size else ''}"


def _what(failure: Failure) -> Iterator[str]:
    yield from ("", "## What failed", "")
    lines = _traceback(failure) or [_message(failure)]
    yield from fence(lines, "text", _TRACEBACK_LINES)


def _message(failure: Failure) -> str:
    return f"{failure.type}: {failure.message}" if failure.message else failure.type


def _traceback(failure: Failure) -> list[str]:
    """Return the traceback with the program's own frames, and the innermost whosever it is."""
    lines = (failure.stacktrace or "").splitlines()
    blocks = _blocks(lines)
    frames = [block for block in blocks if _FRAME.match(block[0])]
    own = [block for block in frames if not _is_installed(block[0])]
    if not own:
        return lines
    kept: list[str] = []
    left_out = 0
    for block in blocks:
        if block in frames and block not in own and block is not frames[-1]:
            left_out += 1
        else:
            kept += block
    return [*kept, f"({plural(left_out, 'frame')} of libraries left out)"] if left_out else kept


def _blocks(lines: Sequence[str]) -> list[list[str]]:
    """Return a traceback's frames, each with the lines of code under it; other lines alone."""
    blocks: list[list[str]] = []
    for line in lines:
        if line.startswith("    ") and blocks and _FRAME.match(blocks[-1][0]):
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return blocks


def _is_installed(frame: str) -> bool:
    match = _FRAME.match(frame)
    return match is not None and _INSTALLED.search(match["file"]) is not None


def _way(trouble: Trouble) -> Iterator[str]:
    """Yield the nodes that ran before, the last ones, each as the tree shows it."""
    before = list(_steps(trouble.chain))
    if not before:
        return
    yield from ("", "## The way there", "")
    if len(before) > MAX_STEPS:
        yield f"- … {plural(len(before) - MAX_STEPS, 'earlier step')}"
    for depth, entry in before[-MAX_STEPS:]:
        yield "  " * depth + f"- {code(''.join(piece for piece, _ in title(entry)))}"


def _steps(chain: Sequence[Entry]) -> Iterator[tuple[int, Entry]]:
    """Yield with its depth each node of the chain, and those beside it that began before."""
    for depth, (outer, inner) in enumerate(itertools.pairwise(chain)):
        siblings = [entry for entry in outer.children if entry.kind == inner.kind]
        earlier = [entry for entry in siblings if entry.start < inner.start]
        # The other items of a batch are no way to this one.
        for entry in (*(earlier if inner.kind != "item" else ()), inner):
            yield depth, entry


def _inputs(trouble: Trouble) -> Iterator[str]:
    """Yield what the unit was given: of a node, what its `prep` returned."""
    value = facts.text(trouble.chain[-1], semconv.INPUT_VALUE)
    if value:
        yield from ("", f"## Input of {code(_name(trouble))}", "")
        yield from _data(value)


def _data(value: str) -> Iterator[str]:
    data = facts.parsed(value)
    if isinstance(data, str) and data == value:
        yield from fence(value.splitlines(), "text", _DATA_LINES)
        return
    pretty = json.dumps(data, indent=2, ensure_ascii=False)
    yield from fence(pretty.splitlines(), "json", _DATA_LINES)


# --- The store ------------------------------------------------------------------------------


def _store(run: Run, trouble: Trouble) -> Iterator[str]:
    """Yield the store at the end, else at the start, and what changed it last."""
    holders = _holders(run, trouble)
    root = next((entry for entry in holders if semconv.SHARED_INITIAL in entry.attributes), None)
    changes = sorted(_changes(holders), key=lambda change: change[0])
    if root is None and not changes:
        return
    yield from ("", "## The shared store", "")
    if root is not None:
        yield from _picture(root)
    if changes:
        yield from _last_changes(changes)


def _holders(run: Run, trouble: Trouble) -> list[Entry]:
    """Return the entries on the store of what failed; where none is told, those around it."""
    store = trouble.chain[-1].attributes.get(semconv.SHARED_ID)
    if store is None:
        return list(walk(trouble.chain[:1]))
    entries = walk(run.roots)
    return [entry for entry in entries if entry.attributes.get(semconv.SHARED_ID) == store]


def _picture(root: Entry) -> Iterator[str]:
    final = facts.text(root, semconv.OUTPUT_VALUE) if root.kind == "flow" else ""
    yield "At its end:" if final else "At its start:"
    yield ""
    yield from _data(final or facts.text(root, semconv.SHARED_INITIAL))


def _changes(holders: Sequence[Entry]) -> Iterator[tuple[int, str]]:
    """Yield the order of each change, and a line about it."""
    for entry in holders:
        for change in facts.patch(entry):
            seq = change.get("seq")
            yield (seq if isinstance(seq, int) else 0), _change(entry, change)


def _change(entry: Entry, change: Mapping[str, Any]) -> str:
    path = code(facts.pointer_text(str(change.get("path"))))
    new = f" = {code(brief_json(change['value'], 100))}" if "value" in change else ""
    phase = f" in {change['phase']}" if isinstance(change.get("phase"), str) else ""
    verb = {"add": "added", "replace": "changed", "remove": "removed"}.get(
        str(change.get("op")), "changed"
    )
    iteration = facts.count(entry, semconv.NODE_ITERATION) or 1
    times = f" (iteration {iteration})" if iteration > 1 else ""
    return f"- {code(facts.place(entry))}{times} {verb} {path}{new}{phase}"


def _last_changes(changes: Sequence[tuple[int, str]]) -> Iterator[str]:
    left_out = len(changes) - MAX_CHANGES
    more = f" ({left_out:,} earlier ones left out)" if left_out > 0 else ""
    yield from ("", f"Last changes{more}:", "")
    for _, line in changes[-MAX_CHANGES:]:
        yield line


# --- Where nothing failed -------------------------------------------------------------------


def _without_trouble(run: Run) -> Iterator[str]:
    name = code(run.about.program) if run.about.program else "the run"
    sums = totals(run)
    yield f"# Nothing failed in {name}"
    yield ""
    yield (
        f"{plural(sums.nodes, 'node run')} in {duration(sums.nanos)}, "
        f"{plural(sums.retries, 'retry', 'retries')}."
    )
    nodes = [entry for entry in walk(run.roots) if entry.kind == "node" and entry.end is not None]
    slowest = sorted(nodes, key=lambda entry: entry.start - (entry.end or 0))[:_SLOWEST]
    yield from _listed("Slowest", slowest)
    retried = [entry for entry in nodes if _attempts(entry) > 1]
    yield from _listed("Most attempts", sorted(retried, key=_attempts, reverse=True)[:_SLOWEST])


def _attempts(entry: Entry) -> int:
    made = facts.count(entry, semconv.NODE_ATTEMPTS) or 0
    return made - max((facts.count(entry, semconv.BATCH_SIZE) or 1) - 1, 0)


def _listed(heading: str, entries: Sequence[Entry]) -> Iterator[str]:
    if entries:
        yield from ("", f"## {heading}", "")
        for entry in entries:
            yield f"- {code(''.join(piece for piece, _ in title(entry)))}"


# --- The surroundings -----------------------------------------------------------------------


def _surroundings(run: Run) -> Iterator[str]:
    lines = [*_versions(run), *_commit(run), *_rerun(run)]
    if lines:
        yield from ("", "## Surroundings", "")
        yield from lines


def _versions(run: Run) -> Iterator[str]:
    told = {
        "Python": semconv.PROCESS_RUNTIME_VERSION,
        "PocketFlow": semconv.POCKETFLOW_VERSION,
        "this package": semconv.INSTRUMENTATION_VERSION,
        "system": semconv.OS_DESCRIPTION,
    }
    known = [f"{name} {code(text)}" for name, key in told.items() if (text := _told(run, key))]
    if known:
        yield f"- versions: {', '.join(known)}"


def _commit(run: Run) -> Iterator[str]:
    revision, branch = (
        _told(run, semconv.VCS_REF_HEAD_REVISION),
        _told(run, semconv.VCS_REF_HEAD_NAME),
    )
    if revision:
        on = f" on {code(branch)}" if branch else ""
        dirty = run.about.resource.get(semconv.VCS_DIRTY)
        state = ", with uncommitted changes" if dirty else ""
        yield f"- commit: {code(revision[:_SHOWN_COMMIT])}{on}{state}"


def _rerun(run: Run) -> Iterator[str]:
    args = run.about.resource.get(semconv.PROCESS_COMMAND_ARGS)
    if isinstance(args, tuple) and args:
        words = [str(word) for word in args]
        yield f"- command: {code(shlex.join(words), 300)}"
        if directory := _told(run, semconv.PROCESS_WORKING_DIRECTORY):
            yield f"- working directory: {code(directory, 300)}"
        if again := _again(words):
            yield f"- run it again: {code(again, 300)}"
    if run.about.id:
        yield f"- all of it: {code(f'pocketflow-trace show {run.about.id}')}"


def _again(words: Sequence[str]) -> str:
    """Return the command that runs the program traced; empty where it had Python's own options."""
    rest = words[1:]
    if not rest or (rest[0].startswith("-") and rest[0] != "-m"):
        return ""
    return f"pocketflow-trace run {shlex.join(rest)}"


def _told(run: Run, name: str) -> str:
    value = run.about.resource.get(name)
    return value if isinstance(value, str) else ""
