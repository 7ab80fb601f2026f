"""What stands between the tree of a run and its totals."""

from __future__ import annotations

import io
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_spans import MILLISECOND, Stage, attempt, diff, fail, flow, item, node, used

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record.model import Entry, Failure, Run
from pocketflow_trace.text import width
from pocketflow_trace.views.console import print_run
from pocketflow_trace.views.summary import own_time, rows, summary
from pocketflow_trace.views.verbosity import Look

if typing.TYPE_CHECKING:
    from pocketflow_trace.views.verbosity import Verbosity

TRACEBACK = """\
Traceback (most recent call last):
  File "/home/me/app/main.py", line 3, in exec
    first()
ValueError: first

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/venv/lib/python3.12/site-packages/pocketflow/__init__.py", line 31, in _exec
    try: return self.exec(prep_res)
  File "/home/me/app/main.py", line 19, in exec
    return helper(prep_res)
           ^^^^^^^^^^^^^^^^
  File "/home/me/app/main.py", line 23, in helper
    return prep_res[7]
  File "/usr/lib/python3.12/json/decoder.py", line 1, in decode
    raise JSONDecodeError
IndexError: list index out of range
"""


def text_of(run: Run, verbosity: Verbosity = "normal", columns: int = 80) -> str:
    """Return a summary's text."""
    lines = summary(run, verbosity, columns)
    return "".join("".join(text for text, _ in line) + "\n" for line in lines)


def loop_run(turns: int) -> Run:
    """Return a run that decides and searches in turns; each takes 100 and 50 ms."""
    stage = Stage()
    with stage.span("invoke_workflow Agent", 0, turns * 160, flow("Agent")):
        for turn in range(turns):
            start = turn * 160
            attributes = node("Decide", node_attempts=2) | used(1, 600, 0.001)
            stage.leaf("Decide", start, start + 100, attributes=attributes)
            stage.leaf("Search", start + 100, start + 150, attributes=node("Search"))
    return stage.run


def failed_run(stacktrace: str | None = TRACEBACK) -> Run:
    """Return a run whose second node fails on what the first has left."""
    stage = Stage()
    with stage.span("invoke_workflow Agent", 0, 20, flow("Agent")) as root:
        patch = diff({"op": "add", "path": "/answer", "value": [1, 2]})
        stage.leaf("Ask", 0, 5, attributes=node("Ask", shared_diff=patch))
        attributes = node("Count", input_value="[1,2]")
        with stage.span("Count", 5, 20, attributes) as count:
            with stage.span("Count attempt", 5, 19, attempt(1)) as span:
                told = {"exception.type": "IndexError", "exception.message": "list index"}
                trace = {} if stacktrace is None else {"exception.stacktrace": stacktrace}
                span.add_event("exception", told | trace)
                fail(span, "IndexError")
            fail(count, "IndexError")
        fail(root, "IndexError")
    return stage.run


def test_table() -> None:
    """A long run gets a table, the slowest first, and the chain that took the time."""
    assert text_of(loop_run(6)) == (
        "\n"
        "node        runs    self  share   total  retries  tokens    cost\n"
        "Decide         6  600 ms    62%  600 ms        6   3,600  $0.006\n"
        "Search         6  300 ms    31%  300 ms\n"
        "flow Agent     1   60 ms     6%  960 ms\n"
        "\n"
        "slowest path: flow Agent 960 ms > Decide 100 ms\n"
        "\n"
    )


def test_short_run() -> None:
    """A run of a few nodes needs no table, unless all is asked for; `minimal` never has one."""
    assert text_of(loop_run(5)) == ""
    assert text_of(loop_run(5), "verbose").startswith("\nnode  ")
    assert text_of(loop_run(50), "minimal") == ""


@pytest.mark.parametrize("columns", [20, 40, 50, 200])
def test_narrow(columns: int) -> None:
    """The columns that fit are shown, from the left; in a very narrow window there is no table."""
    text = text_of(loop_run(6), columns=columns).rpartition("slowest path")[0]
    assert max((width(line) for line in text.splitlines()), default=0) <= columns
    assert ("runs" in text) == (columns >= 40)
    assert ("cost" in text) == (columns == 200)


def test_many_nodes() -> None:
    """A table has a bounded number of rows, and says how many are left out."""
    stage = Stage()
    for number in range(100):
        stage.leaf("N", number, number + 1, attributes=node(f"Node{number}"))
    lines = text_of(stage.run).splitlines()
    assert len(lines) < 25
    assert "… 85 more nodes" in lines


def test_own_time_in_parallel() -> None:
    """Parallel children count once; what is inside of items and attempts counts for them."""
    stage = Stage()
    with stage.span("invoke_workflow All", 0, 100, flow("All")):
        for index in range(2):
            with stage.span("All item", 10, 90, item(index)):
                stage.leaf("Work", 10 + index * 20, 70 + index * 20, attributes=node("Work"))
    (root,) = stage.run.roots
    assert own_time(root) == 20 * MILLISECOND
    assert {row.name: row.total // MILLISECOND for row in rows(stage.run)} == {
        "Work": 120,
        "flow All": 100,
    }


