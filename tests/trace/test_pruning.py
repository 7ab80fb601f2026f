"""Old runs go, and nothing else does."""

from __future__ import annotations

import json
import os
import time
import typing
from pathlib import Path

import pytest
from kept_runs import staged
from sample_spans import node

from pocketflow_trace.cli import main
from pocketflow_trace.keeping import runfile, spool
from pocketflow_trace.keeping.keeper import RunKeeper
from pocketflow_trace.keeping.pruning import LIMITS, Limits, prune
from pocketflow_trace.keeping.shelf import Shelf
from pocketflow_trace.record.model import About
from support.programs import TIMEOUT

if typing.TYPE_CHECKING:
    from pocketflow_trace.keeping.pruning import Pruning

DAY = 86_400


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A folder."""
    return Shelf(tmp_path)


def put(shelf: Shelf, days: float, *, size: int = 0, partial: bool = False) -> str:
    """Keep a run that began some days ago, whose file has so many bytes at least; return its id."""
    started = time.time() - days * DAY
    about = About(id=f"run-{days:g}-days", program="mailer", started=int(started * 1e9))
    path = shelf.path_of(about.id, partial=partial)
    path.write_text(runfile.header_line(about) + " " * size + "\n", encoding="utf-8")
    os.utime(path, (started, started))
    return about.id


def left(shelf: Shelf) -> list[str]:
    """Return the names of the files that are there."""
    return sorted(path.name for path in shelf.directory.iterdir())


def gone(result: Pruning) -> list[str]:
    """Return the ids of the runs that were deleted, newest first."""
    return [item.about.id for item in result.deleted]


def test_number(shelf: Shelf) -> None:
    """The newest runs stay."""
    for days in (5, 1, 3):
        put(shelf, days)
    assert gone(prune(shelf, Limits(runs=2))) == ["run-5-days"]
    assert left(shelf) == ["run-1-days.jsonl", "run-3-days.jsonl"]


def test_age(shelf: Shelf) -> None:
    """Young runs stay."""
    for days in (5, 1, 3):
        put(shelf, days)
    assert gone(prune(shelf, Limits(age=2 * DAY))) == ["run-3-days", "run-5-days"]


def test_number_and_age(shelf: Shelf) -> None:
    """A run that is old, but among the newest, stays; so does one that is young."""
    for days in (1, 2, 8, 9):
        put(shelf, days)
    assert gone(prune(shelf, Limits(runs=3, age=7 * DAY))) == ["run-9-days"]
    assert gone(prune(shelf, Limits(runs=1, age=7 * DAY))) == ["run-8-days"]


def test_size(shelf: Shelf) -> None:
    """The oldest go until the rest fits; the newest stays, however large."""
    for days in (1, 2, 3, 4):
        put(shelf, days, size=1_000)
    assert gone(prune(shelf, Limits(size=3_000))) == ["run-3-days", "run-4-days"]
    assert gone(prune(shelf, Limits(size=10))) == ["run-2-days"]
    assert left(shelf) == ["run-1-days.jsonl"]


def test_nothing_but_runs(shelf: Shelf) -> None:
    """What only looks like a run's file is not touched, nor is a folder."""
    files = {"data.jsonl": '{"a": 1}\n', "empty.partial": "", "notes.txt": "mine"}
    for name, text in files.items():
        (shelf.directory / name).write_text(text, encoding="utf-8")
    (shelf.directory / "folder.jsonl").mkdir()
    run = put(shelf, 1)
    assert gone(prune(shelf, Limits(runs=0))) == [run]
    assert left(shelf) == sorted([*files, "folder.jsonl"])


def test_unfinished_runs(shelf: Shelf) -> None:
    """The file of a killed program goes like any other, that of a running one stays."""
    killed = put(shelf, 2, partial=True)
    keeper = RunKeeper(shelf)
    staged(keeper).leaf("Ask", 0, 1, attributes=node("Ask"))
    assert keeper.force_flush(5_000)
    (running,) = [item.path for item in shelf.kept() if item.about.id != killed]
    os.utime(running, (0, 0))
    assert gone(prune(shelf, Limits(runs=0))) == [killed]
    assert left(shelf) == [running.name]
    keeper.close()
    assert len(prune(shelf, Limits(runs=0)).deleted) == 1


