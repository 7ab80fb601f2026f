"""What the live view shows at a moment, drawn with a clock that is set by hand."""

from __future__ import annotations

import os
import sys
import typing

import pytest
from sample_spans import MILLISECOND, Stage, attempt, diff, flow, item, node, used

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.text import width
from pocketflow_trace.views.feed import Feed
from pocketflow_trace.views.frame import frame
from pocketflow_trace.views.growth import Growth
from pocketflow_trace.views.live import fitted, painted

if typing.TYPE_CHECKING:
    from collections.abc import Sequence


class Watched(Stage):
    """A stage whose spans are also told to a growing run."""

    def __init__(self) -> None:
        super().__init__()
        self.feed = Feed(lambda: None)
        self.growth = Growth()
        self.provider.add_span_processor(self.feed)

    def shown(self, now: int, rows: int = 20, *, ascii_only: bool = False) -> str:
        """Return the frame at a time in milliseconds."""
        self.growth.take(self.feed.take())
        lines = frame(self.growth, now * MILLISECOND, rows, ascii_only=ascii_only)
        return "".join("".join(text for text, _ in line) + "\n" for line in lines)


def test_running_tree() -> None:
    """Running nodes have a spinner and their time so far, ended ones what the tree says of them."""
    stage = Watched()
    with stage.span("invoke_workflow Agent", 0, None, flow("Agent")):
        patch = diff({"op": "replace", "path": "/query", "was": "dogs", "value": "cats"})
        attributes = node("Decide", node_action="search", node_next="Search", shared_diff=patch)
        stage.leaf("Decide", 0, 310, attributes=attributes | used(1, 615, 0.0008))
        with stage.span("Search", 310, None, node("Search", node_iteration=2)):
            assert stage.shown(1500) == (
                "flow Agent  1.5 s, 1 done - 615 tokens - $0.0008\n"
                "├─ Decide  310 ms - 615 tokens - $0.0008 → search → Search\n"
                '│     ~ query: "dogs" → "cats"\n'
                "└─ ⠴ Search  1.2 s, iteration 2\n"
                "2 node runs in 1.5 s - 615 tokens - $0.0008\n"
            )


def test_ascii() -> None:
    """On request the spinner and the guides are ASCII."""
    stage = Watched()
    with (
        stage.span("invoke_workflow Agent", 0, None, flow("Agent")),
        stage.span("Ask", 0, None, node("Ask")),
    ):
        assert stage.shown(100, ascii_only=True) == (
            "flow Agent  0.1 s\n`- / Ask  0.1 s\n1 node run in 0.1 s\n"
        )


def test_wait_between_attempts() -> None:
    """While a node waits, the failure is told and the seconds until the next attempt count down."""
    stage = Watched()
    with stage.span("Ask", 0, None, node("Ask", node_max_retries=3)):
        stage.leaf("Ask attempt", 0, 100, attributes=attempt(1), error=ValueError("no JSON"))
        with stage.span("Ask attempt", 1000, None, attempt(2)) as span:
            assert "⠋ Ask  2.0 s, attempt 2/3\n" in stage.shown(2000)
            # What the core sets as soon as the attempt has failed; its span ends after the wait.
            failure = {"exception.type": "RateLimitError", "exception.message": "slow down"}
            span.add_event("exception", failure, timestamp=3000 * MILLISECOND)
            span.set_attribute(semconv.ATTEMPT_WAIT, 60.0)
            failed = "attempt 2/3 failed: RateLimitError: slow down"
            assert stage.shown(3000).startswith(f"⠋ Ask  3.0 s, {failed}, next in 60 s\n")
            assert stage.shown(45_000).startswith(f"⠋ Ask  45.0 s, {failed}, next in 18 s\n")
            assert "1 node run in 45.0 s, 1 retry\n" in stage.shown(45_000)


