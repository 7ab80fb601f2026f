"""Makes every place of the tracer raise, one at a time, while a program runs.

`census` runs something once under `sys.settrace` and notes each function of ours that is entered
and each line of ours that runs. `injected` raises at one of them in another run, from the trace
function: for Python that is as if the function or the line itself had raised. So no list of places
is kept by hand, and nothing is patched.

`broken` is for faults that stay: it makes a function raise whenever it is called.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import gc
import linecache
import sys
import threading
from collections import Counter
from collections.abc import Callable
from inspect import CO_GENERATOR
from pathlib import Path
from traceback import walk_stack
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import pocketflow_trace
from opentelemetry.instrumentation import pocketflow as package

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

Fault: TypeAlias = Callable[[], BaseException]

_CORE: Final = str(Path(package.__file__).parent)
_TOOLS: Final = str(Path(pocketflow_trace.__file__).parent)
_WHAT: Final = "a fault of ours"


class OurFault(Exception):  # noqa: N818 - it is what is injected, not an error of the tests
    """What no code expects."""

    made = 0
    """How many there were so far."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        OurFault.made += 1


KINDS: Final[tuple[Fault, ...]] = (
    functools.partial(OurFault, _WHAT),
    functools.partial(MemoryError, _WHAT),
    functools.partial(AssertionError, _WHAT),
    functools.partial(RecursionError, _WHAT),
    functools.partial(KeyError, _WHAT),
    functools.partial(StopIteration, _WHAT),
    functools.partial(AttributeError, _WHAT),
    functools.partial(OSError, _WHAT),
    functools.partial(UnicodeDecodeError, "utf-8", b"\xff", 0, 1, _WHAT),
)
"""What a fault may be: `MemoryError` and `RecursionError` are exceptions like others."""


class Function(NamedTuple):
    """A function of ours. What stands on the framework's classes has code objects of its own."""

    path: str
    first: int
    name: str

    @classmethod
    def of(cls, code: CodeType) -> Function:
        """The function that a code object is of."""
        return cls(code.co_filename, code.co_firstlineno, code.co_name)

    @property
    def real_path(self) -> str:
        """Its file. Some say in its name that they are not counted: see `calls.unseen`."""
        return self.path.partition(" (")[0]

    def __str__(self) -> str:
        file = Path(self.real_path)
        root = _CORE if file.is_relative_to(_CORE) else Path(_TOOLS).parent
        return f"{file.relative_to(root).as_posix()} {self.name}"


class Place(NamedTuple):
    """A function of ours as it is entered, or a line in it, when it is reached for the nth time."""

    function: Function
    line: int | None
    """None: the function is entered."""
    nth: int = 1

    def __str__(self) -> str:
        where = "entry" if self.line is None else f"line {self.line}"
        return f"{self.function}, {where}, time {self.nth}"


def _is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith((_CORE, _TOOLS))


