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

_logger = logging.getLogger(__name__)
_reported: set[str] = set()
_lock = threading.Lock()

reraise = False
"""Tests set this, so that a fault of ours fails them instead of a log line."""


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
    with _lock:
        if place in _reported:
            return
        _reported.add(place)
    # A logging handler of the user may raise as well.
    with suppress(Exception):
        _logger.warning(
            "PocketFlow tracing lost something in %s; the program is not affected. "
            "Further faults in this place are not logged.",
            place,
            exc_info=exc,
        )


def of_user(function: Callable[[T], str], value: T, default: str) -> str:
    """Calls the user's code where it may raise anything, such as an exception's `__str__`."""
    try:
        return function(value)
    except Exception:  # noqa: BLE001 - this is the boundary
        return default
