"""Exceptions of the user's program, as bounded and redacted text.

Of what a program may define, an exception's own `__str__` is called, and nothing else: what hangs
on an exception is read past its class, and arguments are shown without asking them.
"""

from __future__ import annotations

import builtins
import linecache
import os
import traceback
import types
from collections import deque
from itertools import starmap
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.instrumentation.pocketflow import guard
from opentelemetry.instrumentation.pocketflow.capture import preview, reading, redact
from opentelemetry.instrumentation.pocketflow.capture.reading import Kind
from opentelemetry.instrumentation.pocketflow.record import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType, TracebackType

    from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor

_OWN_FILES: Final = str(Path(__file__).parents[1]) + os.sep
_MAX_FRAMES: Final = 40
_MAX_CAUSES: Final = 4
_MAX_TOLD: Final = 16
"""Exceptions in one text: groups may hold groups."""
_MAX_PARTS: Final = 100
"""Values in an exception's arguments that Python is left to write."""
_MAX_PART_CHARS: Final = 4_096
_PLAIN_CONTAINER_IDS: Final = frozenset(map(id, (dict, list, tuple, set, frozenset, deque)))
_SECONDS_UNCHECKED: Final = 1.0
_MAX_FILES: Final = 1_000
_SEEN_TIMES: Final = 4
"""How much of a long message is looked at, in lengths of what is shown."""
_GROUP: Final[Any] = getattr(builtins, "BaseExceptionGroup", None)
"""Python 3.10 has none."""
_ENCODING_ERRORS: Final = (UnicodeDecodeError, UnicodeEncodeError, UnicodeTranslateError)
"""They hold all of a text, and show but a place in it."""
_FAILED: Final = "<no message: str() of the exception failed>"


def _raw(cls: type[BaseException], name: str) -> Callable[[BaseException], Any]:
    """Reads what the interpreter keeps in an exception, whatever its class says."""
    return vars(cls)[name].__get__


_args_of: Final = _raw(BaseException, "args")
_cause_of: Final = _raw(BaseException, "__cause__")
_context_of: Final = _raw(BaseException, "__context__")
_hides_context: Final = _raw(BaseException, "__suppress_context__")
_traceback_of: Final = _raw(BaseException, "__traceback__")
_FILES_OF_OS_ERRORS: Final = (_raw(OSError, "filename"), _raw(OSError, "filename2"))


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
    told: set[int] = set()
    stack = "".join(_stack(exc, redactor, message_bytes, message, told))
    return Failure(type_name(exc), message, preview.cut_middle(stack, stack_bytes))


def type_name(exc: BaseException) -> str:
    """The qualified name of an exception's class."""
    return preview.cut_text(redact.in_use.text(reading.qualified_name(type(exc))), 200)


def _message(exc: BaseException, redactor: Redactor, limit: int) -> str:
    most = limit * _SEEN_TIMES
    text = _text_of(exc, redactor, most)
    seen = preview.redacted_head(text, most, redactor)
    whole = len(text) if len(text) > most + preview.LOOK_AHEAD else None
    return preview.cut_middle(seen, limit, whole)


def _text_of(exc: BaseException, redactor: Redactor, limit: int) -> str:
    """What `str` says of it; its arguments by themselves where that would be long, or ask them."""
    for _ in range(_MAX_CAUSES):
        args, is_key = _args_of(exc), reading.is_instance(exc, KeyError)  # that quotes its text
        is_only_text = len(args) == 1 and type(args[0]) is str and not is_key
        if is_only_text or not _says_its_arguments(exc):
            text = guard.of_user(str, exc, _FAILED)
            return text if type(text) is str else str.__str__(text)
        if len(args) != 1 or is_key or not reading.is_instance(args[0], BaseException):
            break
        exc = args[0]  # `raise RuntimeError(error)` says what the error says
    return _text_of_args(exc, _args_of(exc), redactor, limit)


def _says_its_arguments(exc: BaseException) -> bool:
    """Is `str` of it made by the interpreter, of all that was given?"""
    if any(reading.is_instance(exc, cls) for cls in _ENCODING_ERRORS):
        return False
    return type(_method_of(exc, "__str__")) is types.WrapperDescriptorType


def _method_of(exc: BaseException, name: str) -> object:
    found = (namespace[name] for _, namespace in reading.namespaces(type(exc)) if name in namespace)
    return next(found, None)


