"""A real OTLP collector process (rotel) on free loopback ports, and what it passed on.

The program under test sends to rotel over http or grpc; rotel sends on, over http, to a small
receiver in the test process, which decodes what comes. So a span or a metric counts as received
only once a collector that is not ours has understood it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import typing
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.received import (
    ReceivedPoint,
    ReceivedSpan,
    decode,
    decode_metrics,
    sorted_names,
)
from support.sink import receiving

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

START_TIMEOUT = 10.0
"""Seconds that rotel may take to open its ports; it takes about 0.1."""

STOP_TIMEOUT = 10.0
"""Seconds that rotel may take to send on what it holds and end."""

START_ATTEMPTS = 3
"""A port that was free a moment ago can be taken by the time rotel binds it."""


class CollectorError(AssertionError):
    """The collector did not start, did not stop, or did not receive what a test waits for."""


class Collector:
    """A running collector; made by `running_collector`."""

    def __init__(self, agent: _Agent, receiver: _Receiver) -> None:
        self._agent = agent
        self._receiver = receiver

    @property
    def http_endpoint(self) -> str:
        """Base URL for `OTEL_EXPORTER_OTLP_ENDPOINT` with `http/protobuf`."""
        return f"http://127.0.0.1:{self._agent.http_port}"

    @property
    def grpc_endpoint(self) -> str:
        """URL for `OTEL_EXPORTER_OTLP_ENDPOINT` with `grpc`."""
        return f"http://127.0.0.1:{self._agent.grpc_port}"

    def endpoint(self, protocol: str) -> str:
        """Return the endpoint for OTLP's `protocol`: `grpc` or `http/protobuf`."""
        return self.grpc_endpoint if protocol == "grpc" else self.http_endpoint

    def wait_for(
        self, wanted: int | Callable[[Sequence[ReceivedSpan]], bool], timeout: float = 10.0
    ) -> list[ReceivedSpan]:
        """Block until the collector has passed on what is `wanted`.

        Args:
            wanted: A number of spans, or a predicate over all spans received so far.
            timeout: Seconds to wait at most.

        Returns:
            All spans received so far, in the order in which they came.

        Raises:
            CollectorError: They did not come in time; the message holds the collector's log.
        """
        reached = _at_least(wanted) if isinstance(wanted, int) else wanted
        if not self._receiver.wait_until(reached, timeout):
            names = sorted_names(self._receiver.spans())
            raise CollectorError(
                f"after {timeout} s the collector had passed on {len(names)} spans: {names}\n"
                f"wanted: {wanted}\nits log:\n{self._agent.log()}"
            )
        return self._receiver.spans()

    def drain(self) -> list[ReceivedSpan]:
        """Stop the collector and return all spans that it ever received.

        Rotel sends on what it holds before it ends, so nothing can follow: this is the way to
        assert that something did *not* arrive, or arrived only once.
        """
        self._agent.stop()
        return self._receiver.spans()

    def drain_metrics(self) -> list[ReceivedPoint]:
        """Stop the collector, as `drain` does, and return the data points that it ever received.

        A program that exports more than once sends each point as often, its sums growing.
        """
        self._agent.stop()
        return self._receiver.points()


@contextlib.contextmanager
def running_collector(directory: Path) -> Generator[Collector]:
    """Run rotel, with its files in `directory`, until the block ends.

    Skips the test on Windows, for which rotel has no wheel. Elsewhere a missing rotel is an error:
    a proof that silently does not run is none.

    Raises:
        CollectorError: Rotel is not installed, or did not open its ports.
    """
    if sys.platform == "win32":
        pytest.skip("rotel has no wheel for Windows")
    with (
        _running_receiver() as receiver,
        _running_agent(directory, receiver.url) as agent,
    ):
        yield Collector(agent, receiver)


def wait_for_port(port: int, timeout: float, alive: Callable[[], bool]) -> bool:
    """Poll the loopback `port` until it accepts; False after `timeout` seconds or once not alive.

    A refused connection answers at once, so a short pause keeps the poll from spinning.
    """
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while time.monotonic() < deadline and alive():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        pause.wait(0.01)
    return False


def _at_least(count: int) -> Callable[[Sequence[ReceivedSpan]], bool]:
    return lambda spans: len(spans) >= count


