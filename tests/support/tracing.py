"""Runs a program once plain and once traced: both must come out the same, and the trace be sound.

A *program* is a function that builds nodes and runs them through the `Stage` it is given::

    trace = traced(lambda stage: stage.run(Flow(start=Ask()), {"question": "why?"}))
    assert trace.lines() == ["invoke_workflow AskFlow", "  Ask"]
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import sys
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import wrapt
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import StatusCode

from opentelemetry import context as context_api
from opentelemetry.instrumentation import pocketflow as package
from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor, guard
from opentelemetry.instrumentation.pocketflow.capture import processor
from support.framework import pocketflow

if TYPE_CHECKING:
    import types
    from collections.abc import Generator, Iterator, Sequence

Program: TypeAlias = Callable[["Stage"], Any]
Store: TypeAlias = Any
Tree: TypeAlias = "tuple[str, list[Tree]]"

_OUR_FILES = (str(Path(package.__file__).parent), str(Path(wrapt.__file__).parent), __file__)
_log: list[Any] = []


def note(*what: Any) -> None:
    """Called by nodes: adds to the ordered log of what the program did."""
    _log.append(what[0] if len(what) == 1 else what)


# --- what a program came to -----------------------------------------------------------------


@dataclass(frozen=True)
class Raised:
    """An exception as the program's caller sees it."""

    type: str
    args: str
    frames: tuple[str, ...]
    """`file:line function`, without the tracer's."""


@dataclass(frozen=True)
class Outcome:
    """Everything about a run that tracing must not change."""

    result: Any
    raised: tuple[Raised, ...]
    """The exception and what it came from."""
    stores: tuple[Any, ...]
    log: tuple[Any, ...]
    warnings: tuple[str, ...]
    """`file:line Category: text`."""
    nodes: tuple[str, ...]
    """Class and attribute names of every node that was run."""


class Stage:
    """Where a program runs its nodes."""

    def __init__(self) -> None:
        self.stores: list[Any] = []
        self.nodes: list[Any] = []

    def run(self, node: Any, store: Any = None) -> Any:
        """Runs a node or flow on a store; a dict where none is given."""
        return node.run(self.watch(node, store))

    async def run_async(self, node: Any, store: Any = None) -> Any:
        """Runs an async node or flow on a store; a dict where none is given."""
        return await node.run_async(self.watch(node, store))

    def watch(self, node: Any, store: Any = None) -> Any:
        """Has a node and a store compared at the end."""
        store = {} if store is None else store
        self.stores.append(store)
        self.nodes.append(node)
        return store


async def _supervised(coroutine: Any) -> Any:
    before = context_api.get_current()
    try:
        return await coroutine
    finally:
        assert context_api.get_current() is before, "a context stayed attached"


def act(program: Program) -> Outcome:
    """Runs a program and keeps everything that its author could notice."""
    stage, before = Stage(), context_api.get_current()
    _log.clear()
    result: Any = None
    raised: tuple[Raised, ...] = ()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = program(stage)
            if inspect.iscoroutine(result):
                result = asyncio.run(_supervised(result))
        except BaseException as exc:  # noqa: BLE001 - KeyboardInterrupt and SystemExit are compared too
            result, raised = None, tuple(_raised(exc))
    assert context_api.get_current() is before, "a context stayed attached"
    return Outcome(
        result=result,
        raised=raised,
        stores=tuple(stage.stores),
        log=tuple(_log),
        warnings=tuple(
            f"{Path(w.filename).name}:{w.lineno} {w.category.__name__}: {w.message}" for w in caught
        ),
        nodes=tuple(_nodes(stage.nodes)),
    )


def _raised(exc: BaseException | None) -> Iterator[Raised]:
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        # Python 3.10 cuts the tracebacks of what a cancellation came from, here and there.
        frames = _frames(exc) if not seen or sys.version_info >= (3, 11) else ()
        seen.add(id(exc))
        yield Raised(type(exc).__qualname__, repr(exc.args), frames)
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)


def _frames(exc: BaseException) -> tuple[str, ...]:
    return tuple(
        f"{frame.filename}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(exc.__traceback__)
        if not frame.filename.startswith(_OUR_FILES)
    )


def _nodes(roots: Sequence[Any]) -> Iterator[str]:
    """Every node that can be reached, with the names of its attributes."""
    pending, seen = list(roots), set[int]()
    while pending:
        node = pending.pop(0)
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        cls: type = node.__class__
        own: dict[str, Any] = getattr(node, "__dict__", {})
        yield f"{cls.__name__} {sorted(own)} {sorted(vars(cls))}"
        pending += [own.get("start_node"), own.get("start"), *own.get("successors", {}).values()]


# --- the trace ------------------------------------------------------------------------------


