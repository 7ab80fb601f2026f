"""Tells the process's main interpreter from those beside it.

Beside it, tracing would harm: a thread of the SDK or of ours keeps a subinterpreter from being
destroyed, or ends the process with it; and extension modules that we need refuse to be imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow.guard import guarded

if TYPE_CHECKING:
    from types import ModuleType

_MODULES: Final = ("_interpreters", "_xxsubinterpreters")
"""Python's own module for interpreters, from 3.13 on and before. Both are private; there is no
public one in the versions that we support."""


@guarded(default=False)
def is_subinterpreter() -> bool:
    """Is this another interpreter than the main one? Where that can't be told, it is not."""
    module = _interpreters()
    return module is not None and module.get_current() != module.get_main()


def _interpreters() -> ModuleType | None:
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None
