"""The nodes and flows of a random program: what their methods do, and take down."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import baggage, trace
from support.described import described
from support.random_programs_acts import AROUND, KEPT, CustomError, Here

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from support.random_programs import Act, Plan, Step
    from support.random_programs_world import World


@dataclass
class Probe:
    """Where a run has been seen from inside: its span, and that of the run around it."""

    kind: str
    name: str
    span_id: int
    around: int | None


class Doing:
    """What the methods of one node or flow do, sync or async."""

    kind = ""

    def __init__(self, world: World, spec: Step | Plan) -> None:
        self.world = world
        self.name = world.name(spec.base)
        self.acts: tuple[Act, ...] = spec.acts
        self.runs = 0
        self.store: Any = None
        self._calls: Counter[tuple[int, str]] = Counter()

    def perform(self, node: Any, at: str, *seen: Any) -> None:
        """A method has been called with these values: does what is to be done in it."""
        for here in self._begin(node, at, *seen):
            here.perform()

    async def perform_async(self, node: Any, at: str, *seen: Any) -> None:
        """The same in a task."""
        for here in self._begin(node, at, *seen):
            await here.perform_async()

    def _begin(self, node: Any, at: str, *seen: Any) -> list[Here]:
        self.world.take_turn()
        if at == "prep":
            self._begin_run()
        self._calls[self.runs, at] += 1
        call = self._calls[self.runs, at]
        handled = type(sys.exc_info()[1]).__name__
        self.world.note(
            at, self.name, call, *map(described, seen), described(node.params), handled, _outside()
        )
        return [Here(self, node, call, act) for act in self.acts if act.at == at]

    def _begin_run(self) -> None:
        self.runs += 1
        self.world.total += 1
        self.world.note(self.kind, self.name)
        around = AROUND.get()
        span_id = trace.get_current_span().get_span_context().span_id
        probe = Probe(self.kind, self.name, span_id, None if around is None else around[0])
        self.world.probes.append(probe)
        AROUND.set((span_id, around))

    def end(self) -> None:
        """`post` returns."""
        around = AROUND.get()
        AROUND.set(None if around is None else around[1])


def _outside() -> Any:
    """What an author sees of the context around the program."""
    trace_id = trace.get_current_span().get_span_context().trace_id
    return baggage.get_baggage("who"), KEPT.get(), trace_id == 0xABC


class StepDoing(Doing):
    """What a node's methods do."""

    kind = "node"

    def __init__(self, world: World, step: Step) -> None:
        super().__init__(world, step)
        self.step = step

    def given(self) -> Any:
        """What `prep` returns."""
        values = [self.store, self.world.token("item")]
        if self.step.gives in {"store", "token"} and "Batch" not in self.step.base:
            return values[self.step.gives == "token"]
        if self.step.gives == "none":
            return None
        if self.step.gives == "generator":
            return self._items(values)
        return tuple(values) if self.step.gives == "tuple" else values

    def _items(self, values: list[Any]) -> Generator[Any]:
        for value in values:
            self.world.note("item", self.name)
            yield value

    def answer(self) -> Any:
        """What `exec` returns."""
        makers: dict[str, Callable[[], Any]] = {
            "number": lambda: self.runs,
            "list": lambda: [self.runs, self.world.token("result")],
            "generator": lambda: self._items([1]),
            "token": lambda: self.world.token("result"),
            "store": lambda: self.store,
            "error": lambda: CustomError(1),
            "none": lambda: None,
        }
        return makers[self.step.returns]()

    def fall_back(self, exc: BaseException) -> Any:
        """Another answer, or the exception."""
        if not self.step.fallback:
            raise exc
        return self.answer()

    def action(self, exec_res: Any) -> Any:
        """What `post` returns; generators are read first."""
        if hasattr(exec_res, "send"):
            self.world.note("read", list(exec_res))
        if not self.world.goes_on:
            return "enough"
        return self.step.actions[self.runs % len(self.step.actions)]


