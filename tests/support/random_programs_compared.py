"""Runs a random program plain and traced: both come to the same, and nothing is left behind."""

from __future__ import annotations

import contextlib
import contextvars
import copy
import gc
import json
import random
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import currently_in_test_context, note
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
from support.described import described, described_error
from support.framework import pocketflow
from support.patches import applied
from support.random_programs import Nest, Program, Run, Step, Tracer, everything_in
from support.random_programs_world import CUT, World
from support.tracing import Recorder, Trace, faults_raise, logged, methods_of

if TYPE_CHECKING:
    import types
    import weakref
    from collections.abc import Callable, Generator

    from support.random_programs_nodes import Probe

_COLLECTIONS = 20
_SAMPLERS: dict[str, Sampler] = {
    "on": ALWAYS_ON,
    "off": ALWAYS_OFF,
    "ratio": TraceIdRatioBased(0.5),
    "parent": ParentBased(ALWAYS_ON),
    "only parent": ParentBased(ALWAYS_OFF),
}


@dataclass(frozen=True)
class Seen:
    """Everything that the author of a program can notice."""

    ends: list[Any]
    store: Any
    log: list[Any]
    warnings: list[str]
    nodes: list[Any]
    loop_errors: list[str]
    unraisable: list[str]
    numbers: int
    """Where the global random numbers stand at the end."""


@dataclass(frozen=True)
class Aside:
    """What must hold of a run by itself, and what the trace is held against."""

    leaks: list[str]
    changed_classes: list[str]
    alive: list[str]
    """What is still alive when the program is gone."""
    kept: list[str]
    """What is so even when the garbage has been collected."""
    probes: list[Probe]
    execs: int
    """Calls of `exec`."""
    content: Any
    """The store at the end, where it is plain."""


def equivalent(
    program: Program, tracer: Tracer, framework: types.ModuleType = pocketflow
) -> tuple[Aside, Trace]:
    """Runs a program plain and traced, and asserts that it comes out the same.

    Args:
        program: is built anew for each.
        tracer: how it is traced.
        framework: the module that it uses.
    """
    if currently_in_test_context():
        note(f"To keep it: ({program!r}, {tracer!r})")
    (plain, before), (seen, aside), recorder = _both(program, tracer, framework)
    for name, value in vars(plain).items():
        assert getattr(seen, name) == value, name
    _check(before, aside)
    if _waiting(before, aside):  # what the first run of a kind leaves, another one need not leave
        (_, before), (_, aside), recorder = _both(program, tracer, framework)
        assert not _waiting(before, aside), "waits for the garbage collector"
    assert set(recorder.started) == set(recorder.ended), "a span was never ended"
    return aside, Trace(recorder)


def _both(
    program: Program, tracer: Tracer, framework: types.ModuleType
) -> tuple[tuple[Seen, Aside], tuple[Seen, Aside], Recorder]:
    plain = observed(program, framework)
    with _traced(tracer, framework) as recorder:
        traced = observed(program, framework)
    return plain, traced, recorder


def _waiting(before: Aside, aside: Aside) -> set[str]:
    """What lives longer than in the plain run, until the garbage is collected."""
    return set(aside.alive) - set(before.alive)


def _check(before: Aside, aside: Aside) -> None:
    assert aside.leaks == before.leaks
    assert aside.changed_classes == []
    assert before.kept == [], "what the program keeps by itself tells nothing"
    assert aside.kept == [], "kept after the run"


# --- a program, observed --------------------------------------------------------------------


def observed(program: Program, framework: types.ModuleType) -> tuple[Seen, Aside]:
    """Runs a program, and describes all that can be seen of it, until the garbage is collected."""
    with _frozen():
        seen, aside, lives = contextvars.copy_context().run(_observed, program, framework)
        aside.alive[:] = _alive(lives)
        aside.kept[:] = _kept(lives)
    seen.loop_errors.sort()
    return seen, aside


