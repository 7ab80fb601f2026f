"""Programs that are killed, disks that fail: what is kept, and that the program does not notice."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import typing

import pytest
from kept_runs import kept, names, staged
from sample_spans import flow, node
from traced_programs import PLAIN, TRACED, both, run

from pocketflow_trace.keeping import spool
from pocketflow_trace.keeping.keeper import RunKeeper
from pocketflow_trace.keeping.shelf import Shelf, read
from support.programs import TIMEOUT, clean_environment

if typing.TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pocketflow_trace.record.model import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

LAG = 0.5
"""Seconds before a kill from which something may be missing; a few milliseconds on a machine that
has nothing else to do."""

LOOP = """\
import sys, time
from pocketflow import Flow, Node

def say(*words):
    print(*words, time.monotonic(), flush=True)

class Ask(Node):
    def exec(self, prep_res):
        say("in", self.params["n"])
        {work}

class Answer(Node):
    def post(self, shared, prep_res, exec_res):
        say("late", self.params["n"])

for n in range(100_000):
    ask = Ask()
    ask >> Answer()
    flow = Flow(ask)
    flow.set_params({{"n": n}})
    flow.run({{"n": n}})
    say("ended", n)
"""
"""Reports each flow that has ended, with the time; flows last about two milliseconds."""

ONE_FLOW = """\
from pocketflow import Flow, Node
class Ask(Node):
    def post(self, shared, prep_res, exec_res):
        shared["answer"] = "x" * 300
"""

MANY = f"""{ONE_FLOW}
for n in range(200):
    Flow(Ask()).run({{}})
print("done")
"""


def killed(cwd: Path, after: int) -> tuple[list[float], float]:
    """Run `main.py` traced, and kill it when it has written so many lines.

    Returns:
        The time at which each flow ended, as far as the program came to say so, and that of the
        kill.
    """
    env = clean_environment({"POCKETFLOW_TRACE_DIR": str(cwd / "runs")})
    command = [*TRACED, "--no-live", "main.py"]
    with subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(after)]
        moment = time.monotonic()
        process.kill()
        lines += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    words = [line.split() for line in lines if line.endswith(b"\n")]
    return [float(word[2]) for word in words if word[0] == b"ended"], moment


@pytest.mark.parametrize("work", ["time.sleep(0.002)", "sum(range(100_000))"])
@pytest.mark.parametrize("after", range(5, 900, 90))
def test_killed(work: str, after: int, tmp_path: Path) -> None:
    """After `kill -9` the file holds all that had ended, and the rest as unfinished."""
    (tmp_path / "main.py").write_text(LOOP.format(work=work), encoding="utf-8")
    ended, moment = killed(tmp_path, after)
    due = sum(at < moment - LAG for at in ended)
    shelf = Shelf(tmp_path / "runs")
    if not due and not shelf.kept():
        return
    assert shelf.find().suffix == ".partial"
    reading = read(shelf.find())
    roots = reading.run.roots
    assert len([root for root in roots if root.end is not None]) >= due
    for root in roots[:due]:
        assert [child.name for child in root.children] == ["Ask", "Answer"]
        assert all(child.end is not None for child in root.children)
    unfinished = [root for root in roots if root.end is None]
    assert unfinished in ([], [roots[-1]])
    assert reading.run.about.ended is None
    assert reading.damaged <= 1  # A write may be cut in the middle.


@pytest.mark.parametrize(
    "ending", ["os.kill(os.getpid(), signal.SIGTERM)", "os._exit(3)", "os.abort()"]
)
def test_ends_without_exit_handlers(ending: str, tmp_path: Path) -> None:
    """A program that ends without our knowing leaves what it had done by then."""
    source = f"import os, signal\n{ONE_FLOW}\nFlow(Ask()).run({{}})\ninput()\n{ending}\n"
    (tmp_path / "main.py").write_text(source, encoding="utf-8")
    shelf = Shelf(tmp_path / "runs")
    env = clean_environment({"POCKETFLOW_TRACE_DIR": str(shelf.directory)})
    command = [*TRACED, "--no-live", "main.py"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        until(lambda: [root.end is not None for root in run_of(shelf)] == [True])
        process.communicate(b"go on\n", timeout=TIMEOUT)
    assert process.returncode != 0
    assert shelf.find().suffix == ".partial"
    assert names(kept(shelf)) == ["invoke_workflow AskFlow", "Ask"]


def until(condition: typing.Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def run_of(shelf: Shelf) -> tuple[typing.Any, ...]:
    """Return the roots of the only run, or nothing where there is none yet."""
    found = shelf.kept()
    return read(found[0].path).run.roots if found else ()


# --- Disks --------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(directory: Path, size: str) -> Generator[Path]:
    """Mount a file system of its own; skips the test where that is not allowed."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(directory)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("cannot mount a file system")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=False, capture_output=True)


