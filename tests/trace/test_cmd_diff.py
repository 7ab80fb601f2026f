"""What two runs are found to differ in, and what `pocketflow-trace diff` says and returns."""

from __future__ import annotations

import json
import sys
import typing
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_spans import Stage, agent_run, flow, node, used
from shelved import about, keep
from traced_programs import run
from weather import Plan, weather

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.analysis.comparison import Comparison, Thresholds, compare, essence
from pocketflow_trace.cli import main
from pocketflow_trace.record.model import Run

if typing.TYPE_CHECKING:
    from pathlib import Path


_PLANS = st.builds(
    Plan,
    route=st.lists(st.just("fetch"), max_size=3).map(lambda loops: (*loops, "answer")),
    attempts=st.integers(1, 3),
    tokens=st.sampled_from([100, 105, 300]),
    answer=st.sampled_from(["sunny", "rainy"]),
    error=st.sampled_from(["", "no such city"]),
    cities=st.integers(0, 3),
)


def told(found: Comparison) -> list[tuple[str, str, typing.Any, typing.Any]]:
    """Return aspect, place and both values of each difference, without times."""
    return [
        (each.aspect, " > ".join(each.where), each.a, each.b)
        for each in found.differences
        if each.aspect != "time"
    ]


def test_the_same() -> None:
    """Two runs of one program that did the same have no difference."""
    found = compare(weather(), weather())
    assert found.differences == ()
    assert found.compared == 7
    assert essence(found) == "no difference in 7 flows, nodes and items"


def test_output_and_writes() -> None:
    """What a node wrote is told with both values, at the node, and nowhere else."""
    found = compare(weather(), weather(Plan(answer="rainy")))
    was, now = ({"op": "add", "value": value} for value in ("sunny", "rainy"))
    differences = [each for each in told(found) if each[0] != "input"]
    assert differences == [("writes", "Weather > Answer", {"answer": was}, {"answer": now})]
    assert essence(found).endswith("Answer wrote something else")


def test_route() -> None:
    """Another action is told with where it led, and nodes that ran less often with their count."""
    found = compare(weather(), weather(Plan(route=("answer",))))
    differences = told(found)
    assert ("route", "Weather > Decide", "fetch → Fetch", "answer → Answer") in differences
    assert ("runs", "Weather > Fetch", 1, 0) in differences
    assert ("runs", "Weather > Decide", 2, 1) in differences
    assert "Decide took another route" in essence(found)


def test_a_longer_loop() -> None:
    """Each iteration is compared with the same iteration."""
    found = compare(weather(), weather(Plan(route=("fetch", "fetch", "answer"))))
    differences = told(found)
    assert ("route", "Weather > Decide:2", "answer → Answer", "fetch → Fetch") in differences
    assert not [each for each in differences if each[:2] == ("route", "Weather > Decide")]


def test_failure_and_attempts() -> None:
    """A new failure, one that is gone, and other attempts are told."""
    found = compare(weather(), weather(Plan(error="no such city", attempts=3)))
    differences = told(found)
    assert ("failure", "Weather > Answer > item 0", None, "ValueError") in differences
    assert ("failure", "Weather > Answer", None, "ValueError") in differences
    assert ("attempts", "Weather > Fetch", 1, 3) in differences
    assert essence(found).startswith("Answer item 0 fails now")
    back = compare(weather(Plan(error="no such city")), weather())
    assert essence(back).startswith("Answer item 0 fails no longer")


def test_tokens() -> None:
    """Tokens count from the threshold on, at the node and the outermost flow."""
    found = compare(weather(), weather(Plan(tokens=109)))
    assert [each for each in told(found) if each[0] == "tokens"] == []
    found = compare(weather(), weather(Plan(tokens=200)))
    tokens = [each for each in told(found) if each[0] == "tokens"]
    assert tokens == [
        ("tokens", "Weather", 101, 201),
        ("tokens", "Weather > Fetch", 101, 201),
    ]
    assert "Fetch became dearer" in essence(found)


def timed(milliseconds: int, cost: float = 0.01, graph: str = "aaaa") -> Run:
    """Return a run of one node that takes so long."""
    stage = Stage()
    root = flow("Chat", graph_hash=graph)
    with stage.span("invoke_workflow Chat", 0, milliseconds, root):
        stage.leaf("Ask", 0, milliseconds, attributes=node("Ask") | used(1, 10, cost))
    return stage.run


@pytest.mark.parametrize(
    ("a", "b", "differs"),
    [(100, 149, False), (100, 150, True), (150, 100, True), (10, 59, False), (0, 50, True)],
)
def test_time(a: int, b: int, differs: bool) -> None:
    """A time is another one from 1.5 times and 50 ms on."""
    found = compare(timed(a), timed(b))
    assert [each.where for each in found.differences] == (
        [("Chat",), ("Chat", "Ask")] if differs else []
    )
    if differs:
        assert (found.differences[1].a, found.differences[1].b) == (a / 1000, b / 1000)
        assert essence(found) == f"Ask became {'slower' if b > a else 'faster'}"


def test_cost_and_graph() -> None:
    """Another price and another graph are told; limits can be set."""
    found = compare(timed(1), timed(1, cost=0.02, graph="bbbb"))
    assert told(found) == [
        ("graph", "Chat", "aaaa", "bbbb"),
        ("cost", "Chat > Ask", {"USD": 0.01}, {"USD": 0.02}),
    ]
    assert compare(timed(1), timed(1, cost=0.02), Thresholds(cost_ratio=3)).differences == ()


