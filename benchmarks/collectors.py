"""Collectors, started natively with the configurations of deploy/, and what they use.

Their addresses and folders are laid over the files, which stay as they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Self

ROOT: Final = Path(__file__).parents[1]
SCALE: Final = ROOT / "deploy" / "scale"

MISSING: Final = "no `otelcol-pocketflow`: scripts/stack_binaries.py builds it"

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_TIMEOUT: Final = 60.0
_PLAIN: Final = dict.fromkeys(("GATEWAY_INSECURE", "SAMPLER_INSECURE", "JAEGER_INSECURE"), "true")

Settings = dict[str, Any]
"""A part of a configuration."""


class Usage(NamedTuple):
    """What a process has used so far."""

    cpu: float
    """Seconds, of user and system."""
    mib: float
    """Memory at its peak."""


def binary() -> Path | None:
    """The collector that `scripts/stack_binaries.py` builds; None where it is not there."""
    folder = os.environ.get("POCKETFLOW_STACK_BIN") or str(_cache_folder() / "bin")
    found = shutil.which("otelcol-pocketflow", path=folder)
    return Path(found) if found else None


def _cache_folder() -> Path:
    """Where the script keeps it, by the same rule: XDG heeds no relative path."""
    said = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (said if said.is_absolute() else Path.home() / ".cache") / "pocketflow-stack"


class Collector:
    """A collector process on free loopback ports, with a folder of its own."""

    def __init__(
        self,
        name: str,
        files: Sequence[Path],
        settings: Settings,
        folder: Path,
        variables: dict[str, str] | None = None,
    ) -> None:
        """Prepares it.

        Args:
            name: of the process, for its log.
            files: configurations, each laid over the one before.
            settings: laid over them all, beside the addresses.
            folder: for its log and its queue.
            variables: what its files read from the environment.
        """
        self.name = name
        self.grpc, self.http, self._metrics = (free_port() for _ in range(3))
        self._files = files
        self._settings = settings
        self._folder = folder
        self._variables = variables or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = binary()
        if program is None:
            raise RuntimeError(MISSING)
        laid_over = [self._own(), self._settings]
        configs = [*map(str, self._files), *(f"yaml:{json.dumps(each)}" for each in laid_over)]
        with (self._folder / f"{self.name}.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the collector
                [program, *(f"--config={config}" for config in configs)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | _PLAIN | self._variables,
            )
        wait_until(self._listens, f"{self.name} listens")
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_TIMEOUT)

    @property
    def usage(self) -> Usage:
        """What it has used since its start."""
        own = Path("/proc") / str(self._running.pid)
        user, system = (own / "stat").read_text().rpartition(")")[2].split()[11:13]
        peak = (own / "status").read_text().partition("VmHWM:")[2].split()[0]
        return Usage((int(user) + int(system)) / _TICKS, int(peak) / 1024)

    def received(self) -> float:
        """Spans that it has taken so far."""
        return self._metric("otelcol_receiver_accepted_spans_total")

    def decided(self) -> float:
        """Traces that it has decided upon so far."""
        return self._metric("otelcol_processor_tail_sampling_global_count_traces_sampled_total")

    def _metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    def _own(self) -> Settings:
        """Addresses and folders; a part that the files do not use does no harm."""
        reader = {"exporter": {"prometheus": {"host": "127.0.0.1", "port": self._metrics}}}
        protocols = {"grpc": self.grpc, "http": self.http}
        return {
            "receivers": {
                "otlp": {
                    "protocols": {
                        name: {"endpoint": f"127.0.0.1:{port}"} for name, port in protocols.items()
                    }
                }
            },
            "extensions": {
                "healthcheckv2": {"use_v2": True, "http": {"endpoint": "127.0.0.1:0"}},
                "file_storage": {
                    "directory": str(self._folder / self.name),
                    "create_directory": True,
                    "compaction": {"directory": str(self._folder / self.name)},
                },
            },
            "service": {"telemetry": {"metrics": {"readers": [{"pull": reader}]}}},
        }

    def _listens(self) -> bool:
        if self._running.poll() is not None:
            log = (self._folder / f"{self.name}.log").read_text()
            raise RuntimeError(f"{self.name} ended:\n{log[-2000:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.grpc)) == 0


def sink(folder: Path) -> Collector:
    """A collector that takes spans and forgets them, in the place of Jaeger."""
    settings: Settings = {
        "exporters": {"debug": {"verbosity": "basic"}},
        "service": {
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["debug"]}},
        },
    }
    receiver: Settings = {
        "receivers": {"otlp": {"protocols": {"grpc": {"max_recv_msg_size_mib": 64}}}}
    }
    return Collector("sink", (), settings | receiver, folder)


class Relay:
    """Passes a connection's bytes on to a port, and counts those that go there."""

    def __init__(self, port: int) -> None:
        self.bytes = 0
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            here, _ = self._server.accept()
            there = socket.create_connection(("127.0.0.1", self._to))
            for source, target in ((here, there), (there, here)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        forth = target.getpeername()[1] == self._to
        # Either side may go first.
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                target.sendall(piece)
                self.bytes += len(piece) if forth else 0


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait_until(reached: Callable[[], bool], what: str) -> None:
    """Polls until it is so.

    Raises:
        TimeoutError: it was not so within a minute.
    """
    deadline = time.monotonic() + _TIMEOUT
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)
