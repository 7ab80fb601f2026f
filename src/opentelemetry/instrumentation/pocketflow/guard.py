"""The error boundary: the only place that catches whatever the tracer's own code may raise.

A fault in the tracer must not reach the traced program. It is logged once for each place, and the
program carries on without what that place would have recorded.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")

_logger = logging.getLogger(__name__)
_reported: set[str] = set()
# Reentrant: a signal handler or finalizer may run in the middle of anything and be turned down. By
# one that may be renewed: in a forked child, the thread that held it is not there to release it.
_lock: Final = [threading.RLock()]


def _renew_lock() -> None:
    _lock[0] = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)

reraise = False
"""Tests set this, so that a fault of ours fails them instead of a log line."""

strict = False
"""Development setting: wrong values given to the public functions raise.

Set by the instrumentor.
"""


shown_message: Callable[[str], str] = str
"""What the log says of a fault's message, which may hold a value of the program.

Set by the instrumentor.
"""


def guarded(default: T) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Makes a function of the tracer safe to call from inside a user's program.

    Args:
        default: what the caller gets when the function raises.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def safe(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except Exception as exc:
                if reraise:
                    raise
                report(function.__qualname__, exc)
                return default

        return safe

    return decorate


def absorbs(place: str, exc: BaseException) -> bool:
    """Is it a fault of ours, to be kept from the program? Then it is logged.

    For code that has more to do than to return a default. What ends programs and tasks, such as
    the KeyboardInterrupt of a signal that struck while ours ran, has to go on.

    Args:
        place: where it was caught.
        exc: what was caught.
    """
    if reraise or not issubclass(type(exc), Exception):
        return False
    report(place, cast("Exception", exc))
    return True


def public(default: Callable[[], T]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Like `guarded`, for a function that programs call: what it refuses goes on.

    Args:
        default: makes what the program gets when the function has a fault.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def safe(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except _RefusedError as refused:
                raise refused.reason from None
            except Exception as exc:
                if reraise:
                    raise
                report(function.__qualname__, exc)
                return default()

        return safe

    return decorate


class _RefusedError(Exception):
    """Carries the exception for a program's wrong value past our own guards.

    Args:
        reason: what the program gets.
    """

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


def report(place: str, exc: Exception) -> None:
    """Logs a fault of the tracer, the first time it happens in that place. Never raises."""
    # Neither a logging handler of the user, nor that memory or the stack is used up.
    with suppress(Exception):
        _warn_once(
            place,
            "PocketFlow tracing lost something in %s; the program is not affected. "
            "Further faults in this place are not logged.",
            place,
            fault=exc,
        )


def refuse(option: str, exc: Exception) -> None:
    """Turns down a wrong value that a program gave to a public function.

    Only to be called below a function that is `public`.

    Args:
        option: names function and option, such as `conversation: user`; each is logged once.
        exc: names the value and what is allowed.

    Raises:
        Exception: where `strict` is set; the program gets `exc`.
    """
    if strict:
        raise _RefusedError(exc)
    _warn_once(
        f"refused {option}",
        "%s; this is left out of the trace. Further wrong values of this option are not logged.",
        exc,
    )


def _warn_once(key: str, message: str, argument: object, fault: Exception | None = None) -> None:
    if sys.is_finalizing():  # flows of finalizers: even logging has lost modules that it needs
        return
    with _lock[0]:
        if key in _reported:
            return
        _reported.add(key)
    # A logging handler of the user may raise as well.
    with suppress(Exception):
        _logger.warning(message, argument, exc_info=fault and _to_log(fault))


def _to_log(fault: Exception) -> tuple[type[Exception], Exception, TracebackType | None]:
    """The fault with its traceback, and with as much of its message as may be shown.

    What it came from stays out, as do notes: one place is enough to find it.
    """
    cls = type(fault)
    stand_in = type(cls.__name__, (Exception,), {"__module__": cls.__module__})
    # Where it can't be said what may be shown of the message, the line still says the place.
    message = of_user(shown_message, of_user(str, fault, ""), "")
    return stand_in, stand_in(message) if message else stand_in(), fault.__traceback__


def attempt(function: Callable[[T], U], value: T, place: str) -> U | None:
    """Asks a function that the user gave us; None where it raises, which is logged once.

    Args:
        function: may raise anything.
        value: its argument.
        place: what the log calls the function.
    """
    try:
        return function(value)
    except Exception as exc:  # noqa: BLE001 - this is the boundary
        report(place, exc)
        return None


def of_user(function: Callable[[T], U], value: T, default: U) -> U:
    """Calls the user's code where it may raise anything, such as an exception's `__str__`.

    An interrupt, or the end of the program, may arrive just then, and goes on.
    """
    try:
        return function(value)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - this is the boundary
        return default
