"""What a program gave to OpenTelemetry or to us, and that raises: as if we were not there.

A part of the SDK that raises does so in the program where the program itself makes a span, with and
without us, and nowhere else: our own spans and points never are a reason for an exception.
"""

# The framework's classes are Any here (see support.framework).
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from opentelemetry.metrics import NoOpCounter, NoOpHistogram, NoOpMeter, NoOpMeterProvider
from opentelemetry.metrics import NoOpUpDownCounter as NoOpUpDown
from opentelemetry.propagate import get_global_textmap, set_global_textmap
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler

from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor, guard
from opentelemetry.instrumentation.pocketflow.capture.runs import NodeRun
from pocketflow_trace.process.provider import own_provider
from support.fault_injection import Function, broken
from support.fault_programs import Client, retries
from support.fault_trials import LOST
from support.framework import Flow, Node, pocketflow
from support.tracing import Recorder, Stage, Trace, act, compared, logged, methods_of, note

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from support.tracing import Program

KINDS = (RuntimeError, MemoryError)
each_kind = pytest.mark.parametrize("kind", KINDS)

SDK_PARTS = ("processor", "exporter", "sampler", "id generator")


class Raises:
    """A part of which every call raises."""

    def __init__(self, kind: type[Exception]) -> None:
        self.kind = kind


def _fail(part: Raises, *args: Any, **kwargs: Any) -> NoReturn:
    raise part.kind("a fault of the user's")


FAIL: Any = _fail
"""A method that raises, whatever is expected of it."""


class RaisingProcessor(Raises, SpanProcessor):
    """A processor."""

    on_start = on_end = shutdown = force_flush = FAIL


class RaisingExporter(Raises, SpanExporter):
    """An exporter."""

    export = shutdown = force_flush = FAIL


class RaisingSampler(Raises, Sampler):
    """A sampler."""

    should_sample = get_description = FAIL


class RaisingIds(Raises, IdGenerator):
    """A generator of ids."""

    generate_span_id = generate_trace_id = FAIL


class RaisingPropagator(Raises, TextMapPropagator):
    """A propagator."""

    extract = inject = FAIL

    @property
    def fields(self) -> NoReturn:
        """Raises."""
        raise self.kind("a fault of the user's")


class RaisingHandler(Raises, logging.Handler):
    """A handler of log records, which is a filter, too."""

    def __init__(self, kind: type[Exception]) -> None:
        Raises.__init__(self, kind)
        logging.Handler.__init__(self)

    handle = emit = filter = FAIL