def test_what_was_not_captured_is_no_difference() -> None:
    """A run without content is not said to have other results."""
    bare = Stage()
    with bare.span("invoke_workflow Chat", 0, 1, flow("Chat")):
        bare.leaf("Ask", 0, 1, attributes=node("Ask"))
    full = Stage()
    with full.span("invoke_workflow Chat", 0, 1, flow("Chat", input_value="{}")):
        full.leaf("Ask", 0, 1, attributes=node("Ask", output_value="1", node_attempts=1))
    assert compare(bare.run, full.run).differences == ()


def test_unfinished_is_a_failure() -> None:
    """A run that was killed differs from one that ended."""
    stage = Stage()
    with stage.span("invoke_workflow Chat", 0, 5, flow("Chat", graph_hash="aaaa")):
        stage.leaf("Ask", 0, None, attributes=node("Ask") | used(1, 10, 0.01))
    assert told(compare(timed(5), stage.run)) == [("failure", "Chat > Ask", None, "unfinished")]


def test_two_runs_of_one_flow() -> None:
    """The second run of a flow is compared with the second one."""
    first, second = weather(), weather(Plan(answer="rainy"))
    a, b = (
        Run(roots=(*first.roots, *first.roots)),
        Run(roots=(*first.roots, *second.roots)),
    )
    wheres = {each.where[0] for each in compare(a, b).differences}
    assert wheres == {"Weather:2"}


@settings(max_examples=25, deadline=None)
@given(_PLANS, _PLANS)
def test_any_two_runs(one: Plan, other: Plan) -> None:
    """A run does not differ from itself; B differs from A as A does from B, the other way round."""
    a, b = weather(one), weather(other)
    assert compare(a, a).differences == ()
    there, back = compare(a, b), compare(b, a)
    assert sorted((each.aspect, each.where) for each in there.differences) == sorted(
        (each.aspect, each.where) for each in back.differences
    )
    assert {(each.where, each.aspect): (each.a, each.b) for each in there.differences} == {
        (each.where, each.aspect): (each.b, each.a) for each in back.differences
    }
    assert (there.differences == ()) == (one == other)


# --- The command ----------------------------------------------------------------------------


@pytest.fixture(name="shelf")
def _shelf(tmp_path: Path) -> Path:
    """A folder with two runs: the second one answers otherwise, after another commit."""
    commits = {semconv.VCS_REF_HEAD_REVISION: "a" * 40}, {semconv.VCS_REF_HEAD_REVISION: "b" * 40}
    changed = Plan(answer="rainy\x1b[31m", attempts=2, tokens=105)
    for number, plan in enumerate((Plan(), changed)):
        keep(weather(plan), tmp_path, about(number, "main", commits[number]))
    return tmp_path


def test_command(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first line says the essence, and what differs stands under its node."""
    assert main(["diff", "last~1", "last", "--dir", str(shelf)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "Answer wrote something else" in lines[0]
    assert lines[1:3] == ["A: 20231114-221320-0000 main", "B: 20231114-221321-0001 main"]
    assert f"   commit: {'a' * 40} → {'b' * 40}" in lines
    assert lines[lines.index("Weather > Fetch") + 1] == "  attempts: 1 → 2"
    at = lines.index("Weather > Answer")
    assert lines[at + 1] == "  wrote answer: sunny → rainy\\x1b[31m"


def test_equal(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a difference the exit code is 0; B is the last run unless it is named."""
    assert main(["diff", "last", "--dir", str(shelf)]) == 0
    assert capsys.readouterr().out.startswith("no difference in 7 flows, nodes and items\n")


def test_json(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON it is one document with a version."""
    assert main(["diff", "last~1", "--json", "--dir", str(shelf)]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["version"], data["equal"], data["compared"]) == (1, False, 7)
    assert data["facts"] == [{"name": "commit", "a": "a" * 40, "b": "b" * 40}]
    attempts = [each for each in data["differences"] if each["aspect"] == "attempts"]
    assert attempts == [{"aspect": "attempts", "where": ["Weather", "Fetch"], "a": 1, "b": 2}]


def test_ignore(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is ignored does not count."""
    ignored = "input,output, writes,attempts"
    assert main(["diff", "last~1", "--dir", str(shelf), "--ignore", ignored]) == 0
    assert capsys.readouterr().out.startswith("no difference")


def test_ratio(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A number counts as another one from the given ratio on; usually from 1.1 on."""
    args = ["diff", "last~1", "--dir", str(shelf)]
    assert main(args) == 1
    assert "tokens: " not in capsys.readouterr().out
    main([*args, "--cost-ratio", "1.01"])
    assert "tokens: 101 → 106 (1.05 times)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["last~9"], "there are only 2 kept runs"),
        ([], "the following arguments are required: A"),
        (["last", "--ignore", "tim"], "no such thing as tim"),
        (["last", "--time-ratio", "0.5"], "must be a number from 1"),
    ],
)
def test_trouble(
    shelf: Path, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    """A run that is not there must not look like a difference: the exit code is 2."""
    assert main(["diff", *args, "--dir", str(shelf)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_an_encoding_without_our_signs(shelf: Path) -> None:
    """What stdout cannot hold is written in ASCII."""
    command = (sys.executable, "-m", "pocketflow_trace", "diff", "last~1", "--dir", str(shelf))
    done = run(command, cwd=shelf, env={"PYTHONIOENCODING": "ascii"})
    assert (done.exit_code, done.text) == (1, "")
    assert b"  attempts: 1 -> 2" in done.stdout


def test_a_damaged_file(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that cannot be read are counted on stderr; the rest is compared."""
    path = keep(agent_run(), shelf, replace(about(2), id="broken"))
    path.write_text(path.read_text(encoding="utf-8") + "{half a li", encoding="utf-8")
    assert main(["diff", "broken", "broken", "--dir", str(shelf)]) == 0
    assert capsys.readouterr().err.count("1 damaged line in the file passed over") == 2