def test_batch_progress() -> None:
    """A batch tells how far it is, how fast it goes, and how long that will take."""
    stage = Watched()
    with stage.span("Map", 0, None, node("Map")):
        for index in range(4):
            attributes = item(index, batch_size=10, node_attempts=2 if index == 1 else 1)
            error = ValueError("bad") if index == 2 else None
            stage.leaf(
                "Map item", index * 500, index * 500 + 500, attributes=attributes, error=error
            )
        with stage.span("Map item", 2000, None, item(4, batch_size=10)):
            assert stage.shown(2000) == (
                "Map  2.0 s, 4/10, 1 failed, 1 retried, 2.0/s, 3.0 s left\n"
                "├─ item 1  500 ms, 2 attempts\n"
                "├─ item 2  500 ms failed: ValueError: bad\n"
                "└─ ⠋ item 4  0.0 s\n"
                "1 node run in 2.0 s, 1 error\n"
            )


def test_batch_of_unknown_size() -> None:
    """Where nobody knows the size, what is done is told alone; slow items count by the minute."""
    stage = Watched()
    with stage.span("Map", 0, None, node("Map")):
        stage.leaf("Map item", 0, 4000, attributes=item(0))
        assert stage.shown(8000).startswith("⠋ Map  8.0 s, 1, 7.5/min\n")


def test_parallel_and_nested_flows() -> None:
    """Branches that run at once stand side by side under what they are in."""
    stage = Watched()
    with stage.span("invoke_workflow All", 0, None, flow("All")):
        for index, word in enumerate(("Spanish", "French")):
            params = f'{{"language":"{word}"}}'
            with (
                stage.span("All item", 0, None, item(index, batch_size=2, node_params=params)),
                stage.span("invoke_workflow One", 1, None, flow("One")),
            ):
                stage.leaf("Translate", 2, None, attributes=node("Translate"))
        assert stage.shown(500, ascii_only=True) == (
            "flow All  0.5 s, 0/2\n"
            '+- item 0 {"language":"Spanish"}  0.5 s\n'
            "|  `- flow One  0.5 s\n"
            "|     `- / Translate  0.5 s\n"
            '`- item 1 {"language":"French"}  0.5 s\n'
            "   `- flow One  0.5 s\n"
            "      `- / Translate  0.5 s\n"
            "2 node runs in 0.5 s\n"
        )


def test_model_calls_and_attempts_need_no_rows() -> None:
    """A model call that runs stands under its node, the attempt between them has no row."""
    stage = Watched()
    with (
        stage.span("Ask", 0, None, node("Ask")),
        stage.span("Ask attempt", 0, None, attempt(1)),
    ):
        stage.leaf("chat gpt-5", 0, None, scope="some.llm.client")
        assert stage.shown(100) == "Ask  0.1 s\n└─ ⠙ chat gpt-5  0.1 s\n1 node run in 0.1 s\n"


def test_spans_outside_are_ignored() -> None:
    """What the program traces around its flows is not shown, nor waited for."""
    stage = Watched()
    with stage.span("GET /chat", 0, None, scope="some.web.framework"):
        stage.leaf("Ask", 0, 5, attributes=node("Ask"))
        stage.growth.take(stage.feed.take())
        assert stage.growth.is_idle()


def test_errors_are_counted_where_they_began() -> None:
    """A failure that passes through node and flow is one."""
    stage = Watched()
    with (
        stage.span("invoke_workflow A", 0, None, flow("A")),
        stage.span("invoke_workflow B", 0, 9, flow("B"), error=ValueError("b")),
    ):
        stage.leaf("Ask", 0, 5, attributes=node("Ask"), error=ValueError("b"))
    assert stage.shown(10).endswith("1 node run in 0.0 s, 1 error\n")


@pytest.mark.parametrize("rows", [2, 3, 7, 20])
def test_rows_are_bounded(rows: int) -> None:
    """However much runs, and however deep, there are as many lines as asked for at most."""
    stage = Watched()
    for name in "abcde":
        with (
            stage.span(name, 0, None, flow(name)),
            stage.span(name, 0, None, flow(name)),
            stage.span(name, 0, None, flow(name)),
        ):
            patch = diff(*({"op": "add", "path": f"/{key}", "value": 1} for key in range(9)))
            for turn in range(100):
                stage.leaf("Ask", turn, turn + 1, attributes=node("Ask", shared_diff=patch))
            stage.leaf("Say", 100, None, attributes=node("Say"))
    lines = stage.shown(1000, rows).splitlines()
    assert len(lines) <= rows
    assert lines[-1] == "505 node runs in 1.0 s"


