"""What one entry of a run says: its title and the lines under it, as styled pieces of text.

Pure functions from an `Entry` to lines; how wide they may be and where they go is the console's
business. Everything that came from the program is made safe to print here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record import facts
from pocketflow_trace.record.usage import call_tokens, figures, rolled_up, unknowns, waste
from pocketflow_trace.text import brief_json, duration, plural, printable, shorten
from pocketflow_trace.views.verbosity import NORMAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pocketflow_trace.record.model import Entry, Value
    from pocketflow_trace.record.usage import Usage
    from pocketflow_trace.views.verbosity import Detail

Piece: TypeAlias = tuple[str, str]
"""Text and the name of its style: one of `STYLES`, or empty."""

Line: TypeAlias = list[Piece]

STYLES: Final[Mapping[str, str]] = {
    "name": "bold",
    "quiet": "dim",
    "route": "cyan",
    "bad": "red",
    "warn": "yellow",
    "added": "green",
    "changed": "yellow",
    "removed": "red",
}
"""Style names and what they mean to rich."""

MAX_NAME: Final = 80
MAX_MESSAGE: Final = 300
MAX_PARAMS: Final = 60
MAX_KEYS: Final = 6
"""Changed keys shown under one entry whose patch is not known."""


def is_failed(entry: Entry) -> bool:
    """Tell whether an exception left this entry."""
    return entry.status == "error"


def is_cancelled(entry: Entry) -> bool:
    """Tell whether a cancellation or an interrupt ended this entry."""
    return entry.attributes.get(semconv.OUTCOME) == semconv.OUTCOME_CANCELLED


def number(entry: Entry, name: str) -> int:
    """Return a whole-number attribute, or 0 where it is absent."""
    value = entry.attributes.get(name)
    return value if isinstance(value, int) else 0


def title(entry: Entry, attempts_allowed: int = 0) -> Line:
    """Return the entry's first line: what it is, what it took, where it led, how it ended.

    Args:
        entry: The entry.
        attempts_allowed: `max_retries` of the node that an attempt belongs to; 0 where unknown.
    """
    took = [*_timing(entry), *_usage(entry), *_flags(entry)]
    line = [*heading(entry, attempts_allowed), *took, *_route(entry), *_ending(entry)]
    return [(text, style) for text, style in line if text]


def heading(entry: Entry, attempts_allowed: int = 0) -> Line:
    """Return the first words of the title: what the entry is; arguments as for `title`."""
    line = _HEADINGS.get(entry.kind, _other_heading)(entry)
    if entry.kind == "attempt" and attempts_allowed:
        line.append((f"/{attempts_allowed}", "name"))
    return [(text, style) for text, style in line if text]


def details(entry: Entry, detail: Detail = NORMAL) -> list[Line]:
    """Return the lines under the title: batch summary, changes of the store, conflicts, content."""
    content = _content(entry, detail) if detail.content else []
    return [*_batch(entry), *changes(entry, detail), *_conflicts(entry), *content]


def failure_text(entry: Entry) -> str:
    """Return type and message of the exception that left, as far as they are known."""
    if not entry.failures:
        return _short(facts.text(entry, semconv.ERROR_TYPE))
    failure = entry.failures[-1]
    message = f": {shorten(printable(failure.message), MAX_MESSAGE)}" if failure.message else ""
    return _short(failure.type) + message


def usage_pieces(usage: Usage) -> Line:
    """Return ` - 2 calls, 1,521 tokens - $0.0042`."""
    return [piece for text in figures(usage) for piece in ((" - ", "quiet"), (text, ""))]


def usage_lines(usage: Usage) -> list[Line]:
    """Return what a whole run used: the sums, and below them what they are without."""
    missing = unknowns(usage)
    sums: Line = [(" - ".join(figures(usage, "model call")), "name"), _waste(usage)]
    return [sums, [("unknown: ", "warn"), (missing, "warn")]] if missing else [sums]


# --- The title ------------------------------------------------------------------------------


def _flow_heading(entry: Entry) -> Line:
    name = facts.text(entry, semconv.GEN_AI_WORKFLOW_NAME) or facts.text(entry, semconv.NODE_CLASS)
    return [("flow ", "quiet"), *_named(entry, name or entry.name)]


def _node_heading(entry: Entry) -> Line:
    return _named(entry, facts.text(entry, semconv.NODE_CLASS) or entry.name)


def _named(entry: Entry, name: str) -> Line:
    """Return the name, with the id where it differs: `Ask#2` says both, `Chat (Ask)` needs two."""
    node_id = facts.text(entry, semconv.NODE_ID)
    if not node_id or node_id == name:
        return [(_short(name), "name")]
    if node_id.startswith(f"{name}#"):
        return [(_short(node_id), "name")]
    return [(_short(name), "name"), (f" ({_short(node_id)})", "quiet")]


def _item_heading(entry: Entry) -> Line:
    params = facts.text(entry, semconv.NODE_PARAMS)
    shown = f" {shorten(printable(params), MAX_PARAMS)}" if params else ""
    return [(f"item {number(entry, semconv.ITEM_INDEX)}", "name"), (shown, "quiet")]


def _attempt_heading(entry: Entry) -> Line:
    return [(f"attempt {number(entry, semconv.ATTEMPT_NUMBER)}", "name")]


def _phase_heading(entry: Entry) -> Line:
    return [(_short(facts.text(entry, semconv.PHASE) or entry.name), "name")]


def _other_heading(entry: Entry) -> Line:
    return [(_short(entry.name), "")]


_HEADINGS: Final[Mapping[str, Callable[[Entry], Line]]] = {
    "flow": _flow_heading,
    "node": _node_heading,
    "item": _item_heading,
    "attempt": _attempt_heading,
    "phase": _phase_heading,
}


def _timing(entry: Entry) -> Line:
    if entry.end is None:
        return [("  unfinished", "warn")]
    return [(f"  {duration(entry.end - entry.start)}", "quiet")]


def _usage(entry: Entry) -> Line:
    """Return ` - 2 calls, 1,521 tokens - $0.0042 (812 tokens wasted)`, as far as it is told."""
    if entry.kind == "other":
        tokens = call_tokens(entry.attributes)
        return [(f" - {tokens}" if tokens else "", "quiet")]
    usage = rolled_up(entry.attributes)
    if usage is None:
        return []
    line = usage_pieces(usage)
    # That all of a failed attempt is wasted goes without saying.
    return line if entry.kind == "attempt" and is_failed(entry) else [*line, _waste(usage)]


def _waste(usage: Usage) -> Piece:
    wasted = waste(usage)
    return (f" ({wasted})" if wasted else "", "warn")


def _flags(entry: Entry) -> Line:
    iteration, attempts = (
        number(entry, semconv.NODE_ITERATION),
        number(entry, semconv.NODE_ATTEMPTS),
    )
    in_batch = semconv.BATCH_SIZE in entry.attributes and entry.kind == "node"
    return [
        (f", iteration {iteration}" if iteration > 1 else "", "quiet"),
        (_attempts_made(entry, attempts) if attempts > 1 and not in_batch else "", "warn"),
        (", concurrent" if entry.attributes.get(semconv.SHARED_CONCURRENT) else "", "quiet"),
        (_fallback(entry) if entry.attributes.get(semconv.NODE_FALLBACK) else "", "warn"),
    ]


def _attempts_made(entry: Entry, attempts: int) -> str:
    allowed = number(entry, semconv.NODE_MAX_RETRIES)
    return f", {attempts} of {allowed} attempts" if allowed else f", {attempts} attempts"


def _fallback(entry: Entry) -> str:
    cause = failure_text(entry)
    return f", fallback after {cause}" if cause and not is_failed(entry) else ", fallback"


def _route(entry: Entry) -> Line:
    """Return action and next node: `→ search → SearchWeb`; the action `default` goes unsaid."""
    action, following = facts.text(entry, semconv.NODE_ACTION), facts.text(entry, semconv.NODE_NEXT)
    if entry.attributes.get(semconv.NODE_DEAD_END):
        return [(f" → {_short(action)}", "route"), (" (dead end: no such successor)", "warn")]
    steps = [step for step in (action if action != "default" else "", following) if step]
    route = "".join(f" → {_short(step)}" for step in steps)
    ends = " (end)" if steps and not following and entry.kind == "node" else ""
    return [(route, "route"), (ends, "quiet")]


def _ending(entry: Entry) -> Line:
    if is_cancelled(entry):
        cause = facts.text(entry, semconv.ERROR_TYPE)
        return [(f" cancelled: {_short(cause)}" if cause else " cancelled", "warn")]
    if not is_failed(entry):
        return []
    cause = failure_text(entry) or shorten(printable(entry.message), MAX_MESSAGE)
    return [(f" failed: {cause}" if cause else " failed", "bad"), (_wait(entry), "quiet")]


def _wait(entry: Entry) -> str:
    wait = entry.attributes.get(semconv.ATTEMPT_WAIT)
    if not isinstance(wait, int | float):
        return ""
    return f", next in {wait:g} s" if wait > 0 else ", next at once"


# --- The lines under it ---------------------------------------------------------------------


def _batch(entry: Entry) -> list[Line]:
    if entry.kind == "item" or semconv.BATCH_SIZE not in entry.attributes:
        return []
    size, failed = (
        number(entry, semconv.BATCH_SIZE),
        number(entry, semconv.BATCH_FAILED),
    )
    parts = [f"{_done(entry, size, failed):,} of {plural(size, 'item')} done"]
    for count, what in (
        (failed, "failed"),
        (number(entry, semconv.BATCH_RETRIED), "retried"),
        (number(entry, semconv.BATCH_FALLBACKS), "fell back"),
    ):
        parts += [f"{count:,} {what}"] if count else []
    return [[("batch: ", "quiet"), (", ".join(parts), "bad" if failed else "")]]


def _done(entry: Entry, size: int, failed: int) -> int:
    """Return how many items ended well; a batch that broke off has items that never began."""
    if entry.end is not None and not is_failed(entry) and not is_cancelled(entry):
        return size - failed
    items = [child for child in entry.children if child.kind == "item"]
    return sum(
        1
        for item in items
        if item.end is not None and not is_failed(item) and not is_cancelled(item)
    )


def _conflicts(entry: Entry) -> list[Line]:
    paths = entry.attributes.get(semconv.SHARED_CONFLICTS)
    if not isinstance(paths, tuple) or not paths:
        return []
    names = shorten(", ".join(printable(str(path)) for path in paths), MAX_MESSAGE)
    return [[("conflict: ", "warn"), (f"another branch wrote {names} too", "warn")]]


def changes(entry: Entry, detail: Detail = NORMAL) -> list[Line]:
    """Return the changes of the store first seen at an entry, a line each."""
    operations = facts.patch(entry)
    if not operations:
        return [line] if (line := _changed_keys(entry)) else []
    lines = [_change(operation, detail.value) for operation in operations[: detail.changes]]
    rest = len(operations) - len(lines) + number(entry, semconv.SHARED_DIFF_OMITTED)
    if rest:
        lines.append([(f"… {plural(rest, 'more change')}", "quiet")])
    return lines


def _changed_keys(entry: Entry) -> Line:
    """Return the changed top-level keys, for an entry whose patch is absent or was cut."""
    if entry.kind == "flow":
        return []  # Its keys sum up what the lines of its nodes already say.
    return [
        piece
        for name, sign, style in (
            (semconv.SHARED_ADDED, "+", "added"),
            (semconv.SHARED_CHANGED, "~", "changed"),
            (semconv.SHARED_REMOVED, "-", "removed"),
        )
        for piece in _signed(entry.attributes.get(name), sign, style)
    ]


def _signed(keys: Value | None, sign: str, style: str) -> Iterator[Piece]:
    for key in keys[:MAX_KEYS] if isinstance(keys, tuple) else ():
        yield (f"{sign}{_short(str(key))} ", style)


def _change(operation: Mapping[str, Any], width: int) -> Line:
    """Return one operation of the patch as a line: `+ a = 1`, `~ a: 1 → 2`, `- a (was 2)`."""
    path = _short(_readable_path(str(operation.get("path", ""))))
    place = _place(operation.get("phase"))
    match operation.get("op"):
        case "add":
            return [(f"+ {path}", "added"), (_new(operation, " = ", width), ""), place]
        case "replace":
            return [(f"~ {path}", "changed"), (_was_and_now(operation, width), ""), place]
        case "remove":
            was = f" (was {brief_json(operation['was'], width)})" if "was" in operation else ""
            return [(f"- {path}", "removed"), (was, ""), place]
        case other:
            what = _short(str(other))
            return [(f"{what} {path}", "changed"), (_new(operation, " = ", width), ""), place]


def _new(operation: Mapping[str, Any], sign: str, width: int) -> str:
    return f"{sign}{brief_json(operation['value'], width)}" if "value" in operation else ""


def _was_and_now(operation: Mapping[str, Any], width: int) -> str:
    if "was" in operation:
        was = brief_json(operation["was"], width)
        return f": {was}{_new(operation, ' → ', width)}"
    return _new(operation, " = ", width)


def _place(phase: object) -> Piece:
    """Say where a change was made unless it was in `post`, where PocketFlow wants it."""
    if not isinstance(phase, str) or phase in {"post", "run"}:
        return ("", "")
    return (f" ({_short(phase if phase == 'elsewhere' else f'in {phase}')})", "warn")


def _readable_path(pointer: str) -> str:
    """Return a JSON pointer without its leading slash; `~1` in a key stays as it is."""
    if not pointer:
        return "the whole store"
    return pointer.removeprefix("/")


def _short(text: str) -> str:
    return shorten(printable(text), MAX_NAME)


# --- Content, for those who want to see all -------------------------------------------------

_CONTENT: Final[Mapping[str, str]] = {semconv.INPUT_VALUE: "in", semconv.OUTPUT_VALUE: "out"}


def _content(entry: Entry, detail: Detail) -> list[Line]:
    """Return what went in and came out; of a model call, all of its attributes."""
    if entry.kind == "other":
        return [
            [(f"{_short(name)} = ", "quiet"), (_any_value(value, detail.value), "")]
            for name, value in sorted(entry.attributes.items())
        ]
    return [
        [(f"{label}: ", "quiet"), (shorten(printable(text), detail.value), "")]
        for name, label in _CONTENT.items()
        if (text := facts.text(entry, name))
    ]


def _any_value(value: Value, width: int) -> str:
    if isinstance(value, tuple):
        return brief_json(list(value), width)
    return shorten(printable(value), width) if isinstance(value, str) else str(value)
