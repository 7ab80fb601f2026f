"""The stack of docker-compose.yml, started natively: collector, Jaeger and Prometheus.

They run with the very files that the containers mount. All that a machine without containers needs
otherwise, addresses and folders, is put in by `substituted`: literal texts, each of which must
occur; nothing else is changed, and no other address may be left. So a configuration that is proven
here is the one that runs there.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
import typing
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.collector import free_port

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from typing_extensions import Self

T = typing.TypeVar("T")

ROOT = Path(__file__).parents[2]

FOLDER = "POCKETFLOW_STACK_BIN"
"""The variable that names the folder of the stack's programs."""

COLLECTOR = "otelcol-pocketflow"
START_TIMEOUT = 60.0
"""Seconds that a program may take until it answers; the collector takes about 1, Jaeger 2."""
STOP_TIMEOUT = 30.0
ANSWER_TIMEOUT = 60.0
"""Seconds until what was sent can be asked for: flush, scrape and store take about 15."""

UNANSWERED = (OSError, http.client.HTTPException, json.JSONDecodeError)
"""What asking a server raises that is busy, or not there at the moment."""

ELSEWHERE = re.compile(r"\b0\.0\.0\.0\b|\b[a-z][\w.-]*:\d{2,5}\b", re.IGNORECASE)
"""An address in a configuration that is not on loopback: all interfaces, or a host by its name."""


class StackError(AssertionError):
    """A program of the stack did not start, or did not answer what a test waits for."""