class FlowDoing(Doing):
    """What a flow's methods do."""

    kind = "flow"

    def __init__(self, world: World, plan: Plan) -> None:
        super().__init__(world, plan)
        self.plan = plan

    def given(self) -> Any:
        """The params of a batch."""
        if self.plan.gives == "none":
            return None
        items = self.plan.items if self.world.goes_on else 0
        params = [{"n": n, "token": self.world.token("batch")} for n in range(items)]
        return tuple(params) if self.plan.gives == "tuple" else params

    def action(self, exec_res: Any) -> Any:
        """The last action of its nodes."""
        return exec_res if self.world.goes_on else "enough"


# --- classes --------------------------------------------------------------------------------


def node_class(doing: StepDoing, base: Any) -> type:
    """A class whose objects do what a step says."""

    class Made(base):
        def prep(self, shared: Any) -> Any:
            doing.store = shared
            doing.perform(self, "prep")
            return doing.given()

        def exec(self, prep_res: Any) -> Any:
            doing.perform(self, "exec", prep_res)
            return doing.answer()

        def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
            doing.perform(self, "fallback", prep_res, exc)
            return doing.fall_back(exc)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            doing.perform(self, "post", prep_res, exec_res)
            doing.end()
            return doing.action(exec_res)

        async def prep_async(self, shared: Any) -> Any:
            doing.store = shared
            await doing.perform_async(self, "prep")
            return doing.given()

        async def exec_async(self, prep_res: Any) -> Any:
            await doing.perform_async(self, "exec", prep_res)
            return doing.answer()

        async def exec_fallback_async(self, prep_res: Any, exc: Any) -> Any:
            await doing.perform_async(self, "fallback", prep_res, exc)
            return doing.fall_back(exc)

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            await doing.perform_async(self, "post", prep_res, exec_res)
            doing.end()
            return doing.action(exec_res)

    return Made


def flow_class(doing: FlowDoing, base: Any) -> type:
    """A class whose objects do what a plan says."""

    class Made(base):
        def prep(self, shared: Any) -> Any:
            doing.store = shared
            doing.perform(self, "prep")
            return doing.given()

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            doing.perform(self, "post", prep_res, exec_res)
            doing.end()
            return doing.action(exec_res)

        async def prep_async(self, shared: Any) -> Any:
            doing.store = shared
            await doing.perform_async(self, "prep")
            return doing.given()

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            await doing.perform_async(self, "post", prep_res, exec_res)
            doing.end()
            return doing.action(exec_res)

    return Made


def _around_run(cls: Any, doing: Doing) -> type:
    class Around(cls):
        def _run(self, shared: Any) -> Any:
            doing.world.note("own run", doing.name)
            return super()._run(shared)

        async def _run_async(self, shared: Any) -> Any:
            doing.world.note("own run", doing.name)
            return await super()._run_async(shared)

    return Around


def _instead_of_run(cls: Any, doing: Doing) -> type:
    class Instead(cls):
        def _run(self, shared: Any) -> Any:
            return self.post(shared, self.prep(shared), None)

        async def _run_async(self, shared: Any) -> Any:
            return await self.post_async(shared, await self.prep_async(shared), None)

    return Instead


def _around_exec(cls: Any, doing: Doing) -> type:
    class Around(cls):
        def _exec(self, prep_res: Any) -> Any:
            doing.world.note("own exec", doing.name)
            return super()._exec(prep_res)

    return Around


def _around_orch(cls: Any, doing: Doing) -> type:
    class Around(cls):
        def _orch(self, shared: Any, params: Any = None) -> Any:
            doing.world.note("own orch", doing.name)
            return super()._orch(shared, params)

        async def _orch_async(self, shared: Any, params: Any = None) -> Any:
            doing.world.note("own orch", doing.name)
            return await super()._orch_async(shared, params)

    return Around


def _own_copy(cls: Any, doing: Doing) -> type:
    class Copied(cls):
        def __copy__(self) -> Any:
            doing.world.note("copied", doing.name)
            made = cls.__new__(type(self))
            made.__dict__.update(self.__dict__)
            return made

    return Copied


OWN: dict[str, Callable[[Any, Doing], type]] = {
    "around run": _around_run,
    "instead of run": _instead_of_run,
    "around exec": _around_exec,
    "around orch": _around_orch,
    "copy": _own_copy,
}
