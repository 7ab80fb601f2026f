"""The error boundary: the only place that catches whatever the tracer's own code may raise.

A fault in the tracer must not reach the traced program. It is logged once for each place, and the
program carries on without what that place would have recorded.
"""

from __future__ import annotations

import functools
import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")

_logger = logging.getLogger(__name__)
_reported: set[str] = set()
# Reentrant: a signal handler or finalizer may run in the middle of anything and be turned down.
_lock = threading.RLock()

reraise = False
"""Tests set this, so that a fault of ours fails them instead of a log line."""

strict = False
"""Development setting: wrong values given to the public functions raise.

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


def report(place: str, exc: Exception) -> None:
    """Logs a fault of the tracer, the first time it happens in that place."""
    _warn_once(
        place,
        "PocketFlow tracing lost something in %s; the program is not affected. "
        "Further faults in this place are not logged.",
        place,
        fault=exc,
    )


def refuse(option: str, exc: Exception) -> None:
    """Turns down a wrong value that a program gave to a public function.

    Not to be called inside `guarded`, which would keep the exception from the program.

    Args:
        option: names function and option, such as `conversation: user`; each is logged once.
        exc: names the value and what is allowed.

    Raises:
        Exception: `exc`, where `strict` is set.
    """
    if strict:
        raise exc
    _warn_once(
        f"refused {option}",
        "%s; this is left out of the trace. Further wrong values of this option are not logged.",
        exc,
    )


def _warn_once(key: str, message: str, argument: object, fault: Exception | None = None) -> None:
    with _lock:
        if key in _reported:
            return
        _reported.add(key)
    # A logging handler of the user may raise as well.
    with suppress(Exception):
        _logger.warning(message, argument, exc_info=fault)


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
    """Calls the user's code where it may raise anything, such as an exception's `__str__`."""
    try:
        return function(value)
    except Exception:  # noqa: BLE001 - this is the boundary
        return default