class RaisingCounter(NoOpCounter):
    """An instrument."""

    def add(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises."""
        raise RuntimeError("a fault of the user's")


class RaisingUpDown(NoOpUpDown):
    """An instrument."""

    def add(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises."""
        raise MemoryError("a fault of the user's")


class RaisingHistogram(NoOpHistogram):
    """An instrument."""

    def record(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises."""
        raise RuntimeError("a fault of the user's")


class RaisingInstruments(NoOpMeter):
    """Makes instruments that raise."""

    def create_counter(self, name: str, *args: Any, **kwargs: Any) -> NoOpCounter:
        """One that raises."""
        return RaisingCounter(name)

    def create_up_down_counter(self, name: str, *args: Any, **kwargs: Any) -> NoOpUpDown:
        """One that raises."""
        return RaisingUpDown(name)

    def create_histogram(self, name: str, *args: Any, **kwargs: Any) -> NoOpHistogram:
        """One that raises."""
        return RaisingHistogram(name)


class MetersOf(NoOpMeterProvider):
    """A provider that is not the API's own, so that it counts as one that records."""

    def get_meter(self, name: str, *args: Any, **kwargs: Any) -> NoOpMeter:
        """A meter of which instruments raise."""
        return RaisingInstruments(name)


class NoMeters(NoOpMeterProvider):
    """A provider that has no meters to give."""

    def get_meter(self, name: str, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises."""
        raise RuntimeError("a fault of the user's")


def _no_reservoir(*args: Any) -> NoReturn:
    raise RuntimeError("a fault of the user's")


def with_raising_view() -> MeterProvider:
    """A provider of the SDK of which a view raises when something is recorded."""
    view = View(instrument_name="*", exemplar_reservoir_factory=_no_reservoir)
    return MeterProvider([InMemoryMetricReader()], views=[view], shutdown_on_exit=False)


def provider_with(part: str, kind: type[Exception]) -> TracerProvider:
    """A provider of which one part raises."""
    parts: dict[str, Any] = {}
    if part == "sampler":
        parts["sampler"] = RaisingSampler(kind)
    elif part == "id generator":
        parts["id_generator"] = RaisingIds(kind)
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False, **parts)
    if part == "processor":
        provider.add_span_processor(RaisingProcessor(kind))
    elif part == "exporter":
        provider.add_span_processor(SimpleSpanProcessor(RaisingExporter(kind)))
    return provider


@pytest.fixture(autouse=True)
def _nothing_logged_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_reported", set[str]())


@contextlib.contextmanager
def instrumented(provider: TracerProvider, **options: Any) -> Generator[list[str]]:
    """Traces with a provider, and lists what is logged."""
    instrumentor = PocketFlowInstrumentor()
    with logged() as lines:
        instrumentor.instrument(tracer_provider=provider, resource=False, **options)
        try:
            yield lines
        finally:
            instrumentor.uninstrument()


def traced_beside(program: Program, **options: Any) -> tuple[list[str], list[str]]:
    """Runs a program plain and traced; what the trace is, and what was logged."""
    plain, recorder = act(program), Recorder()
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(recorder)
    with instrumented(provider, **options) as lines:
        assert act(program) == plain
    assert set(recorder.started) == set(recorder.ended)
    return Trace(recorder).lines(), lines


def own_span(stage: Stage) -> Any:
    """A program that makes a span in a node, and notes what comes of it."""

    class Own(Node):
        def exec(self, prep_res: Any) -> Any:
            try:
                with Client.tracer.start_as_current_span("own"):
                    note("inside")
            except KINDS as exc:
                note(repr(exc))
            return "done"

    return stage.run(Flow(start=Own()))


@each_kind
@pytest.mark.parametrize("part", SDK_PARTS)
def test_a_part_of_the_sdk_raises_for_our_spans(part: str, kind: type[Exception]) -> None:
    """The program has no span of its own, and sees nothing; what is lost is told once a place."""
    plain = act(retries)

    with instrumented(provider_with(part, kind)) as lines:
        assert act(retries) == plain

    ours = [line for line in lines if line.startswith(LOST)]
    assert bool(ours) is (part != "exporter")  # of which the SDK itself takes care
    assert len(set(ours)) == len(ours)


@each_kind
@pytest.mark.parametrize("part", SDK_PARTS)
def test_a_part_of_the_sdk_raises_for_a_span_of_the_programs(
    part: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There it raises with us just as it does without us."""
    provider = provider_with(part, kind)
    monkeypatch.setattr(Client, "tracer", provider.get_tracer("the program"))
    plain = act(own_span)

    with instrumented(provider):
        assert act(own_span) == plain
    assert ("inside" in plain.log) is (part == "exporter")


@each_kind
def test_shutting_down_raises_as_without_us(kind: type[Exception]) -> None:
    """We ask no processor to flush or shut down; who does, sees what it raises."""
    provider = provider_with("processor", kind)

    with instrumented(provider):
        act(retries)
        with pytest.raises(kind):
            provider.force_flush()
        with pytest.raises(kind):
            provider.shutdown()


class NoSpans(TracerProvider):
    """A provider of which the tracers can't make spans."""

    def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
        """A tracer that raises."""
        tracer = super().get_tracer(*args, **kwargs)
        tracer.start_span = partial(FAIL, Raises(RuntimeError))
        return tracer


def test_a_tracer_that_can_not_make_spans() -> None:
    """It is a tracer that makes no spans."""
    plain = act(retries)

    with instrumented(NoSpans(shutdown_on_exit=False)) as lines:
        assert act(retries) == plain

    assert len(set(lines)) == len(lines) > 0


@pytest.mark.parametrize("meters", [MetersOf, NoMeters, with_raising_view])
def test_metrics_that_raise_cost_no_span(meters: Any) -> None:
    """Provider, instruments or views: the spans are all there, and a line says what is lost."""
    sound, nothing = traced_beside(retries)
    assert not nothing

    lines, told = traced_beside(retries, meter_provider=meters())

    assert lines == sound
    assert told
    assert all(line.startswith(LOST) for line in told)
    assert len(set(told)) == len(told)


@each_kind
def test_a_propagator_is_never_asked(kind: type[Exception]) -> None:
    """We neither send nor take anything: that is for the clients and servers of the program."""
    sound, _ = traced_beside(retries)
    before = get_global_textmap()
    set_global_textmap(RaisingPropagator(kind))
    try:
        assert traced_beside(retries, baggage=True) == (sound, [])
    finally:
        set_global_textmap(before)


@each_kind
@pytest.mark.parametrize("where", ["addHandler", "addFilter"])
def test_logging_raises_when_a_fault_is_told(where: str, kind: type[Exception]) -> None:
    """Then nobody is told, and the program is still not affected."""
    logger, raising = logging.getLogger(guard.__name__), RaisingHandler(kind)
    with broken(Function.of(NodeRun.show.__code__)):
        _, told = traced_beside(retries)
        assert told
        guard._reported.clear()
        getattr(logger, where)(raising)
        try:
            _, told = traced_beside(retries)
        finally:
            getattr(logger, where.replace("add", "remove"))(raising)
    assert not told


@each_kind
def test_a_price_function_raises(kind: type[Exception]) -> None:
    """The cost is not known, and all else is as it was."""

    def answer(stage: Stage) -> Any:
        class Answer(Node):
            def exec(self, prep_res: Any) -> Any:
                return {"model": "m", "usage": {"prompt_tokens": 2, "completion_tokens": 1}}

        return stage.run(Flow(start=Answer()))

    lines, told = traced_beside(answer, price=partial(FAIL, Raises(kind)), currency="EUR")

    assert lines == ["invoke_workflow AnswerFlow", "  Answer"]
    assert len(told) == 1
    assert told[0].startswith(LOST)


@pytest.mark.parametrize("answer", [*KINDS, "no call", 7])
def test_a_usage_recogniser_raises_or_talks_nonsense(answer: Any) -> None:
    """The line names it, the others are asked, and the spans are all there."""

    def strange(value: object) -> Any:
        if isinstance(answer, type):
            raise answer("a fault of the user's")
        return answer

    sound, _ = traced_beside(retries)

    lines, told = traced_beside(retries, usage_recognisers=(strange,))

    assert lines == sound
    assert len(told) == 1
    assert "strange" in told[0]


class RaisingMapping(Mapping[str, str]):
    """An option that can't be read."""

    def __getitem__(self, key: str) -> str:
        raise RuntimeError("a fault of the user's")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("a fault of the user's")

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("option", ["flow_names", "levels"])
def test_an_option_that_can_not_be_read_is_refused_at_once(option: str) -> None:
    """Options are read when they are given, and never while the program runs."""
    before = methods_of(pocketflow)

    with pytest.raises(RuntimeError, match="a fault of the user's"):
        PocketFlowInstrumentor().instrument(**{option: RaisingMapping()})

    assert methods_of(pocketflow) == before
    assert compared(retries).lines()


DETECTOR = """\
from opentelemetry.sdk.resources import ResourceDetector


class Raising(ResourceDetector):
    def detect(self):
        raise {kind}("a fault of the user's")
"""


@each_kind
def test_a_resource_detector_raises(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In our own set-up, too, the resource is made of what the others have found."""
    (tmp_path / "raising_detector.py").write_text(DETECTOR.format(kind=kind.__name__))
    about = tmp_path / "raising_detector-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: raising-detector\nVersion: 1\n")
    entry = "[opentelemetry_resource_detector]\nraising = raising_detector:Raising\n"
    (about / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "raising")
    monkeypatch.delitem(sys.modules, "raising_detector", raising=False)

    with logged() as lines:
        provider = own_provider("service")

    assert provider.resource.attributes["service.name"] == "service"
    assert any("Raising" in line for line in lines)
