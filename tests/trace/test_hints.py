"""What the command tells besides the tree: whole tracebacks, hints, names of runs."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import TracerProvider
from sample_spans import Stage, flow, item, node
from traced_programs import PLAIN, run

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.cli import main
from pocketflow_trace.keeping.keeper import RunKeeper
from pocketflow_trace.keeping.shelf import Shelf, read
from pocketflow_trace.process.clients import CLIENTS, Watch
from pocketflow_trace.process.provider import own_provider
from pocketflow_trace.views.outline import Gap, Shown, outline
from pocketflow_trace.views.worker import Worker
from support.programs import TIMEOUT, clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

LINES = (sys.executable, "-m", "pocketflow_trace", "run")
BATCH = """\
from pocketflow import BatchFlow, Flow, Node


class Load(Node):
    def exec(self, prep_res):
        return prep_res

    def post(self, shared, prep_res, exec_res):
        if self.params["file"] == "bad.txt":
            raise ValueError("can't parse bad.txt")


class Files(BatchFlow):
    def prep(self, shared):
        return [{"file": name} for name in ("a.txt", "b.txt", "bad.txt")]


Files(start=Load()).run({})
"""


def test_a_traceback_stays_whole(tmp_path: Path) -> None:
    """Lines that are told as things happen stand before the traceback that ends the program."""
    (tmp_path / "main.py").write_text(BATCH, encoding="utf-8")
    plain = run(PLAIN, "main.py", cwd=tmp_path)
    assert b"ValueError: can't parse bad.txt" in plain.stderr
    for _ in range(5):
        traced = run(LINES, "main.py", cwd=tmp_path)
        assert traced.exit_code == plain.exit_code
        assert plain.stderr in traced.stderr
        told, _, tree = traced.stderr.partition(plain.stderr)
        assert b"/ Load" in told
        assert b"flow Files" in tree
        assert b"/ Load  " not in tree


def test_what_is_no_terminal_is_not_wrapped(tmp_path: Path) -> None:
    """A line of the tree is one line in a file, so that it can be searched for."""
    text = BATCH.replace("can't parse bad.txt", "can't parse bad.txt " * 8)
    (tmp_path / "main.py").write_text(text, encoding="utf-8")
    shown = run(LINES, "main.py", cwd=tmp_path).text
    assert any(line.count("can't parse bad.txt") == 8 for line in shown.splitlines() if "└" in line)


def test_a_terminal_is_told_where_the_run_is(tmp_path: Path) -> None:
    """After a run on a terminal, one line says how to look at it again."""
    (tmp_path / "main.py").write_text(BATCH, encoding="utf-8")
    leader, follower = pty.openpty()
    state = str(tmp_path / ".state")
    done = subprocess.run(
        [*LINES, "--no-live", "main.py"],
        cwd=tmp_path,
        env=clean_environment({"XDG_STATE_HOME": state, "TERM": "xterm"}),
        stdout=subprocess.DEVNULL,
        stderr=follower,
        check=False,
    )
    os.close(follower)
    shown = b""
    while chunk := _read(leader):
        shown += chunk
    os.close(leader)
    (kept,) = Path(state).rglob("*.jsonl")
    assert done.returncode == 1
    assert f"kept as {kept.stem}; see: pocketflow-trace report" in shown.decode()


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 4096)
    except OSError:  # how Linux says that the other end is closed
        return b""


def test_a_client_that_nothing_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no instrumentation of an imported client is installed, a line says what to install."""
    import openai  # noqa: PLC0415 - imported when the program does it

    watch = Watch(own_provider("test"), frozenset(), captures=False)
    monkeypatch.setattr(watch, "_registered", ())
    (client,) = (client for client in CLIENTS if client.package == "openai")
    assert watch.hint() == ""
    watch.on_import(client, openai)
    assert watch.hint() == (
        "the calls of openai are not seen; to count them: "
        "pip install 'opentelemetry-instrumentation-pocketflow[openai]'"
    )