def binary(name: str) -> Path | None:
    """Find a program of the stack; None where there is no stack to test.

    `make test-stack` builds the programs and names their folder by `POCKETFLOW_STACK_BIN`. Without
    it the stack is not tested, whatever is on the machine: it takes minutes.

    Raises:
        StackError: The folder does not have it. A proof that was asked for must not be left out.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return None
    found = Path(folder) / name
    if not os.access(found, os.X_OK):
        raise StackError(f"no `{name}` in {folder}, which {FOLDER} names")
    return found


def required(name: str) -> Path:
    """Return a program of the stack; skip the test where the stack is not tested."""
    found = binary(name)
    if found is None:
        pytest.skip(f"the stack was not tested: {FOLDER} is not set, `make test-stack` does it all")
    return found


def substituted(file: Path, target: Path, texts: Mapping[str, str]) -> Path:
    """Write a configuration with other addresses and folders, and nothing else changed.

    Args:
        file: The configuration that the containers mount.
        target: Where to write it.
        texts: What stands in the file, to what shall stand there.

    Raises:
        StackError: The file has none of one of the texts, or an address that none of them covers;
            then it is not what the test thinks.
    """
    text = file.read_text(encoding="utf-8")
    for old in texts:
        if old not in text:
            raise StackError(f"{file.name} has no {old!r} to put {texts[old]!r} in place of")
    # In one pass over the text, so that what was put in is not replaced itself.
    pieces = [text]
    for old in sorted(texts, key=len, reverse=True):
        pieces = [part for piece in pieces for part in _split(piece, old)]
    written = "".join(texts.get(piece, piece) for piece in pieces)
    if left := ELSEWHERE.findall(written):
        raise StackError(f"{file.name} still has {', '.join(left)}")
    target.write_text(written, encoding="utf-8")
    return target


def _split(piece: str, at: str) -> list[str]:
    """Split with the separators kept; a piece that is a separator already stays whole."""
    first, *rest = piece.split(at)
    return [first, *(part for following in rest for part in (at, following))]


@dataclass
class Program:
    """One program of the stack, which a test may stop and start again with its files."""

    name: str
    command: tuple[str, ...]
    ready_url: str
    folder: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> str:
        """What it has said so far, over all its starts."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def _log_file(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            StackError: It ended or did not answer in time; the message has its log.
        """
        self._launch()
        try:
            wait_until(
                lambda: self._has_ended() or self._is_ready(), f"{self.name} answers", START_TIMEOUT
            )
        except StackError as exc:
            raise StackError(f"{exc}; its log:\n{self.log[-4000:]}") from exc
        if self._has_ended():
            raise StackError(f"{self.name} ended at its start; its log:\n{self.log[-4000:]}")

    def _launch(self) -> None:
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder
            )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, by default as a container engine does; SIGKILL is a crash."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise StackError(f"{self.name} did not end; its log:\n{self.log[-4000:]}") from None

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _is_ready(self) -> bool:
        return get(self.ready_url, timeout=2).status == 200


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    body: bytes

    def json(self) -> typing.Any:
        """Decode the body."""
        return json.loads(self.body)


def get(url: str, timeout: float = 10.0) -> Answer:
    """Ask a server on loopback.

    Raises:
        OSError: It does not answer.
    """
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:  # noqa: S310 - loopback
            return Answer(response.status, response.read())
    except urllib.error.HTTPError as exc:
        return Answer(exc.code, exc.read())


def wait_until(
    reached: Callable[[], object], what: str, timeout: float = ANSWER_TIMEOUT, pause: float = 0.1
) -> None:
    """Poll until something is so; a server that does not answer for a while is no failure.

    Raises:
        StackError: It was not so in time; the message names it, and the last error if that is why.
    """
    deadline = time.monotonic() + timeout
    waiting = threading.Event()
    so, why = _asked_once(reached)
    while not so:
        if time.monotonic() > deadline:
            raise StackError(f"not within {timeout:.0f} s: {what}{why}")
        waiting.wait(pause)
        so, why = _asked_once(reached)


def _asked_once(reached: Callable[[], object]) -> tuple[object, str]:
    """Return what came of it, and the error where nothing did."""
    try:
        return reached(), ""
    except UNANSWERED as exc:
        return False, f"; at last: {exc!r}"


def settled(ask: Callable[[], T], wanted: object, timeout: float = ANSWER_TIMEOUT) -> T:
    """Ask until the answer is the one that is wanted, or time is over; return the last answer.

    So a test can compare the two, and show where they differ.
    """
    with contextlib.suppress(StackError):
        wait_until(lambda: ask() == wanted, "the answer is the wanted one", timeout, pause=0.5)
    return ask()


class Stack:
    """The three programs on free loopback ports, each with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {name: free_port() for name in _PORTS}
        self.jaeger = self._jaeger()
        self.collector = self._collector()
        self.prometheus = self._prometheus()

    @contextlib.contextmanager
    def running(self) -> Generator[Self]:
        """Run all three until the block ends, also where one of them does not start."""
        with contextlib.ExitStack() as ending:
            for program in (self.jaeger, self.collector, self.prometheus):
                ending.callback(program.stop)
                program.start()
            yield self

    def at(self, name: str) -> str:
        """Return the loopback address of one of `_PORTS`."""
        return f"127.0.0.1:{self._ports[name]}"

    def url(self, name: str) -> str:
        """Return the base URL of one of `_PORTS`."""
        return f"http://{self.at(name)}"

    def environment(self, protocol: str = "http/protobuf") -> dict[str, str]:
        """Return what a program is told, as docs/production.md tells it: traces and metrics."""
        port = "otlp grpc" if protocol == "grpc" else "otlp http"
        return {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url(port),
        }

    def query(self, expression: str, at: float | None = None) -> list[typing.Any]:
        """Ask Prometheus for an expression's value: the list of its series.

        Args:
            expression: What to ask for.
            at: The moment, in seconds since 1970; by default now.
        """
        moment = {} if at is None else {"time": str(at)}
        asked = _asked(query=expression, **moment)
        said = get(f"{self.url('prometheus')}/api/v1/query?{asked}").json()
        if said["status"] != "success":
            raise StackError(f"{expression}: {said['error']}")
        result: list[typing.Any] = said["data"]["result"]
        return result

    def exemplar_series(self, expression: str, seconds: float = 3600) -> list[typing.Any]:
        """Ask Prometheus for the series of an expression with their exemplars of late."""
        now = time.time()
        asked = _asked(query=expression, start=str(now - seconds), end=str(now))
        found = get(f"{self.url('prometheus')}/api/v1/query_exemplars?{asked}").json()
        data: list[typing.Any] = found["data"]
        return data

    def traces(self, service: str, **asked: str) -> list[typing.Any]:
        """Ask Jaeger for the traces of a service, newest first."""
        query = _asked(service=service, limit="1500", **asked)
        data: list[typing.Any] = self.ask_jaeger(f"traces?{query}") or []
        return data

    def trace(self, trace_id: str) -> typing.Any:
        """Ask Jaeger for one trace; None where it has none."""
        data = self.ask_jaeger(f"traces/{trace_id}")
        return data[0] if data else None

    def ask_jaeger(self, what: str) -> typing.Any:
        """Return the data that Jaeger's HTTP API has at a path below `/api/`."""
        return get(f"{self.url('jaeger query')}/api/{what}").json().get("data")

    def _jaeger(self) -> Program:
        config = substituted(
            ROOT / "deploy" / "jaeger.yaml",
            self._folder / "jaeger.yaml",
            {
                "0.0.0.0:4317": self.at("jaeger otlp"),
                "0.0.0.0:16686": self.at("jaeger query"),
                "0.0.0.0:16685": self.at("jaeger query grpc"),
                "0.0.0.0:13133": self.at("jaeger health"),
                "host: 0.0.0.0": "host: 127.0.0.1",
                "port: 8888": f"port: {self._ports['jaeger metrics']}",
                "/var/lib/jaeger": str(self._folder / "jaeger"),
            },
        )
        command = (str(required("jaeger")), f"--config={config}")
        return Program("jaeger", command, self.url("jaeger health") + "/status", self._folder)

    def _collector(self) -> Program:
        config = substituted(
            ROOT / "collector-config.yaml",
            self._folder / "collector-config.yaml",
            {
                "0.0.0.0:4317": self.at("otlp grpc"),
                "0.0.0.0:4318": self.at("otlp http"),
                "0.0.0.0:8889": self.at("collector prometheus"),
                "0.0.0.0:8890": self.at("collector prometheus now"),
                "0.0.0.0:13133": self.at("collector health"),
                "jaeger:4317": self.at("jaeger otlp"),
                "host: 0.0.0.0": "host: 127.0.0.1",
                "port: 8888": f"port: {self._ports['collector metrics']}",
                "/var/lib/otelcol": str(self._folder / "otelcol"),
            },
        )
        command = (str(required(COLLECTOR)), f"--config={config}")
        return Program("collector", command, self.url("collector health") + "/status", self._folder)

    def _prometheus(self) -> Program:
        rules = ROOT / "deploy" / "prometheus"
        config = substituted(
            rules / "prometheus.yml",
            self._folder / "prometheus.yml",
            {
                "collector:8889": self.at("collector prometheus"),
                "collector:8890": self.at("collector prometheus now"),
                "collector:8888": self.at("collector metrics"),
                "jaeger:8888": self.at("jaeger metrics"),
                "/etc/prometheus": str(rules),
            },
        )
        command = (
            str(required("prometheus")),
            f"--config.file={config}",
            f"--storage.tsdb.path={self._folder / 'prometheus'}",
            f"--web.listen-address={self.at('prometheus')}",
            "--enable-feature=exemplar-storage",
        )
        return Program("prometheus", command, self.url("prometheus") + "/-/ready", self._folder)


_PORTS = (
    "otlp grpc",
    "otlp http",
    "collector prometheus",
    "collector prometheus now",
    "collector metrics",
    "collector health",
    "jaeger otlp",
    "jaeger query",
    "jaeger query grpc",
    "jaeger metrics",
    "jaeger health",
    "prometheus",
)


def _asked(**parameters: str) -> str:
    return urllib.parse.urlencode(parameters)


@contextlib.contextmanager
def running_stack(folder: Path) -> Generator[Stack]:
    """Run the whole stack, with all its files in `folder`, until the block ends."""
    for name in (COLLECTOR, "jaeger", "prometheus"):
        required(name)
    with Stack(folder).running() as stack:
        yield stack
