"""What instrumenting does to the framework's classes, and that it can be undone."""

from __future__ import annotations

import copy
import importlib
import inspect
import logging
import pickle
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from opentelemetry import trace
from opentelemetry.instrumentation.pocketflow import Config, PocketFlowInstrumentor
from support.framework import pocketflow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEFINED: dict[str, Any] = pocketflow.__dict__
CLASSES: list[type] = [
    value
    for value in DEFINED.values()
    if isinstance(value, type) and issubclass(value, pocketflow.BaseNode)
]


class Double(pocketflow.Node):
    """Doubles a number in the store."""

    def prep(self, shared: dict[str, Any]) -> Any:
        """Reads it."""
        return shared["n"]

    def exec(self, prep_res: Any) -> Any:
        """Doubles it."""
        return prep_res * 2

    def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> Any:
        """Writes it."""
        shared["n"] = exec_res
        return f"is {exec_res}"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Spans of an instrumented framework; restored afterwards."""
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    PocketFlowInstrumentor().instrument(tracer_provider=provider, resource=False)
    yield memory
    if PocketFlowInstrumentor().is_instrumented_by_opentelemetry:
        PocketFlowInstrumentor().uninstrument()


def names(exporter: InMemorySpanExporter) -> list[str]:
    """The spans in the order in which they ended."""
    return [span.name for span in exporter.get_finished_spans()]


def test_uninstrument_restores_the_very_same_methods(exporter: InMemorySpanExporter) -> None:
    """Nothing of ours is left in any class."""
    PocketFlowInstrumentor().uninstrument()
    before = [dict(vars(cls)) for cls in CLASSES]
    PocketFlowInstrumentor().instrument(resource=False)
    node = CLASSES.index(pocketflow.Node)
    assert vars(pocketflow.Node)["_exec"] is not before[node]["_exec"]
    PocketFlowInstrumentor().uninstrument()
    for cls, old in zip(CLASSES, before, strict=True):
        assert list(vars(cls)) == list(old)
        assert all(vars(cls)[name] is value for name, value in old.items())


def test_instrumenting_twice_warns_and_traces_once(
    exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    """As every OpenTelemetry instrumentor does."""
    with caplog.at_level(logging.WARNING):
        PocketFlowInstrumentor().instrument()
    assert "already instrumented" in caplog.text
    Double().run({"n": 1})
    assert names(exporter) == ["Double"]


def test_it_can_be_instrumented_again(exporter: InMemorySpanExporter) -> None:
    """After `uninstrument`, with another provider."""
    PocketFlowInstrumentor().uninstrument()
    Double().run({"n": 1})
    assert names(exporter) == []
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    PocketFlowInstrumentor().instrument(tracer_provider=provider, resource=False)
    Double().run({"n": 1})
    assert names(exporter) == ["Double"]


def test_a_wrong_option_leaves_the_framework_alone() -> None:
    """The error comes before anything is wrapped."""
    before = [dict(vars(cls)) for cls in CLASSES]
    with pytest.raises(ValueError, match="content='all': must be one of off, keys, values"):
        PocketFlowInstrumentor().instrument(content="all")
    assert [dict(vars(cls)) for cls in CLASSES] == before
    assert not PocketFlowInstrumentor().is_instrumented_by_opentelemetry


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": "keys"}, "config='keys': must be a Config"),
        ({"config": Config(), "content": "off"}, "can't be combined with content"),
        ({"contents": "off"}, "unknown option 'contents'"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    """A misspelt argument is not ignored."""
    with pytest.raises(TypeError, match=message):
        PocketFlowInstrumentor().instrument(**options)


def test_a_provider_that_is_set_later_is_used(tmp_path: Any) -> None:
    """The API's proxy carries over to it."""
    del tmp_path
    proxy = trace.ProxyTracerProvider()
    PocketFlowInstrumentor().instrument(tracer_provider=proxy, resource=False)
    try:
        Double().run({"n": 1})
    finally:
        PocketFlowInstrumentor().uninstrument()


@pytest.mark.parametrize("bound", [True, False])
def test_a_wrapped_method_looks_like_a_plain_one(
    bound: bool, exporter: InMemorySpanExporter
) -> None:
    """Name, signature and kind are those of the method."""
    holder: Any = Double() if bound else Double
    wrapped = holder.run
    assert wrapped == holder.run
    PocketFlowInstrumentor().uninstrument()
    plain = holder.run
    assert wrapped.__name__ == plain.__name__
    assert wrapped.__qualname__ == plain.__qualname__
    assert inspect.signature(wrapped) == inspect.signature(plain)
    assert type(wrapped) is type(plain)
    assert inspect.getsource(wrapped) == inspect.getsource(plain)


