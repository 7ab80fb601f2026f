"""The page that `pocketflow-trace report` writes."""

from __future__ import annotations

import re
import typing

import pytest
from sample_spans import Stage, agent_run, diff, flow, item, node
from shelved import about, keep
from weather import Plan, weather

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.analysis.failure_report import find_trouble, report
from pocketflow_trace.analysis.markdown import code, fence
from pocketflow_trace.cli import main
from pocketflow_trace.record.model import Run

if typing.TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pocketflow_trace.record.model import About

FAILING = Plan(attempts=2, error="no such city", cities=30)


def page(run: Run, told: About | None = None) -> str:
    """Return the page of a run."""
    return "\n".join(report(Run(roots=run.roots, about=told or about())))


def section(text: str, heading: str) -> str:
    """Return what stands under a heading."""
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_what_and_where() -> None:
    """Headline and first lines name the exception, the item, the code and the attempts."""
    text = page(weather(FAILING))
    assert text.startswith("# `ValueError` in `Answer item 0` in `main`\n")
    assert "- where: `Weather` > `Answer` > `item 0 of 30`" in text
    assert re.search(r"- code: `weather\.Answer` in `.*weather\.py:\d+`", text)
    assert "- attempts: 1 of 1" in text


def test_traceback_has_the_programs_own_frames() -> None:
    """Frames of libraries are left out, and counted."""
    text = section(page(weather(FAILING)), "What failed")
    assert 'raise ValueError(prep_res["error"])' in text
    assert "ValueError: no such city" in text
    assert "site-packages" not in text
    assert re.search(r"\(\d+ frames of libraries left out\)", text)


def test_way_input_and_store() -> None:
    """The way to the node, what it was given, and who changed the store last."""
    text = page(weather(FAILING))
    way = section(text, "The way there")
    assert re.findall(r"^ *- `(\w+)", way, re.MULTILINE) == [
        "Decide",
        "Fetch",
        "Decide",
        "Answer",
        "item",
    ]
    assert "2 of 3 attempts" in way
    assert '"city": "city 0"' in section(text, "Input of `Answer item 0`")
    store = section(text, "The shared store")
    assert "At its end:" in store
    assert '- `Fetch` added `page` = `"page"` in post' in store
    assert "- `Decide` (iteration 2) changed `step` = `2` in post" in store


def test_surroundings() -> None:
    """Versions, commit and the command to run it again are there."""
    resource = {
        semconv.PROCESS_COMMAND_ARGS: ("python3", "main.py", "--topic", "cats & dogs"),
        semconv.PROCESS_WORKING_DIRECTORY: "/srv/app",
        semconv.PROCESS_RUNTIME_VERSION: "3.12.1",
        semconv.VCS_REF_HEAD_REVISION: "0123456789abcdef",
        semconv.VCS_REF_HEAD_NAME: "main",
        semconv.VCS_DIRTY: True,
    }
    text = section(page(weather(FAILING), about(0, "main", resource)), "Surroundings")
    assert "- versions: Python `3.12.1`" in text
    assert "- commit: `0123456789ab` on `main`, with uncommitted changes" in text
    assert "- run it again: `pocketflow-trace run main.py --topic 'cats & dogs'`" in text
    assert "- all of it: `pocketflow-trace show 20231114-221320-0000`" in text


@pytest.mark.parametrize(
    ("words", "again"),
    [
        (("python", "-m", "app", "x"), "pocketflow-trace run -m app x"),
        (("python", "-X", "dev", "main.py"), None),
        (("python",), None),
    ],
)
def test_run_it_again(words: tuple[str, ...], again: str | None) -> None:
    """Only a command that means the same is told."""
    resource = {semconv.PROCESS_COMMAND_ARGS: words}
    found = re.search(r"- run it again: `(.*)`", page(weather(), about(0, "", resource)))
    assert (found and found[1]) == again


