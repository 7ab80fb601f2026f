"""What many runs add up to, and how `pocketflow-trace stats` tells it."""

from __future__ import annotations

import json
import math
import typing
from array import array
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_spans import MILLISECOND, Stage, agent_run, flow, node, paid_run, used
from shelved import about, keep

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.analysis.run_statistics import Statistics, percentile
from pocketflow_trace.cli import main
from pocketflow_trace.views.columns import columns

if typing.TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from opentelemetry.util.types import AttributeValue

    from pocketflow_trace.record.model import Run

DAY = 86_400


def asked(*took: int, **attributes: AttributeValue) -> Run:
    """Return a run in which `Ask` ran so many times, for so many milliseconds."""
    stage = Stage()
    with stage.span("invoke_workflow Chat", 0, 9999, flow("Chat")):
        for milliseconds in took:
            stage.leaf("Ask", 0, milliseconds, attributes=node("Ask", **attributes))
    return stage.run


def added(*runs: Run) -> Statistics:
    """Return what runs add up to."""
    found = Statistics()
    for run in runs:
        found.add(run)
    return found


@given(st.lists(st.integers(0, 2**62), min_size=1), st.integers(1, 100))
def test_percentile(values: list[int], percent: int) -> None:
    """It is one of the values: enough are not above it, and of those below it too few."""
    ordered = sorted(values)
    found = percentile(array("q", ordered), percent)
    assert found in ordered
    needed = percent * len(ordered) / 100
    assert sum(value <= found for value in ordered) >= needed
    assert sum(value < found for value in ordered) < needed


@pytest.mark.parametrize(
    ("count", "percent", "rank"),
    [(1, 50, 1), (2, 50, 1), (20, 95, 19), (21, 95, 20), (100, 95, 95)],
)
def test_nearest_rank(count: int, percent: int, rank: int) -> None:
    """Ranks are those of the definition: the percentage of the count, rounded up."""
    assert percentile(array("q", range(1, count + 1)), percent) == rank
    assert rank == math.ceil(percent * count / 100)


