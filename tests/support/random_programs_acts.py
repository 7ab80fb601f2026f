"""What the methods of a random program's nodes do: each act of the program's data, done."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import builtins
import contextlib
import contextvars
import random
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.described import described
from support.random_programs import (
    Cancel,
    Draw,
    Edit,
    Keep,
    Nest,
    Pause,
    Raise,
    Shared,
    Warn,
)
from support.random_programs_stores import edit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from support.random_programs import Act
    from support.random_programs_nodes import Doing
    from support.random_programs_world import World

KEPT: contextvars.ContextVar[int] = contextvars.ContextVar("kept", default=0)
AROUND: contextvars.ContextVar[tuple[int, Any] | None] = contextvars.ContextVar(
    "around", default=None
)
"""The spans of the runs around, innermost first, as far as the context reaches."""


class CustomError(Exception):
    """A program's own, with more to it than its arguments."""

    def __init__(self, number: int, cause: object = None) -> None:
        super().__init__(number)
        self.cause = cause


class CustomEnd(BaseException):
    """A program's own that no `except Exception` sees."""


@dataclass
class Here:
    """One act in one call."""

    doing: Doing
    node: Any
    call: int
    act: Act

    @property
    def world(self) -> World:
        """The program's."""
        return self.doing.world

    def watched(self, exc: BaseException) -> BaseException:
        """Has the life of an exception watched."""
        return self.world.watched("an exception", exc)

    def perform(self) -> None:
        """Does it."""
        do = _DO.get(type(self.act))
        if do is not None:
            do(self, self.act)

    async def perform_async(self) -> None:
        """Does it in a task."""
        do = _DO_ASYNC.get(type(self.act))
        if do is None:
            self.perform()
        else:
            await do(self, self.act)


def _edit(here: Here, act: Edit) -> None:
    value = here.world.token("kept") if act.kind == "token" else act.value
    edit(here.doing.store, act.kind, act.key, value)


def _warn(here: Here, act: Warn) -> None:
    warnings.warn(f"{here.doing.name} {act.at}", stacklevel=act.stacklevel)


def _draw(here: Here, act: Draw) -> None:
    here.world.note("drawn", random.random())  # noqa: S311 - no secret


def _keep(here: Here, act: Keep) -> None:
    if act.where == "node":
        here.node.kept = getattr(here.node, "kept", 0) + 1
    elif act.where == "params":
        here.node.params["kept"] = here.call
    else:
        KEPT.set(here.call)


async def _pause(here: Here, act: Pause) -> None:
    for _ in range(act.times):
        await asyncio.sleep(0)


async def _cancel(here: Here, act: Cancel) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


def _nested(here: Here, act: Nest) -> tuple[Any, Any] | None:
    if not here.world.goes_on:
        return None
    return here.world.node(act.graph), here.world.new_store() if act.own_store else here.doing.store


def _nest(here: Here, act: Nest) -> None:
    nested = _nested(here, act)
    if nested is None:
        return
    node, store = nested
    with _ends_here(here, act):
        if act.how in {"thread", "thread in context", "pool", "pool in context"}:
            result = here.world.in_thread(act.how, lambda: node.run(store))
        else:
            result = node.run(store)
        here.world.note("nested", described(result))


async def _nest_async(here: Here, act: Nest) -> None:
    if isinstance(act.graph, Shared) or not act.graph.is_async:
        _nest(here, act)
        return
    nested = _nested(here, act)
    if nested is None:
        return
    node, store = nested
    with _ends_here(here, act):
        if act.how == "gather":
            result = await asyncio.gather(node.run_async(store), node.run_async(store))
        elif act.how == "task":
            result = await asyncio.create_task(node.run_async(store))
        else:
            result = await node.run_async(store)
        here.world.note("nested", described(result))


@contextlib.contextmanager
def _ends_here(here: Here, act: Nest) -> Generator[None]:
    around = AROUND.get()
    try:
        yield
    except Exception as exc:
        if not act.caught:
            raise
        here.world.note("caught", type(exc).__name__)
    finally:
        AROUND.set(around)


def _raise(here: Here, act: Raise) -> None:
    if here.call <= act.calls:
        _RAISERS.get(act.kind, _raise_plainly)(here, act)


def _raise_plainly(here: Here, act: Raise) -> None:
    raise _MAKERS[act.kind](here, here.world.token("argument", quiet=True))


_MAKERS: dict[str, Callable[[Here, Any], BaseException]] = {
    "ValueError": lambda here, value: ValueError(here.call, value),
    "KeyError": lambda here, value: KeyError(value),
    "StopIteration": lambda here, value: StopIteration(value),
    "Custom": lambda here, value: here.watched(CustomError(here.call, value)),
    "BaseCustom": lambda here, value: here.watched(CustomEnd(value)),
    "KeyboardInterrupt": lambda here, value: KeyboardInterrupt(),
    "SystemExit": lambda here, value: SystemExit(3),
    "GeneratorExit": lambda here, value: GeneratorExit(),
    "CancelledError": lambda here, value: asyncio.CancelledError("by hand"),
}


def _raise_from(here: Here, act: Raise) -> None:
    raise ValueError(act.kind) from CustomError(here.call)


def _fail(here: Here) -> None:
    raise CustomError(here.call)


def _raise_from_none(here: Here, act: Raise) -> None:
    try:
        _fail(here)
    except CustomError:
        raise ValueError(act.kind) from None


def _raise_in_context(here: Here, act: Raise) -> None:
    try:
        _fail(here)
    except CustomError:
        raise ValueError(act.kind)  # noqa: B904 - what is tested


def _raise_noted(here: Here, act: Raise) -> None:
    raise _noted(here.call)


def _noted(number: int) -> BaseException:
    exc: Any = CustomError(number)
    exc.add_note("a note")
    return exc


def _raise_group(here: Here, act: Raise) -> None:
    group: Any = vars(builtins)["ExceptionGroup"]
    value = here.world.token("argument", quiet=True)
    raise group("several", [ValueError(value), CustomError(here.call)])


_RAISERS: dict[str, Callable[[Here, Raise], None]] = {
    "from": _raise_from,
    "from none": _raise_from_none,
    "context": _raise_in_context,
    "noted": _raise_noted,
    "group": _raise_group,
}
_DO: dict[type[Act], Any] = {
    Edit: _edit,
    Raise: _raise,
    Warn: _warn,
    Draw: _draw,
    Keep: _keep,
    Nest: _nest,
}
_DO_ASYNC: dict[type[Act], Any] = {Pause: _pause, Cancel: _cancel, Nest: _nest_async}
