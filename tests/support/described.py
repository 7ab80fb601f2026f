"""Values as plain text data: types, values, and which objects are one and the same.

Nothing is called on the values, so that what watches them is not disturbed.
"""

from __future__ import annotations

import os
import sys
from inspect import CO_COROUTINE
from pathlib import Path
from types import GeneratorType
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.instrumentation import pocketflow as package
from support.random_programs_stores import Quiet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType, FrameType, TracebackType

_OUR_FILES = str(Path(package.__file__).parent) + os.sep
_FIRST_LINE = 8
"""Before it, a coroutine's code only makes the coroutine."""
_SCALARS = (type(None), bool, int, float, str, bytes)


def described(*values: Any) -> Any:
    """What can be told of values; two that share objects differ from two that are equal."""
    memo: dict[int, int] = {}
    told = tuple(_described(value, memo) for value in values)
    return told[0] if len(told) == 1 else told


def _described(value: Any, memo: dict[int, int]) -> Any:
    kind = type(value).__name__
    if type(value) in _SCALARS:
        return f"{kind} {value!r}"
    if id(value) in memo:
        return f"again {memo[id(value)]}"
    memo[id(value)] = len(memo)
    if isinstance(value, Quiet):
        return f"{kind} {value.label}"
    return (kind, *_parts(value, memo))


def _parts(value: Any, memo: dict[int, int]) -> list[Any]:
    """What is inside a value."""
    if isinstance(value, type | GeneratorType):
        return []
    inside: list[Any] = []
    if isinstance(value, dict):
        inside = _pairs(dict[Any, Any].items(cast("dict[Any, Any]", value)), memo)
    elif isinstance(value, list | tuple):
        inside = [_described(item, memo) for item in cast("Iterable[Any]", value)]
    elif isinstance(value, BaseException):
        inside = [_described(value.args, memo)]
    return [*inside, *_own(value, memo)]


def _own(value: Any, memo: dict[int, int]) -> list[Any]:
    """What stands on an object; what it tells others, it keeps for itself."""
    own = _fields(value)
    own.pop("log", None)
    return _pairs(sorted(own.items()), memo)


def _fields(value: Any) -> dict[str, Any]:
    slots: Any = getattr(value, "__slots__", ())
    in_slots = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    in_slots.pop("__weakref__", None)
    try:
        return {**in_slots, **object.__getattribute__(value, "__dict__")}
    except AttributeError:
        return in_slots


def _pairs(items: Iterable[tuple[Any, Any]], memo: dict[int, int]) -> list[Any]:
    return [(_described(key, memo), _described(item, memo)) for key, item in items]


def described_error(exc: BaseException | None, seen: tuple[int, ...] = ()) -> Any:
    """An exception, where it came from, and all it hangs together with."""
    if exc is None:
        return None
    if id(exc) in seen:
        return "again"
    inner = (*seen, id(exc))
    frames = _frames(exc) if _has_all_frames(exc, outermost=not seen) else ()
    return (
        described(exc),
        frames,
        getattr(exc, "__notes__", None),
        exc.__suppress_context__,
        ("cause", described_error(exc.__cause__, inner)),
        ("context", described_error(exc.__context__, inner)),
        [described_error(one, inner) for one in getattr(exc, "exceptions", ())],
    )


def _has_all_frames(exc: BaseException, *, outermost: bool) -> bool:
    """Does an exception show the same frames, however many coroutines await each other?"""
    # Python 3.10 cuts the tracebacks of what a cancellation came from, here and there; and what is
    # thrown into the outermost coroutine as a GeneratorExit closes all others.
    is_cut = sys.version_info < (3, 11) and not outermost
    return not is_cut and not isinstance(exc, GeneratorExit)


def _frames(exc: BaseException) -> tuple[str, ...]:
    return tuple(
        f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}"
        for frame, line, instruction in _walked(exc.__traceback__)
        if not frame.f_code.co_filename.startswith(_OUR_FILES)
        and not _has_not_begun(frame.f_code, instruction)
    )


def _walked(tb: TracebackType | None) -> Iterator[tuple[FrameType, int, int]]:
    while tb is not None:
        yield tb.tb_frame, tb.tb_lineno, tb.tb_lasti
        tb = tb.tb_next


def _has_not_begun(code: CodeType, instruction: int) -> bool:
    """Did the exception come to a coroutine that had not run a line yet?

    A task that is cancelled before its first step shows such a frame. The first of several
    coroutines gets it, which is one of the tracer's where there is one.
    """
    return bool(code.co_flags & CO_COROUTINE) and instruction < _FIRST_LINE