def test_it_is_bounded() -> None:
    """However much there is, a page has about 100 lines of bounded length."""
    stage = Stage()
    changes = diff(*({"op": "add", "path": f"/k{n}", "value": "v" * 900} for n in range(500)))
    big = "{" + ", ".join(f'"key {n}": "{"x" * 900}"' for n in range(500)) + "}"
    with stage.span("invoke_workflow Big", 0, 999, flow("Big", shared_initial=big)):
        for n in range(300):
            stage.leaf("Step", n, n + 1, attributes=node("Step", shared_diff=changes))
        attributes = node("Last", input_value=big)
        error = ValueError("\n".join(f"line {n}" for n in range(500)) + "y" * 9000)
        stage.leaf("Last", 400, 500, attributes=attributes, error=error)
    lines = report(stage.run)
    assert len(lines) <= 100
    assert max(map(len, lines)) <= 320
    assert "- … 289 earlier steps" in lines
    assert "Last changes (149,990 earlier ones left out):" in lines


def test_the_last_failure_is_told() -> None:
    """Where several items failed, the page is about the last one."""
    stage = Stage()
    with stage.span("Ask", 0, 9, node("Ask"), error=None):
        for index in range(3):
            error = ValueError(str(index)) if index < 2 else None
            stage.leaf("Ask item", index, index + 1, attributes=item(index), error=error)
    trouble = find_trouble(stage.run)
    assert trouble is not None
    assert trouble.chain[-1].attributes[semconv.ITEM_INDEX] == 1


def test_unfinished() -> None:
    """Of a program that was killed it says what was running."""
    stage = Stage()
    with stage.span("invoke_workflow Chat", 0, None, flow("Chat", shared_initial='{"q": 1}')):
        stage.leaf("Plan", 0, 5, attributes=node("Plan"))
        stage.leaf("Write", 5, None, attributes=node("Write"))
    text = page(stage.run)
    assert text.startswith("# `Write` had not ended when the program stopped in `main`\n")
    assert "At its start:" in text


def test_cancelled() -> None:
    """A cancellation is no failure, but where it stopped."""
    stage = Stage()
    stage.leaf("Ask", 0, 5, attributes=node("Ask", outcome=semconv.OUTCOME_CANCELLED))
    assert page(stage.run).startswith("# `Ask` was cancelled in `main`\n")


def test_nothing_failed() -> None:
    """It says so, and tells what was slowest and what was retried most."""
    text = page(agent_run())
    assert text.startswith("# Nothing failed in `main`\n")
    slowest = section(text, "Slowest")
    assert re.findall(r"- `(\w+)", slowest) == ["Search", "Answer", "Decide", "Decide"]
    assert re.findall(r"- `(\w+)", section(text, "Most attempts")) == ["Search"]


@pytest.mark.parametrize("text", ["a", "`", "``` x `", "a\nb\x1b[31m", "", " ", "<b>&amp;</b>"])
def test_code_spans(text: str) -> None:
    """A code span holds its text on one line, whatever backticks it has."""
    span = code(text)
    ticks = re.match("`+", span)
    assert ticks is not None
    assert "\n" not in span
    assert "\x1b" not in span
    assert span.endswith(ticks[0])
    assert ticks[0] not in span[len(ticks[0]) : -len(ticks[0])]


@pytest.mark.parametrize("lines", [["a"], ["```", "# no heading"], ["`````"] * 3, [], ["x"] * 99])
def test_fences(lines: Sequence[str]) -> None:
    """A fence cannot be closed by what is inside it."""
    first, *inside, last = fence(lines, "text", limit=9)
    assert first == f"{last}text"
    assert not any(last in line for line in inside)
    assert len(inside) <= 9


def test_hostile_text() -> None:
    """Backticks, escapes and line breaks of a program do not get out of their place."""
    error = ValueError("```\n# pwned\n\x1b[31m")
    stage = Stage()
    with stage.span("invoke_workflow A", 0, 9, flow("A`b\n# c")):
        stage.leaf("B", 0, 1, attributes=node("B", input_value='"```"'), error=error)
    inside = False
    for line in report(stage.run):
        if re.match("`{3,}", line):
            inside = not inside
        elif not inside and line.startswith("#"):
            assert re.match("# |## (What|The|Input)", line)
        assert "\x1b" not in line
    assert not inside


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page goes to stdout; the last run is the default."""
    keep(weather(), tmp_path, about(0))
    keep(weather(FAILING), tmp_path, about(1))
    assert main(["report", "--dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("# `ValueError` in `Answer item 0`")
    assert main(["report", "last~1", "--dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("# Nothing failed in `main`")
    assert main(["report", "nope", "--dir", str(tmp_path)]) == 1
    assert "no run 'nope'" in capsys.readouterr().err
