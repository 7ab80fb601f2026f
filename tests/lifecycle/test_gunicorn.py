"""gunicorn: workers that are forked, replaced and reloaded serve as without us, and send spans."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import signal
import subprocess
import time
import typing

import pytest
from lives import FLOW, PROTOCOL, WAYS, posix, processes

from support import programs
from support.collector import free_port, wait_for_port
from support.received import outline

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from support.collector import Collector

pytestmark = posix

APP = """\
import os
import tracing
from pocketflow import Flow, Node

class Where(Node):
    def exec(self, prep_res):
        return os.getpid()

    def post(self, shared, prep_res, exec_res):
        shared["pid"] = exec_res

class Then(Node):
    pass

def app(environ, start_response):
    where = Where()
    where >> Then()
    shared = {}
    Flow(where).run(shared)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"FIRST {shared['pid']}".encode()]
"""


class Gunicorn:
    """A running server; made by `serving`."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.address = ("127.0.0.1", port)
        self.asked = 0

    def ask(self) -> tuple[str, int]:
        """Return what one request is answered: a word, and the worker's process."""
        self.asked += 1
        with contextlib.closing(http.client.HTTPConnection(*self.address, programs.TIMEOUT)) as ask:
            ask.request("GET", "/")
            word, pid = ask.getresponse().read().decode().split()
        return word, int(pid)

    def ask_until(self, reached: Callable[[tuple[str, int]], bool]) -> None:
        """Ask until an answer is as wanted."""
        end = time.monotonic() + programs.TIMEOUT
        while not reached(self.ask()):
            assert time.monotonic() < end
            time.sleep(0.01)

    def stop(self) -> str:
        """End it as init systems do, and return what it has written to stderr."""
        self.process.send_signal(signal.SIGTERM)
        _, stderr = self.process.communicate(timeout=programs.TIMEOUT)
        assert self.process.returncode == 0
        return stderr


@contextlib.contextmanager
def serving(
    directory: Path, command: Sequence[str], *options: str, env: Mapping[str, str]
) -> Generator[Gunicorn]:
    """Run gunicorn with the app in a directory until the block ends."""
    port = free_port()
    with subprocess.Popen(
        [*command, "--workers=1", f"--bind=127.0.0.1:{port}", *options, "main:app"],
        cwd=directory,
        env=programs.clean_environment({"PYTHONPATH": str(directory), **env}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            assert wait_for_port(port, programs.TIMEOUT, lambda: process.poll() is None)
            yield Gunicorn(process, port)
        finally:
            process.kill()


@pytest.fixture
def directory(tmp_path: Path, way: str) -> Path:
    """A folder with the app, which sets up tracing itself where it does not come from outside."""
    pytest.importorskip("gunicorn", reason="needs gunicorn")
    programs.write_program(tmp_path, APP)
    setup = programs.in_code("", PROTOCOL) if way == "in code" else ""
    (tmp_path / "tracing.py").write_text(setup, encoding="utf-8")
    return tmp_path


@pytest.fixture
def command(way: str) -> Sequence[str]:
    """How gunicorn is started."""
    return (*WAYS[way], "-m", "gunicorn")


def is_clean(stderr: str) -> bool:
    """Tell whether a server's messages are of no fault."""
    return not any(word in stderr for word in ("Traceback", "ERROR", "Error", "Warning"))


@pytest.mark.parametrize(
    ("preload", "way"),
    [(["--preload"], "in code"), (["--preload"], "zero code"), ([], "in code")],
)
def test_workers(
    preload: list[str], directory: Path, command: Sequence[str], collector: Collector
) -> None:
    """Every worker's spans arrive once and say which worker, also of those that HUP replaced."""
    env = programs.otlp_environment(collector.http_endpoint, PROTOCOL)
    with serving(directory, command, *preload, env=env) as server:
        _, first = server.ask()
        server.process.send_signal(signal.SIGHUP)
        server.ask_until(lambda answer: answer[1] != first)
        _, second = server.ask()
        assert is_clean(server.stop())
    spans = collector.drain()
    assert outline(spans) == FLOW * server.asked
    assert processes(spans) == {first, second}


def test_reload(directory: Path, command: Sequence[str], collector: Collector) -> None:
    """A worker that is started anew, since its code has changed, is traced like the one before."""
    env = programs.otlp_environment(collector.http_endpoint, PROTOCOL)
    with serving(directory, command, "--reload", env=env) as server:
        word, first = server.ask()
        assert word == "FIRST"
        script = directory / "main.py"
        script.write_text(APP.replace("FIRST", "SECOND"), encoding="utf-8")
        stamps = itertools.count(int(time.time()) + 5, 5)

        def is_new(answer: tuple[str, int]) -> bool:
            # The first time that gunicorn looks at a file, it takes it for known.
            if answer[0] == "FIRST" and server.asked % 200 == 2:
                stamp = next(stamps)
                os.utime(script, (stamp, stamp))
            return answer[0] == "SECOND"

        server.ask_until(is_new)
        assert is_clean(server.stop())
    spans = collector.drain()
    assert outline(spans) == FLOW * server.asked
    assert first in processes(spans)
    assert len(processes(spans)) >= 2


@pytest.mark.parametrize("way", ["command"])
def test_under_the_command(directory: Path, command: Sequence[str]) -> None:
    """`pocketflow-trace run` traces the first process only: the workers serve, nothing is kept."""
    env = {"POCKETFLOW_TRACE_DIR": str(directory / "runs")}
    with serving(directory, command, "--preload", env=env) as server:
        server.ask()
        stderr = server.stop()
    assert is_clean(stderr)
    assert stderr.endswith("pocketflow-trace: no flow or node of PocketFlow ran\n")
    assert not (directory / "runs").exists()