def test_rows_are_used() -> None:
    """Changes fill the rows that are left, those of the node that ended last first."""
    stage = Watched()
    with stage.span("invoke_workflow Agent", 0, None, flow("Agent")):
        for turn, name in enumerate(("First", "Second", "Third")):
            patch = diff(*({"op": "add", "path": f"/{name}{key}", "value": 1} for key in (1, 2)))
            attributes = node(name, shared_diff=patch)
            stage.leaf(name, turn, turn + 1, attributes=attributes)
        assert len(stage.shown(5, 5).splitlines()) == 5
        assert "First1" not in stage.shown(5, 10)
        assert "Second1" not in stage.shown(5, 8)
        assert len(stage.shown(5, 8).splitlines()) == 7
        assert "Third2" in stage.shown(5, 7)
        assert "Third2" not in stage.shown(5, 6)
        assert len(stage.shown(5, 3).splitlines()) == 3


def calls_of_a_frame(spans: int) -> int:
    """Return how many function calls a frame takes after so many nodes and parallel items."""
    stage = Watched()
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    with stage.span("invoke_workflow Loop", 0, None, flow("Loop")):
        for turn in range(spans):
            stage.leaf("Step", turn, turn + 1, attributes=node("Step"))
        for index in range(spans):
            stage.leaf("Map item", spans, None, attributes=item(index))
        stage.growth.take(stage.feed.take())
        sys.setprofile(count)
        try:
            frame(stage.growth, 0, 20)
        finally:
            sys.setprofile(None)
    return calls


def test_cost_of_a_frame() -> None:
    """A frame costs the same after a hundred spans and after ten thousand."""
    assert calls_of_a_frame(5_000) == calls_of_a_frame(200) > 0


def test_memory_follows_what_runs() -> None:
    """What has ended is forgotten but for the last ones."""
    stage = Watched()
    with stage.span("invoke_workflow Loop", 0, None, flow("Loop")):
        for turn in range(1000):
            stage.leaf("Step", turn, turn + 1, attributes=node("Step"))
        stage.growth.take(stage.feed.take())
        assert len(list(stage.growth.recent())) == 50
        assert len(list(stage.growth.running(1000))) == 1


def test_feed_is_bounded() -> None:
    """A view that stands still holds up nobody: what does not fit is passed over."""
    stage = Stage()
    woken: list[int] = []
    feed = Feed(lambda: woken.append(1), limit=3)
    stage.provider.add_span_processor(feed)
    for turn in range(10):
        stage.leaf("Step", turn, turn + 1, attributes=node("Step"))
    news = feed.take()
    assert [has_ended for _, has_ended in news] == [False, True, False, True]
    assert not feed._open
    assert woken == [1, 1]  # for each start that was queued: the reader may be asleep
    assert feed.take() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_process_feeds_nothing() -> None:
    """A forked process neither fills the queue nor starts a view."""
    stage = Stage()
    feed = Feed(lambda: os._exit(1))
    stage.provider.add_span_processor(feed)
    pid = os.fork()
    if pid == 0:
        stage.leaf("Ask", 0, 1, attributes=node("Ask"))
        os._exit(len(feed.take()))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab~"),
        ("猫猫", 4, "猫猫"),
        ("猫猫猫", 5, "猫猫~"),
        ("猫猫猫", 4, "猫~"),
        ("", 1, ""),
    ],
)
def test_lines_are_cut(text: str, columns: int, expected: str) -> None:
    """Lines end with a sign where they are cut; wide characters count for two."""
    pieces: Sequence[tuple[str, str]] = fitted([(text, "")], columns)
    shown = "".join(text for text, _ in pieces)
    assert shown == expected
    assert width(shown) <= columns


def test_colours() -> None:
    """A style is a control code that ends with its piece, where colours are wanted."""
    line = [("Ask", "name"), (" failed", "bad"), (" x", "")]
    assert painted(line, 80, colours=True) == "\x1b[1mAsk\x1b[0m\x1b[31m failed\x1b[0m x"
    assert painted(line, 80, colours=False) == "Ask failed x"