def test_small_disk(tmp_path: Path) -> None:
    """A disk that fills up is told of once, and holds the beginning of the run."""
    (tmp_path / "main.py").write_text(MANY, encoding="utf-8")
    with mounted(tmp_path / "disk", "64k") as disk:
        result = both("main.py", cwd=tmp_path, env={"POCKETFLOW_TRACE_DIR": str(disk)})
        (path,) = disk.iterdir()
        reading = read(path)
    complaint = (
        f"pocketflow-trace: this run is kept in part only, in {path}: No space left on device"
    )
    assert result.plain.stdout == b"done\n"
    assert result.tree().count("No space left") == 1
    assert result.tree().endswith(f"{complaint}\n")
    assert path.suffix == ".partial"
    assert 10 < len(reading.run.roots) < 200
    assert reading.damaged <= 1


def test_file_size_limit(tmp_path: Path) -> None:
    """A limit on the size of files, which the program itself has set, is none of its business."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
    (tmp_path / "main.py").write_text(limit + MANY, encoding="utf-8")
    result = both("main.py", cwd=tmp_path, env={"POCKETFLOW_TRACE_DIR": "runs"})
    assert result.tree().endswith(": File too large\n")
    (path,) = (tmp_path / "runs").iterdir()
    assert 5 < len(read(path).run.roots) < 200


def test_full_device(tmp_path: Path) -> None:
    """A device that takes nothing is told of."""
    if not os.path.exists("/dev/full"):  # noqa: PTH110 - a name of the system
        pytest.skip("has no such device")
    (tmp_path / "main.py").write_text(MANY, encoding="utf-8")
    plain = run(PLAIN, "main.py", cwd=tmp_path)
    traced = run((*TRACED, "--out", "/dev/full"), "main.py", cwd=tmp_path)
    assert (traced.stdout, traced.exit_code) == (plain.stdout, plain.exit_code)
    assert traced.text.endswith("trace: this run is not kept: No space left on device\n")


def test_disk_that_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is written once there is room, and nothing is missing."""
    monkeypatch.setattr(spool, "PAUSES", (0.01,) * 1_000)
    with mounted(tmp_path / "disk", "64k") as disk:
        keeper = RunKeeper(shelf := Shelf(disk))
        stage = staged(keeper)
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 40_960)
        for number in range(40):
            stage.leaf(f"Ask {number}", number, number + 1, attributes=node("Ask"))
        assert not keeper.force_flush(300)
        ballast.unlink()
        assert keeper.force_flush(5_000)
        keeper.close()
        assert kept(shelf).roots == stage.run.roots
    assert keeper.complaint() == ""


def test_disk_that_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some attempts no more is tried, in a program that goes on, and nobody waits for it."""
    monkeypatch.setattr(spool, "PAUSES", (0.01, 0.02))
    (tmp_path / "file").write_text("", encoding="utf-8")
    keeper = RunKeeper(Shelf(tmp_path / "file"))
    stage = staged(keeper)
    stage.leaf("Ask", 0, 1, attributes=node("Ask"))
    start = time.monotonic()
    keeper.force_flush(30_000)
    stage.leaf("Ask", 0, 1, attributes=node("Ask"))
    keeper.close()
    assert time.monotonic() - start < 5
    assert keeper.complaint() == "this run is not kept: File exists"


def test_read_only_disk(tmp_path: Path) -> None:
    """A folder that nobody may write to is told of."""
    (tmp_path / "main.py").write_text(MANY, encoding="utf-8")
    with mounted(tmp_path / "disk", "64k") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        result = both("main.py", cwd=tmp_path, env={"POCKETFLOW_TRACE_DIR": str(disk / "runs")})
    assert result.tree().endswith("trace: this run is not kept: Read-only file system\n")


def test_file_in_place_of_the_folder(tmp_path: Path) -> None:
    """The same where there can be no folder."""
    (tmp_path / "main.py").write_text(MANY, encoding="utf-8")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    result = both("main.py", cwd=tmp_path, env={"POCKETFLOW_TRACE_DIR": "file/runs"})
    assert result.tree().endswith("trace: this run is not kept: Not a directory\n")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_lost_mount(tmp_path: Path) -> None:
    """Where a file system is taken away, the file is written anew to what is there instead."""
    with mounted(tmp_path / "disk", "64k") as disk:
        keeper = RunKeeper(shelf := Shelf(disk))
        stage = staged(keeper)
        stage.leaf("Ask", 0, 1, attributes=node("Ask"))
        assert keeper.force_flush(5_000)
        subprocess.run(["umount", "-l", str(disk)], check=True)
        stage.leaf("Answer", 1, 2, attributes=node("Answer"))
        keeper.close()
    assert names(kept(shelf)) == ["Ask", "Answer"]
    assert keeper.complaint() == ""


@pytest.mark.parametrize("more", [True, False])
def test_deleted_folder(more: bool, tmp_path: Path) -> None:
    """Where somebody deletes the folder meanwhile, the file is written anew."""
    keeper = RunKeeper(shelf := Shelf(tmp_path / "state" / "runs"))
    stage = staged(keeper)
    stage.leaf("Ask", 0, 1, attributes=node("Ask"))
    assert keeper.force_flush(5_000)
    shutil.rmtree(tmp_path / "state")
    if more:
        stage.leaf("Answer", 1, 2, attributes=node("Answer"))
    keeper.close()
    assert kept(shelf).roots == stage.run.roots
    assert keeper.complaint() == ""


def test_program_that_closes_all_files(tmp_path: Path) -> None:
    """Descriptors that the program closes and uses for itself get none of our lines."""
    close = """
