"""What a run looks like in the terminal."""

from __future__ import annotations

import io
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_spans import Stage, agent_run, attempt, diff, fail, flow, item, node

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record.model import Entry, Run
from pocketflow_trace.views.console import print_run

if typing.TYPE_CHECKING:
    from collections.abc import Mapping

AGENT = """\
flow Agent  1.24 s
├── Decide  310 ms → search → Search
│     + query = "cats"
├── Search  520 ms, 2 of 3 attempts → decide → Decide
│     ~ context: "" → "Cats purr."
│     - draft (was [1, 2]) (in exec)
│   ├── attempt 1/3  90 ms failed: TimeoutError: read timed out, next in 0.1 s
│   └── attempt 2/3  330 ms
│       └── chat gpt-5  310 ms
├── Decide  70 ms, iteration 2 → answer → Answer
└── Answer  340 ms → done (end)
4 node runs in 1.24 s, 1 retry
"""

AGENT_IN_ASCII = """\
flow Agent  1.24 s
+-- Decide  310 ms -> search -> Search
|     + query = "cats"
+-- Search  520 ms, 2 of 3 attempts -> decide -> Decide
|     ~ context: "" -> "Cats purr."
|     - draft (was [1, 2]) (in exec)
|   +-- attempt 1/3  90 ms failed: TimeoutError: read timed out, next in 0.1 s
|   `-- attempt 2/3  330 ms
|       `-- chat gpt-5  310 ms
+-- Decide  70 ms, iteration 2 -> answer -> Answer
`-- Answer  340 ms -> done (end)
4 node runs in 1.24 s, 1 retry
"""


def shown(run: Run, width: int = 80) -> str:
    """Return a run as it is printed to a UTF-8 file."""
    file = io.StringIO()
    print_run(run, file, width=width)
    return file.getvalue()


def shown_as(run: Run, encoding: str) -> str:
    """Return a run as it is printed to a file of another encoding."""
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    print_run(run, file, width=80)
    file.seek(0)
    return file.read()


def shown_node(attributes: Mapping[str, typing.Any], **options: typing.Any) -> str:
    """Return a run of one node as it is printed, without the closing line."""
    stage = Stage()
    stage.leaf("Ask", 0, 5, attributes=attributes, **options)
    return shown(stage.run).rpartition("1 node run")[0]


def test_agent() -> None:
    """A run shows its route, its loop, its retry, its model calls and the store's changes."""
    assert shown(agent_run()) == AGENT


def test_ascii() -> None:
    """A file that cannot hold the signs gets ASCII ones."""
    assert shown_as(agent_run(), "ascii") == AGENT_IN_ASCII


def test_other_encoding_keeps_what_it_can() -> None:
    """Latin-1 keeps its letters; what it lacks is escaped, not lost."""
    text = shown_as(Run(roots=(Entry("other", "Zoë 猫", 0, 0),)), "latin-1")
    assert text.startswith("Zoë \\u732b  0.0 ms\n")


def test_failed_run() -> None:
    """An exception stands with its message where it was raised, and by its type further out."""
    stage = Stage()
    with stage.span("invoke_workflow Chat", 0, 30, flow("Chat")) as root:
        with stage.span("Ask", 0, 30, node("Ask", node_attempts=2, node_max_retries=2)) as ask:
            first = attempt(1, attempt_wait=0)
            stage.leaf("Ask attempt", 0, 10, attributes=first, error=ValueError("no key"))
            stage.leaf("Ask attempt", 10, 30, attributes=attempt(2), error=ValueError("no key"))
            fail(ask, "ValueError")
        fail(root, "ValueError")
    assert shown(stage.run) == (
        "flow Chat  30 ms failed: ValueError\n"
        "└── Ask  30 ms, 2 of 2 attempts failed: ValueError\n"
        "    ├── attempt 1/2  10 ms failed: ValueError: no key, next at once\n"
        "    └── attempt 2/2  20 ms failed: ValueError: no key\n"
        "1 node run in 30 ms, 1 error, 1 retry\n"
    )


def test_single_good_attempt_is_not_shown() -> None:
    """An attempt that went well at once adds nothing; what ran in it stands under the node."""
    stage = Stage()
    with (
        stage.span("Ask", 0, 30, node("Ask", node_attempts=1, node_max_retries=3)),
        stage.span("Ask attempt", 0, 30, attempt(1)),
    ):
        stage.leaf("chat gpt-5", 0, 20, scope="some.llm.client")
    assert shown(stage.run).splitlines()[:2] == ["Ask  30 ms", "└── chat gpt-5  20 ms"]


def test_dead_end() -> None:
    """An action without a successor is told from a flow's normal end."""
    attributes = node("Ask", node_action="serach", node_dead_end=True)
    assert shown_node(attributes) == "Ask  5.0 ms → serach (dead end: no such successor)\n"


