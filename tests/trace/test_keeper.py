"""A run becomes a file while it runs."""

from __future__ import annotations

import json
import os
import stat
import threading
import typing

import pytest
from kept_runs import kept, names, staged
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from sample_spans import Stage, flow, node

from opentelemetry import trace
from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.keeping import draft, runfile, spool
from pocketflow_trace.keeping.keeper import RunKeeper
from pocketflow_trace.keeping.shelf import Shelf, read
from pocketflow_trace.keeping.transcript import Event, Transcript
from pocketflow_trace.record import belonging
from pocketflow_trace.record.model import Entry

if typing.TYPE_CHECKING:
    from pathlib import Path

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A folder that is not there yet."""
    return Shelf(tmp_path / "state" / "runs")


def test_same_as_collected(shelf: Shelf) -> None:
    """The file tells what the collector of the same spans tells."""
    keeper = RunKeeper(shelf)
    stage = staged(keeper)
    with stage.span("invoke_workflow Agent", 0, 9, flow("Agent")):
        stage.leaf("Decide", 1, 2, attributes=node("Decide", shared_added=("query",)))
        with stage.span("Search", 2, 5, node("Search"), error=ValueError("no answer")):
            stage.leaf("chat gpt-5", 3, 4, scope="some.llm.client")
    keeper.close()
    assert kept(shelf).roots == stage.run.roots
    assert keeper.complaint() == ""


def test_while_it_runs(shelf: Shelf) -> None:
    """What has ended is there with its end, what runs is there without one."""
    keeper = RunKeeper(shelf)
    stage = staged(keeper)
    with stage.span("invoke_workflow Chat", 0, 9, flow("Chat")):
        stage.leaf("Ask", 1, 2, attributes=node("Ask"))
        with stage.span("Answer", 2, 9, node("Answer")):
            assert keeper.force_flush(5_000)
            (path,) = shelf.directory.iterdir()
            assert path.suffix == ".partial"
            (root,) = read(path).run.roots
    assert root.end is None
    assert [(child.name, child.end is None) for child in root.children] == [
        ("Ask", False),
        ("Answer", True),
    ]
    assert read(path).run.about.ended is None
    keeper.close()


def test_final_name(shelf: Shelf) -> None:
    """At the end there is one file, named by its id, that says when the program ended."""
    keeper = RunKeeper(shelf)
    staged(keeper).leaf("Ask", 0, 1, attributes=node("Ask"))
    keeper.close()
    (path,) = shelf.directory.iterdir()
    about = kept(shelf).about
    assert path.name == f"{about.id}.jsonl"
    assert about.ended is not None
    assert about.ended >= about.started


def test_about(shelf: Shelf) -> None:
    """The resource of the spans says which program it was."""
    keeper = RunKeeper(shelf)
    resource = Resource({"service.name": "mailer", "vcs.ref.head.revision": "4c2e9f1"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(keeper)
    provider.get_tracer(semconv.SCOPE_NAME).start_span("Ask").end()
    keeper.close()
    about = kept(shelf).about
    assert about.program == "mailer"
    assert about.resource["vcs.ref.head.revision"] == "4c2e9f1"


def test_nothing_without_a_flow(shelf: Shelf) -> None:
    """A program whose spans are all its own leaves no file, no folder and no thread."""
    before = threading.active_count()
    keeper = RunKeeper(shelf)
    staged(keeper).leaf("GET /", 0, 1, scope="some.web.framework")
    assert threading.active_count() == before
    keeper.close()
    assert not shelf.directory.exists()


def test_spans_outside_are_ignored(shelf: Shelf) -> None:
    """What the program traces around its flows is not kept; what runs inside them is."""
    keeper = RunKeeper(shelf)
    stage = staged(keeper)
    with stage.span("GET /chat", 0, 9, scope="some.web.framework"):
        stage.leaf("SELECT", 0, 1, scope="some.database")
        with stage.span("invoke_workflow Chat", 1, 8, flow("Chat")) as chat:
            stage.leaf("SELECT", 1, 2, scope="some.database")
        with trace.use_span(chat, end_on_exit=False):
            stage.leaf("COMMIT", 8, 9, scope="some.database")
    keeper.close()
    assert names(kept(shelf)) == ["invoke_workflow Chat", "SELECT", "COMMIT"]


@posix
def test_permissions(shelf: Shelf) -> None:
    """Only the user can read the file and the folder, while it is written and afterwards."""
    keeper = RunKeeper(shelf)
    before = os.umask(0)
    try:
        staged(keeper).leaf("Ask", 0, 1, attributes=node("Ask"))
        assert keeper.force_flush(5_000)
    finally:
        os.umask(before)
    (partial,) = shelf.directory.iterdir()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (shelf.directory, partial)]
    keeper.close()
    assert [*modes, stat.S_IMODE(shelf.find().stat().st_mode)] == [0o700, 0o600, 0o600]


@posix
def test_umask_that_forbids_all(tmp_path: Path) -> None:
    """Whatever mask the program sets, its user can read the file."""
    keeper = RunKeeper(Shelf(tmp_path))
    before = os.umask(0o777)
    try:
        staged(keeper).leaf("Ask", 0, 1, attributes=node("Ask"))
        keeper.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(Shelf(tmp_path).find().stat().st_mode) == 0o600


def test_any_text(shelf: Shelf) -> None:
    """Whatever a string holds, the file is plain ASCII and gives it back."""
    keeper = RunKeeper(shelf)
    hostile = "lone \ud800 line\nbreak \x00 \u2028 Zoë 🐈"
    stage = staged(keeper)
    stage.leaf("Ask", 0, 1, attributes={**node("Ask"), "text": hostile})
    keeper.close()
    assert shelf.find().read_bytes().isascii()
    assert kept(shelf).roots[0].attributes["text"] == hostile


def test_number_that_no_line_can_hold(shelf: Shelf) -> None:
    """A span that JSON cannot express is counted, and the others are kept."""
    keeper = RunKeeper(shelf)
    stage = staged(keeper)
    stage.leaf("Ask", 0, 1, attributes={**node("Ask"), "huge": 10**5_000})
    stage.leaf("Answer", 1, 2, attributes=node("Answer"))
    keeper.close()
    assert (names(kept(shelf)), kept(shelf).dropped) == (["Answer"], 1)


def test_size_limit(shelf: Shelf) -> None:
    """Beyond the limit spans are counted; what had begun still ends, and errors are kept."""
    keeper = RunKeeper(shelf, Transcript(limit=2_000, late_limit=20_000))
    stage = staged(keeper)
    with stage.span("invoke_workflow Chat", 0, 99, flow("Chat")):
        for number in range(20):
            stage.leaf(f"Ask {number}", number, number + 1, attributes=node("Ask"))
        stage.leaf("Late", 50, 51, attributes=node("Late"), error=ValueError("late"))
    keeper.close()
    run = kept(shelf)
    (root,) = run.roots
    assert root.end is not None
    assert root.children[-1].name == "Late"
    assert all(child.end is not None for child in root.children)
    assert run.dropped == 21 - len(root.children) > 10


def test_late_error_stands_in_what_is_kept() -> None:
    """A failed span whose parent was left out stands under what of its trace is there."""
    transcript = Transcript(limit=1, late_limit=10_000)
    root, lost, failed = (
        Entry("node", name, 0, trace_id="a" * 32, span_id=f"{number:016x}")
        for number, name in enumerate(("root", "lost", "failed"))
    )
    end = Entry("node", "failed", 0, 1, "error", trace_id="a" * 32, span_id=failed.span_id)
    keys = [runfile.key_of(entry) for entry in (root, lost)]
    text = transcript.lines(
        [Event(root, None), Event(lost, keys[0]), Event(failed, keys[1]), Event(end, keys[1])]
    )
    lines = [json.loads(line) for line in text.splitlines()]
    assert [next(iter(line)) for line in lines] == ["start", "end"]
    assert lines[1]["end"]["parent"] == keys[0]
    assert transcript.dropped == 1


def test_queue_limit(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk cannot follow, spans are counted, errors kept, and no span stays open."""
    monkeypatch.setattr(spool, "MAX_WAITING", 10)
    gate = threading.Event()
    writing = threading.Event()

    class Slow(Transcript):
        def lines(self, events: typing.Iterable[Event]) -> bytes:
            found = list(events)
            writing.set()
            gate.wait()
            return super().lines(found)

    keeper = RunKeeper(shelf, Slow())
    stage = staged(keeper)
    with stage.span("invoke_workflow Chat", 0, 99, flow("Chat")):
        assert writing.wait(5)
        for number in range(30):
            stage.leaf(f"Ask {number}", number, number + 1, attributes=node("Ask"))
        stage.leaf("Late", 50, 51, attributes=node("Late"), error=ValueError("late"))
    gate.set()
    keeper.close()
    run = kept(shelf)
    (root,) = run.roots
    assert root.end is not None
    assert all(child.end is not None for child in root.children)
    assert root.children[-1].name == "Late"
    assert run.dropped == 31 - len(root.children) > 10


