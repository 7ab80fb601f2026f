"""Runs a random program, and keeps in order everything that its author could notice."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from opentelemetry import baggage, trace
from opentelemetry import context as context_api
from support.random_programs import Plan, Shared, Step
from support.random_programs_acts import AROUND, KEPT, CustomError
from support.random_programs_nodes import OWN, FlowDoing, StepDoing, flow_class, node_class
from support.random_programs_stores import Quiet, Token, new_store

if TYPE_CHECKING:
    import types
    from collections.abc import Awaitable, Callable, Generator

    from opentelemetry.context import Context

    from support.random_programs import Program, Run
    from support.random_programs_nodes import Doing, Probe

_MAX_RUNS = 20
"""After so many runs everything answers with an action that ends the flow."""
_PATIENCE = 30
"""Seconds that a thread waits for its turn."""

CUT = {"cancel", "close", "throw"}
"""Ways to run in which tasks may be left behind."""


class Turns:
    """Lets threads go on one at a time, at each of their calls another one: always the same way."""

    def __init__(self, threads: int) -> None:
        self._waiting = list(range(threads))
        self._changed = threading.Condition()

    def take(self, me: int) -> None:
        """Lets the next thread go on, and waits until it is this one's turn again."""
        with self._changed:
            if self._waiting[0] == me:
                self._waiting.append(self._waiting.pop(0))
                self._changed.notify_all()
            self._wait_for(me)

    def begin(self, me: int) -> None:
        """Waits for the first turn."""
        with self._changed:
            self._wait_for(me)

    def end(self, me: int) -> None:
        """The thread is done."""
        with self._changed:
            self._waiting.remove(me)
            self._changed.notify_all()

    def _wait_for(self, me: int) -> None:
        came = self._changed.wait_for(lambda: self._waiting[0] == me, _PATIENCE)
        assert came, "a thread waits for another that does not go on"


