"""What `pocketflow_trace.testing` gives to the tests of users."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnusedExpression=false

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import typing

import pytest

from opentelemetry import trace as trace_api
from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor, record_usage
from pocketflow_trace.record.model import dumps, walk
from pocketflow_trace.testing import Failed, Trace, TracingError, Usage, tracing
from support.framework import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
)
from support.programs import clean_environment

if typing.TYPE_CHECKING:
    from pathlib import Path

Store: typing.TypeAlias = dict[str, typing.Any]


class Decide(Node):
    """Searches until there are notes."""

    def prep(self, shared: Store) -> int:
        """Reads."""
        return len(shared["notes"])

    def post(self, shared: Store, prep_res: int, exec_res: object) -> str:
        """Writes."""
        return "answer" if prep_res else "search"


class Search(Node):
    """Fails at the first attempt."""

    def exec(self, prep_res: object) -> str:
        """Works."""
        if self.cur_retry == 0:
            raise TimeoutError("read timed out")
        return "Cats purr."

    def post(self, shared: Store, prep_res: object, exec_res: str) -> None:
        """Writes."""
        shared["notes"].append(exec_res)
        record_usage(model="gpt-5", input_tokens=1500, output_tokens=21)


class Answer(Node):
    """Answers, and forgets the question."""

    def exec(self, prep_res: object) -> str:
        """Works."""
        return "They do."

    def post(self, shared: Store, prep_res: object, exec_res: str) -> str:
        """Writes."""
        shared["answer"] = exec_res
        del shared["question"]
        return "done"


def agent() -> typing.Any:
    """Return a flow that decides, searches, decides and answers."""
    decide, search, answer = Decide(), Search(max_retries=3), Answer()
    decide - "search" >> search >> decide
    decide - "answer" >> answer
    return Flow(start=decide)


def run_agent() -> Trace:
    """Return the trace of one run of the agent."""
    with tracing() as trace:
        agent().run({"question": "Do cats purr?", "notes": []})
    return trace


def test_path() -> None:
    """The path of a flow is the ids of its nodes in the order they ran."""
    trace = run_agent()
    assert trace.path == ["Decide", "Search", "Decide", "Answer"]
    assert [node.name for node in trace.nodes] == trace.path
    assert [flow.name for flow in trace.flows] == ["DecideFlow"]


def test_node() -> None:
    """A node's run tells its route, its attempts and what it wrote."""
    trace = run_agent()
    search, answer = trace.node("Search"), trace.node("Answer")
    assert (search.attempts, search.retries, search.output) == (2, 1, "Cats purr.")
    assert [failure.type for failure in search.failed_attempts] == ["TimeoutError"]
    assert search.writes == {"notes/0": "Cats purr."}
    assert (search.action, search.next) == ("default", "Decide")
    assert answer.writes == {"answer": "They do."}
    assert answer.removed == ["question"]
    assert (answer.action, answer.next, answer.failed, answer.cancelled) == (
        "done",
        None,
        False,
        False,
    )
    assert answer.params == {}


def test_one_run_of_several() -> None:
    """Where a node ran more than once, a test says which run it means."""
    trace = run_agent()
    assert trace.node("Decide", 1).action == "search"
    assert trace.node("Decide", 2).input == 1
    assert trace.node("Decide", 2).iteration == 2
    with pytest.raises(LookupError, match=r"Decide ran 2 times: say which"):
        trace.node("Decide")
    with pytest.raises(LookupError, match=r"Decide ran 2 times, not 3"):
        trace.node("Decide", 3)


def test_a_node_that_did_not_run() -> None:
    """The message says what ran instead, and shows the tree."""
    with pytest.raises(
        LookupError, match=r"no node 'Write' ran, but Decide, Search, Answer"
    ) as info:
        run_agent().node("Write")
    assert "failed: TimeoutError: read timed out" in str(info.value)


def test_usage() -> None:
    """Tokens are those of all model calls; what nobody told is None."""
    trace = run_agent()
    assert trace.usage.calls == 1
    assert trace.usage.total_tokens == 1521
    assert trace.node("Search").usage.input_tokens == 1500
    assert trace.node("Answer").usage == Usage()
    assert trace.node("Answer").usage.total_tokens is None


def test_errors() -> None:
    """An exception is told once, where it began; a retry that helped is none."""

    class Break(Node):
        def exec(self, prep_res: object) -> None:
            raise ValueError("no such city")

    with tracing() as trace, pytest.raises(ValueError, match="no such city"):
        Flow(start=Break()).run({})
    assert trace.errors == [Failed("Break", "ValueError", "no such city")]
    assert trace.flows[0].errors == trace.errors
    assert trace.node("Break").failed
    assert repr(trace) == "<Trace BreakFlow: Break (failed: ValueError)>"
    assert run_agent().errors == []


