"""Traces a block of a test with a provider of its own, and holds what it did."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NoOpTracer

from opentelemetry.instrumentation.pocketflow import Config, PocketFlowInstrumentor
from pocketflow_trace.record import facts
from pocketflow_trace.record.collector import RunCollector
from pocketflow_trace.record.model import walk
from pocketflow_trace.testing.orderly import orderly
from pocketflow_trace.testing.traced import (
    Failed,
    FlowTrace,
    NodeTrace,
    Usage,
    brief,
    errors_in,
    tree,
    usage_of,
)
from pocketflow_trace.text import shorten

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from pocketflow_trace.record.model import Entry, Run

MAX_SPANS: Final = 100_000
"""Spans that one trace keeps; a test that makes more is told of it."""

_SPAN_BYTES: Final = 1_000_000
"""Of attributes, unless asked otherwise: what a test compares should not be cut."""

_MAX_REPR: Final = 200


class TracingError(Exception):
    """The program cannot be traced in this test; the message says why."""


@contextlib.contextmanager
def tracing(*, real_times: bool = False, **options: Any) -> Generator[Trace]:
    """Trace all flows and nodes that run inside the block.

    Args:
        real_times: Keep the clock's times. Otherwise `trace.run` counts steps of a millisecond, and
            has no durations of phases.
        **options: Options of `Config`, such as `flow_names`. The environment's do not count;
            `resource` is off, and a span may be large.

    Yields:
        The trace, which can be read inside the block and after it.

    Raises:
        TracingError: PocketFlow is instrumented already, or OTEL_SDK_DISABLED is true.
        TypeError: An option does not exist, or has a value of the wrong type.
        ValueError: An option has a value that is not allowed.
    """
    settings: dict[str, Any] = {"resource": False, "max_span_bytes": _SPAN_BYTES, **options}
    config = Config(**settings)
    instrumentor = PocketFlowInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        raise TracingError(
            "PocketFlow is instrumented already, so its spans go elsewhere: end the other "
            "tracing() block, or call PocketFlowInstrumentor().uninstrument() before this one"
        )
    provider = _provider()
    trace = Trace(provider, real_times=real_times)
    instrumentor.instrument(
        config=config, tracer_provider=provider, meter_provider=NoOpMeterProvider()
    )
    try:
        yield trace
    finally:
        instrumentor.uninstrument()
        provider.shutdown()


class _CountingIds(IdGenerator):
    """Ids 1, 2, 3: the same in every run, and without the global `random`."""

    def __init__(self) -> None:
        self._spans, self._traces = itertools.count(1), itertools.count(1)

    def generate_span_id(self) -> int:
        return next(self._spans)

    def generate_trace_id(self) -> int:
        return next(self._traces)


def _provider() -> TracerProvider:
    """Build a provider that the environment does not change.

    Raises:
        TracingError: It makes no spans.
    """
    provider = TracerProvider(
        sampler=ALWAYS_ON,
        resource=Resource.get_empty(),
        id_generator=_CountingIds(),
        shutdown_on_exit=False,
    )
    if isinstance(provider.get_tracer(__name__), NoOpTracer):
        raise TracingError("the SDK makes no spans: OTEL_SDK_DISABLED is true")
    return provider


class Trace:
    """All that ran in a `tracing()` block, so far or at its end."""

    def __init__(self, provider: TracerProvider, *, real_times: bool = False) -> None:
        self.tracer_provider = provider
        """For instrumentations whose spans shall be in the trace, such as those of LLM clients."""
        self._real_times = real_times
        self._collector = RunCollector(MAX_SPANS)
        provider.add_span_processor(self._collector)

    @property
    def run(self) -> Run:
        """The record that all views of `pocketflow-trace` read.

        Raises:
            TracingError: There were more spans than a trace keeps.
        """
        run = self._collector.snapshot()
        if run.dropped:
            raise TracingError(f"more than {MAX_SPANS:,} spans: trace less in one block")
        return orderly(run, keep_times=self._real_times)

    @property
    def flows(self) -> list[FlowTrace]:
        """The outermost runs of flows, in the order they began."""
        return [FlowTrace(root) for root in self.run.roots if root.kind == "flow"]

    def flow(self, name: str, number: int | None = None) -> FlowTrace:
        """Return a run of a flow, nested ones too, by its name or its id.

        Args:
            name: Name or id.
            number: Which of several, from 1, in the order they began.

        Raises:
            LookupError: There is none, or there are several and no number was given.
        """
        flows = [entry for entry in walk(self.run.roots) if entry.kind == "flow"]
        return FlowTrace(self._pick("flow", _called(name, flows), name, number, flows))

    @property
    def path(self) -> list[str]:
        """Ids of the nodes in the order they ran, where one flow ran, or one node by itself.

        Raises:
            LookupError: Several ran; each of `flows` has its own path.
        """
        roots = self.run.roots
        if len(roots) > 1:
            names = ", ".join(facts.class_name(root) for root in roots)
            raise LookupError(
                f"{len(roots)} runs have a path each ({names}): see trace.flows\n{self}"
            )
        return [step for root in roots for step in _path(root)]

    @property
    def nodes(self) -> list[NodeTrace]:
        """All runs of nodes, in the order they began; of parallel ones, branch by branch."""
        return [NodeTrace(entry) for entry in walk(self.run.roots) if entry.kind == "node"]

    def node(self, name: str, number: int | None = None) -> NodeTrace:
        """Return a run of a node by its class or its id.

        Args:
            name: Class or id.
            number: Which of several, from 1, in the order they began.

        Raises:
            LookupError: There is none, or there are several and no number was given.
        """
        nodes = [node.entry for node in self.nodes]
        return NodeTrace(self._pick("node", _called(name, nodes), name, number, nodes))

    @property
    def errors(self) -> list[Failed]:
        """The exceptions that ended flows, nodes and items, each where it began.

        What a retry or `exec_fallback` made good is not among them.
        """
        return errors_in(self.run.roots)

    @property
    def usage(self) -> Usage:
        """What all model calls used."""
        return usage_of(self.run.roots)

    def _pick(
        self, what: str, found: Sequence[Entry], name: str, number: int | None, all_: list[Entry]
    ) -> Entry:
        if not found:
            ran = ", ".join(dict.fromkeys(facts.place(entry) for entry in all_)) or "nothing"
            raise LookupError(f"no {what} {name!r} ran, but {ran}\n{self}")
        if number is None and len(found) > 1:
            raise LookupError(
                f"{name} ran {len(found)} times: say which, as in trace.{what}({name!r}, 1)\n{self}"
            )
        if not 1 <= (number or 1) <= len(found):
            raise LookupError(f"{name} ran {len(found)} times, not {number}\n{self}")
        return found[(number or 1) - 1]

    def __str__(self) -> str:
        """Return the tree of what ran, with the clock's times."""
        return tree(self._collector.snapshot().roots)

    def __repr__(self) -> str:
        ran = "; ".join(brief(root) for root in self.run.roots) or "nothing ran"
        return f"<Trace {shorten(ran, _MAX_REPR)}>"


def _path(root: Entry) -> list[str]:
    return list(facts.path(root)) if root.kind == "flow" else [facts.place(root)]


def _called(name: str, entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if name in {facts.class_name(entry), facts.place(entry)}]