@functools.cache
def _first_instruction(code: CodeType) -> int:
    """Where the frame of a function stands when it is entered; elsewhere a coroutine goes on."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "RESUME":
            return instruction.offset
    return -1


def _is_entered(frame: FrameType) -> bool:
    """Is a function of ours called by another one?

    Where the program or a library calls ours, as it would call one of its own, an exception at the
    entry is one of its call: no line of ours has run that could catch it.
    """
    caller = frame.f_back
    if caller is None or not _is_ours(caller.f_code):
        return False
    return frame.f_lasti <= _first_instruction(frame.f_code)


@functools.cache
def _does_nothing(path: str, line: int) -> bool:
    """Is it a line that Python tells of, but that only says where a block begins?"""
    return linecache.getline(path, line).strip() in {"try:", "else:", "finally:"}


class _Counting:
    """The trace function that counts how often each place is reached."""

    def __init__(self) -> None:
        self.places: Counter[Place] = Counter()

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        """A function is entered, or a coroutine goes on."""
        if not _is_ours(frame.f_code):
            return None
        if _is_entered(frame):
            self.places[Place(Function.of(frame.f_code), None)] += 1
        return self._in_function

    def _in_function(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            self.places[Place(Function.of(frame.f_code), frame.f_lineno)] += 1
        return self._in_function


def _is_of_sdk(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == "opentelemetry.sdk.trace"


class Injection:
    """The trace function that raises at one place, once.

    Args:
        place: where.
        fault: makes what is raised.
    """

    def __init__(self, place: Place, fault: Fault) -> None:
        self._place = place
        self._first = place.function.first
        self._fault = fault
        self._seen = 0
        self.fired = False
        """Was the place reached?"""
        self.in_sdk = False
        """Was it the SDK that called ours, in the middle of beginning or ending a span?"""

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        """A function is entered, or a coroutine goes on."""
        code = frame.f_code
        if code.co_firstlineno != self._first or Function.of(code) != self._place.function:
            return None
        if self._place.line is not None:
            return self._in_function
        if _is_entered(frame):
            self._reach(frame)
        return None

    def _in_function(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line" and frame.f_lineno == self._place.line:
            self._reach(frame)
        return self._in_function

    def _reach(self, frame: FrameType) -> None:
        self._seen += 1
        if self._seen == self._place.nth and not self.fired:
            self.fired = True
            self.in_sdk = any(_is_of_sdk(each) for each, _ in walk_stack(frame))
            raise self._fault()


@contextlib.contextmanager
def _tracing(function: Any) -> Generator[None]:
    before, before_threads = sys.gettrace(), threading.gettrace()
    gc.disable()  # what it calls, and when, is another in each run
    threading.settrace(function)
    sys.settrace(function)
    try:
        yield
    finally:
        sys.settrace(before)
        threading.settrace(before_threads)  # pyright: ignore[reportArgumentType] - None is allowed
        gc.enable()


class Census:
    """How often each place is reached in one run.

    Args:
        places: by place, at the first time.
    """

    def __init__(self, places: dict[Place, int]) -> None:
        self._places = {
            place: count
            for place, count in places.items()
            if place.line is None or not _does_nothing(place.function.real_path, place.line)
        }

    def __contains__(self, place: object) -> bool:
        return place in self._places

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    def entries(self) -> list[Place]:
        """Each function that another one calls, when it is called for the first time."""
        return [place for place in self._places if place.line is None]

    def lines(self) -> list[Place]:
        """Each line, when it is reached for the first time."""
        return [place for place in self._places if place.line is not None]

    def times(self, most: int) -> Iterator[Place]:
        """Each place again and again: as many times as said, spread over all times."""
        for place, count in self._places.items():
            for nth in sorted({1 + i * (count - 1) // max(most - 1, 1) for i in range(most)}):
                yield place._replace(nth=nth)


def census(run: Callable[[], object]) -> Census:
    """What of ours is reached while something runs."""
    counting = _Counting()
    with _tracing(counting):
        run()
    return Census(counting.places)


@contextlib.contextmanager
def injected(place: Place, fault: Fault) -> Generator[Injection]:
    """Raises at one place, in this thread or in one that is started meanwhile."""
    injection = Injection(place, fault)
    with _tracing(injection):
        yield injection


_RAISING: Final = "def raises(*args, **kwargs): raise 'what'"


def _stub(code: CodeType) -> CodeType:
    """The code of a function that raises, to be put in the place of another one.

    It runs with the other's globals, so it names nothing; and what it closes over has to fit.
    """
    module = compile(_RAISING, __file__, "exec")
    raises = next(each for each in module.co_consts if isinstance(each, CodeType))
    constants = tuple(OurFault if each == "what" else each for each in raises.co_consts)
    return raises.replace(co_consts=constants, co_freevars=code.co_freevars, co_name=code.co_name)


@contextlib.contextmanager
def broken(function: Function) -> Generator[None]:
    """Has a function raise each time it is called, whoever holds it; not a generator."""
    objects = [each for each in gc.get_objects() if type(each) is FunctionType]
    codes = [
        (each, each.__code__)
        for each in objects
        if Function.of(each.__code__) == function and not each.__code__.co_flags & CO_GENERATOR
    ]
    for each, code in codes:
        each.__code__ = _stub(code)
    try:
        yield
    finally:
        for each, code in codes:
            each.__code__ = code