def test_nothing_ran() -> None:
    """A block without a flow has an empty trace."""
    with tracing() as trace:
        pass
    assert (trace.path, trace.flows, trace.nodes, trace.errors) == ([], [], [], [])
    assert trace.usage == Usage()
    assert repr(trace) == "<Trace nothing ran>"


def test_several_runs_in_one_block() -> None:
    """Each run has its own path, and `trace.path` says so."""
    with tracing() as trace:
        agent().run({"question": "?", "notes": ["known"]})
        Answer().run({"question": "?"})
        agent().run({"question": "?", "notes": []})
    assert [flow.path for flow in trace.flows] == [
        ["Decide", "Answer"],
        ["Decide", "Search", "Decide", "Answer"],
    ]
    with pytest.raises(
        LookupError, match=r"3 runs have a path each \(DecideFlow, Answer, DecideFl"
    ):
        _ = trace.path


def test_a_node_by_itself() -> None:
    """A node that runs without a flow is its own path."""
    with tracing() as trace:
        Answer().run({"question": "?"})
    assert trace.path == ["Answer"]
    assert repr(trace.node("Answer")) == "<NodeTrace Answer>"


def test_it_can_be_read_inside_the_block() -> None:
    """The trace shows what ran so far."""
    with tracing() as trace:
        agent().run({"question": "?", "notes": ["known"]})
        assert trace.path == ["Decide", "Answer"]
        Answer().run({"question": "?"})
        assert len(trace.nodes) == 3


class Translate(BatchNode):
    """Fails the first attempt at each item but one."""

    def prep(self, shared: Store) -> list[str]:
        """Reads."""
        return ["en", "de", "fr"]

    def exec(self, prep_res: str) -> str:
        """Works."""
        if prep_res != "en" and self.cur_retry == 0:
            raise TimeoutError
        return prep_res.upper()


def test_batch_items() -> None:
    """Items stand in the order of the batch, each with its attempts."""
    with tracing() as trace:
        Flow(start=Translate(max_retries=2)).run({})
    node = trace.node("Translate")
    assert [item.output for item in node.items] == ["EN", "DE", "FR"]
    assert [item.retries for item in node.items] == [0, 1, 1]
    assert node.retries == 2


def test_batch_flow() -> None:
    """The items of a BatchFlow have a path and params each."""

    class Cities(BatchFlow):
        def prep(self, shared: Store) -> list[Store]:
            return [{"city": "Rome"}, {"city": "Oslo"}]

    with tracing() as trace:
        Cities(start=Translate(max_retries=2)).run({})
    (flow,) = trace.flows
    assert [item.path for item in flow.items] == [["Translate"], ["Translate"]]
    assert [item.params for item in flow.items] == [{"city": "Rome"}, {"city": "Oslo"}]


class Fetch(AsyncNode):
    """Takes longer for lower numbers, by turns of the loop rather than by time."""

    async def exec_async(self, prep_res: object) -> int:
        """Works."""
        number: int = self.params["number"]
        for _ in range(10 - 3 * number):
            await asyncio.sleep(0)
        return number


class Numbers(AsyncParallelBatchFlow):
    """Three branches at once."""

    async def prep_async(self, shared: Store) -> list[Store]:
        """Reads."""
        return [{"number": number} for number in range(3)]


def run_numbers() -> Trace:
    """Return the trace of three parallel branches."""
    with tracing() as trace:
        asyncio.run(Numbers(start=Fetch()).run_async({}))
    return trace


def test_parallel_branches() -> None:
    """Each branch has its path and its own node runs, whichever ends first."""
    trace = run_numbers()
    assert [item.path for item in trace.flows[0].items] == [["Fetch"]] * 3
    assert [node.output for node in trace.nodes] == [0, 1, 2]
    assert [node.output for node in trace.flow("Numbers").nodes] == [0, 1, 2]


@pytest.mark.parametrize("program", [run_agent, run_numbers])
def test_the_same_program_has_the_same_run(program: typing.Callable[[], Trace]) -> None:
    """Ids, times, numbers of stores and order are the same each time."""
    assert dumps(program().run) == dumps(program().run)


def test_times_count_steps() -> None:
    """Starts and ends are a millisecond apart, so that an inner entry is within its outer one."""
    (root,) = run_agent().run.roots
    first = root.children[0]
    assert (root.start, first.start, first.end) == (1_000_000, 2_000_000, 3_000_000)
    assert root.end == 2 * len(list(walk([root]))) * 1_000_000
    assert root.span_id == f"{1:016x}"


def test_real_times() -> None:
    """The clock's times are there where a test asks for them."""
    with tracing(real_times=True) as trace:
        agent().run({"question": "?", "notes": []})
    assert trace.run.roots[0].start > 1_600_000_000_000_000_000
    assert "pocketflow.node.prep.duration" in trace.node("Search").entry.attributes


def test_options() -> None:
    """Options of the instrumentation are given by name, and checked."""
    with tracing(content="keys", flow_names={"Decide": "Agent"}) as trace:
        agent().run({"question": "?", "notes": ["known"]})
    assert trace.flows[0].name == "Agent"
    assert trace.node("Answer").writes == {"answer": None}
    with pytest.raises(TypeError, match="contents"), tracing(contents="keys"):
        pass