class Recorder(SpanProcessor):
    """Keeps spans in the order in which they were started."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.ended: dict[int, ReadableSpan] = {}

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        """A span begins."""
        self.started.append(_id_of(span))

    def on_end(self, span: ReadableSpan) -> None:
        """A span is over."""
        assert _id_of(span) not in self.ended, "a span ended twice"
        self.ended[_id_of(span)] = span


def _id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


class SpanView:
    """One span, to be asked for its attributes."""

    def __init__(self, span: ReadableSpan) -> None:
        self.span = span
        self.name = span.name
        self.attributes: dict[str, Any] = dict(span.attributes or {})
        self.events = [dict(event.attributes or {}) for event in span.events]
        self.id = _id_of(span)
        self.parent_id = span.parent.span_id if span.parent is not None else None
        self.start: int = span.start_time or 0
        self.end: int = span.end_time or 0

    def __getitem__(self, name: str) -> Any:
        """An attribute; names of ours go without `pocketflow.`."""
        return self.attributes[name if name in self.attributes else f"pocketflow.{name}"]

    def __contains__(self, name: str) -> bool:
        return name in self.attributes or f"pocketflow.{name}" in self.attributes

    def get(self, name: str) -> Any:
        """An attribute, or None."""
        return self.attributes.get(name, self.attributes.get(f"pocketflow.{name}"))

    def pick(self, *names: str) -> dict[str, Any]:
        """Those of the named attributes that are there."""
        return {name: self[name] for name in names if name in self}

    def json(self, name: str) -> Any:
        """An attribute that holds JSON."""
        return json.loads(self[name])

    @property
    def patch(self) -> list[dict[str, Any]]:
        """The changes of the store that this span shows."""
        return self.json("shared.diff") if "shared.diff" in self else []

    @property
    def writes(self) -> list[tuple[str, str, str]]:
        """Operation, path and phase of each change."""
        return [(change["op"], change["path"], change["phase"]) for change in self.patch]

    @property
    def is_error(self) -> bool:
        """Has its status been set to ERROR?"""
        return self.span.status.status_code is StatusCode.ERROR

    @property
    def size(self) -> int:
        """Bytes of its attributes and events, names and values."""
        events = sum(_bytes_of(event) for event in self.events)
        return _bytes_of(self.attributes) + events

    @property
    def label(self) -> str:
        """Name, and how it ended: `[ValueError]`, `[ValueError, recorded]`, `[cancelled]`."""
        ending: list[str] = []
        if "error.type" in self:
            ending.append(self["error.type"])
        assert self.is_error == bool(ending), "status and error.type belong together"
        ending += ["recorded"] * len(self.events)
        ending += [self["outcome"]] if "outcome" in self else []
        return f"{self.name} [{', '.join(ending)}]" if ending else self.name


def _bytes_of(attributes: dict[str, Any]) -> int:
    return sum(len(name.encode()) + _value_bytes(value) for name, value in attributes.items())


def _value_bytes(value: Any) -> int:
    if isinstance(value, tuple | list):
        return sum(map(_value_bytes, cast("Sequence[Any]", value)))
    return len(value.encode()) if isinstance(value, str) else 8


class Trace:
    """The spans of one traced run."""

    def __init__(self, recorder: Recorder, outcome: Outcome | None = None) -> None:
        self.outcome = outcome
        self.nodes = [SpanView(recorder.ended[i]) for i in recorder.started if i in recorder.ended]
        self._children: dict[int | None, list[SpanView]] = defaultdict(list)
        known = {node.id for node in self.nodes}
        for node in self.nodes:
            self._children[node.parent_id if node.parent_id in known else None].append(node)

    def lines(self) -> list[str]:
        """The spans' labels, indented by two blanks for each level."""
        return [f"{'  ' * depth}{node.label}" for depth, node in self._walk(None, 0)]

    def tree(self) -> list[Tree]:
        """The spans' names, each with those of its children."""
        return self._tree(None)

    def node(self, name: str, occurrence: int = 1) -> SpanView:
        """The span of that name; the first one, or a later one."""
        return self.all(name)[occurrence - 1]

    def all(self, name: str) -> list[SpanView]:
        """The spans of that name in the order in which they started."""
        return [node for node in self.nodes if node.name == name]

    def values(self, attribute: str, name: str | None = None) -> list[Any]:
        """An attribute of all spans (of a name) that have it."""
        nodes = self.nodes if name is None else self.all(name)
        return [node[attribute] for node in nodes if attribute in node]

    def children(self, node: SpanView) -> list[SpanView]:
        """The spans directly below one."""
        return self._children[node.id]

    def parent(self, node: SpanView) -> SpanView | None:
        """The span above one, if it is of this trace."""
        return next((other for other in self.nodes if other.id == node.parent_id), None)

    @property
    def result(self) -> Outcome:
        """What the program came to."""
        assert self.outcome is not None
        return self.outcome

    def patches(self) -> list[dict[str, Any]]:
        """The changes of all spans, in the order in which they were seen."""
        changes = [change for node in self.nodes if "shared.diff" in node for change in node.patch]
        return sorted(changes, key=lambda change: change["seq"])

    def check_nesting(self) -> None:
        """Children begin and end within their parents, and siblings are in order."""
        for node in self.nodes:
            assert node.start <= node.end, f"{node.name} ends before it begins"
            children = self.children(node)
            assert all(node.start <= child.start for child in children), node.name
            late = [child.label for child in children if child.end > node.end]
            assert not late, f"{late} end after {node.label}: {self.lines()}"
            starts = [child.start for child in children if child["span.kind"] != "phase"]
            assert starts == sorted(starts), node.name

    def _walk(self, parent: int | None, depth: int) -> Iterator[tuple[int, SpanView]]:
        for node in self._children[parent]:
            yield depth, node
            yield from self._walk(node.id, depth + 1)

    def _tree(self, parent: int | None) -> list[Tree]:
        return [(node.name, self._tree(node.id)) for node in self._children[parent]]