@contextlib.contextmanager
def _frozen() -> Generator[None]:
    """Nothing is collected by chance; and a collection has to look at little."""
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def _kept(lives: list[tuple[str, weakref.ref[Any]]]) -> list[str]:
    """What no collection frees; where another thread is collecting just then, one does nothing."""
    for _ in range(_COLLECTIONS):
        gc.collect()
        if not _alive(lives):
            return []
        time.sleep(0.001)
    return _alive(lives)


def _alive(lives: list[tuple[str, weakref.ref[Any]]]) -> list[str]:
    return sorted(label for label, life in lives if life() is not None)


def _observed(
    program: Program, framework: types.ModuleType
) -> tuple[Seen, Aside, list[tuple[str, weakref.ref[Any]]]]:
    world = World(program, framework)
    on_framework = methods_of(framework)
    unraisable: list[str] = []
    random.seed(1)
    with _unraisable(unraisable), _copies_told(world), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter(program.filter)
        ends = world.perform()
        described_ends = [_described_end(*end) for end in ends]
        numbers = hash(random.getstate())
        ends.clear()
    seen = Seen(
        ends=described_ends,
        store=described(world.store),
        log=world.log,
        warnings=[f"{w.filename}:{w.lineno} {w.category.__name__}: {w.message}" for w in told],
        nodes=[described(node) for node in world.nodes],
        loop_errors=world.loop_errors,
        unraisable=unraisable,
        numbers=numbers,
    )
    changed = [cls.__name__ for cls, own in world.classes if _members(cls) != own]
    changed += ["the framework"] * (methods_of(framework) != on_framework)
    content = copy.deepcopy(world.store) if is_replayable(program) else None
    execs = sum(entry[1] == "exec" for entry in world.log)
    aside = Aside(world.leaks, changed, [], [], world.probes, execs, content)
    return seen, aside, world.lives


def _members(cls: type) -> dict[str, Any]:
    """What stands on a class, but for what `copy` puts there."""
    return {name: value for name, value in vars(cls).items() if name != "__slotnames__"}


def _described_end(how: str, value: Any) -> Any:
    if how == "returned":
        return how, described(value)
    return how, described_error(value)


@contextlib.contextmanager
def _unraisable(told: list[str]) -> Generator[None]:
    before = sys.unraisablehook
    sys.unraisablehook = lambda args: told.append(f"{args.exc_type.__name__}: {args.err_msg}")
    try:
        yield
    finally:
        sys.unraisablehook = before


_telling: list[World] = []
"""The world that is told of copies, while it runs."""


def _told_copy(value: Any, *, shallow: Callable[[Any], Any] = copy.copy) -> Any:
    _telling[0].note("copy", type(value).__name__)
    return shallow(value)


def _told_deepcopy(
    value: Any, memo: Any = None, *, deep: Callable[..., Any] = copy.deepcopy
) -> Any:
    _telling[0].note("deepcopy", type(value).__name__)
    return deep(value, memo)


@contextlib.contextmanager
def _copies_told(world: World) -> Generator[None]:
    """Takes down each call of `copy.copy` and `copy.deepcopy`, whoever makes it."""
    before = copy.copy, copy.deepcopy
    _telling.append(world)
    copy.copy, copy.deepcopy = _told_copy, _told_deepcopy
    try:
        yield
    finally:
        copy.copy, copy.deepcopy = before
        _telling.clear()


# --- how it is traced -----------------------------------------------------------------------


@contextlib.contextmanager
def _traced(tracer: Tracer, framework: types.ModuleType) -> Generator[Recorder]:
    recorder = Recorder()
    before = methods_of(framework)
    instrumentor = PocketFlowInstrumentor()
    with faults_raise(), logged() as problems:
        instrumentor.instrument(
            module=framework.__name__,
            resource=False,
            **_providers(tracer, recorder),
            **_options(tracer),
        )
        try:
            yield recorder
        finally:
            instrumentor.uninstrument()
    assert methods_of(framework) == before, "uninstrument() left something behind"
    assert not problems


