"""Other tracing backends as processes of their own, and their pages in `docs/backends/`.

A backend is found on PATH, or in the folder that `POCKETFLOW_STACK_BACKENDS` names: the `bin` of a
virtual environment that has it, since these are large and need not stand beside ours. Tests take
what a program is told (its environment, its set-up) from the backend's page, with nothing but the
address changed: so what is proven is what users read.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import typing
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.received import decode
from support.stack import StackError, get, wait_until

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from support.received import ReceivedSpan

FOLDER = "POCKETFLOW_STACK_BACKENDS"
"""The variable that names the folder of the backends' executables."""

PAGES = Path(__file__).parents[2] / "docs" / "backends"

START_TIMEOUT = 180.0
"""Seconds until a backend answers. Phoenix and MLflow take about 10 where two cores are idle."""

STOP_TIMEOUT = 15.0

START_ATTEMPTS = 3
"""A port that was free a moment ago can be taken by the time a backend binds it."""


def executable(name: str) -> str:
    """Return the path of a backend's executable; skip the test where it is not installed.

    Raises:
        StackError: `POCKETFLOW_STACK_BACKENDS` is set, and its folder does not have it: a proof
            that was asked for must not be left out silently.
    """
    folder = os.environ.get(FOLDER)
    found = shutil.which(name, path=folder)
    if found is not None:
        return found
    if folder:
        raise StackError(f"no `{name}` in {folder}, which {FOLDER} names")
    pytest.skip(f"no `{name}` on PATH, and {FOLDER} names no folder: it was not run")


@functools.cache
def python_having(*modules: str) -> str:
    """Return an interpreter that has these modules; skip the test where there is none.

    Our own, or the one in the backends' folder.

    Raises:
        StackError: `POCKETFLOW_STACK_BACKENDS` is set, and neither has them.
    """
    folder = os.environ.get(FOLDER)
    beside = shutil.which("python", path=folder) if folder else None
    for python in filter(None, (sys.executable, beside)):
        if _has(python, modules):
            return python
    reason = f"no Python with {', '.join(modules)}"
    if folder:
        raise StackError(f"{reason}, neither ours nor that in {folder}, which {FOLDER} names")
    pytest.skip(f"{reason}, and {FOLDER} names no folder: it was not run")


def _has(python: str, modules: tuple[str, ...]) -> bool:
    """Ask for the modules' specs, since to import them takes seconds."""
    ask = (
        "import importlib.util, sys; sys.exit(not all(map(importlib.util.find_spec, sys.argv[1:])))"
    )
    done = subprocess.run(
        [python, "-c", ask, *modules], timeout=60, check=False, capture_output=True
    )
    return done.returncode == 0


@dataclass(frozen=True)
class Launch:
    """How to start a backend; `ready_url` answers 200 once it takes requests."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready_url: str


@contextlib.contextmanager
def running(directory: Path, launch: Callable[[], Launch]) -> Generator[Launch]:
    """Run a backend, with its log and its home in `directory`, until the block ends.

    Args:
        directory: Where it may write.
        launch: Called for each attempt to start it, so that each has ports of its own.

    Raises:
        StackError: It did not answer; the message has the end of its log.
    """
    log = directory / "backend.log"
    for _ in range(START_ATTEMPTS):
        chosen = launch()
        process = _start(chosen, directory, log)
        try:
            if _is_up(process, chosen.ready_url):
                yield chosen
                return
        finally:
            _stop(process)
    text = log.read_text(encoding="utf-8", errors="replace")
    raise StackError(f"the backend did not start; its log:\n{text[-4000:]}")


def _start(launch: Launch, directory: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start it as the leader of a process group, since its workers must end with it."""
    ours = {key: os.environ[key] for key in ("LANG", "PATH", "TMPDIR") if key in os.environ}
    with log.open("ab") as output:
        return subprocess.Popen(
            launch.command,
            cwd=directory,
            env={**ours, "HOME": str(directory), **launch.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _is_up(process: subprocess.Popen[bytes], url: str) -> bool:
    """Wait until it answers; False once it has ended."""
    wait_until(lambda: process.poll() is not None or _answers(url), url, START_TIMEOUT)
    return process.poll() is None


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError):
        return get(url, timeout=5).status == 200
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it and all that it started; who does not end by itself is killed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def post(url: str, body: object) -> typing.Any:
    """Send JSON to a server on loopback and return the JSON that it answers.

    Raises:
        urllib.error.HTTPError: It refuses.
    """
    request = urllib.request.Request(  # noqa: S310 - loopback
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - loopback
        return json.loads(response.read())


@dataclass(frozen=True)
class Posted:
    """One request that a stand-in took; the names of `headers` are lower-case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def spans(self) -> list[ReceivedSpan]:
        """Decode the body as OTLP's protobuf of traces."""
        zipped = self.headers.get("content-encoding") == "gzip"
        body = gzip.decompress(self.body) if zipped else self.body
        return decode(ExportTraceServiceRequest.FromString(body))


class StandIn:
    """Takes the place of a service that cannot run here: answers 200 to all, and keeps it.

    It proves what is sent and how, and nothing about what the service makes of it.
    """

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        posted = self.posted

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers["content-length"]))
                posted.append(Posted(self.path, headers, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                """Keep quiet."""

        return Handler

    def to(self, path: str) -> list[Posted]:
        """Return the requests to a path."""
        return [posted for posted in self.posted if posted.path == path]

    @contextlib.contextmanager
    def serving(self) -> Generator[StandIn]:
        """Answer until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class Page:
    """A backend's page in `docs/backends/`: what it tells users to set and to write."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._text = (PAGES / name).read_text(encoding="utf-8")

    def settings(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that the page exports before `opentelemetry-instrument`.

        Args:
            texts: What stands in them, to what shall stand there: addresses and accounts.

        Raises:
            StackError: The page has no such block, or a text does not occur in it.
        """
        lines = self._block("sh", "opentelemetry-instrument", texts).splitlines()
        exports = [shlex.split(line)[1] for line in lines if line.startswith("export ")]
        pairs = (export.partition("=") for export in exports)
        return {name: value for name, _, value in pairs}

    def code(self, texts: Mapping[str, str], having: str = "PocketFlowInstrumentor") -> str:
        """Return the page's Python that has a text, with other texts put in as above."""
        return self._block("python", having, texts)

    def _block(self, language: str, having: str, texts: Mapping[str, str]) -> str:
        blocks = re.findall(rf"^```{language}\n(.*?)^```$", self._text, re.MULTILINE | re.DOTALL)
        block = next((block for block in blocks if having in block), None)
        if block is None:
            raise StackError(f"{self._name} has no {language} block with {having!r}")
        for old, new in texts.items():
            if old not in block:
                raise StackError(f"{self._name}: no {old!r} in the block with {having!r}")
            block = block.replace(old, new)
        return block