def test_cancelled_branches_are_folded() -> None:
    """Where one of many items fails, those that were cancelled with it take one line."""
    stage = Stage()
    cancelled = {"pocketflow.outcome": "cancelled"}
    with (
        stage.span("invoke_workflow All", 0, 100, flow("All")),
        stage.span("Work", 0, 100, node("Work", batch_size=40)),
    ):
        for index in range(40):
            error = ValueError("no") if index == 20 else None
            given = item(index) if error else {**item(index), **cancelled}
            stage.leaf("Work item", 1, 2, attributes=given, error=error)
    (flow_shown,) = outline(stage.run)
    assert isinstance(flow_shown, Shown)
    (work,) = flow_shown.inside
    assert isinstance(work, Shown)
    shown = [part for part in work.inside if isinstance(part, Shown)]
    hidden = sum(part.count for part in work.inside if isinstance(part, Gap))
    assert len(shown) <= 7
    assert len(shown) + hidden == 40
    assert any(part.entry.status == "error" for part in shown)


KILLED = """\
import os, signal
from pocketflow import Flow, Node


class Ask(Node):
    def post(self, shared, prep_res, exec_res):
        shared["question"] = "why?"


class Die(Node):
    def exec(self, prep_res):
        input()
        os.kill(os.getpid(), signal.SIGKILL)


ask = Ask()
ask >> Die()
Flow(start=ask).run({"topic": "cats"})
"""


def test_a_killed_run_keeps_how_it_began(tmp_path: Path) -> None:
    """The store at its start and the graph are in the file before anything has ended."""
    (tmp_path / "main.py").write_text(KILLED, encoding="utf-8")
    state = tmp_path / ".state"
    environment = clean_environment({"XDG_STATE_HOME": str(state)})
    with subprocess.Popen(
        [*LINES, "--no-live", "main.py"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_for(
            lambda: any('"name":"Die"' in file.read_text() for file in state.rglob("*.partial"))
        )
        process.communicate(b"\n")
    assert process.returncode == -signal.SIGKILL
    (file,) = state.rglob("*.partial")
    (flow_entry,) = read(file).run.roots
    assert flow_entry.end is None
    assert json.loads(str(flow_entry.attributes[semconv.SHARED_INITIAL])) == {"topic": "cats"}
    assert json.loads(str(flow_entry.attributes[semconv.GRAPH]))["nodes"] == ["Ask", "Die"]
    ended, running = flow_entry.children
    assert (ended.name, ended.end is None) == ("Ask", False)
    assert (running.name, running.end) == ("Die", None)


def wait_for(check: Callable[[], bool]) -> None:
    """Look until something holds; a bounded number of times."""
    deadline = time.monotonic() + TIMEOUT
    while not check():
        assert time.monotonic() < deadline


def test_a_file_is_no_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who names a program right away is told how to run it."""
    program = tmp_path / "main.py"
    program.touch()
    assert main([str(program)]) == 2
    assert f"to run it: pocketflow-trace run {program}" in capsys.readouterr().err


def test_the_script_names_a_service_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that has not said its name is kept by that of its script."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/agent.py"])
    keeper = RunKeeper(Shelf(tmp_path))
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(keeper)
    provider.get_tracer(semconv.SCOPE_NAME).start_span("Ask").end()
    keeper.close()
    (kept,) = Shelf(tmp_path).kept()
    assert kept.about.program == "agent"
    assert keeper.kept_as() == kept.about.id


def test_a_view_rests_while_the_program_forks() -> None:
    """The thread is gone before a fork, comes back with the next span, and ends once."""
    ended: list[str] = []
    worker = Worker(lambda: None, lambda: ended.append("last"))
    worker.start()
    assert "pocketflow-trace" in running_threads()
    worker.rest()
    assert "pocketflow-trace" not in running_threads()
    worker.start()
    assert "pocketflow-trace" in running_threads()
    worker.close()
    worker.start()
    assert "pocketflow-trace" not in running_threads()
    assert ended == ["last"]


def test_a_view_that_is_held_up_holds_up_nobody() -> None:
    """What a failed run waits for comes at once, or not at all where nobody reads."""
    seen: list[str] = []
    news = ["failed"]
    quick = Worker(lambda: seen.extend(news), lambda: None)
    quick.start()
    quick.hurry()
    assert "failed" in seen
    quick.close()

    released = threading.Event()
    stuck = Worker(lambda: void(released.wait()), lambda: None)
    stuck.start()
    stuck.hurry()  # comes back, though the step does not end
    assert not released.is_set()
    released.set()
    stuck.close()


def void(_: object) -> None:
    """Forget a value."""


def running_threads() -> set[str]:
    """The names of the threads that run."""
    return {thread.name for thread in threading.enumerate()}
