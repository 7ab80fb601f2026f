"""Plain lines as things happen, where there is no terminal."""

from __future__ import annotations

import re
import subprocess
import sys
import typing

import pytest
from sample_spans import MILLISECOND, Stage, attempt, diff, flow, item, node
from traced_programs import PLAIN, run

from pocketflow_trace.views.feed import Feed
from pocketflow_trace.views.ticker import Script
from support.programs import TIMEOUT, clean_environment

if typing.TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pocketflow_trace.views.verbosity import Verbosity

LINES = (sys.executable, "-m", "pocketflow_trace", "run")


class Told(Stage):
    """A stage whose spans are also told in lines."""

    def __init__(self, verbosity: Verbosity = "normal") -> None:
        super().__init__()
        self.feed = Feed(lambda: None)
        self.script = Script(verbosity)
        self.provider.add_span_processor(self.feed)

    def lines(self, now: int = 0) -> list[str]:
        """Return the new lines at a time in milliseconds."""
        return list(self.script.lines(self.feed, now * MILLISECOND))


def agent(stage: Stage) -> Generator[None]:
    """Run an agent with a retry and a batch; yields before the end of the batch's first item."""
    with stage.span("invoke_workflow Agent", 0, 900, flow("Agent")):
        with stage.span("Ask", 0, 300, node("Ask", node_attempts=2, node_max_retries=3)):
            failed = attempt(1, attempt_wait=0.1)
            stage.leaf("Ask attempt", 0, 90, attributes=failed, error=TimeoutError("read"))
            with stage.span("Ask attempt", 190, 300, attempt(2)):
                stage.leaf("chat gpt-5", 190, 290, scope="some.llm.client")
        with stage.span("Map", 300, 900, node("Map", batch_size=2, batch_retried=1)):
            stage.leaf("Map item", 300, 400, attributes=item(0, batch_size=2))
            with stage.span("Map item", 400, 900, item(1, batch_size=2, node_attempts=2)):
                yield


def lines_of_agent(verbosity: Verbosity) -> list[str]:
    """Return all lines of the agent."""
    stage = Told(verbosity)
    for _ in agent(stage):
        pass
    return stage.lines()


def test_normal() -> None:
    """What ended is told where it is; items that went well at once are counted by their batch."""
    assert lines_of_agent("normal") == [
        "   0.09 s  Agent / Ask / attempt 1/3  90 ms failed: TimeoutError: read, next in 0.1 s",
        "   0.30 s  Agent / Ask  300 ms, 2 of 3 attempts",
        "   0.90 s  Agent / Map / item 1  500 ms, 2 attempts",
        "   0.90 s  Agent / Map  600 ms",
        "   0.90 s  flow Agent  900 ms",
    ]


def test_minimal() -> None:
    """Only errors are told, and each once."""
    assert lines_of_agent("minimal") == [
        "   0.09 s  Agent / Ask / attempt 1/3  90 ms failed: TimeoutError: read, next in 0.1 s",
    ]


def test_verbose() -> None:
    """Starts, all items, model calls and the lines under each are told, too."""
    assert lines_of_agent("verbose") == [
        "   0.00 s  flow Agent started",
        "   0.00 s  Agent / Ask started",
        "   0.09 s  Agent / Ask / attempt 1/3  90 ms failed: TimeoutError: read, next in 0.1 s",
        "   0.29 s  Agent / Ask / chat gpt-5  100 ms",
        "   0.30 s  Agent / Ask  300 ms, 2 of 3 attempts",
        "   0.30 s  Agent / Map started",
        "   0.40 s  Agent / Map / item 0  100 ms",
        "   0.90 s  Agent / Map / item 1  500 ms, 2 attempts",
        "   0.90 s  Agent / Map  600 ms",
        "   0.90 s  Agent /     batch: 2 of 2 items done, 1 retried",
        "   0.90 s  flow Agent  900 ms",
    ]


def test_what_takes_long() -> None:
    """What runs for long is told after 10 seconds, then ever more seldom, with its progress."""
    stage = Told()
    told: list[str] = []
    for _ in agent(stage):
        stage.lines()
        for second in range(1, 60):
            told += stage.lines(second * 1000)
    assert told == [
        "  10.00 s  still running: flow Agent  10.0 s, 1 done",
        "  11.00 s  Agent / still running: Map  10.7 s, 1/2, 5.6/min, 10.7 s left",
        "  20.00 s  still running: flow Agent  20.0 s, 1 done",
        "  21.00 s  Agent / still running: Map  20.7 s, 1/2, 2.9/min, 20.7 s left",
        "  40.00 s  still running: flow Agent  40.0 s, 1 done",
        "  41.00 s  Agent / still running: Map  40.7 s, 1/2, 1.5/min, 40.7 s left",
    ]


def test_lines_are_bounded() -> None:
    """Neither deep nesting nor long messages make a long line, or two lines."""
    stage = Told()
    with stage.span("a", 0, 1, flow("a" * 300)):
        for _ in range(20):
            with stage.span("b", 0, 1, flow("b")):
                pass
        error = ValueError("x\n" * 5000)
        stage.leaf("Ask", 0, 1, attributes=node("Ask"), error=error)
    for line in stage.lines():
        assert len(line) <= 500
        assert line.isprintable()