def _agent_path() -> Path:
    spec = importlib.util.find_spec("rotel")
    if spec is None or spec.origin is None:
        raise CollectorError("rotel is not installed; it is part of the extra `dev`")
    return Path(spec.origin).with_name("rotel-agent")


_ports = iter(random.SystemRandom().sample(range(10_000, 32_000), 20_000))
"""Below the ports that systems give to outgoing connections: those may be taken at any time."""


def free_port() -> int:
    """Return a loopback port that is free now, another one at each call.

    It may be taken by the time somebody binds it, but only by another process that looks for one
    in the same way.
    """
    for port in _ports:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise CollectorError("no loopback port is free")


@contextlib.contextmanager
def _running_agent(directory: Path, sink_url: str) -> Generator[_Agent]:
    agent = _start_agent(directory, sink_url)
    try:
        yield agent
    finally:
        agent.stop()


def _start_agent(directory: Path, sink_url: str) -> _Agent:
    """Start an agent that is ready, on other ports where the first ones were taken meanwhile."""
    logs: list[str] = []
    for attempt in range(START_ATTEMPTS):
        agent = _Agent(directory / f"rotel-{attempt}.log", sink_url)
        if agent.wait_until_ready():
            return agent
        agent.stop()
        logs.append(agent.log())
    raise CollectorError("rotel did not open its ports; its logs:\n" + "\n".join(logs))


class _Agent:
    """The rotel process and its log file."""

    def __init__(self, log_path: Path, sink_url: str) -> None:
        self.http_port = free_port()
        self.grpc_port = free_port()
        self._log_path = log_path
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(sink_url), stdout=log, stderr=subprocess.STDOUT, env=_agent_env()
            )

    def _command(self, sink_url: str) -> list[str]:
        return [
            str(_agent_path()),
            "start",
            f"--otlp-http-endpoint=127.0.0.1:{self.http_port}",
            f"--otlp-grpc-endpoint=127.0.0.1:{self.grpc_port}",
            "--exporter=otlp",
            "--otlp-exporter-protocol=http",
            f"--otlp-exporter-endpoint={sink_url}",
            "--batch-timeout=20ms",
            f"--pid-file={self._log_path.with_suffix('.pid')}",
        ]

    def wait_until_ready(self) -> bool:
        """Wait for both ports; False where the process ended or took too long."""
        return all(
            wait_for_port(port, START_TIMEOUT, self._is_alive)
            for port in (self.http_port, self.grpc_port)
        )

    def _is_alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask rotel to end, which makes it send on what it holds; kill it if it does not.

        Raises:
            CollectorError: It had to be killed, so spans may be missing.
        """
        if not self._is_alive():
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            self._process.wait()
            raise CollectorError(f"rotel did not stop; its log:\n{self.log()}") from error

    def log(self) -> str:
        """Return the end of rotel's log."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")[-4000:]


def _agent_env() -> dict[str, str]:
    """Rotel reads ROTEL_* and a proxy from its environment; ours must decide neither."""
    return {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}


@contextlib.contextmanager
def _running_receiver() -> Generator[_Receiver]:
    receiver = _Receiver()
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


class _Receiver:
    """The http server that rotel sends on to."""

    def __init__(self) -> None:
        self._spans: list[ReceivedSpan] = []
        self._points: list[ReceivedPoint] = []
        self._arrived = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), receiving(self._take))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and end all threads."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def spans(self) -> list[ReceivedSpan]:
        """Return what has arrived so far."""
        with self._arrived:
            return list(self._spans)

    def points(self) -> list[ReceivedPoint]:
        """Return the data points that have arrived so far."""
        with self._arrived:
            return list(self._points)

    def wait_until(self, reached: Callable[[Sequence[ReceivedSpan]], bool], timeout: float) -> bool:
        """Block until `reached` holds for the spans received; False after `timeout` seconds."""
        with self._arrived:
            return self._arrived.wait_for(lambda: reached(self._spans), timeout)

    def _take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            self._take_spans(decode(ExportTraceServiceRequest.FromString(body)))
        elif path == "/v1/metrics":
            self._take_points(decode_metrics(ExportMetricsServiceRequest.FromString(body)))

    def _take_spans(self, spans: list[ReceivedSpan]) -> None:
        with self._arrived:
            self._spans.extend(spans)
            self._arrived.notify_all()

    def _take_points(self, points: list[ReceivedPoint]) -> None:
        with self._arrived:
            self._points.extend(points)
