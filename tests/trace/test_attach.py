"""Programs with an OpenTelemetry set-up of their own: `attach`, and the exporter for files."""

from __future__ import annotations

import os
import re
import typing

import pytest
from kept_runs import kept, names
from opentelemetry.sdk.trace import TracerProvider
from traced_programs import PLAIN, TRACED, run

from opentelemetry import trace
from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace import attach
from pocketflow_trace.keeping.shelf import Shelf, read
from support import programs

if typing.TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

FLOW = """\
from pocketflow import Flow, Node
class Ask(Node):
    def post(self, shared, prep_res, exec_res):
        shared["answer"] = 42

"""

SETUP = """\
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
from pocketflow_trace import attach

provider = TracerProvider(resource=Resource.create({"service.name": "mailer"}))
trace.set_tracer_provider(provider)
PocketFlowInstrumentor().instrument()
"""

TREE = "flow AskFlow  T\n└── Ask  T\n      + answer = 42\n1 node run in T\n"


@pytest.fixture
def provider() -> Generator[TracerProvider]:
    """A provider of the program's."""
    made = TracerProvider(shutdown_on_exit=False)
    yield made
    made.shutdown()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The folder of kept runs."""
    monkeypatch.setenv("POCKETFLOW_TRACE_DIR", str(tmp_path / "runs"))
    return Shelf(tmp_path / "runs")


def ask(provider: TracerProvider, name: str = "Ask") -> None:
    """Let a node run."""
    attributes = {semconv.SPAN_KIND: semconv.KIND_NODE, semconv.NODE_CLASS: name}
    provider.get_tracer(semconv.SCOPE_NAME).start_span(name, attributes=attributes).end()


def timeless(text: str) -> str:
    """Return a tree with all durations replaced by a T."""
    return re.sub(r"\d+(\.\d+)? m?s\b", "T", text)


def program(directory: Path, attaching: str, ending: str = "") -> str:
    """Write a program with a set-up of its own, that attaches and runs a flow; return its name."""
    source = f"{SETUP}{FLOW}{attaching}\nFlow(Ask()).run({{}})\n{ending}\n"
    (directory / "main.py").write_text(source, encoding="utf-8")
    return "main.py"


def test_at_exit(tmp_path: Path) -> None:
    """One call in the program shows the tree at its end, and leaves the file."""
    ended = run(PLAIN, program(tmp_path, "attach()"), cwd=tmp_path)
    assert (ended.stdout, ended.exit_code) == (b"", 0)
    assert timeless(ended.text) == TREE
    found = kept(Shelf(tmp_path / ".state" / "pocketflow-trace" / "runs"))
    assert names(found) == ["invoke_workflow AskFlow", "Ask"]
    assert (found.about.program, found.about.ended is None) == ("mailer", False)


def test_file_alone(tmp_path: Path) -> None:
    """A file that is named is written, and nothing is printed."""
    name = program(tmp_path, "attach(console=False, file='run.jsonl')", "provider.shutdown()")
    ended = run(PLAIN, name, cwd=tmp_path)
    assert (ended.text, ended.exit_code) == ("", 0)
    assert names(read(tmp_path / "run.jsonl").run) == ["invoke_workflow AskFlow", "Ask"]


def test_console_alone(tmp_path: Path) -> None:
    """Without a file nothing is kept."""
    ended = run(PLAIN, program(tmp_path, "attach(file=False)"), cwd=tmp_path)
    assert timeless(ended.text) == TREE
    assert not (tmp_path / ".state").exists()


def test_disk_that_fails(tmp_path: Path) -> None:
    """A run that could not be kept is told of at the end."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    name = program(tmp_path, "attach(console=False, file='file/run.jsonl')")
    ended = run(PLAIN, name, cwd=tmp_path)
    assert ended.text == "pocketflow-trace: this run is not kept: Not a directory\n"
    assert ended.exit_code == 0


def test_under_the_command(tmp_path: Path) -> None:
    """Under `pocketflow-trace run` the run is shown once and kept once, as well as where named."""
    name = program(tmp_path, "attach()")
    traced = run((*TRACED, "--no-live"), name, cwd=tmp_path)
    assert timeless(traced.text).count("flow AskFlow") == 1
    assert len(Shelf(tmp_path / ".state" / "pocketflow-trace" / "runs").kept()) == 1
    name = program(tmp_path, "attach(file='run.jsonl')")
    run((*TRACED, "--no-live"), name, cwd=tmp_path)
    assert names(read(tmp_path / "run.jsonl").run) == ["invoke_workflow AskFlow", "Ask"]