class World:
    """Everything around the nodes of one program: what it counts is this program's alone."""

    def __init__(self, program: Program, framework: types.ModuleType) -> None:
        self.program = program
        self.framework = framework
        self.log: list[Any] = []
        self.probes: list[Probe] = []
        self.lives: list[tuple[str, weakref.ref[Any]]] = []
        self.classes: list[tuple[type, dict[str, Any]]] = []
        self.leaks: list[str] = []
        self.loop_errors: list[str] = []
        self.nodes: list[Any] = []
        self.total = 0
        self._names: Counter[str] = Counter()
        self._turns: Turns | None = None
        self._mine = threading.local()
        self._shared: dict[int, Any] = {}
        self.store = self.new_store()

    # --- what nodes ask it ------------------------------------------------------------------

    def note(self, *what: Any) -> None:
        """Adds to the ordered log of what the program did."""
        self.log.append((getattr(self._mine, "number", 0), *what))

    def take_turn(self) -> None:
        """Lets other threads go on, if there are any."""
        if self._turns is not None:
            self._turns.take(self._mine.number)

    @property
    def goes_on(self) -> bool:
        """Is there time for more?"""
        return self.total <= _MAX_RUNS

    def token(self, label: str, *, quiet: bool = False) -> Any:
        """An object whose life is watched."""
        label = self.name(label)
        value = Quiet(label) if quiet else Token(label, self.log)
        return self.watched(label, value)

    def watched(self, label: str, value: Any) -> Any:
        """Has the life of an object watched."""
        self.lives.append((label, weakref.ref(value)))
        return value

    def name(self, base: str) -> str:
        """Another name for each."""
        self._names[base] += 1
        return f"{base}{self._names[base] - 1}"

    def new_store(self) -> Any:
        """A store with the program's content."""
        store = new_store(self.program.store, self.program.content, self.log)
        with contextlib.suppress(TypeError):  # of some kinds, nobody can watch the life
            self.watched("store", store)
        return store

    # --- nodes ------------------------------------------------------------------------------

    def node(self, graph: Step | Plan | Shared) -> Any:
        """A node or flow."""
        if isinstance(graph, Shared):
            number = graph.number % len(self.program.shared)
            if number not in self._shared:
                self._shared[number] = self.node(self.program.shared[number])
            return self._shared[number]
        made = self._flow(graph) if isinstance(graph, Plan) else self._step(graph)
        self.nodes.append(self.watched("a node", made))
        return made

    def _step(self, step: Step) -> Any:
        doing = StepDoing(self, step)
        cls = self._class(node_class(doing, getattr(self.framework, step.base)), step.own, doing)
        if step.base == "BaseNode":
            return cls()
        return cls(step.retries, step.wait)

    def _flow(self, plan: Plan) -> Any:
        nodes = [self.node(step) for step in plan.steps]
        for source, action, target in plan.edges:
            start, end = nodes[source % len(nodes)], nodes[target % len(nodes)]
            if action not in start.successors:
                start.next(end, action)
        doing = FlowDoing(self, plan)
        cls = flow_class(doing, getattr(self.framework, plan.base))
        return self._class(cls, plan.own, doing)(start=nodes[0])

    def _class(self, cls: type, own: str, doing: Doing) -> Any:
        if own:
            cls = OWN[own](cls, doing)
        cls.__name__ = cls.__qualname__ = doing.name
        self.watched("a class", cls)
        self.classes.append((cls, dict(vars(cls))))
        return cls

    # --- the program ------------------------------------------------------------------------

    def perform(self) -> list[Any]:
        """Runs all; what they returned or raised."""
        runs = self.program.runs
        if not self.program.together:
            return [self._outcome(run) for run in runs]
        self._turns = Turns(len(runs))
        ends: list[Any] = [None] * len(runs)

        def thread(number: int) -> None:
            assert self._turns is not None
            self._mine.number = number
            self._turns.begin(number)
            ends[number] = self._outcome(runs[number])
            self._turns.end(number)

        threads = [threading.Thread(target=thread, args=[n]) for n in range(len(runs))]
        for started in threads:
            started.start()
        for started in threads:
            started.join()
        return ends

    def _outcome(self, run: Run) -> Any:
        try:
            with self._surroundings(), self.unchanged_context():
                return ("returned", self._run(run))
        except BaseException as exc:  # noqa: BLE001 - all kinds are compared
            return ("raised", exc)

    def _run(self, run: Run) -> Any:
        node = self.node(run.graph)
        if run.params:
            node.set_params({"p": self.token("params"), "n": 1})
        if run.graph.is_async:
            return asyncio.run(self._run_async(run, node, self.store))
        return _SYNC_WAYS[run.how](node, self.store)

    async def _run_async(self, run: Run, node: Any, store: Any) -> Any:
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        with self.unchanged_context():
            try:
                return await _ASYNC_WAYS[run.how](node, store, run.steps)
            finally:
                if run.how in CUT:
                    await _others_done()

    def _on_loop_error(self, loop: object, details: dict[str, Any]) -> None:
        exc = details.get("exception")
        self.loop_errors.append(f"{details['message']}: {type(exc).__name__}")

    def _surroundings(self) -> contextlib.AbstractContextManager[None]:
        return _attached(_SURROUNDINGS[self.program.around](context_api.get_current()))

    @contextlib.contextmanager
    def unchanged_context(self) -> Generator[None]:
        """Takes down what is left attached."""
        before, runs_around = _variables(), AROUND.get()
        try:
            yield
        finally:
            after = _variables()
            if [*before] != [*after] or any(before[var] is not after[var] for var in before):
                self.leaks.append("the context is another one afterwards")
            AROUND.set(runs_around)

    # --- inside another node ----------------------------------------------------------------

    def in_thread(self, how: str, function: Callable[[], Any]) -> Any:
        """Calls a function in another thread, and waits for it."""
        number = getattr(self._mine, "number", 0)
        context = contextvars.copy_context() if "in context" in how else contextvars.Context()

        def work() -> Any:
            self._mine.number = number
            with self.unchanged_context():
                return function()

        if how.startswith("pool"):
            with ThreadPoolExecutor(1) as pool:
                future = pool.submit(context.run, work)
                wait([future])  # who is too early for the result takes another way through it
                return future.result()
        ends: list[tuple[Any, BaseException | None]] = []

        def thread() -> None:
            try:
                ends.append((context.run(work), None))
            except BaseException as exc:  # noqa: BLE001 - raised again by who waits
                ends.append((None, exc))

        started = threading.Thread(target=thread)
        started.start()
        started.join()
        result, raised = ends.pop()
        if raised is not None:
            raise raised
        return result


