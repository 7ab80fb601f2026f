"""`pocketflow-trace show`."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false

from __future__ import annotations

import io
import json
import typing
from dataclasses import replace
from typing import Any

import pytest
from kept_programs import about, collected, keep
from sample_spans import Stage, agent_run, flow, node, paid_run

from pocketflow_trace.cli import main
from pocketflow_trace.keeping.shelf import read
from pocketflow_trace.record.model import from_json
from pocketflow_trace.views.console import print_run
from support.framework import BatchNode, Flow, Node

if typing.TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of kept runs."""
    monkeypatch.setenv("POCKETFLOW_TRACE_DIR", str(tmp_path))
    monkeypatch.delenv("POCKETFLOW_TRACE_VERBOSITY", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Return what the command prints."""
    assert main(["show", *args]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_the_tree(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A kept run looks as it did when it ran; without a name it is the newest."""
    keep(paid_run(), shelf, about(1))
    path = keep(agent_run(), shelf, about(2))
    page = io.StringIO()
    print_run(agent_run(), page, width=100)
    assert shown(capsys) == page.getvalue()
    assert shown(capsys, "0002") == page.getvalue()
    assert shown(capsys, str(path)) == page.getvalue()
    assert "flow Chat" in shown(capsys, "last~1")


def test_verbosity(
    shelf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option goes before the environment."""
    keep(agent_run(), shelf)
    minimal, normal = shown(capsys, "--verbosity", "minimal"), shown(capsys)
    assert len(minimal) < len(normal)
    monkeypatch.setenv("POCKETFLOW_TRACE_VERBOSITY", "minimal")
    assert shown(capsys) == minimal
    assert shown(capsys, "--verbosity", "normal") == normal
    monkeypatch.setenv("POCKETFLOW_TRACE_VERBOSITY", "loud")
    assert main(["show"]) == 2
    assert "POCKETFLOW_TRACE_VERBOSITY: 'loud' is no verbosity" in capsys.readouterr().err


def test_unfinished(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first line says that the program did not end in order."""
    stage = Stage()
    with stage.span("invoke_workflow Chat", 0, None, flow("Chat")):
        stage.leaf("Ask", 0, 1, attributes=node("Ask"))
    keep(stage.run, shelf, is_complete=False)
    first, second, *_ = shown(capsys).splitlines()
    assert first == "unfinished: the program was killed or still runs"
    assert second == "flow Chat  unfinished"
    assert shown(capsys, "--node", "Ask").startswith("unfinished: ")


def test_damaged(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that cannot be read are counted on stderr."""
    with keep(agent_run(), shelf).open("a", encoding="utf-8") as file:
        file.write("{\nx\n")
    assert main(["show"]) == 0
    assert capsys.readouterr().err == "pocketflow-trace: 2 damaged lines in the file passed over\n"


def test_json(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The document is the run, and reads back as such; of a node its part."""
    path = keep(agent_run(), shelf)
    run = read(path).run
    assert from_json(json.loads(shown(capsys, "--json"))) == run
    part = from_json(json.loads(shown(capsys, "--json", "--node", "Search")))
    assert part == replace(run, roots=(run.roots[0].children[1],))


class Search(Node):
    """Fails once, and finds."""

    def prep(self, shared: Any) -> Any:
        """What it works on."""
        return {"query": shared["query"]}

    def exec(self, prep_res: Any) -> Any:
        """What it does."""
        if self.cur_retry == 0:
            raise TimeoutError("too slow")
        return ["fact " * 30, "\x1b[31mred"]

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        """What it writes, and where it leads."""
        shared["facts"] += exec_res
        return "again" if len(shared["facts"]) < 4 else "done"


class Each(BatchNode):
    """Fails at its second item."""

    def prep(self, shared: Any) -> Any:
        """What it works on."""
        return [1, 0]

    def exec(self, item: Any) -> float:
        """What it does."""
        return 1 / item


def looping(stage: Any) -> Any:
    """Run a node twice, with params."""
    search = Search(max_retries=2)
    search.next(search, "again")
    search.next(Each(), "done")
    top = Flow(start=search)
    top.set_params({"lang": "en"})
    return stage.run(top, {"query": "cats", "facts": []})


def test_a_node(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Params, input, output, the whole patch, and each attempt with its traceback."""
    keep(collected(looping)[0], shelf)
    page = shown(capsys, "--node", "Search:1")
    assert 'params {"lang": "en"}\n' in page
    assert 'input {"query": "cats"}\n' in page
    assert f'"fact {"fact " * 29}"' in page
    assert f"+ facts/0 = {json.dumps('fact ' * 30)}\n" in page
    assert "attempt 1/2" in page
    assert "attempt 2/2" in page
    assert 'raise TimeoutError("too slow")\n' in page
    assert "class test_cmd_show.Search (" in page
    assert "\x1b" not in page
    assert "Each" not in page


def test_which_runs_of_a_node(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By class all of them, by a number one, by the flow's name the flow."""
    keep(collected(looping)[0], shelf)
    both = shown(capsys, "--node", "Search")
    assert "(run 1 of 2)" in both
    assert "(run 2 of 2)" in both
    second = shown(capsys, "--node", "Search:2")
    assert "iteration 2, 2 of 2 attempts → done → Each\n" in second
    assert "iteration" not in shown(capsys, "--node", "Search#1:1")
    assert shown(capsys, "--node", "SearchFlow").startswith("flow SearchFlow")


def test_items(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Items that failed come first, with what they failed of."""
    keep(collected(looping)[0], shelf)
    page = shown(capsys, "--node", "Each")
    assert page.index("item 1") < page.index("item 0")
    assert "ZeroDivisionError: division by zero\n" in page


@pytest.mark.parametrize("name", ["Nope", "Search:3", "Search#2", "Search:0"])
def test_no_such_node(name: str, shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What ran is listed."""
    keep(collected(looping)[0], shelf)
    assert main(["show", "--node", name]) == 1
    assert capsys.readouterr().err == (
        f"pocketflow-trace: no run of '{name}'; what ran: SearchFlow (1x), Search (2x), Each (1x)\n"
    )


def test_no_such_run(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That is the user's to know."""
    assert main(["show"]) == 1
    assert f"no run is kept in {shelf}" in capsys.readouterr().err