import glob, os
Flow(Ask()).run({})
while not [path for path in glob.glob("runs/*") if os.path.getsize(path)]:
    pass
os.closerange(3, 1_000)
mine = [os.open(f"mine {n}", os.O_RDWR | os.O_CREAT) for n in range(10)]
for n in range(20):
    Flow(Ask()).run({})
print("done")
"""
    (tmp_path / "main.py").write_text(ONE_FLOW + close, encoding="utf-8")
    env = {"POCKETFLOW_TRACE_DIR": "runs"}
    traced = run((*TRACED, "--no-live"), "main.py", cwd=tmp_path, env=env)
    assert traced.stdout == b"done\n"
    assert "kept" not in traced.text
    assert {path.stat().st_size for path in tmp_path.glob("mine *")} == {0}
    assert len(kept(Shelf(tmp_path / "runs")).roots) == 21


# --- A disk that hangs --------------------------------------------------------------------------


def test_pipe_that_nobody_opens(tmp_path: Path) -> None:
    """A disk that does not answer at all delays the program's exit by two seconds, no more."""
    os.mkfifo(tmp_path / "pipe")
    source = f"{MANY}\nimport time\nprint(time.monotonic())\n"
    (tmp_path / "main.py").write_text(source, encoding="utf-8")
    traced = run((*TRACED, "--no-live", "--out", "pipe"), "main.py", cwd=tmp_path)
    end = time.monotonic()
    first, moment = traced.stdout.split()
    assert (first, traced.exit_code) == (b"done", 0)
    assert 1.9 < end - float(moment) < 4
    assert traced.text.endswith("trace: this run is not kept: the disk does not answer\n")


def test_pipe_that_nobody_reads(tmp_path: Path) -> None:
    """A disk that stops to answer holds up neither a span nor, for long, the end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    keeper = RunKeeper(pipe)
    stage = staged(keeper)
    stage.leaf("Ask", 0, 1, attributes=node("Ask"))
    assert keeper.force_flush(5_000)
    start = time.monotonic()
    with stage.span("invoke_workflow Chat", 0, 9, flow("Chat")):
        for number in range(1_000):
            attributes = {**node("Ask"), "text": "x" * 1_000}
            stage.leaf(f"Ask {number}", number, number + 1, attributes=attributes)
    assert time.monotonic() - start < 2
    start = time.monotonic()
    keeper.close()
    assert 1.9 < time.monotonic() - start < 3
    assert keeper.complaint().endswith("pipe: the disk does not answer")
    os.close(reader)


def test_pipe(tmp_path: Path) -> None:
    """A pipe that somebody reads gets the run as it happens, and stays a pipe."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    keeper = RunKeeper(pipe)
    found: list[Run] = []
    reader = threading.Thread(target=lambda: found.append(read(pipe).run))
    reader.start()
    staged(keeper).leaf("Ask", 0, 1, attributes=node("Ask"))
    keeper.close()
    reader.join(TIMEOUT)
    assert names(found[0]) == ["Ask"]
    assert pipe.is_fifo()


# --- Programs beside each other -----------------------------------------------------------------


def test_two_programs_at_once(tmp_path: Path) -> None:
    """Two programs that write into one folder at the same time each have their file."""
    (tmp_path / "main.py").write_text(MANY, encoding="utf-8")
    shelf = Shelf(tmp_path / "runs")
    env = clean_environment({"POCKETFLOW_TRACE_DIR": str(shelf.directory)})
    command = [*TRACED, "--no-live", "main.py"]
    both_at_once = [
        subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=-1)
        for _ in range(2)
    ]
    for process in both_at_once:
        assert process.communicate(timeout=TIMEOUT)[0] == b"done\n"
    readings = [read(item.path) for item in shelf.kept()]
    assert [(len(each.run.roots), each.damaged) for each in readings] == [(200, 0), (200, 0)]
    assert len({each.run.about.id for each in readings}) == 2