def _options(tracer: Tracer) -> dict[str, Any]:
    options = asdict(tracer)
    for name in ("sdk", "sampler", "metrics"):
        del options[name]
    return {**options, "levels": dict(tracer.levels)}


class _Ids(IdGenerator):
    """The same ones each time, and none from the global `random`."""

    def __init__(self) -> None:
        self._source = random.Random(1)  # noqa: S311 - no secret

    def generate_span_id(self) -> int:
        return self._source.getrandbits(64)

    def generate_trace_id(self) -> int:
        return self._source.getrandbits(128)


def _providers(tracer: Tracer, recorder: Recorder) -> dict[str, Any]:
    """Providers that are set nowhere."""
    given: dict[str, Any] = {}
    if tracer.sdk:
        provider = TracerProvider(
            _SAMPLERS[tracer.sampler],
            Resource({}),
            shutdown_on_exit=False,
            id_generator=_Ids(),
        )
        provider.add_span_processor(recorder)
        given["tracer_provider"] = provider
    if tracer.metrics:
        given["meter_provider"] = MeterProvider(
            [InMemoryMetricReader()],
            Resource({}),
            exemplar_filter=AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
        )
    return given


# --- what the trace must tell ---------------------------------------------------------------


def _is_out_of_sight(run: Run) -> bool:
    """Is it called past all methods of the framework?"""
    return run.how == "framework" and run.graph.own == "instead of run"


def is_replayable(program: Program) -> bool:
    """Is its store plain, and all that happens to it in one trace?"""
    return (
        program.store == "dict"
        and len(program.runs) == 1
        and program.runs[0].how not in CUT
        and not any(map(_is_elsewhere, everything_in(program)))
    )


def _may_miss_attempts(piece: Any) -> bool:
    """Does it hide its attempts, or may its items go on when the node has failed?"""
    return isinstance(piece, Step) and (
        piece.own == "around exec" or piece.base == "AsyncParallelBatchNode"
    )


def _is_elsewhere(piece: Any) -> bool:
    """Does it put what is no JSON into the store, or go on outside of the trace?"""
    if isinstance(piece, Nest):
        return piece.own_store or piece.how in {"thread", "pool"}
    return getattr(piece, "kind", "") == "token"


def check_trace(program: Program, aside: Aside, trace: Trace) -> None:
    """What must be true of every trace that tells all."""
    if program.around == "suppressed":
        # A thread that is started without the context does not know of it.
        assert not trace.nodes or any(map(_is_elsewhere, everything_in(program)))
    if program.around == "suppressed" or any(map(_is_out_of_sight, program.runs)):
        return
    _check_runs(aside, trace)
    if not any(map(_may_miss_attempts, everything_in(program))):
        nodes = [span for span in trace.nodes if span["span.kind"] == "node"]
        assert sum(span.get("node.attempts") or 0 for span in nodes) == aside.execs
    if is_replayable(program) and trace.nodes:
        initial = json.loads(trace.nodes[0]["shared.initial"])
        assert applied(initial, trace.patches()) == aside.content


def _check_runs(aside: Aside, trace: Trace) -> None:
    """Each run has one span, which is below that of the run around it."""
    spans = {span.id: span for span in trace.nodes}
    runs = [span for span in trace.nodes if span["span.kind"] in {"node", "flow"}]
    assert len({probe.span_id for probe in aside.probes}) == len(aside.probes), "a run has no span"
    for probe in aside.probes:
        assert spans[probe.span_id]["span.kind"] == probe.kind
        assert _run_around(spans, spans[probe.span_id].parent_id) == probe.around
    assert len(runs) == len(aside.probes), "a span is of no run"


def _run_around(spans: dict[int, Any], span_id: int | None) -> int | None:
    while span_id in spans:
        if spans[span_id]["span.kind"] in {"node", "flow"}:
            return span_id
        span_id = spans[span_id].parent_id
    return None