def _text_of_args(
    exc: BaseException, args: tuple[object, ...], redactor: Redactor, limit: int
) -> str:
    if _is_harmless((*args, *_files_of(exc))):
        return guard.of_user(str, exc, _FAILED)
    shown = preview.preview(args[0] if len(args) == 1 else args, redactor, limit)
    return shown if type(shown) is str else preview.dumps(shown)


def _files_of(exc: BaseException) -> Iterable[object]:
    """What an error of the operating system names, which is none of its arguments."""
    return [read(exc) for read in _FILES_OF_OS_ERRORS] if reading.is_instance(exc, OSError) else ()


def _is_harmless(values: Iterable[object]) -> bool:
    """Is `repr` of these values short, and made without any code of the program?"""
    pending, left = list(values), _MAX_PARTS
    while pending:
        left -= len(pending)
        if left < 0:
            return False
        inside = [_parts_of(value, left) for value in pending]
        if any(parts is None for parts in inside):
            return False
        pending = [part for parts in inside for part in parts or ()]
    return True


def _parts_of(value: object, most: int) -> list[object] | None:
    """What else `repr` of a value writes; None where it is long, or may run code of the program."""
    kind = reading.kind_of(value)
    if kind is Kind.ATOM:
        return [] if _is_short(value) else None
    if kind is Kind.TEXT:
        text = reading.exact_text(value)
        return [] if text is not None and _is_short(text) else None
    if id(type(value)) in _PLAIN_CONTAINER_IDS:
        return _contents_of(value, kind, most)
    if reading.is_instance(value, BaseException):
        exc = cast("BaseException", value)
        is_plain = type(_method_of(exc, "__repr__")) is types.WrapperDescriptorType
        return list(_args_of(exc)) if is_plain else None
    return [] if type(value) is type else None


def _contents_of(value: object, kind: Kind, most: int) -> list[object] | None:
    if reading.length_of(value, kind) > most:
        return None
    try:
        keys, items = reading.contents_of(value, kind)
    except RuntimeError:  # another thread changes it just now
        return None
    return [*(keys or ()), *items]


def _is_short(value: object) -> bool:
    if type(value) is str or type(value) is bytes:
        return len(value) <= _MAX_PART_CHARS
    return type(value) is not int or value.bit_length() <= _MAX_PART_CHARS


def _stack(
    exc: BaseException, redactor: Redactor, message_bytes: int, message: str | None, told: set[int]
) -> list[str]:
    """The traceback as Python prints it, without our frames: causes first.

    Args:
        exc: the exception.
        redactor: what must not be shown.
        message_bytes: bytes for each message.
        message: that of the exception; None where no values may be shown.
        told: the ids of the exceptions that were told of; those to come are added.
    """
    parts: list[str] = []
    values = message is not None
    current: BaseException | None = exc
    for place in range(_MAX_CAUSES):
        if current is None or id(current) in told or len(told) >= _MAX_TOLD:
            break
        told.add(id(current))
        if place and values:
            message = _message(current, redactor, message_bytes)
        end = f": {message}" if values else ""
        frames = _frames(_traceback_of(current), values=values)
        text = f"Traceback (most recent call last):\n{frames}{type_name(current)}{end}\n"
        parts.insert(0, redactor.text(text))
        current, link = _cause(current)
        if current is not None and place + 1 < _MAX_CAUSES:
            parts.insert(0, link)
    members = _members(exc)
    for number, member in enumerate(members[:_MAX_CAUSES], 1):
        if len(told) >= _MAX_TOLD:
            break
        parts.append(f"\nSub-exception {number} of {len(members)}:\n\n")
        inner = _message(member, redactor, message_bytes) if values else None
        parts += _stack(member, redactor, message_bytes, inner, told)
    return parts


def _members(exc: BaseException) -> tuple[BaseException, ...]:
    """What an exception group holds; nothing for other exceptions."""
    if _GROUP is None or not reading.is_subclass(type(exc), _GROUP):
        return ()
    return _GROUP.exceptions.__get__(exc)


def _cause(exc: BaseException) -> tuple[BaseException | None, str]:
    if (cause := _cause_of(exc)) is not None:
        return cause, "\nThe above exception was the direct cause of the following:\n\n"
    if _hides_context(exc):
        return None, ""
    return _context_of(exc), "\nDuring handling of the above exception, another one occurred:\n\n"


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