# --- tracing --------------------------------------------------------------------------------


class Tracing:
    """What `tracing` yields: the spans so far, and the provider that makes them."""

    def __init__(self, provider: TracerProvider, recorder: Recorder) -> None:
        self.provider = provider
        self.recorder = recorder

    def trace(self, outcome: Outcome | None = None) -> Trace:
        """The spans that have ended."""
        return Trace(self.recorder, outcome)


class _LogRecords(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextlib.contextmanager
def logged() -> Generator[list[str]]:
    """The warnings that OpenTelemetry logs, ours and the SDK's."""
    handler, logger = _LogRecords(), logging.getLogger("opentelemetry")
    logger.addHandler(handler)
    try:
        yield handler.texts
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def faults_raise() -> Generator[None]:
    """A fault of the tracer fails the test."""
    before, guard.reraise = guard.reraise, True
    try:
        yield
    finally:
        guard.reraise = before


def methods_of(*modules: types.ModuleType) -> list[tuple[type, dict[str, object]]]:
    """Everything that stands on the classes of a module, but for what `copy` puts there."""
    return [
        (value, {name: entry for name, entry in vars(value).items() if name != "__slotnames__"})
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
    ]


@contextlib.contextmanager
def tracing(
    *, sampler: Any = None, framework: types.ModuleType = pocketflow, **options: Any
) -> Generator[Tracing]:
    """Instruments, and checks that nothing is left behind afterwards.

    Args:
        sampler: of the provider.
        framework: the module that is instrumented.
        **options: of the instrumentor.
    """
    recorder = Recorder()
    provider = TracerProvider(sampler=sampler, resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(recorder)
    before = methods_of(framework)
    processor._with_metric.clear()  # what other tests have shown stays known in a process
    instrumentor = PocketFlowInstrumentor()
    with faults_raise(), logged() as problems:
        given: dict[str, Any] = {"module": framework.__name__, "resource": False, **options}
        instrumentor.instrument(tracer_provider=provider, **given)
        try:
            yield Tracing(provider, recorder)
        finally:
            if instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()
    assert methods_of(framework) == before, "uninstrument() left something behind"
    assert not problems


def compared(
    program: Program,
    *,
    nested: bool = True,
    sampler: Any = None,
    framework: types.ModuleType = pocketflow,
    **options: Any,
) -> Trace:
    """Runs a program plain and traced, asserts that both came out the same, and returns the trace.

    Args:
        program: builds its nodes and runs them.
        nested: are spans to end within their parents? Tasks may outlive what started them.
        sampler: of the provider.
        framework: the module that is instrumented.
        **options: of the instrumentor.
    """
    plain = act(program)
    with tracing(sampler=sampler, framework=framework, **options) as running:
        outcome = act(program)
    assert vars(outcome) == vars(plain)
    recorder = running.recorder
    assert set(recorder.started) == set(recorder.ended), "a span was never ended"
    trace = running.trace(outcome)
    if nested:
        trace.check_nesting()
    return trace


def traced(program: Program, *, raises: type[BaseException] | None = None, **options: Any) -> Trace:
    """Like `compared`, for a program that is known to return, or to raise.

    Args:
        program: builds its nodes and runs them.
        raises: the exception that it ends with.
        **options: of `compared`.
    """
    trace = compared(program, **options)
    assert [end.type for end in trace.result.raised[:1]] == (
        [raises.__qualname__] if raises else []
    )
    return trace
