"""Exceptions that misbehave: what the program sees is the exception as it was raised."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false

from __future__ import annotations

import builtins
import json
import sys
import tracemalloc
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import pytest

from support.dunders import BASES, WAYS, MisbehavedError, MisbehavedFatally, make, misbehaving
from support.framework import Flow, Node
from support.honest import assert_honest
from support.hostile import trap
from support.tracing import Stage, Trace, act, compared, note, traced, tracing

GROUP: Any = getattr(builtins, "BaseExceptionGroup", None)


class Raises(Node):
    """Raises what it is given, in every attempt."""

    def __init__(self, exc: BaseException, **options: Any) -> None:
        super().__init__(**options)
        self.exc = exc

    def exec(self, prep_res: Any) -> Any:
        """Raises."""
        raise self.exc


_kept_context: Any = vars(BaseException)["__context__"]
_kept_traceback: Any = vars(BaseException)["__traceback__"]


def failing(exc: BaseException, **options: Any) -> Trace:
    """The trace of a flow that an exception leaves; the program must get that very exception."""
    context = _kept_context.__get__(exc)

    def program(stage: Stage) -> None:
        _kept_context.__set__(exc, context)
        _kept_traceback.__set__(exc, None)
        try:
            Flow(start=Raises(exc, max_retries=2)).run({})
        except BaseException as caught:  # noqa: BLE001 - it may be of any class
            note("caught", caught is exc)

    trace = compared(program, **options)
    assert_honest(trace)
    return trace


def event(trace: Trace) -> dict[str, Any]:
    """What is told of the first exception."""
    return next(node.events[0] for node in trace.nodes if node.events)


def message(exc: BaseException) -> str:
    """What is shown of an exception."""
    return event(failing(exc))["exception.message"]


# --- Classes that misbehave ---------------------------------------------------------------------


@pytest.mark.parametrize("content", ["values", "keys", "off"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("base", [Exception, KeyError, OSError, BaseException])
def test_no_special_method_of_an_exception_is_called(
    base: type[BaseException], way: str, content: str
) -> None:
    """But for `__str__`, which each program that logs it would call, too."""
    exc = misbehaving(base, way, keeps=frozenset({"__str__"}))("text")

    trace = failing(exc, content=content)

    assert trace.result.log[-1] == ("caught", True)
    if content == "values" and base is not BaseException:
        expected = "'text'" if base is KeyError else "text"
        assert event(trace)["exception.message"] == expected


@pytest.mark.parametrize("name", ["args", "__cause__", "__context__", "__traceback__", "__notes__"])
def test_attributes_of_an_exception_are_read_past_its_class(name: str) -> None:
    """Somebody may have put a property in the place of what the interpreter keeps."""

    def get(self: object) -> object:
        note("asked for", name)
        raise MisbehavedError

    own = {name: property(get), "__suppress_context__": property(get)}
    hidden: Any = type("Hidden", (ValueError,), own)
    told = event(failing(hidden("text")))

    assert told["exception.message"] == "text"
    assert "raise self.exc" in told["exception.stacktrace"]


STRS: dict[str, Any] = {
    "raises": MisbehavedError(),
    "raises fatally": MisbehavedFatally(),
    "recurses": RecursionError(),
    "runs out of memory": MemoryError(),
}


@pytest.mark.parametrize("how", STRS)
def test_a_str_that_raises_is_told(how: str) -> None:
    """Also where what it raises would end the program."""

    class Silent(Exception):  # noqa: N818 - a name
        def __str__(self) -> str:
            raise STRS[how]

    assert message(Silent()) == _FAILED


_FAILED = "<no message: str() of the exception failed>"
ANSWERS: dict[str, tuple[Any, str]] = {
    "a number": (7, _FAILED),
    "nothing": (None, _FAILED),
    "bytes": (b"x", _FAILED),
    "a str that rings": (trap(str)("a text"), "a text"),
    "a str that raises": (make("str", "raises"), "a text"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_a_str_that_returns_something_else(what: str) -> None:
    """No text is no message; of a subclass of `str`, no method is called."""
    answer, expected = ANSWERS[what]

    class Lies(Exception):  # noqa: N818 - a name
        def __str__(self) -> str:
            return answer

    assert message(Lies()) == expected


def test_str_is_called_once_for_each_time_an_exception_is_told() -> None:
    """Twice for two attempts, and not again for what is around them."""
    calls: list[int] = []

    class Counts(Exception):  # noqa: N818 - a name
        def __str__(self) -> str:
            calls.append(1)
            return "text"

    failing(Counts())
    assert len(calls) == 2


def test_an_interrupt_while_an_exception_is_told_goes_on() -> None:
    """It is the user's, whenever it comes."""

    class Interrupted(Exception):  # noqa: N818 - a name
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with tracing():
        outcome = act(lambda stage: stage.run(Raises(Interrupted())))
    assert [raised.type for raised in outcome.raised] == [
        "KeyboardInterrupt",
        Interrupted.__qualname__,
    ]