def test_threads(shelf: Shelf) -> None:
    """Spans of many threads all arrive in one file."""
    keeper = RunKeeper(shelf)
    stage = staged(keeper)

    def work() -> None:
        for turn in range(100):
            with stage.span("invoke_workflow Chat", turn, turn + 1, flow("Chat")):
                stage.leaf("Ask", turn, turn + 1, attributes=node("Ask"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keeper.close()
    run = kept(shelf)
    assert run.dropped == 0
    assert [[child.name for child in root.children] for root in run.roots] == [["Ask"]] * 400


def test_after_close(shelf: Shelf) -> None:
    """A closed keeper ignores what comes, and closes again without harm."""
    keeper = RunKeeper(shelf)
    stage = staged(keeper)
    stage.leaf("Ask", 0, 1, attributes=node("Ask"))
    keeper.close()
    stage.leaf("Answer", 1, 2, attributes=node("Answer"))
    keeper.close()
    assert names(kept(shelf)) == ["Ask"]


def test_provider_that_shuts_down(shelf: Shelf) -> None:
    """The run goes on when one of the program's providers ends."""
    keeper = RunKeeper(shelf)
    first, second = staged(keeper), staged(keeper)
    first.leaf("Ask", 0, 1, attributes=node("Ask"))
    first.provider.shutdown()
    second.leaf("Answer", 1, 2, attributes=node("Answer"))
    keeper.close()
    assert sorted(names(kept(shelf))) == ["Answer", "Ask"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_process_adds_nothing(shelf: Shelf) -> None:
    """A forked process neither writes to the file nor finishes it."""
    keeper = RunKeeper(shelf)
    stage = staged(keeper)
    stage.leaf("Ask", 0, 1, attributes=node("Ask"))
    assert keeper.force_flush(5_000)
    pid = os.fork()
    if pid == 0:
        stage.leaf("Child", 0, 1, attributes=node("Child"))
        keeper.force_flush()
        keeper.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [path.suffix for path in shelf.directory.iterdir()] == [".partial"]
    keeper.close()
    assert names(kept(shelf)) == ["Ask"]


def test_ids_that_are_taken(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that draws an id that another one has draws again."""
    ids = iter(["same", "same", "other"])

    def next_id(now: float | None = None) -> str:
        return next(ids)

    monkeypatch.setattr(draft, "new_id", next_id)
    keepers = [RunKeeper(shelf), RunKeeper(shelf)]
    for keeper in keepers:
        staged(keeper).leaf("Ask", 0, 1, attributes=node("Ask"))
        assert keeper.force_flush(5_000)
        keeper.close()
    assert sorted(path.name for path in shelf.directory.iterdir()) == ["other.jsonl", "same.jsonl"]


def test_ended_spans_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that runs for years does not fill its memory with the ids of spans."""
    monkeypatch.setattr(belonging, "REMEMBERED", 10)
    inside = belonging.Inside()
    stage = Stage()
    tracer = stage.provider.get_tracer(semconv.SCOPE_NAME)
    for _ in range(100):
        span = typing.cast("typing.Any", tracer.start_span("Ask"))
        inside.begin(span)
        assert inside.end(span)
    known = (inside._running, inside._ended, inside._ended_before)
    assert sum(map(len, known)) <= 22
