"""The format of a kept run, and the shelf that they are on."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_spans import agent_run

from pocketflow_trace.keeping import runfile
from pocketflow_trace.keeping.runfile import RunFileError
from pocketflow_trace.keeping.shelf import Shelf, ShelfError, new_id, read
from pocketflow_trace.record.model import About, Entry, Run, walk

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

ABOUT = About(id="20261123-100000-beef", program="agent", started=1_000, resource={"a": ("b", 1)})


def lines_of(run: Run) -> list[str]:
    """All lines of a run: the first, a start and an end for each entry, the last."""
    lines = [runfile.header_line(run.about)]
    pending = [(None, root) for root in run.roots]
    while pending:
        parent, entry = pending.pop()
        begun = replace(entry, end=None, status="unset", failures=(), children=())
        lines.append(runfile.start_line(begun, parent))
        if entry.end is not None:
            lines.append(runfile.end_line(replace(entry, children=()), parent))
        pending += [(runfile.key_of(entry), child) for child in entry.children]
    if run.about.ended is not None:
        lines.append(runfile.done_line(run.about.ended, run.dropped))
    return lines


@functools.cache
def sample(ended: int | None = 9_000) -> Run:
    """A run with flows, nodes, attempts and a model call; its ids differ from call to call."""
    return replace(agent_run(), about=replace(ABOUT, ended=ended), dropped=3 if ended else 0)


def test_what_is_written_is_read() -> None:
    """A whole file gives the very run, with nothing damaged."""
    reading = runfile.read(lines_of(sample()))
    assert reading.run == sample()
    assert reading.damaged == 0


@given(st.randoms(use_true_random=False))
def test_lines_in_any_order(random: Random) -> None:
    """Threads may write out of order: after the first line, the order does not matter."""
    first, *rest = lines_of(sample())
    random.shuffle(rest)
    assert runfile.read([first, *rest]).run == sample()


@given(st.integers(0, 200), st.integers(0, 60))
def test_a_file_that_ends_anywhere(lines: int, characters: int) -> None:
    """A killed program leaves all that it had written; what had not ended has no end."""
    written = lines_of(sample())
    text = "".join(written[1 : 1 + lines])
    cut = text[: len(text) - characters] if lines < len(written) else text
    reading = runfile.read([written[0], *cut.splitlines(keepends=True)])
    assert reading.damaged <= 1
    ended = {e.span_id for e in walk(sample().roots)}
    for entry in walk(reading.run.roots):
        assert entry.span_id in ended


def test_what_still_runs() -> None:
    """Without its end, an entry is there as it began; a later start knows more."""
    flow = Entry("flow", "F", 1, None, trace_id="t", span_id="f", attributes={"early": True})
    more = replace(flow, attributes={"early": True, "graph": "G"})
    node = Entry("node", "N", 2, None, trace_id="t", span_id="n")
    lines = [
        runfile.header_line(ABOUT),
        runfile.start_line(flow, None),
        runfile.start_line(more, None),
        runfile.start_line(node, "t-f"),
    ]
    (root,) = runfile.read(lines).run.roots
    assert (root.end, root.attributes["graph"]) == (None, "G")
    assert [child.name for child in root.children] == ["N"]
    assert runfile.read(lines).run.about.ended is None


@pytest.mark.parametrize(
    "line",
    ["", "{", "null", "[]", '"x"', "{}", '{"end": 3}', '{"end": {"parent": null}}', '{"done": {}}'],
)
def test_a_damaged_line_is_counted(line: str) -> None:
    """The rest of the file still tells its part; an empty line is no damage."""
    first, *rest = lines_of(sample())
    reading = runfile.read([first, line + "\n", *rest])
    assert reading.run == sample()
    assert reading.damaged == (0 if not line else 1)


def test_parents_in_a_circle() -> None:
    """A file that was tampered with is read all the same."""
    one = Entry("node", "A", 1, 2, trace_id="t", span_id="1")
    two = Entry("node", "B", 1, 2, trace_id="t", span_id="2")
    header = runfile.header_line(ABOUT)
    lines = [header, runfile.end_line(one, "t-2"), runfile.end_line(two, "t-1")]
    runfile.read(lines)  # whatever it makes of it, it ends


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "not a file of pocketflow-trace"),
        ("hello", "not a file of pocketflow-trace"),
        ('{"run": {"format": "other"}}', "not a file of pocketflow-trace"),
        (
            '{"run": {"format": "pocketflow-trace", "version": 2}}',
            "a file of version 2, this program reads 1; a newer pocketflow-trace reads it",
        ),
        (
            '{"run": {"format": "pocketflow-trace", "version": "x"}}',
            "a file of version 'x', this program reads 1",
        ),
        (
            '{"run": {"format": "pocketflow-trace", "version": 1, "about": {}}}',
            "its first line is damaged: id is None",
        ),
    ],
)
def test_what_is_no_run_says_so(line: str, message: str) -> None:
    """The message tells a foreign file, a newer one and a broken one apart."""
    with pytest.raises(RunFileError) as raised:
        runfile.read([line])
    assert str(raised.value) == message


def test_lines_are_ascii() -> None:
    """Whatever a program put into a string, the file is the same in any encoding."""
    entry = Entry("node", "猫 \ud800", 1, 2, attributes={"é": "\u2028"}, trace_id="t", span_id="s")
    line = runfile.end_line(entry, None)
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line)["end"]["attributes"] == {"é": "\u2028"}


# --- The shelf ------------------------------------------------------------------------------


def put(directory: Path, run_id: str, started: int, *, partial: bool = False) -> Path:
    """Put a file of a run on a shelf."""
    directory.mkdir(exist_ok=True)
    run = replace(sample(None if partial else 9), about=replace(ABOUT, id=run_id, started=started))
    path = Shelf(directory).path_of(run_id, partial=partial)
    path.write_text("".join(lines_of(run)), encoding="utf-8")
    return path


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Three runs and some other files."""
    directory = tmp_path / "runs"
    put(directory, "20261123-100000-aaaa", 1)
    put(directory, "20261123-110000-bbbb", 2)
    put(directory, "20261123-120000-abab", 3, partial=True)
    (directory / "notes.txt").write_text("mine", encoding="utf-8")
    (directory / "other.jsonl").write_text("{}\n", encoding="utf-8")
    return Shelf(directory)


