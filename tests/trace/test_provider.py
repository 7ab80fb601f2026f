"""Our provider, and the one that follows the program's."""

from __future__ import annotations

import random
import typing

import pytest
from opentelemetry.sdk.trace import TracerProvider
from sample_spans import flow

from opentelemetry import trace
from pocketflow_trace.process.ids import SystemIdGenerator
from pocketflow_trace.process.provider import FollowingTracerProvider, own_provider
from pocketflow_trace.record.collector import RunCollector

SCOPE = "opentelemetry.instrumentation.pocketflow"


class Setting:
    """A following provider with a collector, and a global slot that belongs to the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.own = own_provider("main")
        self.collector = RunCollector()
        self.provider = FollowingTracerProvider(self.own)
        self.provider.add_span_processor(self.collector)
        self.tracer = self.provider.get_tracer(SCOPE)
        self.global_provider: trace.TracerProvider = trace.ProxyTracerProvider()
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: self.global_provider)

    def recorder(self, name: str) -> object:
        """Start and end a span, and return the resource of the provider that recorded it."""
        with self.tracer.start_as_current_span(name, attributes=flow(name)) as span:
            return getattr(span, "resource", None)

    def seen(self) -> list[str]:
        """Return the names that the collector got."""
        return [entry.name for entry in self.collector.snapshot().roots]


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    """A program without a provider of its own, so far."""
    return Setting(monkeypatch)


def test_no_provider(setting: Setting) -> None:
    """As long as the program has none, ours records."""
    assert setting.recorder("a") is setting.own.resource
    assert setting.seen() == ["a"]


def test_provider_set_later(setting: Setting) -> None:
    """From the moment the program sets a provider, its provider records and we see it too."""
    setting.recorder("a")
    theirs = TracerProvider(shutdown_on_exit=False)
    setting.global_provider = theirs
    assert setting.recorder("b") is theirs.resource
    assert setting.recorder("c") is theirs.resource
    assert setting.seen() == ["a", "b", "c"]


def test_preferred_provider(setting: Setting) -> None:
    """A provider that the program names goes before the global one."""
    setting.global_provider = TracerProvider(shutdown_on_exit=False)
    named = TracerProvider(shutdown_on_exit=False)
    setting.provider.prefer(named)
    assert setting.recorder("a") is named.resource
    setting.provider.prefer(None)
    assert setting.recorder("b") is setting.global_provider.resource
    assert setting.seen() == ["a", "b"]


@pytest.mark.parametrize("kind", [trace.NoOpTracerProvider, trace.ProxyTracerProvider])
def test_provider_without_processors(
    setting: Setting, kind: typing.Callable[[], trace.TracerProvider]
) -> None:
    """A provider that takes no processors would show nothing: ours records instead."""
    setting.global_provider = kind()
    assert setting.recorder("a") is setting.own.resource
    assert setting.seen() == ["a"]


def test_one_trace_with_other_spans(setting: Setting) -> None:
    """Spans of the program's provider and ours of the same provider share their trace."""
    theirs = TracerProvider(shutdown_on_exit=False)
    setting.global_provider = theirs
    with setting.tracer.start_as_current_span("flow", attributes=flow("flow")):
        theirs.get_tracer("llm").start_span("chat").end()
    (root,) = setting.collector.snapshot().roots
    assert [child.name for child in root.children] == ["chat"]


def test_later_processors_reach_adopted_providers(setting: Setting) -> None:
    """A processor that is added later is added to every provider in use."""
    theirs = TracerProvider(shutdown_on_exit=False)
    setting.global_provider = theirs
    setting.recorder("a")
    late = RunCollector()
    setting.provider.add_span_processor(late)
    setting.recorder("b")
    assert [entry.name for entry in late.snapshot().roots] == ["b"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "main"),
        ({"OTEL_SERVICE_NAME": "chat"}, "chat"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=bot,team=a"}, "bot"),
    ],
)
def test_service_name(
    environ: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program's name is the service's, unless the environment gives one."""
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert own_provider("main").resource.attributes["service.name"] == expected


def test_ids_leave_global_random_alone() -> None:
    """A program that seeds `random` draws the same numbers with ids made in between."""
    ids = SystemIdGenerator()
    random.seed(1)
    state = random.getstate()
    made = {ids.generate_span_id() for _ in range(100)} | {ids.generate_trace_id()}
    assert random.getstate() == state
    assert len(made) == 101
    assert 0 not in made