def test_a_new_run_makes_room(shelf: Shelf) -> None:
    """When a run begins, the oldest beyond the usual limits go."""
    for days in range(1, 105):
        put(shelf, days)
    keeper = RunKeeper(shelf)
    staged(keeper).leaf("Ask", 0, 1, attributes=node("Ask"))
    keeper.close()
    assert LIMITS.runs == 100
    days = sorted(int(item.about.id.split("-")[1]) for item in shelf.kept()[1:])
    assert days == list(range(1, 100))


def test_a_run_that_goes_on_makes_room(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that never ends makes room as soon as it has time."""
    monkeypatch.setattr(spool, "IDLE", 0.01)
    for days in range(1, 105):
        put(shelf, days)
    keeper = RunKeeper(shelf)
    staged(keeper).leaf("Ask", 0, 1, attributes=node("Ask"))
    end = time.monotonic() + TIMEOUT
    while len(shelf.kept()) > 100:
        assert time.monotonic() < end
    keeper.close()
    assert len(shelf.kept()) == 100


def test_a_named_file_makes_no_room(shelf: Shelf) -> None:
    """Beside a file that was asked for by name, nothing is deleted."""
    for days in range(1, 105):
        put(shelf, days)
    keeper = RunKeeper(shelf.directory / "run.jsonl")
    staged(keeper).leaf("Ask", 0, 1, attributes=node("Ask"))
    keeper.close()
    assert len(shelf.kept()) == 105


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    """Where nothing is kept, there is nothing to do."""
    assert prune(Shelf(tmp_path / "nowhere"), Limits(runs=0)) == prune(Shelf(tmp_path), LIMITS)


# --- The command --------------------------------------------------------------------------------


def command(shelf: Shelf, *args: str) -> int:
    """Run `pocketflow-trace prune` for a folder."""
    return main(["prune", "--dir", str(shelf.directory), *args])


def test_command(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it deletes."""
    for days in (1, 40):
        put(shelf, days, size=2_000_000)
    assert command(shelf, "--older-than", "30d") == 0
    assert capsys.readouterr().out == "run-40-days  mailer\ndeleted 1 run, 2.0 MB\n"
    assert left(shelf) == ["run-1-days.jsonl"]


def test_dry_run(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run deletes nothing."""
    for days in (1, 40):
        put(shelf, days)
    assert command(shelf, "--keep", "1", "--dry-run") == 0
    assert capsys.readouterr().out == "run-40-days  mailer\nwould delete 1 run, 0.0 MB\n"
    assert len(left(shelf)) == 2


def test_json(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON document tells programs what was deleted."""
    run = put(shelf, 1)
    size = shelf.path_of(run).stat().st_size
    assert command(shelf, "--all", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "version": 1,
        "dry_run": False,
        "deleted": [{"id": run, "path": str(shelf.path_of(run)), "size": size}],
        "failed": [],
    }


def test_default_limits(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    """Without options it does what a new run does."""
    put(shelf, 400)
    assert command(shelf) == 0
    assert capsys.readouterr().out == "deleted 0 runs, 0.0 MB\n"


def test_failure(
    shelf: Shelf, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be deleted is named with the reason, and the exit code tells."""
    run = put(shelf, 1)

    def refuse(self: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert command(shelf, "--all") == 1
    captured = capsys.readouterr()
    assert captured.out == "deleted 0 runs, 0.0 MB\n"
    assert captured.err == f"pocketflow-trace: {shelf.path_of(run)}: Operation not permitted\n"


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("--keep", "-1"), "--keep"),
        (("--older-than", "soon"), "one looks like 90m, 12h, 30d or 8w"),
        (("--all", "--keep", "3"), "--all goes with neither"),
    ],
)
def test_wrong_usage(
    args: tuple[str, ...], complaint: str, shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong arguments delete nothing."""
    put(shelf, 400)
    assert command(shelf, *args) == 2
    assert complaint in capsys.readouterr().err
    assert len(left(shelf)) == 1