def test_times_of_a_node() -> None:
    """Times of all runs of a node are taken together."""
    times = added(asked(10, 20), asked(30), asked(40)).nodes["Chat", "Ask"].times
    assert [nanos // MILLISECOND for nanos in times] == [10, 20, 30, 40]


def test_percentile_of_nothing() -> None:
    """Without a finished run there is none."""
    assert percentile(array("q"), 50) is None


def test_rates() -> None:
    """Errors are a share of the runs that ended, retries of those whose attempts are known."""
    stage = Stage()
    with stage.span("invoke_workflow Chat", 0, 99, flow("Chat")):
        stage.leaf("Ask", 0, 1, attributes=node("Ask", node_attempts=1))
        stage.leaf("Ask", 1, 2, attributes=node("Ask", node_attempts=3))
        stage.leaf("Ask", 2, 3, attributes=node("Ask"), error=ValueError("x"))
        stage.leaf("Ask", 3, None, attributes=node("Ask"))
    ask = added(stage.run).nodes["Chat", "Ask"]
    assert (ask.runs, ask.unfinished, ask.errors, ask.error_rate) == (4, 1, 1, 1 / 3)
    assert (ask.counted, ask.retried, ask.retry_rate) == (2, 1, 1 / 2)
    assert added(asked(1)).nodes["Chat", "Ask"].retry_rate is None


def test_a_batch_was_retried_where_an_item_was() -> None:
    """The attempts of a batch are more than one in any case."""
    calm = asked(1, batch_size=3, node_attempts=3)
    retried = asked(1, batch_size=3, node_attempts=4, batch_retried=1)
    assert added(calm, retried).nodes["Chat", "Ask"].retry_rate == 1 / 2


def spent(usage: Mapping[str, AttributeValue]) -> Run:
    """Return a run of one node with this usage."""
    stage = Stage()
    with stage.span("invoke_workflow Chat", 0, 1, flow("Chat") | dict(usage)):
        stage.leaf("Ask", 0, 1, attributes=node("Ask") | dict(usage))
    return stage.run


def test_absent_is_not_zero() -> None:
    """Averages are over the runs that told: a run without tokens does not lower them."""
    runs = (spent(used(1, 100, 0.02)), spent(used(1, 300)), spent(used(1)), asked(1))
    ask = added(*runs).nodes["Chat", "Ask"].spending
    assert (ask.runs, ask.tokens_per_run) == (3, 200)
    assert ask.cost_per_run == {"USD": Decimal("0.02")}
    silent = added(asked(1)).nodes["Chat", "Ask"].spending
    assert (silent.usage, silent.tokens_per_run, silent.cost_per_run) == (None, None, {})


def reporting(milliseconds: int, seconds: float) -> Run:
    """Return a run that took so long, and says what tracing took of it."""
    stage = Stage()
    told = {semconv.INSTRUMENTATION_DURATION: seconds}
    with stage.span("invoke_workflow Chat", 0, milliseconds, flow("Chat") | told):
        stage.leaf("Ask", 0, 1, attributes=node("Ask"))
    return stage.run


def test_what_tracing_took() -> None:
    """A share of the time of the runs that tell: others do not lower it."""
    total = added(reporting(1000, 0.02), asked(1), reporting(3000, 0.02)).total
    assert (total.tracing, total.tracing_share) == (40 * MILLISECOND, 0.01)
    assert added(asked(1)).total.tracing_share is None


def test_nested_flows() -> None:
    """A node belongs to the nearest flow around it, and each flow has a row of its own."""
    stage = Stage()
    with (
        stage.span("invoke_workflow Outer", 0, 9, flow("Outer")),
        stage.span("invoke_workflow Inner", 0, 5, flow("Inner")),
    ):
        stage.leaf("Ask", 0, 1, attributes=node("Ask"))
    stage.leaf("Ask", 9, 10, attributes=node("Ask"))
    assert set(added(stage.run).nodes) == {
        ("Outer", ""),
        ("Inner", ""),
        ("Inner", "Ask"),
        ("", "Ask"),
    }


# --- The command ----------------------------------------------------------------------------


@pytest.fixture(name="shelf")
def _shelf(tmp_path: Path) -> Path:
    """A folder with three runs: two programs, two days, two commits."""
    clean, dirty = (
        {semconv.VCS_REF_HEAD_REVISION: "c0ffee" * 6, semconv.VCS_DIRTY: is_dirty}
        for is_dirty in (False, True)
    )
    keep(agent_run(), tmp_path, about(0, "agent", clean))
    keep(paid_run(), tmp_path, about(1, "chat", dirty))
    keep(asked(5), tmp_path, about(2 * DAY, "chat"), is_complete=False)
    return tmp_path


def stats(capsys: pytest.CaptureFixture[str], *args: object) -> typing.Any:
    """Return the JSON document of the command."""
    assert main(["stats", "--json", *map(str, args)]) == 0
    return json.loads(capsys.readouterr().out)


def test_json(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The document says how many runs there are, and adds them up by node, day and commit."""
    data = stats(capsys, "--dir", shelf)
    assert (data["version"], data["runs"], data["unreadable"]) == (1, 3, 0)
    assert data["programs"] == {"agent": 1, "chat": 2}
    assert (data["first"], data["last"]) == (
        "2023-11-14T22:13:20+00:00",
        "2023-11-16T22:13:20+00:00",
    )
    assert (data["total"]["unfinished"], data["total"]["failed"]) == (1, 0)
    search = next(row for row in data["nodes"] if row["node"] == "Search")
    assert (search["flow"], search["runs"], search["p50_seconds"]) == ("Agent", 1, 0.52)
    assert (search["retry_rate"], search["tokens"], search["cost"]) == (1.0, None, {})
    days = [(row["day"], row["runs"], row["tokens"]) for row in data["days"]]
    assert days == [("2023-11-14", 2, 2948), ("2023-11-16", 1, None)]
    commits = {(row["revision"], row["dirty"]): row["cost"] for row in data["commits"]}
    assert commits == {
        ("c0ffee" * 6, False): {},
        ("c0ffee" * 6, True): {"USD": "0.0071"},
        (None, None): {},
    }


def test_text(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first line says of how many runs the tables are."""
    assert main(["stats", "--dir", str(shelf)]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == (
        "3 runs of chat, agent, 2023-11-14 to 2023-11-16: 0 failed, 1 unfinished, 7 node runs"
    )
    (write,) = (line for line in lines if line.startswith("Chat > Write"))
    assert write.split()[3:] == [
        "1",
        "800",
        "ms",
        "800",
        "ms",
        "0.0%",
        "100.0%",
        "2,333",
        "$0.0063",
    ]
    assert any(line.split() == ["2023-11-16", "1", "0", "0", "0", "-", "-"] for line in lines)
    assert any(line.startswith("c0ffeec0ff + changes ") for line in lines)
    assert any(line.startswith("unknown ") for line in lines)


def test_what_tracing_took_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the heading, and as JSON; nothing of it where no run tells."""
    keep(asked(1), tmp_path, about(1, "silent"))
    keep(reporting(1000, 0.02), tmp_path, about(2, "chat"))
    assert main(["stats", "--dir", str(tmp_path)]) == 0
    heading = capsys.readouterr().out.splitlines()[0]
    assert heading.endswith("0 failed, 2 node runs, tracing took 20 ms (2.0%)")
    total = stats(capsys, "--dir", tmp_path)["total"]
    assert (total["tracing_seconds"], total["tracing_share"]) == (0.02, 0.02)
    silent = stats(capsys, "--dir", tmp_path, "--program", "silent")["total"]
    assert (silent["tracing_seconds"], silent["tracing_share"]) == (None, None)


def test_program(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only runs of the program are added up; a pattern fits several."""
    assert stats(capsys, "--dir", shelf, "--program", "chat")["runs"] == 2
    assert stats(capsys, "--dir", shelf, "--program", "*a*")["runs"] == 3


def test_since(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only runs that began since then are added up."""
    assert stats(capsys, "--dir", shelf, "--since", "2023-11-15")["runs"] == 1
    assert stats(capsys, "--dir", shelf, "--since", "9999w")["runs"] == 3
    assert main(["stats", "--dir", str(shelf), "--since", "7d"]) == 1
    assert "no run since then is kept in" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args", [["--since", "yesterday"], ["--since", "7"], ["--limit", "-1"], ["--what"]]
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    """What is wrong is named, and the exit code is 2."""
    assert main(["stats", *args]) == 2
    assert args[0] in capsys.readouterr().err


def test_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a run there is nothing to tell."""
    assert main(["stats", "--dir", str(tmp_path / "none")]) == 1
    assert "no run is kept in" in capsys.readouterr().err


def test_damaged(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be read is named on stderr; the rest is added up."""
    path = keep(asked(5), shelf, about(7, "chat"))
    path.write_text(path.read_text(encoding="utf-8") + "half a li", encoding="utf-8")
    (shelf / "notes.jsonl").write_text("{}\n", encoding="utf-8")
    assert main(["stats", "--dir", str(shelf)]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"pocketflow-trace: {path.name}: 1 damaged line passed over\n"
    assert captured.out.startswith("4 runs of ")


def test_limit(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Long tables are cut, and say so."""
    main(["stats", "--dir", str(shelf), "--limit", "2"])
    assert "… 6 more; --limit 0 for all" in capsys.readouterr().out


def test_names_are_made_safe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No name of a program reaches the terminal's control."""
    stage = Stage()
    with stage.span("f", 0, 9, flow("Fl\x1b[2Jow" + "w" * 400)):
        stage.leaf("n", 0, 1, attributes=node("No\nde"))
    keep(stage.run, tmp_path, about(0, "pro\x07gram", {semconv.VCS_REF_HEAD_REVISION: "\x1b" * 9}))
    main(["stats", "--dir", str(tmp_path)])
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert max(map(len, out.splitlines())) <= 120


def test_columns() -> None:
    """Numbers stand to the right; what is too wide is cut in the first column."""
    assert columns(("name", "n"), [("a", "1"), ("b" * 30, "100")], 20) == [
        f"{'name':<15}    n",
        f"{'a':<15}    1",
        f"{'b' * 14}…  100",
    ]


def test_wide_characters() -> None:
    """A character that takes two columns of a terminal counts as two."""
    lines = columns(("name", "n"), [("天気天気", "1"), ("weather!", "2")], 80)
    assert lines == ["name      n", "天気天気  1", "weather!  2"]
    assert columns(("name", "n"), [("天" * 20, "1")], 18)[1] == "天" * 7 + "…  1"