def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that a developer has set change nothing in a test."""
    monkeypatch.setenv("OTEL_PYTHON_POCKETFLOW_CONTENT", "off")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert run_agent().node("Answer").writes == {"answer": "They do."}


def test_a_disabled_sdk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing could be traced, so the test must not pass by accident."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with pytest.raises(TracingError, match="OTEL_SDK_DISABLED"), tracing():
        pass
    assert not PocketFlowInstrumentor().is_instrumented_by_opentelemetry


def test_already_instrumented() -> None:
    """Where spans would go elsewhere, the error says what to do."""
    with (
        tracing(),
        pytest.raises(TracingError, match=r"instrumented already.*uninstrument"),
        tracing(),
    ):
        pass


def test_nothing_stays_behind() -> None:
    """Afterwards methods, provider and random numbers are as they were, also after an error."""
    before, provider = Flow.__dict__["_orch"], trace_api.get_tracer_provider()
    state = random.getstate()
    with pytest.raises(KeyError), tracing():
        Decide().run({})
    assert random.getstate() == state
    assert Flow.__dict__["_orch"] is before
    assert trace_api.get_tracer_provider() is provider
    assert not PocketFlowInstrumentor().is_instrumented_by_opentelemetry


def test_spans_of_a_client() -> None:
    """A client's instrumentation that gets the trace's provider is in the tree and the usage."""

    class Ask(Node):
        def exec(self, prep_res: object) -> None:
            attributes = {"gen_ai.request.model": "gpt-5", "gen_ai.usage.input_tokens": 9}
            attributes |= {"gen_ai.operation.name": "chat", "gen_ai.usage.output_tokens": 1}
            tracer.start_span("chat gpt-5", attributes=attributes).end()

    with tracing() as trace:
        tracer = trace.tracer_provider.get_tracer("some.llm.client")
        Flow(start=Ask()).run({})
    assert "chat gpt-5" in [entry.name for entry in walk(trace.run.roots)]
    assert trace.usage.total_tokens == 10


def test_an_async_batch_node() -> None:
    """Items that run at the same time are told in the order of the batch."""

    class Double(AsyncParallelBatchNode):
        async def prep_async(self, shared: Store) -> list[int]:
            return [1, 2, 3]

        async def exec_async(self, prep_res: int) -> int:
            for _ in range(10 - 3 * prep_res):
                await asyncio.sleep(0)
            return 2 * prep_res

    with tracing() as trace:
        asyncio.run(AsyncFlow(start=Double()).run_async({}))
    assert [item.output for item in trace.node("Double").items] == [2, 4, 6]


def test_the_tree() -> None:
    """As text a trace is its tree, one entry a line."""
    lines = str(run_agent()).splitlines()
    assert lines[0].startswith("flow DecideFlow")
    assert lines[1].startswith("  Decide ")
    assert lines[2].startswith("  Search ")
    assert lines[3] == '    + notes/0 = "Cats purr."'
    assert "attempt 1" in lines[4]
    assert "failed: TimeoutError: read timed out" in lines[4]
    assert str(run_agent().nodes[3]).startswith("Answer ")


_USERS_TEST = """\
from pocketflow import Flow, Node

class Ask(Node):
    def post(self, shared, prep_res, exec_res):
        shared["answer"] = 42

def test_good(pocketflow_trace):
    Flow(start=Ask()).run({})
    assert pocketflow_trace.path == ["Ask"]
    assert pocketflow_trace.node("Ask").writes == {"answer": 42}

def test_bad(pocketflow_trace):
    Flow(start=Ask()).run({})
    assert pocketflow_trace.path == ["Ask", "Ask"]
"""


def _pytest(directory: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pocketflow_trace.pytest_plugin", *args],
        cwd=directory,
        env=clean_environment({"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("args", [(), ("-p", "xdist", "-n", "2")])
def test_fixture(tmp_path: Path, args: tuple[str, ...]) -> None:
    """A user's test takes the fixture; where it fails, pytest shows what ran."""
    if args:
        pytest.importorskip("xdist")
    (tmp_path / "test_user.py").write_text(_USERS_TEST, encoding="utf-8")
    done = _pytest(tmp_path, *args)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    shown = done.stdout.partition("PocketFlow trace")[2]
    assert "flow AskFlow" in shown
    assert "+ answer = 42" in shown


def test_plugin_costs_nothing(tmp_path: Path) -> None:
    """Without the fixture, a user's pytest imports neither OpenTelemetry nor PocketFlow."""
    (tmp_path / "test_user.py").write_text(
        "import sys\n\ndef test_imports():\n"
        "    assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
        "    assert 'pocketflow' not in sys.modules and 'wrapt' not in sys.modules\n",
        encoding="utf-8",
    )
    done = _pytest(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