def test_close(provider: TracerProvider, shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    """A handle ends the run before the program does; what comes later is not part of it."""
    with attach(tracer_provider=provider) as handle:
        ask(provider)
    assert timeless(capsys.readouterr().err) == "Ask  T\n1 node run in T\n"
    ask(provider, "Later")
    handle.close()
    assert capsys.readouterr().err == ""
    assert names(kept(shelf)) == ["Ask"]


def test_again(provider: TracerProvider, shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    """The second call returns what the first has made; after `close` a new run can begin."""
    first = attach(tracer_provider=provider, console=False)
    assert attach(tracer_provider=provider, console=False) is first
    ask(provider)
    first.close()
    second = attach(tracer_provider=provider, console=False)
    assert second is not first
    ask(provider)
    second.close()
    assert [names(read(item.path).run) for item in shelf.kept()] == [["Ask"], ["Ask"]]
    assert len(provider._active_span_processor._span_processors) == 1


def test_again_with_other_arguments(provider: TracerProvider, tmp_path: Path) -> None:
    """A call that asks for something else is refused."""
    with (
        attach(tracer_provider=provider, console=False, file=tmp_path / "a"),
        pytest.raises(ValueError, match="has one with other arguments"),
    ):
        attach(tracer_provider=provider, console=False, file=tmp_path / "b")


def test_two_providers(shelf: Shelf) -> None:
    """Each provider has its own run."""
    providers = [TracerProvider(shutdown_on_exit=False) for _ in range(2)]
    handles = [attach(tracer_provider=each, console=False) for each in providers]
    for number, each in enumerate(providers):
        ask(each, f"Ask {number}")
    for handle in handles:
        handle.close()
    found = sorted(names(read(item.path).run)[0] for item in shelf.kept())
    assert found == ["Ask 0", "Ask 1"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"console": "lively"}, TypeError, "console is 'lively'"),
        ({"console": None}, TypeError, "console is None"),
        ({"file": 3}, TypeError, "file is 3; allowed are True, False and the path"),
        ({"file": ""}, TypeError, "file is ''"),
        ({"file": None}, TypeError, "file is None"),
        ({"tracer_provider": trace.NoOpTracerProvider()}, ValueError, "takes no span processors"),
        ({"tracer_provider": trace.ProxyTracerProvider()}, ValueError, "call set_tracer_provider"),
    ],
)
def test_wrong_arguments(
    arguments: dict[str, typing.Any], error: type[Exception], message: str
) -> None:
    """What cannot be attached is refused with what would do."""
    with pytest.raises(error, match=re.escape(message)):
        attach(**arguments)


def test_no_home(provider: TracerProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no place for files, that is said at once."""
    monkeypatch.setenv("POCKETFLOW_TRACE_DIR", "~nobody-of-this-name/runs")
    with pytest.raises(ValueError, match="name a folder by POCKETFLOW_TRACE_DIR"):
        attach(tracer_provider=provider, console=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork(tmp_path: Path) -> None:
    """A forked child that ends like a program prints nothing and writes nothing."""
    ending = (
        "import os, sys\nif os.fork() == 0:\n    Flow(Ask()).run({})\n    sys.exit(0)\nos.wait()"
    )
    ended = run(PLAIN, program(tmp_path, "attach()", ending), cwd=tmp_path)
    assert timeless(ended.text) == TREE
    (item,) = Shelf(tmp_path / ".state" / "pocketflow-trace" / "runs").kept()
    assert len(read(item.path).run.roots) == 1


# --- The exporter -------------------------------------------------------------------------------

ZERO_CODE = f"""\
{FLOW}
from opentelemetry import trace
class Search(Node):
    def exec(self, prep_res):
        with trace.get_tracer("some.llm.client").start_as_current_span("chat gpt-5"):
            pass

with trace.get_tracer("some.web.framework").start_as_current_span("GET /"):
    ask = Ask()
    ask >> Search()
    Flow(ask).run({{}})
"""

EXPORT = {
    "OTEL_TRACES_EXPORTER": "pocketflow_file",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_SERVICE_NAME": "mailer",
}


def test_exporter(tmp_path: Path) -> None:
    """In a program that is traced without code, the exporter keeps flows and what is inside."""
    script = programs.write_program(tmp_path, ZERO_CODE)
    shelf = Shelf(tmp_path / "runs")
    env = {**EXPORT, "POCKETFLOW_TRACE_DIR": str(shelf.directory)}
    ended = programs.run(script, env, zero_code=True)
    assert (ended.outcome, ended.stderr) == (("", 0), "")
    found = kept(shelf)
    assert names(found) == ["invoke_workflow AskFlow", "Ask", "Search", "chat gpt-5"]
    assert [root.kind for root in found.roots] == ["flow"]
    assert (found.about.program, found.about.ended is None, found.dropped) == ("mailer", False, 0)


def test_exporter_without_a_flow(tmp_path: Path) -> None:
    """A program without a flow leaves nothing."""
    source = "from opentelemetry import trace\ntrace.get_tracer('x').start_span('GET /').end()\n"
    script = programs.write_program(tmp_path, source)
    env = {**EXPORT, "POCKETFLOW_TRACE_DIR": str(tmp_path / "runs")}
    assert programs.run(script, env, zero_code=True).outcome == ("", 0)
    assert not (tmp_path / "runs").exists()


def test_exporter_on_a_disk_that_fails(tmp_path: Path) -> None:
    """A disk that fails is told of in the log, once, and changes nothing else."""
    script = programs.write_program(tmp_path, ZERO_CODE)
    (tmp_path / "file").write_text("", encoding="utf-8")
    env = {**EXPORT, "POCKETFLOW_TRACE_DIR": str(tmp_path / "file" / "runs")}
    ended = programs.run(script, env, zero_code=True)
    assert ended.outcome == ("", 0)
    assert ended.stderr.count("this run is not kept: Not a directory") == 1
