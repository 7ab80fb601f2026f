"""`pocketflow-trace graph`: Mermaid that says what ran, whatever the names are."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false, reportUnusedExpression=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import re
import typing
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kept_programs import collected, keep

from pocketflow_trace.cli import main
from pocketflow_trace.record.model import walk
from pocketflow_trace.views.diagram import MAX_LABEL, escaped, flows, mermaid
from support.framework import BatchFlow, Flow, Node

if typing.TYPE_CHECKING:
    from pathlib import Path

    import pytest

LABEL = r'"((?:[^\W]|[ _.,+/-]|#\d+;|<br/>)+)"'
"""A quoted label with nothing in it that Mermaid could take for something else."""
ID = r"f\d+[nx]\d+"
GRAMMAR = re.compile(
    rf"flowchart TD|        direction TB"
    rf"|    subgraph f\d+\[{LABEL}\]"
    rf"|        {ID}(?:\[{LABEL}\]|\(\[{LABEL}\]\)|\[\[{LABEL}\]\]|\{{\{{{LABEL}\}}\}})"
    rf"|        {ID} (?:==>|-\.->)(?:\|{LABEL}\|)? {ID}"
    r"(?:\(\[\"end\"\]\)|\{\{\"dead end\"\}\})?"
    rf"|        %% [\w ,:]+"
    rf"|    end"
    rf"|    class {ID} (?:never|failed|dead)"
    rf"|    classDef \w+ [\w:, -]+"
)
"""All lines that we write; the real Mermaid accepted such charts, with names like those below."""


class Step(Node):
    """Answers by its turn."""

    actions: tuple[str, ...] = ("default",)
    turn = 0

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        """What it writes, and where it leads."""
        cls = type(self)
        cls.turn += 1
        return self.actions[(cls.turn - 1) % len(self.actions)]


def step(name: str, *actions: str) -> Any:
    """Return a node of a class of that name."""
    return type(name, (Step,), {"actions": actions or ("default",), "turn": 0})()


def chart(program: Any, *, is_checked: bool = True, **options: Any) -> str:
    """Return the chart of a program, without its times."""
    run, _ = collected(program, **options)
    text = mermaid(flows(list(walk(run.roots))))
    if is_checked:
        for line in text.splitlines():
            assert GRAMMAR.fullmatch(line), line
    return re.sub(r", [\d.]+ (?:ms|s)\b", "", text)


def agent(stage: Any) -> Any:
    """A loop with a branch that is never taken."""
    decide, search, answer = (
        step("Decide", "search", "search", "answer"),
        step("Search"),
        step("Answer"),
    )
    decide - "search" >> search
    decide - "answer" >> answer
    decide - "give up" >> step("Apology")
    search >> decide
    return stage.run(type("Agent", (Flow,), {})(start=decide))


def test_counts_and_path() -> None:
    """Nodes with their runs, edges with the times they were taken, and where it ended."""
    assert chart(agent).splitlines() == [
        "flowchart TD",
        '    subgraph f0["Agent - 1 run"]',
        "        direction TB",
        '        f0n0(["Decide<br/>3 runs"])',
        '        f0n1["Search<br/>2 runs"]',
        '        f0n2["Answer<br/>1 run"]',
        '        f0n3["Apology<br/>never run"]',
        '        f0n0 ==>|"search 2x"| f0n1',
        '        f0n0 ==>|"answer 1x"| f0n2',
        '        f0n0 -.->|"give up"| f0n3',
        '        f0n1 ==>|"2x"| f0n0',
        '        f0n2 ==>|"1x"| f0x0(["end"])',
        "    end",
        "    class f0n3 never",
        "    classDef never stroke-dasharray:4 4,fill:none",
        "    classDef failed stroke:red,stroke-width:3px",
        "    classDef dead stroke:orange,stroke-width:3px",
    ]


def test_a_dead_end() -> None:
    """An action that no successor has leads to a dead end."""
    start = step("Ask", "nope")
    start - "yes" >> step("Say")
    text = chart(lambda stage: stage.run(Flow(start=start)))
    assert '        f0n0 ==>|"nope 1x"| f0x0{{"dead end"}}\n' in text
    assert "    class f0n0 dead\n" in text


def test_a_failure() -> None:
    """A node that failed is marked, and leads nowhere."""

    class Bad(Node):
        def exec(self, prep_res: Any) -> Any:
            raise ValueError("no")

    text = chart(lambda stage: stage.run(Flow(start=Bad())))
    assert '        f0n0(["Bad<br/>1 run, 1 failed"])\n' in text
    assert "    class f0n0 failed\n" in text
    assert "==>" not in text


BOXES = ('f0["ReviewFlow', 'f1["Review')
"""How the boxes of a flow and of the one inside it begin."""


def test_nested_flows() -> None:
    """A flow in a flow is a node there, and has a box of its own."""

    def program(stage: Any) -> Any:
        review = type("Review", (Flow,), {})(start=step("Check"))
        review >> step("Say")
        return stage.run(Flow(start=review))

    text = chart(program)
    lines = text.splitlines()
    first, second = (lines.index(f'    subgraph {name} - 1 run"]') for name in BOXES)
    assert lines[first + 2] == '        f0n0[["Review<br/>1 run"]]'
    assert lines[second + 2] == '        f1n0(["Check<br/>1 run"])'


def test_a_batch() -> None:
    """Runs are added up over items; items without a span are told of."""

    class Each(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{}, {}, {}]

    assert "Ask<br/>3 runs" in chart(lambda stage: stage.run(Each(start=step("Ask"))))
    text = chart(lambda stage: stage.run(Each(start=step("Ask"))), max_batch_items=1)
    assert "        %% 2 items of a batch not traced, not counted here\n" in text


def test_a_graph_that_is_cut() -> None:
    """It is said, and what ran is drawn all the same."""

    def program(stage: Any) -> Any:
        nodes = [step(f"Node{number}") for number in range(40)]
        for node, following in pairwise(nodes):
            node >> following
        return stage.run(Flow(start=nodes[0]))

    text = chart(program, max_span_bytes=1024)
    assert "        %% the graph is cut in the trace: only a part of it is drawn\n" in text
    assert "Node39<br/>1 run" in text
    assert text.count("==>") == 40


HOSTILE = [
    "end", '"]; click f0n0 href "javascript:alert(1)"', "<img src=x onerror=alert(1)>", "a\nb",
    "%%{init:{}}%%", "`md` **b**", "#quot;", "style:#quot;;", "classDef x:#1;", "$$x$$",
    "graph TD", "-->|x|", "漢字", "\u202eabc", "subgraph x", "fa:fa-car", "\\n", "x" * 500, "&amp;",
    "{{a}}", "|", "  ",
]  # fmt: skip


def test_hostile_names() -> None:
    """No name of a class, an action or a flow can break the chart."""

    def program(stage: Any) -> Any:
        nodes = [step(name, name) for name in HOSTILE]
        for node, following, name in zip(nodes, nodes[1:], HOSTILE, strict=False):
            node.next(following, name)
        return stage.run(type(HOSTILE[1], (Flow,), {})(start=nodes[0]))

    text = chart(program, max_span_bytes=100_000)
    assert text.count("==>") == len(HOSTILE)
    assert "-.->" not in text


@given(st.text())
def test_any_name(name: str) -> None:
    """A label shows what `printable` would show, and its length is bounded."""
    label = escaped(name)
    assert re.fullmatch(LABEL, f'"{label}"')
    shown = re.sub(r"#(\d+);", lambda match: chr(int(match[1])), label)
    assert len(shown) <= MAX_LABEL
    assert shown.isprintable()


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All flows of a run, or the one that is named."""
    monkeypatch.setenv("POCKETFLOW_TRACE_DIR", str(tmp_path))

    def program(stage: Any) -> None:
        agent(stage)
        stage.run(Flow(start=step("Ask")))

    keep(collected(program)[0], tmp_path)
    assert main(["graph"]) == 0
    assert capsys.readouterr().out.count("subgraph") == 2
    assert main(["graph", "--flow", "AskFlow"]) == 0
    text = capsys.readouterr().out
    assert text.count("subgraph") == 1
    assert "Ask<br/>" in text
    assert main(["graph", "--flow", "Nope"]) == 1
    assert "no such flow in this run; there is: Agent, AskFlow\n" in capsys.readouterr().err


def test_no_line_is_broken_by_a_name() -> None:
    """Mermaid takes a backslash and an `n` for a new line, so the backslash is another sign."""
    assert escaped("a\nb\\nc") == "a#8726;nb#8726;nc"