# --- Arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("text"),
        ValueError("two", 3),
        KeyError("key"),
        KeyError(("a", 1)),
        ValueError({"field": ["wrong", None, 1.5, b"x", {1, 2}, Decimal("1.5"), Fraction(1, 3)]}),
        OSError(2, "No such file", "some/file", None, "another"),
        FileNotFoundError(2, "No such file", PurePosixPath("some/file")),
        ConnectionError("aborted", OSError("closed")),
        RuntimeError(ValueError(KeyError("inner"))),
        TypeError(int),
        ImportError("no module", name="x"),
        SyntaxError("wrong", ("file.py", 3, 1, "a b", 3, 2)),
        UnicodeDecodeError("utf-8", b"\xff" * 100_000, 0, 1, "invalid start byte"),
        ValueError(),
        StopIteration(3),
    ],
    ids=lambda exc: repr(exc)[:30],
)
def test_an_ordinary_message_is_what_python_prints(exc: Exception) -> None:
    """To the letter, so that it is found in the program's own logs."""
    assert message(exc) == str(exc)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", BASES)
def test_arguments_are_not_asked_for_their_text(kind: str, way: str) -> None:
    """They are shown as values are: what is opaque by its type, and marked."""
    value = make(kind, way)
    for exc in (ValueError(value), OSError(1, "x", value)):
        failing(exc)
    opaque = ValueError("with", make("object", way), 1)
    assert json.loads(message(opaque)) == [
        "with",
        {"$opaque": "support.dunders.Badobject"},
        1,
    ]


@pytest.mark.parametrize(
    "huge",
    [
        "x" * 10_000_000,
        b"x" * 10_000_000,
        list(range(1_000_000)),
        10**200_000,
        [["x" * 10**6] * 99],
    ],
    ids=["str", "bytes", "list", "int", "nested"],
)
def test_a_huge_argument_costs_what_is_shown_of_it(huge: Any) -> None:
    """Python's own text of it would be as large."""
    failing(ValueError("with", huge))  # what is loaded once is loaded
    for exc in (ValueError(huge), ValueError("with", huge), KeyError(huge)):
        tracemalloc.start()
        try:
            failing(exc)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 3_000_000


# --- Chains and groups ------------------------------------------------------------------------


def chain(length: int, link: str) -> BaseException:
    """Exceptions of which each was caused by the one before."""
    exc: BaseException = ValueError("first")
    for number in range(length):
        following = ValueError(number)
        setattr(following, link, exc)
        exc = following
    return exc


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_a_long_chain_is_told_in_part(link: str) -> None:
    """The last few of ten thousand; the very same chain reaches the program."""
    exc = chain(10_000, link)
    text = event(failing(exc))["exception.stacktrace"]
    assert "ValueError: 9999\n" in text
    assert "ValueError: 9996\n" in text
    assert "ValueError: 9995\n" not in text
    while exc is not None:  # taken apart from outside: the interpreter would recurse
        following, exc_link = getattr(exc, link), exc
        setattr(exc_link, link, None)
        exc = following


def test_a_cycle_of_causes_ends() -> None:
    """Each is told once."""
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    text = event(failing(one))["exception.stacktrace"]
    assert (text.count("ValueError: one"), text.count("ValueError: other")) == (1, 1)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no exception groups")
@pytest.mark.parametrize("wide", [1, 4])
def test_groups_of_groups_are_told_in_part(wide: int) -> None:
    """However deep, and however many in each."""
    group: Any = GROUP("leaf", [ValueError(0)])
    for depth in range(200 if wide == 1 else 6):
        group = GROUP(f"group {depth}", [group, *(ValueError(n) for n in range(1, wide))])
    text = event(failing(group, max_span_bytes=60_000))["exception.stacktrace"]
    assert 3 < text.count("Traceback (most recent call last)") <= 16
    assert f"Sub-exception 1 of {wide}:" in text


def test_a_deep_traceback_is_told_in_part() -> None:
    """Its end, where the exception is."""

    class Descends(Node):
        def exec(self, prep_res: Any) -> Any:
            return self.descend(300)

        def descend(self, levels: int) -> int:
            return 1 // levels + self.descend(levels - 1)

    trace = traced(lambda stage: stage.run(Descends()), raises=ZeroDivisionError)
    assert_honest(trace)
    text = event(trace)["exception.stacktrace"]
    assert text.endswith("ZeroDivisionError: integer division or modulo by zero\n")


def test_notes_are_not_asked() -> None:
    """They may be anything; they are not shown."""
    exc = ValueError("text")
    vars(exc)["__notes__"] = make("list", "raises")
    assert message(exc) == "text"
