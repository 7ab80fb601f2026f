"""Keeps the tracer's frames out of the traceback of an uncaught exception."""

from __future__ import annotations

import builtins
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import wrapt

import opentelemetry.instrumentation.pocketflow as core
import pocketflow_trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_GROUP: Final[Any] = getattr(builtins, "BaseExceptionGroup", ())
"""The class of exception groups; an empty tuple before Python 3.11."""

_OURS: Final = tuple(
    directory for package in (core, pocketflow_trace, wrapt) for directory in package.__path__
)


_hidden: Final[list[str]] = []


def hide_frames_in(directories: Iterable[str]) -> None:
    """Take the code in these directories for ours too; a further call counts anew."""
    _hidden.extend(directories)


def show_frames_in(directories: Iterable[str]) -> None:
    """Undo one `hide_frames_in` of the same directories."""
    for directory in directories:
        _hidden.remove(directory)


def hide_own_frames() -> None:
    """Let uncaught exceptions look as they would without the tracer.

    Hooks that somebody has set are left alone, and ours give way to any that is set later.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _report
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _report_in_thread


def _report(kind: type[BaseException], exc: BaseException, tb: TracebackType | None) -> None:
    try:
        strip(exc)
    finally:
        sys.__excepthook__(kind, exc, tb)


def _report_in_thread(args: threading.ExceptHookArgs) -> None:
    try:
        if args.exc_value is not None:
            strip(args.exc_value)
    finally:
        threading.__excepthook__(args)


def strip(exc: BaseException) -> None:
    """Take our frames out of the tracebacks of an exception and of all that it refers to."""
    for each in _related(exc):
        if any(_is_ours(tb) for tb in _links(each.__traceback__)):
            each.__traceback__ = _without_ours(each.__traceback__)


def _related(exc: BaseException) -> Iterator[BaseException]:
    pending: list[BaseException] = [exc]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        pending += [other for other in (each.__cause__, each.__context__) if other is not None]
        if isinstance(each, _GROUP):
            pending.extend(getattr(each, "exceptions", ()))


def _without_ours(tb: TracebackType | None) -> TracebackType | None:
    """Return a new chain: links that stay keep frame, instruction and line."""
    stripped: TracebackType | None = None
    for link in reversed([link for link in _links(tb) if not _is_ours(link)]):
        stripped = TracebackType(stripped, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return stripped


def _links(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


def _is_ours(tb: TracebackType) -> bool:
    return tb.tb_frame.f_code.co_filename.startswith((*_OURS, *_hidden))
