"""Uncaught exceptions look as they would without the tracer."""

from __future__ import annotations

import traceback
import typing

import pytest
import wrapt

from pocketflow_trace.process.tracebacks import strip
from pocketflow_trace.record import model


def functions(exc: BaseException) -> list[str]:
    """Return the names of the functions in an exception's traceback."""
    return [frame.name for frame in traceback.extract_tb(exc.__traceback__)]


def through_our_code(raises: typing.Callable[[], object]) -> BaseException:
    """Catch what a function raises when our code and wrapt call it."""

    @wrapt.decorator
    def wrapper(
        wrapped: typing.Callable[..., object],
        instance: object,
        args: typing.Any,
        kwargs: typing.Any,
    ) -> object:
        return wrapped(*args, **kwargs)

    class Hostile(dict[str, object]):
        def get(self, key: str, default: object = None) -> typing.Any:
            return wrapper(raises)()

    try:
        model.from_json(Hostile())
    except (ValueError, KeyError) as exc:
        return exc
    raise AssertionError


def fail_twice() -> None:
    """Raise an exception that another one caused."""
    try:
        raise KeyError("first")  # noqa: TRY301 - the cause is the point
    except KeyError as exc:
        raise ValueError("second") from exc


def test_strip() -> None:
    """Our frames go, the user's stay, in the same order."""
    exc = through_our_code(fail_twice)
    assert "from_json" in functions(exc)
    strip(exc)
    assert "from_json" not in functions(exc)
    assert functions(exc)[0] == "through_our_code"
    assert functions(exc)[-1] == "fail_twice"


def test_causes() -> None:
    """The exceptions behind an exception are treated too, also in a circle."""
    inner = through_our_code(fail_twice)
    outer = RuntimeError("outer")
    outer.__cause__ = inner
    inner.__context__ = outer
    strip(outer)
    assert "from_json" not in functions(inner)


def test_foreign_traceback_is_untouched() -> None:
    """A traceback without our frames stays the very same object."""
    with pytest.raises(ValueError, match="second") as raised:
        fail_twice()
    before = raised.value.__traceback__
    strip(raised.value)
    assert raised.value.__traceback__ is before