def test_default_route() -> None:
    """The action `default` goes unsaid, and at the end of a flow nothing is left to say."""
    assert shown_node(node("Ask", node_action="default", node_next="Say")) == "Ask  5.0 ms → Say\n"
    assert shown_node(node("Ask", node_action="default")) == "Ask  5.0 ms\n"


def test_ids() -> None:
    """The second node of a class goes by its id, and so does a flow with a name of its own."""
    stage = Stage()
    with stage.span("invoke_workflow Chat", 0, 1, flow("Chat", node_id="SubFlow")):
        stage.leaf("Ask", 0, 1, attributes=node("Ask", node_id="Ask#2"))
    assert shown(stage.run).splitlines()[:2] == [
        "flow Chat (SubFlow)  1.0 ms",
        "└── Ask#2  1.0 ms",
    ]


def test_fallback() -> None:
    """A fallback names the exception that it answered."""
    stage = Stage()
    with stage.span("Ask", 0, 5, node("Ask", node_fallback=True)) as span:
        span.add_event("exception", {"exception.type": "KeyError", "exception.message": "'x'"})
    assert shown(stage.run).startswith("Ask  5.0 ms, fallback after KeyError: 'x'\n")


def test_cancelled_and_unfinished() -> None:
    """Cancellation is no failure, and what never ended says so."""
    stage = Stage()
    with stage.span("invoke_workflow Chat", 0, None, flow("Chat")):
        attributes = node("Ask", outcome="cancelled", error_type="CancelledError")
        stage.leaf("Ask", 0, 5, attributes=attributes)
    assert shown(stage.run) == (
        "flow Chat  unfinished\n└── Ask  5.0 ms cancelled: CancelledError\n1 node run in 5.0 ms\n"
    )


def test_batch() -> None:
    """A batch sums up its items; those of which there is something to say are listed."""
    stage = Stage()
    attributes = node("Map", batch_size=20, batch_retried=1, batch_fallbacks=1, node_attempts=22)
    with stage.span("Map", 0, 20, attributes):
        for index in range(20):
            stage.leaf("Map item", index, index + 1, attributes=item(index))
    assert shown(stage.run) == (
        "Map  20 ms\n"
        "  batch: 20 of 20 items done, 1 retried, 1 fell back\n"
        "├── item 0  1.0 ms\n"
        "├── item 1  1.0 ms\n"
        "├── item 2  1.0 ms\n"
        "├── item 3  1.0 ms\n"
        "├── … 14 more\n"
        "├── item 18  1.0 ms\n"
        "└── item 19  1.0 ms\n"
        "1 node run in 20 ms, 2 retries\n"
    )


def test_broken_off_batch() -> None:
    """A failed item ends a batch: items that never began are not counted as done."""
    stage = Stage()
    attributes = node("Map", batch_size=9, batch_failed=1)
    with stage.span("Map", 0, 20, attributes) as span:
        stage.leaf("Map item", 0, 1, attributes=item(0))
        stage.leaf("Map item", 1, 2, attributes=item(1), error=ValueError("bad"))
        fail(span, "ValueError")
    text = shown(stage.run)
    assert "batch: 1 of 9 items done, 1 failed" in text
    assert "item 1  1.0 ms failed: ValueError: bad" in text
    assert text.endswith("1 node run in 20 ms, 1 error\n")


def test_batch_flow_items_show_params() -> None:
    """The items of a batch flow are told apart by their params."""
    stage = Stage()
    with stage.span("invoke_workflow All", 0, 9, flow("All", batch_size=1)):
        attributes = item(0, node_params='{"file":"a.txt"}')
        with stage.span("All item", 0, 9, attributes):
            stage.leaf("Read", 0, 9, attributes=node("Read"))
    assert 'item 0 {"file":"a.txt"}  9.0 ms\n' in shown(stage.run)


def test_store_changes_are_bounded() -> None:
    """Many changes, long values and what the core left out end in a count."""
    patch = diff(*({"op": "add", "path": f"/k{n}", "value": "x" * 500} for n in range(20)))
    text = shown_node(node("Ask", shared_diff=patch, shared_diff_omitted=5))
    assert text.count(" + k") == 6
    assert text.endswith("  … 19 more changes\n")
    assert max(map(len, text.splitlines())) <= 80


def test_patch_cut_by_the_sdk() -> None:
    """A patch that is no JSON any more is replaced by the changed keys."""
    attributes = node(
        "Ask",
        shared_diff='[{"op": "add", "path": "/an',
        shared_added=("answer",),
        shared_changed=("log",),
        shared_removed=("draft",),
    )
    assert shown_node(attributes) == "Ask  5.0 ms\n  +answer ~log -draft \n"


def test_concurrency() -> None:
    """Changes that may be another branch's are marked, and conflicts named."""
    attributes = node("Ask", shared_concurrent=True, shared_conflicts=("/total", "/log"))
    assert shown_node(attributes) == (
        "Ask  5.0 ms, concurrent\n  conflict: another branch wrote /total, /log too\n"
    )


