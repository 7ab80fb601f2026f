"""Lets threads of ours rest while the program forks.

From Python 3.12 on, a fork beside other threads is warned of, in the program's own process; and a
child inherits whatever such a thread is in the middle of.
"""

from __future__ import annotations

import os
import time
import weakref
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow.guard import guarded

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

CAN_BE_SEEN: Final = hasattr(os, "register_at_fork")
"""Does Python tell before it forks?"""

REST_WAIT: Final = 0.2
"""Seconds that a fork waits for a thread at most; after such a wait, no fork waits again."""

_GLANCE: Final = 0.0002
"""Seconds between two looks whether the system has ended a thread, which takes it no longer."""
_GLANCES: Final = 25


def rest_in_forks(rest: Callable[[], None]) -> None:
    """Have a method called before each fork, as long as there is its object."""
    method = weakref.WeakMethod(rest)

    def before() -> None:
        if resting := method():
            resting()

    if CAN_BE_SEEN:
        os.register_at_fork(before=guarded(None)(before))


def await_end(thread: threading.Thread) -> None:
    """Wait until the system, too, has ended a thread that was joined: Python 3.12 does not."""
    task = f"/proc/self/task/{thread.native_id}"
    for _ in range(_GLANCES):
        if thread.is_alive() or not os.path.exists(task):  # noqa: PTH110 - no file of anybody's
            return
        time.sleep(_GLANCE)
