"""Exceptions of the user's program, as bounded and redacted text."""

from __future__ import annotations

import builtins
import linecache
import traceback
from collections import deque
from itertools import starmap
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import wrapt

from opentelemetry.instrumentation.pocketflow import guard
from opentelemetry.instrumentation.pocketflow.capture import preview, reading
from opentelemetry.instrumentation.pocketflow.record import Failure

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor

_OWN_FILES: Final = (str(Path(__file__).parents[1]), str(Path(wrapt.__file__).parent))
_MAX_FRAMES: Final = 40
_MAX_CAUSES: Final = 4
_SECONDS_UNCHECKED: Final = 1.0
_MAX_FILES: Final = 1_000
_SEEN_TIMES: Final = 4
"""How much of a long message is looked at, in lengths of what is shown."""
_GROUP: Final[Any] = getattr(builtins, "BaseExceptionGroup", None)
"""Python 3.10 has none."""


def describe(
    exc: BaseException, redactor: Redactor, message_bytes: int, stack_bytes: int, *, values: bool
) -> Failure:
    """What an exception event says.

    Args:
        exc: the exception.
        redactor: what must not be shown.
        message_bytes: bytes for the message.
        stack_bytes: bytes for the traceback.
        values: may values of the program be shown? Without them there is no message, and the
            traceback has only files, lines and function names.
    """
    message = _message(exc, redactor, message_bytes) if values else None
    stack = "".join(_stack(exc, redactor, message_bytes, values=values))
    return Failure(type_name(exc), message, preview.cut_middle(stack, stack_bytes))


def type_name(exc: BaseException) -> str:
    """The qualified name of an exception's class."""
    return preview.cut_text(reading.qualified_name(type(exc)), 200)


def _message(exc: BaseException, redactor: Redactor, limit: int) -> str:
    text = guard.of_user(str, exc, "<no message: str() of the exception failed>")
    if type(text) is not str:
        text = str.__str__(text)
    most = limit * _SEEN_TIMES
    seen = preview.redacted_head(text, most, redactor)
    whole = len(text) if len(text) > most + preview.LOOK_AHEAD else None
    return preview.cut_middle(seen, limit, whole)


def _stack(
    exc: BaseException, redactor: Redactor, message_bytes: int, *, values: bool
) -> list[str]:
    """The traceback as Python prints it, without our frames: causes first."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen and len(seen) < _MAX_CAUSES:
        seen.add(id(current))
        end = f": {_message(current, redactor, message_bytes)}" if values else ""
        frames = _frames(current.__traceback__, values=values)
        text = f"Traceback (most recent call last):\n{frames}{type_name(current)}{end}\n"
        parts.insert(0, redactor.text(text))
        current, link = _cause(current)
        if current is not None and len(seen) < _MAX_CAUSES:
            parts.insert(0, link)
    members = _members(exc)
    for number, member in enumerate(members[:_MAX_CAUSES], 1):
        parts.append(f"\nSub-exception {number} of {len(members)}:\n\n")
        parts += _stack(member, redactor, message_bytes, values=values)
    return parts


def _members(exc: BaseException) -> tuple[BaseException, ...]:
    """What an exception group holds; nothing for other exceptions."""
    if _GROUP is None or not reading.is_subclass(type(exc), _GROUP):
        return ()
    return _GROUP.exceptions.__get__(exc)


def _cause(exc: BaseException) -> tuple[BaseException | None, str]:
    if exc.__cause__ is not None:
        return exc.__cause__, "\nThe above exception was the direct cause of the following:\n\n"
    if exc.__suppress_context__:
        return None, ""
    return exc.__context__, "\nDuring handling of the above exception, another one occurred:\n\n"


def _frames(tb: TracebackType | None, *, values: bool) -> str:
    frames = deque(
        (
            (frame, line)
            for frame, line in traceback.walk_tb(tb)
            if not frame.f_code.co_filename.startswith(_OWN_FILES)
        ),
        maxlen=_MAX_FRAMES,
    )
    if values:
        return "".join(traceback.StackSummary.from_list(list(starmap(_summary, frames))).format())
    codes = ((frame.f_code, line) for frame, line in frames)
    return "".join(f'  File "{c.co_filename}", line {n}, in {c.co_name}\n' for c, n in codes)


def _summary(frame: FrameType, line: int) -> traceback.FrameSummary:
    """One line of a traceback, as `StackSummary.extract` makes it."""
    file = frame.f_code.co_filename
    linecache.lazycache(file, frame.f_globals)
    _files.check(file)
    return traceback.FrameSummary(file, line, frame.f_code.co_name, lookup_line=False)


class _Files:
    """Has Python look from time to time whether files whose lines it knows have changed.

    It asks the file system, which for each failure would take longer than all else in it.
    """

    def __init__(self) -> None:
        self._checked: dict[str, float] = {}

    def check(self, file: str) -> None:
        """Forgets the lines of a file that has changed, if it was not looked at just now."""
        now = monotonic()
        if now - self._checked.get(file, -_SECONDS_UNCHECKED) < _SECONDS_UNCHECKED:
            return
        if len(self._checked) >= _MAX_FILES:
            self._checked.clear()
        self._checked[file] = now
        linecache.checkcache(file)


_files: Final = _Files()
