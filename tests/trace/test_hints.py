"""What the command tells besides the tree: whole tracebacks, hints, names of runs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sample_spans import Stage, flow, item, node
from traced_programs import PLAIN, run

from pocketflow_trace.process.clients import CLIENTS, Watch
from pocketflow_trace.process.provider import own_provider
from pocketflow_trace.views.outline import Gap, Shown, outline
from support.programs import clean_environment

if TYPE_CHECKING:
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