def test_values_cannot_draw() -> None:
    """Neither markup nor control characters of a value reach the terminal as such."""
    patch = diff({"op": "add", "path": "/a", "value": "[red]x[/red] :smile: \x1b[31m \x9b \u202e"})
    text = shown_node(node("A[b]sk\x1b", shared_diff=patch), error=ValueError("two\nlines\r"))
    assert text == (
        "A[b]sk\\x1b  5.0 ms failed: ValueError: two\\nlines\\r\n"
        '  + a = "[red]x[/red] :smile: \\u001b[31m \\x9b \\u202e"\n'
    )


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_control_codes_in_files(name: str, value: str) -> None:
    """Whatever a program's names and values are, a file gets printable text and line breaks."""
    stage = Stage()
    attributes = node(name, shared_diff=diff({"op": "add", "path": "/" + name, "value": value}))
    stage.leaf(name or "x", 0, 5, attributes=attributes)
    text = shown(stage.run)
    assert all(char == "\n" or char.isprintable() for char in text)


def test_colours_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colours, unless NO_COLOR asks for none."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Terminal(), Terminal()
    print_run(agent_run(), coloured, width=80)
    monkeypatch.setenv("NO_COLOR", "1")
    print_run(agent_run(), plain, width=80)
    assert "\x1b[" in coloured.getvalue()
    assert plain.getvalue() == AGENT


@pytest.mark.parametrize("width", [1, 20, 33, 60])
def test_narrow(width: int) -> None:
    """On a narrow terminal lines wrap, and what is too deep for it is counted."""
    text = shown(agent_run(), width)
    assert max(map(len, text.splitlines())) <= max(width, 20)
    assert ("attempt 1/3" in text) == (width > 20)
    assert ("… 2 more" in text) == (width <= 20)


def test_deep_nesting_is_cut() -> None:
    """Nested flows beyond what the width holds become a line that counts them."""
    entry = Entry("flow", "f", 0, 1)
    for _ in range(5_000):
        entry = Entry("flow", "f", 0, 1, children=(entry,))
    lines = shown(Run(roots=(entry,))).splitlines()
    assert len(lines) == 12
    assert lines[-2].endswith("└── … 1 more")


def test_thousands_of_nodes() -> None:
    """A long loop shows its beginning, its end, and every failure in between."""
    stage = Stage()
    with stage.span("invoke_workflow Loop", 0, 5000, flow("Loop")):
        for turn in range(5000):
            error = ValueError(f"turn {turn}") if turn in (7, 2500) else None
            stage.leaf("Step", turn, turn + 1, attributes=node("Step"), error=error)
    lines = shown(stage.run).splitlines()
    assert len(lines) < 60
    assert [line.rpartition(": ")[2] for line in lines if "failed" in line] == [
        "turn 7",
        "turn 2500",
    ]
    assert "├── … 2,470 more" in lines
    assert lines[-1] == "5,000 node runs in 5.00 s, 2 errors"


def test_thousands_of_failures() -> None:
    """Too many failures to show are counted where they are left out."""
    stage = Stage()
    for turn in range(3000):
        stage.leaf("Step", turn, turn + 1, attributes=node("Step"), error=ValueError("no"))
    lines = shown(stage.run).splitlines()
    assert len(lines) < 100
    assert any("more, " in line and "of them failed" in line for line in lines)
    assert lines[-1] == "3,000 node runs in 3.00 s, 3,000 errors"


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        ((0.008,), "2 node runs in 1.00 s, tracing took 8.0 ms (0.8%)"),
        ((0.004, 0.004), "2 node runs in 1.00 s, tracing took 8.0 ms (0.8%)"),
        ((0.0001,), "2 node runs in 1.00 s, tracing took 0.1 ms (<0.1%)"),
        ((0,), "2 node runs in 1.00 s, tracing took 0.0 ms (0.0%)"),
        ((1.5,), "2 node runs in 1.00 s, tracing took 1.50 s"),
        ((-1.0,), "2 node runs in 1.00 s"),
        ((), "2 node runs in 1.00 s"),
    ],
)
def test_what_tracing_took(seconds: tuple[float, ...], line: str) -> None:
    """The sum over all outermost spans that tell; nothing where none does, as in older files."""
    stage = Stage()
    for place, told in enumerate((*seconds, None, None)[:2]):
        own = {} if told is None else {semconv.INSTRUMENTATION_DURATION: told}
        stage.leaf("Ask", 500 * place, 500 * (place + 1), attributes=node("Ask") | own)
    assert shown(stage.run).splitlines()[-1] == line


def test_dropped_spans_are_told() -> None:
    """Spans that were not kept are missing from the counts, which say so."""
    text = shown(Run(roots=(Entry("node", "Ask", 0, 1),), dropped=2))
    assert text.endswith("1 node run in 0.0 ms; 2 later spans not kept, not counted here\n")
