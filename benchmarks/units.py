"""The nodes whose cost is measured: one *unit* is a node, a batch or a nested flow.

Each unit appends the thread's CPU time to a list when its `prep` begins, so that two neighbours in
the list are one whole unit apart.
"""

from __future__ import annotations

import asyncio
from time import thread_time_ns
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks.stores import write

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from benchmarks.tracers import Tracer

MakeNode: TypeAlias = "Callable[[], Any]"
Unit: TypeAlias = "Callable[[Tracer, list[int]], MakeNode]"
"""Defines a class of nodes in the tracer's framework; what it returns makes one of them."""

NEXT = "next"
"""The action of every unit."""


def node(tracer: Tracer, ticks: list[int]) -> MakeNode:
    """Reads one key and writes one small key, as most nodes do."""

    class Step(tracer.framework.Node):
        def prep(self, shared: Any) -> Any:
            ticks.append(thread_time_ns())
            return shared["question"]

        def exec(self, prep_res: Any) -> int:
            return len(prep_res)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            del prep_res, exec_res
            write(shared)
            return NEXT

    around = tracer.around
    if around is None:
        return Step

    class Traced(Step):
        def _run(self, shared: Any) -> Any:
            own: Any = super()
            return around(own._run, shared)  # noqa: SLF001 - its own base class's

    return Traced


def async_node(tracer: Tracer, ticks: list[int]) -> MakeNode:
    """The same, asynchronously, with nothing to wait for."""

    class Step(tracer.framework.AsyncNode):
        async def prep_async(self, shared: Any) -> Any:
            ticks.append(thread_time_ns())
            return shared["question"]

        async def exec_async(self, prep_res: Any) -> int:
            return len(prep_res)

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            del prep_res, exec_res
            write(shared)
            return NEXT

    return Step


def batch(items: int) -> Unit:
    """A batch node that has that many items."""

    def unit(tracer: Tracer, ticks: list[int]) -> MakeNode:
        class Step(tracer.framework.BatchNode):
            def prep(self, shared: Any) -> Any:
                del shared
                ticks.append(thread_time_ns())
                return range(items)

            def exec(self, prep_res: Any) -> Any:
                return prep_res

            def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
                del prep_res, exec_res
                write(shared)
                return NEXT

        return Step

    return unit


def retried_node(tracer: Tracer, ticks: list[int]) -> MakeNode:
    """Like `node`, but its first attempt fails."""

    class Step(tracer.framework.Node):
        def prep(self, shared: Any) -> Any:
            ticks.append(thread_time_ns())
            return shared["question"]

        def exec(self, prep_res: Any) -> int:
            if not self.cur_retry:
                raise ValueError("the first attempt fails")
            return len(prep_res)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            del prep_res, exec_res
            write(shared)
            return NEXT

    return lambda: Step(max_retries=2)


def nested_flow(tracer: Tracer, ticks: list[int]) -> MakeNode:
    """A flow that has one node."""
    make_node = node(tracer, [])

    class Nested(tracer.framework.Flow):
        def prep(self, shared: Any) -> None:
            del shared
            ticks.append(thread_time_ns())

    return lambda: Nested(start=make_node())


class _Pause:
    """What is awaited hands control back to whoever drives the coroutine."""

    def __await__(self) -> Generator[None]:
        yield


def pause(tracer: Tracer, restore: Callable[[Any], None]) -> Any:
    """A node that waits until the next lap is wanted; then it restores the store."""

    class Pause(tracer.framework.AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            del prep_res
            await _Pause()

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            del prep_res, exec_res
            restore(shared)
            return NEXT

    return Pause()


def chain(make: MakeNode, length: int) -> tuple[Any, Any]:
    """That many nodes in a row: the first and the last."""
    first = last = make()
    for _ in range(length - 1):
        last = last.next(make(), NEXT)
    return first, last


def run_chain(tracer: Tracer, make: MakeNode, length: int, store: Any) -> None:
    """A whole run of that many nodes, whether they are asynchronous or not."""
    first, _ = chain(make, length)
    if isinstance(first, tracer.framework.AsyncNode):
        asyncio.run(tracer.framework.AsyncFlow(start=first).run_async(store))
    else:
        tracer.framework.Flow(start=first).run(store)
