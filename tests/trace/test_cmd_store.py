"""`pocketflow-trace store`; what it rebuilds is tested in `test_rebuild`."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false

from __future__ import annotations

import json
import re
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_programs import about, collected, keep
from test_rebuild import counting, killed

from pocketflow_trace.cli import main
from pocketflow_trace.views.pretty import WIDTH, pretty
from support.framework import Flow, Node

if typing.TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of kept runs."""
    monkeypatch.setenv("POCKETFLOW_TRACE_DIR", str(tmp_path))
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    """Return the store that the command prints."""
    assert main(["store", *args]) == 0
    return json.loads(capsys.readouterr().out)


def once(stage: Any) -> Any:
    """Run a loop."""
    return stage.run(counting(), {"n": 0, "log": []})


def twice(stage: Any) -> None:
    """Run it on two stores."""
    once(stage)
    once(stage)


def test_when(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At the end, after and before a run of a node; the last run where none is named."""
    keep(collected(once)[0], shelf)
    assert shown(capsys) == {"n": 3, "log": [1, 2, 3]}
    assert shown(capsys, "--at", "Count:1") == {"n": 1, "log": [1], "seen": 0}
    assert shown(capsys, "--at", "Count") == {"n": 3, "log": [1, 2, 3], "seen": 2}
    assert shown(capsys, "--at", "Count:1", "--before") == {"n": 0, "log": []}


def test_json(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One document says all that is known and not known."""
    keep(collected(once)[0], shelf, about(1))
    data = shown(capsys, "--at", "Count:2", "--json")
    assert data["at"].pop("span_id")
    assert data.pop("store")
    assert data == {
        "version": 1,
        "run": "20231114-221321-0001",
        "at": {"node": "Count", "before": False},
        "document": {"n": 2, "log": [1, 2], "seen": 1},
        "applied": 6,
        "missing": 0,
        "lost": 0,
        "is_start_known": True,
        "unfinished": [],
        "is_approximate": False,
        "doubtful": [],
        "cut": [],
        "opaque": [],
        "redacted": [],
        "unwatched": 0,
    }


def test_several_stores(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where it is not clear which, they are listed; a node tells its own."""
    keep(collected(twice)[0], shelf)
    assert main(["store"]) == 2
    err = capsys.readouterr().err
    assert "this run has 2 stores; choose one with --store ID:\n" in err
    first, second = (line.split()[0] for line in err.splitlines()[1:])
    assert f"  {first}  of CountFlow, 10 changes\n" in err
    assert shown(capsys, "--store", second) == {"n": 3, "log": [1, 2, 3]}
    assert shown(capsys, "--at", "Count:4") == {"n": 1, "log": [1], "seen": 0}
    assert main(["store", "--store", first, "--at", "Count:4"]) == 1
    assert f"Count ran on store {second}, not on {first}" in capsys.readouterr().err
    assert main(["store", "--store", "999999"]) == 1
    assert "this run has no store 999999" in capsys.readouterr().err


class Write(Node):
    """Writes what is not shown."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        """What it writes, and where it leads."""
        shared["text"] = "x" * 100_000
        shared["api_key"] = "sk-0123456789"
        shared["lock"] = object()


def test_notes(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not shown is told on stderr, place by place."""
    keep(collected(lambda stage: stage.run(Flow(start=Write()), {}))[0], shelf)
    assert main(["store"]) == 0
    assert capsys.readouterr().err == (
        "note: cut: /text\nnote: not looked into or not captured: /lock\nnote: redacted: /api_key\n"
    )


class WriteMuch(Node):
    """Writes more than a span can tell."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        """What it writes, and where it leads."""
        shared.update({f"key{number}": "value" * 10 for number in range(100)})


def test_missing_changes(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are counted, and the keys that they may be about are said."""
    keep(collected(lambda stage: stage.run(Flow(start=WriteMuch()), {}))[0], shelf)
    assert main(["store"]) == 0
    note, *_ = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"note: \d+ changes not in the trace; what may be wrong: any key", note)


def test_a_killed_program(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is known is shown; and after what had not ended, nothing is."""
    keep(killed(collected(once)[0], "Flow", "Finish"), shelf, is_complete=False)
    assert main(["store", "--at", "Finish", "--before"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"seen": 2, "n": 3, "$cut": {"length": None}}
    assert "what was in the store at first is not known, since its flow had not ended" in err
    assert main(["store", "--at", "Finish"]) == 1
    assert "Finish had not ended, so what it changed is not known" in capsys.readouterr().err


def test_no_store(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without content there is nothing to rebuild."""
    keep(collected(once, content="off")[0], shelf)
    assert main(["store"]) == 1
    assert "this run tells of no store" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--before"], "--before needs --at"),
        (["--store", "x"], "--store is 'x'; it is a number"),
    ],
)
def test_wrong_usage(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told."""
    assert main(["store", *args]) == 2
    assert message in capsys.readouterr().err


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_data)
def test_readable_json(data: object) -> None:
    """It is the same data, safe to print."""
    text = pretty(data)
    assert json.loads(text) == data
    assert all(line.isprintable() for line in text.split("\n"))


def test_the_lines_of_readable_json() -> None:
    """What fits on a line stands on one, and short items of a list share lines."""
    assert pretty({"a": [1, 2], "b": {}}) == '{"a": [1, 2], "b": {}}'
    lines = pretty({"numbers": list(range(60)), "name": "x"}).split("\n")
    assert lines[0] == "{"
    assert lines[1] == '  "numbers": ['
    assert lines[2].startswith("    0, 1, 2, 3, ")
    assert lines[-2:] == ['  "name": "x"', "}"]
    assert max(map(len, lines)) <= WIDTH