def test_deep_place_is_cut() -> None:
    """Of many levels the inner ones are named."""
    stage = Told()
    spans = [stage.span("f", 0, 1, flow(f"F{level}")) for level in range(12)]
    for span in spans:
        span.__enter__()
    stage.leaf("Ask", 0, 1, attributes=node("Ask"))
    (line,) = stage.lines()
    assert line == "   0.00 s  … / F4 / F5 / F6 / F7 / F8 / F9 / F10 / F11 / Ask  1.0 ms"
    for span in reversed(spans):
        span.__exit__(None, None, None)


def test_changes_in_verbose_lines() -> None:
    """Changes of the store are told in verbose lines, each on a line of its own."""
    stage = Told("verbose")
    patch = diff({"op": "add", "path": "/a", "value": "x\ny"})
    stage.leaf("Ask", 0, 1, attributes=node("Ask", shared_diff=patch))
    assert stage.lines()[-1] == '   0.00 s      + a = "x\\ny"'


PROGRAM = """\
import sys
from pocketflow import Flow, Node
class Ask(Node):
    def exec(self, prep_res):
        return sys.stdin.readline()
class Say(Node):
    pass
ask = Ask()
ask >> Say()
print("out")
print("err", file=sys.stderr)
Flow(ask).run({})
sys.stdout.buffer.write(b"\\xff\\x00")
"""


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """A directory with a program that reads a line in its first node."""
    (tmp_path / "main.py").write_text(PROGRAM, encoding="utf-8")
    return tmp_path


def test_program(cwd: Path) -> None:
    """The lines go to stderr before the tree; stdout has the program's bytes; no control codes."""
    plain = run(PLAIN, "main.py", cwd=cwd, stdin=b"x\n")
    told = run(LINES, "main.py", cwd=cwd, stdin=b"x\n")
    assert (told.stdout, told.exit_code) == (plain.stdout, plain.exit_code)
    assert re.sub(r" +[\d.]+ m?s\b", " T", told.text).splitlines()[:4] == [
        "err",
        " T  AskFlow / Ask T → Say",
        " T  AskFlow / Say T",
        " T  flow AskFlow T",
    ]
    assert told.text.splitlines()[4].startswith("flow AskFlow  ")
    assert "\x1b" not in told.text


def test_as_things_happen(cwd: Path) -> None:
    """A line is there while the program still runs, and stays whole in a program that is killed."""
    text = PROGRAM.replace("class Say(Node):\n    pass", "class Say(Ask):\n    pass")
    (cwd / "main.py").write_text(text, encoding="utf-8")
    with subprocess.Popen(
        [*LINES, "main.py"],
        cwd=cwd,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(b"x\n")
        process.stdin.flush()
        assert process.stderr.readline() == b"err\n"
        assert "AskFlow / Ask" in process.stderr.readline().decode()
        process.kill()
        assert process.wait(TIMEOUT) < 0
        assert process.stderr.read() == b""


def test_reader_that_has_gone(cwd: Path) -> None:
    """A program that lets SIGPIPE end it is ended neither by a line nor by the tree."""
    text = f"import signal\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\n{PROGRAM}"
    (cwd / "main.py").write_text(text.replace('print("err", file=sys.stderr)\n', ""), "utf-8")
    with subprocess.Popen(
        [*LINES, "main.py"],
        cwd=cwd,
        env=clean_environment({"PYTHONUNBUFFERED": "1"}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stderr.close()
        process.stdin.write(b"x\n")
        process.stdin.close()
        assert process.stdout.read() == b"out\n\xff\x00"
        assert process.wait(TIMEOUT) == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--verbosity", "loud", "main.py"), "'loud' is no verbosity"),
        (("--verbosity",), "--verbosity needs a value"),
        (("--ascii=yes", "main.py"), "--ascii takes no value"),
        (("--live", "--no-live", "main.py"), "--live and --no-live contradict each other"),
    ],
)
def test_wrong_options(args: tuple[str, ...], message: str, cwd: Path) -> None:
    """Options that make no sense are refused before the program starts."""
    ended = run(LINES, *args, cwd=cwd)
    assert (ended.exit_code, ended.stdout) == (2, b"")
    assert message in ended.text


@pytest.mark.parametrize(
    ("args", "env"),
    [
        (("--verbosity", "minimal"), {}),
        (("--verbosity=minimal",), {"POCKETFLOW_TRACE_VERBOSITY": "verbose"}),
        ((), {"POCKETFLOW_TRACE_VERBOSITY": "minimal"}),
    ],
)
def test_verbosity(args: tuple[str, ...], env: dict[str, str], cwd: Path) -> None:
    """The option, or else the variable, says how much is told; `minimal` leaves the totals."""
    ended = run(LINES, *args, "main.py", cwd=cwd, env=env, stdin=b"x\n")
    assert re.fullmatch(r"err\n2 node runs in [\d.]+ m?s, tracing took .*\n", ended.text)


def test_wrong_variable(cwd: Path) -> None:
    """A variable with a wrong value is named in the message."""
    env = {"POCKETFLOW_TRACE_VERBOSITY": "loud"}
    ended = run(LINES, "main.py", cwd=cwd, env=env)
    assert ended.exit_code == 2
    assert "POCKETFLOW_TRACE_VERBOSITY: 'loud' is no verbosity" in ended.text