def test_program_that_forks(tmp_path: Path) -> None:
    """A program that forks sees nothing of our thread, of which Python would warn it."""
    forks = """
import os
Flow(Ask()).run({})
for n in range(3):
    if os.fork() == 0:
        Flow(Ask()).run({})
        os._exit(0)
    os.wait()
    Flow(Ask()).run({})
if os.fork() == 0:
    os._exit(0)
os.wait()
"""
    (tmp_path / "main.py").write_text(ONE_FLOW + forks, encoding="utf-8")
    env = {"POCKETFLOW_TRACE_DIR": str(tmp_path / "runs"), "PYTHONWARNINGS": "error"}
    plain = run(PLAIN, "main.py", cwd=tmp_path, env=env)
    traced = run((*TRACED, "--no-live"), "main.py", cwd=tmp_path, env=env)
    assert (traced.stdout, traced.exit_code) == (plain.stdout, plain.exit_code) == (b"", 0)
    assert traced.text.startswith("flow AskFlow")
    found = kept(Shelf(tmp_path / "runs"))
    assert len(found.roots) == 4
    assert found.about.ended is not None


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_while_the_disk_hangs(tmp_path: Path) -> None:
    """A fork does not wait for a disk that does not answer, but once and for a moment."""
    os.mkfifo(tmp_path / "pipe")
    keeper = RunKeeper(tmp_path / "pipe")
    staged(keeper).leaf("Ask", 0, 1, attributes=node("Ask"))
    start = time.monotonic()
    for _ in range(5):
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    assert time.monotonic() - start < 5 * spool.REST_WAIT
    keeper.close()


def test_two_programs_and_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second program that wants the very same file does not spoil that of the first."""
    monkeypatch.setattr(spool, "PAUSES", (0.01,))
    first, second = RunKeeper(tmp_path / "run.jsonl"), RunKeeper(tmp_path / "run.jsonl")
    staged(first).leaf("Ask", 0, 1, attributes=node("Ask"))
    assert first.force_flush(5_000)
    staged(second).leaf("Answer", 0, 1, attributes=node("Answer"))
    second.close()
    first.close()
    assert second.complaint() == "this run is not kept: another program is writing it"
    assert names(read(tmp_path / "run.jsonl").run) == ["Ask"]


def test_out(tmp_path: Path) -> None:
    """`--out` names the file, which replaces one that is there only when the run is complete."""
    source = f"{ONE_FLOW}\nFlow(Ask()).run({{}})\nprint(open('run.jsonl').read())\n"
    (tmp_path / "main.py").write_text(source, encoding="utf-8")
    (tmp_path / "run.jsonl").write_text("before", encoding="utf-8")
    traced = run((*TRACED, "--out", "run.jsonl"), "main.py", cwd=tmp_path)
    assert traced.stdout == b"before\n"
    assert names(read(tmp_path / "run.jsonl").run) == ["invoke_workflow AskFlow", "Ask"]
    assert not list(tmp_path.glob("*.partial"))
    assert not (tmp_path / ".state").exists()


def test_no_file(tmp_path: Path) -> None:
    """`--no-file` keeps nothing."""
    (tmp_path / "main.py").write_text(MANY, encoding="utf-8")
    traced = run((*TRACED, "--no-file"), "main.py", cwd=tmp_path)
    assert traced.stdout == b"done\n"
    assert not (tmp_path / ".state").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--out", "nowhere/run.jsonl"), "no folder"),
        (("--out", "."), "is a folder"),
        (("--out=x", "--no-file"), "contradict each other"),
    ],
)
def test_wrong_options(options: tuple[str, ...], complaint: str, tmp_path: Path) -> None:
    """What cannot be is said before the program runs."""
    (tmp_path / "main.py").write_text("print('ran')", encoding="utf-8")
    traced = run((*TRACED, *options), "main.py", cwd=tmp_path)
    assert (traced.exit_code, traced.stdout) == (2, b"")
    assert complaint in traced.text


def test_no_home(tmp_path: Path) -> None:
    """A program whose user has no home runs as ever; one line says why it is not kept."""
    (tmp_path / "main.py").write_text(MANY, encoding="utf-8")
    result = both("main.py", cwd=tmp_path, env={"POCKETFLOW_TRACE_DIR": "~nobody-of-this-name/x"})
    assert "trace: this run is not kept: " in result.tree()