def _variables() -> dict[contextvars.ContextVar[Any], Any]:
    own = {AROUND.name, KEPT.name}
    current = contextvars.copy_context().items()
    return {var: value for var, value in current if var.name not in own}


@contextlib.contextmanager
def _attached(context: Context) -> Generator[None]:
    token = context_api.attach(context)
    try:
        yield
    finally:
        context_api.detach(token)


def _remote(flags: int) -> Callable[[Context], Context]:
    parent = NonRecordingSpan(
        SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(flags))
    )
    return lambda context: trace.set_span_in_context(parent, context)


_SURROUNDINGS: dict[str, Callable[[Context], Context]] = {
    "": lambda context: context,
    "baggage": lambda context: baggage.set_baggage("who", "me", context),
    "sampled": _remote(1),
    "unsampled": _remote(0),
    "suppressed": lambda context: context_api.set_value("suppress_instrumentation", True, context),
}

# --- ways to run ----------------------------------------------------------------------------


def _class_of(node: Any) -> Any:
    return type(node)


_SYNC_WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "run": lambda node, store: node.run(store),
    "keyword": lambda node, store: node.run(shared=store),
    "unbound": lambda node, store: _class_of(node).run(node, store),
    "framework": lambda node, store: node._run(store),
}


async def _cancelled(node: Any, store: Any, steps: int) -> Any:
    task = asyncio.ensure_future(node.run_async(store))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    return await task


async def _never(node: Any, store: Any, steps: int) -> Any:
    del steps
    node.run_async(store)


class _Cut:
    """Awaits a coroutine for so many steps, and then closes it or throws something into it."""

    def __init__(self, coroutine: Any, steps: int, *, throws: bool) -> None:
        self._coroutine = coroutine
        self._steps = steps
        self._throws = throws

    def __await__(self) -> Generator[Any, None, Any]:
        go_on = partial(self._coroutine.send, None)
        for step in count():
            if step == self._steps:
                if not self._throws:
                    return self._coroutine.close()
                go_on = partial(self._coroutine.throw, CustomError(0))
            try:
                waited = go_on()
            except StopIteration as stop:
                return stop.value
            try:
                yield waited
                go_on = partial(self._coroutine.send, None)
            except BaseException as exc:  # noqa: BLE001 - of whatever kind, the coroutine gets it
                go_on = partial(self._coroutine.throw, exc)
        return None


async def _cut(node: Any, store: Any, steps: int, *, throws: bool) -> Any:
    return await _Cut(node.run_async(store), steps, throws=throws)


async def _others_done() -> None:
    """Lets tasks come to their ends that nobody waits for."""
    for _ in range(200):
        if len(asyncio.all_tasks()) == 1:
            return
        await asyncio.sleep(0)


_ASYNC_WAYS: dict[str, Callable[[Any, Any, int], Awaitable[Any]]] = {
    "run": lambda node, store, steps: node.run_async(store),
    "keyword": lambda node, store, steps: node.run_async(shared=store),
    "unbound": lambda node, store, steps: _class_of(node).run_async(node, store),
    "framework": lambda node, store, steps: node._run_async(store),
    "cancel": _cancelled,
    "close": lambda node, store, steps: _cut(node, store, steps, throws=False),
    "throw": lambda node, store, steps: _cut(node, store, steps, throws=True),
    "never": _never,
}