@given(
    st.lists(st.tuples(st.integers(-50, 150), st.integers(0, 200), st.booleans()), max_size=8),
)
def test_own_time_is_a_part(children: list[tuple[int, int, bool]]) -> None:
    """Whatever the clocks of children say, a node's own time is between nothing and all of it."""
    inner = tuple(
        Entry("node", "x", start, start + long if ended else None)
        for start, long, ended in children
    )
    assert 0 <= own_time(Entry("flow", "f", 0, 100, children=inner)) <= 100


def test_error() -> None:
    """An error tells the user's own frames of the last traceback, and the state that led there."""
    assert text_of(failed_run()) == (
        "\n"
        "error in flow Agent / Count: IndexError: list index\n"
        "  /home/me/app/main.py:19 in exec\n"
        "    return helper(prep_res)\n"
        "  /home/me/app/main.py:23 in helper\n"
        "    return prep_res[7]\n"
        "  prep had returned: [1,2]\n"
        "  Ask had left: + answer = [1, 2]\n"
        "\n"
    )


def test_error_without_a_traceback() -> None:
    """What is not known is left out."""
    assert "main.py" not in text_of(failed_run(None))


def test_error_of_which_the_tree_tells_all() -> None:
    """Nothing is said twice, except to those who see no tree."""
    stage = Stage()
    stage.leaf("Ask", 0, 5, attributes=node("Ask"), error=ValueError("no"))
    assert text_of(stage.run) == ""
    assert text_of(stage.run, "minimal") == "\nerror in Ask: ValueError: no\n\n"


def test_own_changes_are_no_cause() -> None:
    """What the failed node changed itself is in the tree; what came later is no cause."""
    stage = Stage()
    for name, start, error in (
        ("Ask", 0, None),
        ("Fail", 10, ValueError("no")),
        ("Late", 20, None),
    ):
        patch = diff({"op": "add", "path": f"/{name}", "value": 1})
        attributes = node(name, shared_diff=patch)
        stage.leaf(name, start, start + 5, attributes=attributes, error=error)
    text = text_of(stage.run)
    assert "Ask had left: + Ask = 1" in text
    assert "Late had left" not in text
    assert "Fail had left" not in text


def test_many_errors() -> None:
    """The first errors are told, the others counted."""
    stage = Stage()
    for turn in range(50):
        stage.leaf(
            "Ask", turn, turn + 1, attributes=node("Ask", input_value="1"), error=KeyError(1)
        )
    text = text_of(stage.run)
    assert text.count("error in Ask: KeyError: 1\n") == 3
    assert "… 47 more errors\n" in text


@given(st.text(max_size=200))
def test_any_traceback(trace: str) -> None:
    """Whatever stands in a traceback, lines are printable and bounded."""
    for stacktrace in (trace, f'  File "{trace}", line 1, in {trace}\n{trace}'):
        failure = Failure("E", "m", stacktrace)
        entry = Entry("node", "Ask", 0, 1, "error", failures=(failure,))
        for line in text_of(Run(roots=(entry,))).splitlines():
            assert line.isprintable()
            assert len(line) < 1000


def printed(run: Run, look: Look) -> str:
    """Return a run as it is printed to a file."""
    file = io.StringIO()
    print_run(run, file, width=80, look=look)
    return file.getvalue()


def test_minimal_run() -> None:
    """`minimal` is totals and errors."""
    assert printed(loop_run(2), Look(verbosity="minimal")) == (
        "4 node runs in 320 ms, 2 retries\n2 model calls, 1,200 tokens - $0.002\n"
    )
    assert printed(failed_run(), Look(verbosity="minimal")).startswith("\nerror in flow Agent")


def test_verbose_run() -> None:
    """`verbose` tells inputs, outputs, long values, and the attributes of model calls."""
    stage = Stage()
    patch = diff(*({"op": "add", "path": f"/k{key}", "value": "x" * 70} for key in range(10)))
    attributes = node("Ask", input_value='"cats"', output_value='"purr"', shared_diff=patch)
    with stage.span("Ask", 0, 5, attributes):
        more = {"gen_ai.request.model": "gpt-5", "gen_ai.response.finish_reasons": ("stop",)}
        stage.leaf("chat gpt-5", 0, 4, attributes=more, scope="some.llm.client")
    text = printed(stage.run, Look(verbosity="verbose"))
    for line in ('in: "cats"', 'out: "purr"', "gen_ai.request.model = gpt-5", "+ k9 = "):
        assert line in text
    assert 'finish_reasons = ["stop"]' in text
    assert "gen_ai" not in printed(stage.run, Look())


def test_verbose_batch() -> None:
    """`verbose` lists the items that are else only counted."""
    stage = Stage()
    with stage.span("Map", 0, 200, node("Map", batch_size=200)):
        for index in range(200):
            stage.leaf("Map item", index, index + 1, attributes=item(index))
    assert printed(stage.run, Look(verbosity="verbose")).count("── item ") == 200
    assert printed(stage.run, Look()).count("── item ") == 6


def test_ascii() -> None:
    """On request all that is printed is ASCII."""
    run = Run(roots=(Entry("node", "Zoë", 0, 1, attributes={semconv.NODE_CLASS: "Zoë"}),))
    assert printed(run, Look(ascii=True)).isascii()
