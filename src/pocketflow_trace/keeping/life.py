"""Tells whether the program of a run ended, was killed or still runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from opentelemetry.instrumentation.pocketflow import semconv

if TYPE_CHECKING:
    from pocketflow_trace.record.model import About

State: TypeAlias = Literal["complete", "running", "killed", "unfinished"]
"""`unfinished`: killed or still running, and there is no way to tell."""

_WORDS: Final = {
    "complete": "the program ended",
    "running": "the program still runs (process {pid})",
    "killed": "the program was killed (process {pid} is gone)",
    "unfinished": "the program was killed or still runs",
}


def state_of(about: About) -> State:
    """Return what became of a run's program, as far as this machine can tell."""
    if about.ended is not None:
        return "complete"
    pid = _pid(about)
    # On Windows the same call would end the process.
    if pid is None or os.name != "posix":
        return "unfinished"
    return "running" if _is_alive(pid) else "killed"


def words(about: About) -> str:
    """Return the same as a clause, with the number of the process where it matters."""
    return _WORDS[state_of(about)].format(pid=_pid(about))


def _pid(about: About) -> int | None:
    pid = about.resource.get(semconv.PROCESS_PID)
    return pid if isinstance(pid, int) and 0 < pid < 2**31 else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
