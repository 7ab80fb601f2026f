"""Counts the attempts of a node without touching the node.

PocketFlow's `_exec` is a loop that calls `self.exec` until it succeeds. What it does is told by the
attributes it reads from `self`: `exec` begins an attempt; `wait`, `exec_fallback` or another `exec`
means that the attempt before has failed, with the exception that is being handled just then. So the
framework's own `_exec` is handed an `Observer` in place of the node, which passes every attribute
on and takes note of these few. The node, its class and its methods stay as they are, no frame
stands between `_exec` and `exec`, and each call has an observer of its own, so one node object may
run in many threads and tasks at once.

This is only right for a function that does nothing with `self` but read and set its attributes.
`is_observable` tells whether it is one.
"""

from __future__ import annotations

import dis
import sys
from time import perf_counter_ns
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.instrumentation.pocketflow import guard

if TYPE_CHECKING:
    from types import CodeType

EXEC: Final = frozenset({"exec", "exec_async"})
FALLBACK: Final = frozenset({"exec_fallback", "exec_fallback_async"})
WAIT: Final = "wait"
ALLOWED: Final = "max_retries"
_WATCHED: Final = EXEC | FALLBACK | {WAIT, ALLOWED, "cur_retry"}


class AttemptListener:
    """What happens to the attempts of one node or item. The base class only keeps count."""

    def __init__(self) -> None:
        self.made = 0
        self.waited_ns = 0
        self.fallback = False
        self._open = False
        self._failed_at: int | None = None
        self._waiting = False
        # A run may take place while an outer exception is handled: that one is no failure here.
        self._handled_outside = sys.exc_info()[1]

    def on_allowed(self, attempts: object) -> None:
        """What the node says about the attempts it allows."""

    def on_begin(self) -> None:
        """An attempt begins."""

    def on_failure(self, exc: BaseException) -> None:
        """The attempt that is open has failed."""

    def on_wait(self, seconds: object) -> None:
        """A wait follows the failed attempt."""

    def on_end(self) -> None:
        """The attempt is over, and what follows it is known."""

    @guard.guarded(None)
    def before(self, name: str) -> None:
        """`_exec` is about to read an attribute."""
        if self._open:
            exc = sys.exc_info()[1]
            known = name in EXEC or name in FALLBACK or name == WAIT
            if exc is not None and (known or exc is not self._handled_outside):
                self._fail(exc)
        if name in EXEC or name in FALLBACK:
            self._close()

    @guard.guarded(None)
    def after(self, name: str, value: object) -> None:
        """`_exec` has read an attribute."""
        if name in EXEC:
            self.made += 1
            self._open = True
            self.on_begin()
        elif name in FALLBACK:
            self.fallback = True
        elif name == ALLOWED:
            self.on_allowed(value)
        elif name == WAIT and self._failed_at is not None:
            self._waiting = (type(value) is int or type(value) is float) and bool(value)
            self.on_wait(value)

    def finish(self, exc: BaseException | None) -> None:
        """`_exec` is over, with that exception or without one."""
        if self._open:
            if exc is not None:
                self._fail(exc)
            self._close()
        self._handled_outside = None

    def _fail(self, exc: BaseException) -> None:
        if self._failed_at is None:
            self._failed_at = perf_counter_ns()
            self.on_failure(exc)
            self._failed_at = perf_counter_ns()  # telling of the failure is no part of the wait

    def _close(self) -> None:
        if not self._open:
            return
        if self._failed_at is not None and self._waiting:
            self.waited_ns += perf_counter_ns() - self._failed_at
        self._open = self._waiting = False
        self._failed_at = None
        self.on_end()


class Observer:
    """Stands for a node in one call of the framework's `_exec`."""

    __slots__ = ("_listener", "_node")

    def __init__(self, node: object, listener: AttemptListener) -> None:
        object.__setattr__(self, "_node", node)
        object.__setattr__(self, "_listener", listener)

    def __getattribute__(self, name: str) -> Any:
        node = object.__getattribute__(self, "_node")
        if name not in _WATCHED:
            return getattr(node, name)
        listener = object.__getattribute__(self, "_listener")
        listener.before(name)
        value = getattr(node, name)
        listener.after(name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        setattr(object.__getattribute__(self, "_node"), name, value)


def is_observable(function: object) -> bool:
    """Does a function use its first argument for nothing but its attributes?

    What is no plain function, such as somebody's wrapper, may do anything with it.
    """
    if type(function) is not FunctionType:
        return False
    code = function.__code__
    if not code.co_argcount:
        return False
    name = code.co_varnames[0]
    # In a closure or behind `super()`, the argument is reached in ways not seen below.
    if name in code.co_cellvars or "super" in code.co_names or "__class__" in code.co_freevars:
        return False
    return all(_used_for_attribute(code, name))


def _used_for_attribute(code: CodeType, name: str) -> list[bool]:
    instructions = [i for i in dis.get_instructions(code) if i.opname != "CACHE"]
    uses: list[bool] = []
    for instruction, following in zip(instructions, [*instructions[1:], None], strict=True):
        # Some versions load two variables in one instruction; the last is on top of the stack.
        value = instruction.argval
        names = cast("tuple[object, ...]", value if isinstance(value, tuple) else (value,))
        if not instruction.opname.startswith(("LOAD_FAST", "STORE_FAST", "DELETE_FAST")):
            continue
        if name in names:
            uses.append(
                names[-1] == name
                and names.count(name) == 1
                and "LOAD_FAST" in instruction.opname
                and following is not None
                and following.opname in {"LOAD_ATTR", "STORE_ATTR", "LOAD_METHOD"}
            )
    return uses