def test_the_runs_newest_first(shelf: Shelf) -> None:
    """What is no run is passed over; a run that was not finished says so."""
    kept = shelf.kept()
    assert [each.about.id[-4:] for each in kept] == ["abab", "bbbb", "aaaa"]
    assert [each.is_complete for each in kept] == [False, True, True]
    assert all(each.size == each.path.stat().st_size for each in kept)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("last", "abab"),
        ("last~0", "abab"),
        ("last~2", "aaaa"),
        ("bbbb", "bbbb"),
        ("20261123-10", "aaaa"),
        ("20261123-120000-abab", "abab"),
    ],
)
def test_names_of_runs(shelf: Shelf, name: str, found: str) -> None:
    """By age, by id, or by a part of one."""
    assert shelf.find(name).stem.endswith(found)


def test_a_run_by_its_file(shelf: Shelf) -> None:
    """A path is taken as it is, from anywhere."""
    path = shelf.directory / "20261123-100000-aaaa.jsonl"
    assert shelf.find(str(path)) == path
    assert read(path).run.about.program == "agent"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("last~3", "there are only 3 kept runs in "),
        ("zzzz", "no run 'zzzz' in "),
        ("2026", "'2026' fits 3 runs: 20261123-100000-aaaa, 20261123-110000-bbbb, "),
        ("gone.jsonl", "no file gone.jsonl"),
    ],
)
def test_no_such_run(shelf: Shelf, name: str, message: str) -> None:
    """The message says what there is."""
    with pytest.raises(ShelfError) as raised:
        shelf.find(name)
    assert message in str(raised.value)


def test_an_empty_shelf(tmp_path: Path) -> None:
    """A folder that does not exist holds nothing, which is no error until a run is wanted."""
    shelf = Shelf(tmp_path / "none")
    assert shelf.kept() == []
    with pytest.raises(ShelfError, match="no run is kept in "):
        shelf.find()


def test_where_the_shelf_is(tmp_path: Path) -> None:
    """The variable names it; otherwise it is in the user's state folder."""
    assert Shelf.of({"POCKETFLOW_TRACE_DIR": str(tmp_path)}).directory == tmp_path
    state = Shelf.of({"XDG_STATE_HOME": str(tmp_path)}).directory
    assert state == tmp_path / "pocketflow-trace" / "runs"


def test_ids_sort_by_time() -> None:
    """The id of a later run sorts after that of an earlier one."""
    assert new_id(0.0).startswith("19700101-000000-")
    assert min([new_id(2e9), new_id(1e9)]).startswith("20010909-014640-")
