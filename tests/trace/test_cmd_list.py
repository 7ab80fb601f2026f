"""`pocketflow-trace list`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing

import pytest
from kept_programs import STARTED, about, keep
from sample_spans import Stage, agent_run, flow, node, paid_run

from pocketflow_trace.cli import main

if typing.TYPE_CHECKING:
    from pathlib import Path

    from pocketflow_trace.record.model import Run


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of kept runs."""
    monkeypatch.setenv("POCKETFLOW_TRACE_DIR", str(tmp_path))
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path


def failed_run() -> Run:
    """Return a run whose flow failed."""
    stage = Stage()
    error = ValueError("no")
    with stage.span("invoke_workflow Bad", 0, 2, flow("Bad"), error=error):
        stage.leaf("Ask", 0, 1, attributes=node("Ask"), error=error)
    return stage.run


def dead_process() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def lines(capsys: pytest.CaptureFixture[str], *args: str) -> list[str]:
    """Return what the command prints, as lines."""
    assert main(["list", *args]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


GIT = {
    "vcs__ref__head__name": "main",
    "vcs__ref__head__revision": "e0d5389aaaabbbb",
    "pocketflow__vcs__dirty": True,
}


def test_a_table(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Newest first; what is not known is left empty."""
    keep(agent_run(), shelf, about(1, "agent", **GIT))
    keep(paid_run(), shelf, about(2, "chat", process__pid=os.getpid()), is_complete=False)
    keep(failed_run(), shelf, about(3, "bad", process__pid=dead_process()), is_complete=False)
    rows = [line.split() for line in lines(capsys)]
    assert rows[0] == [
        "ID", "WHEN", "STATE", "PROGRAM", "FLOWS", "NODES", "ERRORS", "TIME", "TOKENS", "COST",
        "COMMIT",
    ]  # fmt: skip
    assert rows[1][0] == "20231114-221323-0003"
    assert rows[1][3:] == ["killed", "bad", "Bad", "1", "1", "2.0", "ms"]
    assert rows[2][3:] == ["running", "chat", "Chat", "2", "0", "900", "ms", "2,948", "$0.0071"]
    assert rows[3][3:] == ["complete", "agent", "Agent", "4", "0", "1.24", "s", "main@e0d5389*"]


def test_json(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything with its unit, null where it is not known."""
    path = keep(agent_run(), shelf, about(1, "agent", **GIT))
    keep(paid_run(), shelf, about(2, "chat"))
    data = json.loads("\n".join(lines(capsys, "--json")))
    assert (data["version"], data["directory"], data["more"]) == (1, str(shelf), 0)
    chat, agent = data["runs"]
    assert agent == {
        "id": "20231114-221321-0001",
        "path": str(path),
        "started": STARTED + 1_000_000_000,
        "program": "agent",
        "flows": ["Agent"],
        "nodes": 4,
        "errors": 0,
        "retries": 1,
        "seconds": 1.24,
        "tracing_seconds": None,
        "calls": None,
        "tokens": None,
        "costs": {},
        "is_partial": False,
        "state": "complete",
        "branch": "main",
        "commit": "e0d5389aaaabbbb",
        "dirty": True,
        "damaged": 0,
    }
    assert (chat["calls"], chat["tokens"], chat["costs"]) == (3, 2948, {"USD": 0.0071})
    assert (chat["branch"], chat["dirty"]) == (None, None)


def test_a_limit(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Older runs are counted, and it is said how to see them."""
    for number in range(3):
        keep(agent_run(), shelf, about(number))
    table = lines(capsys, "--limit", "1")
    assert table[1].startswith("20231114-221322-0002")
    assert table[2:] == ["… 2 older runs; see them with --limit 3"]
    assert json.loads("\n".join(lines(capsys, "--limit", "2", "--json")))["more"] == 1


def test_no_runs(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder, or none at all, is no error."""
    message = f"no run is kept in {shelf}; see: pocketflow-trace run --help"
    assert lines(capsys) == [message]
    assert lines(capsys, "--dir", str(shelf / "none")) == [
        message.replace(str(shelf), f"{shelf}/none")
    ]
    assert json.loads("\n".join(lines(capsys, "--json")))["runs"] == []


def test_ids_for_a_shell(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only ids that a shell takes for plain words."""
    keep(agent_run(), shelf, about(1))
    file = keep(agent_run(), shelf, about(2))
    text = file.read_text(encoding="utf-8").replace("20231114-221322-0002", "$(touch x)", 1)
    file.write_text(text, encoding="utf-8")
    assert lines(capsys, "--ids") == ["20231114-221321-0001"]


def test_hostile_text(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names cannot break the table or reach the terminal."""
    stage = Stage()
    stage.leaf("x", 0, 1, attributes=flow("漢字" * 40 + "\x1b[2J"))
    keep(stage.run, shelf, about(1, "evil\n\x1b[31m"))
    keep(agent_run(), shelf, about(2))
    table = lines(capsys)
    assert len(table) == 3
    assert all(line.isprintable() for line in table)
    assert "evil\\n\\x1b[31m" in table[2]
    assert "漢字漢…" in table[2]


def test_damage(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged run is listed as such; what is no run's file is passed over."""
    with keep(agent_run(), shelf, about(1)).open("a", encoding="utf-8") as file:
        file.write('{"end": {"na\n')
    (shelf / "other.jsonl").write_text("{}\n", encoding="utf-8")
    table = lines(capsys)
    assert len(table) == 2
    assert "complete, damaged" in table[1]


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5"])
def test_wrong_limit(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit that is no number above 0 is wrong usage."""
    assert main(["list", f"--limit={limit}"]) == 2
    assert f"--limit is {limit!r}; it is a number above 0" in capsys.readouterr().err