def test_async_methods_stay_coroutine_functions(exporter: InMemorySpanExporter) -> None:
    """Frameworks decide by it how to call them."""
    assert inspect.iscoroutinefunction(pocketflow.AsyncFlow().run_async)
    assert inspect.iscoroutinefunction(pocketflow.AsyncNode._exec)
    assert not inspect.iscoroutinefunction(pocketflow.Flow().run)


def test_a_bound_method_can_be_pickled_and_copied(exporter: InMemorySpanExporter) -> None:
    """As a plain one can."""
    node = Double(max_retries=3)
    for other in (
        pickle.loads(pickle.dumps(node.run)),  # noqa: S301 - our own bytes
        copy.deepcopy(node.run),
    ):
        assert other.__self__ is not node
        assert other.__self__.max_retries == 3
        assert other({"n": 2}) == "is 4"
    assert copy.copy(node.run).__self__ is node
    loaded: Any = pickle.loads(pickle.dumps(pocketflow.Node.run))  # noqa: S301 - our own bytes
    assert loaded(node, {"n": 3}) == "is 6"
    assert names(exporter) == ["Double attempt", "Double"] * 3


def test_a_flow_runs_in_a_process_pool(exporter: InMemorySpanExporter) -> None:
    """The pool pickles the bound method."""
    flow = pocketflow.Flow(start=Double())
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(flow.run, {"n": 21}).result() == "is 42"


def test_options_of_the_program_win_over_an_instrumentation_without_any(
    exporter: InMemorySpanExporter,
) -> None:
    """What a program wants hidden stays hidden under `opentelemetry-instrument`, too."""
    PocketFlowInstrumentor().uninstrument()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    PocketFlowInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
    with pytest.raises(ValueError, match="content='none'"):
        PocketFlowInstrumentor().instrument(content="none")
    assert PocketFlowInstrumentor().is_instrumented_by_opentelemetry
    PocketFlowInstrumentor().instrument(content="keys")
    Double().run({"n": 1})
    [span] = exporter.get_finished_spans()
    assert '"value"' not in str((span.attributes or {})["pocketflow.shared.diff"])


def test_a_self_report_does_not_stand_against_options_of_the_program(
    exporter: InMemorySpanExporter,
) -> None:
    """`pocketflow-trace run` asks for one; a program's options win all the same, and it stays."""
    PocketFlowInstrumentor().uninstrument()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    PocketFlowInstrumentor().instrument(tracer_provider=provider, self_report=True)
    PocketFlowInstrumentor().instrument(content="off")
    Double().run({"n": 1})
    [span] = exporter.get_finished_spans()
    assert "pocketflow.shared.diff" not in (span.attributes or {})
    assert "pocketflow.instrumentation.duration" in (span.attributes or {})


def test_a_module_that_is_not_the_framework_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong `module` does not stay unnoticed."""
    try:
        with caplog.at_level(logging.WARNING):
            PocketFlowInstrumentor().instrument(module="json", resource=False)
        assert "module='json': defines no BaseNode and Flow" in caplog.text
    finally:
        PocketFlowInstrumentor().uninstrument()


def test_a_copy_of_the_framework_that_is_imported_while_another_is_wrapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code of the program's may import anything at that moment."""
    for name in ("flow_one", "flow_two"):
        (tmp_path / f"{name}.py").write_text(inspect.getsource(pocketflow), encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    class Importing(TracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
            importlib.import_module("flow_two")
            return super().get_tracer(*args, **kwargs)

    PocketFlowInstrumentor().instrument(
        tracer_provider=Importing(shutdown_on_exit=False),
        module=("flow_one", "flow_two"),
        resource=False,
    )
    try:
        importing = threading.Thread(target=importlib.import_module, args=["flow_one"], daemon=True)
        importing.start()
        importing.join(30)
        assert not importing.is_alive()
        for name in ("flow_one", "flow_two"):
            assert hasattr(sys.modules[name].Node._run, "__wrapped__")
    finally:
        PocketFlowInstrumentor().uninstrument()
        for name in ("flow_one", "flow_two"):
            sys.modules.pop(name, None)
