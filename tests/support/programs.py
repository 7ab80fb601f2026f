"""Runs a program text in a process of its own: plain, or under `opentelemetry-instrument`.

A program that instruments itself is a plain run of another text: see `in_code`.
"""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import typing
from dataclasses import dataclass
from pathlib import Path

if typing.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEPT_VARIABLES = (
    "COVERAGE_PROCESS_CONFIG",
    "COVERAGE_PROCESS_START",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "TMPDIR",
    "USER",
)
"""All that a program sees of our own environment: no OTEL_*, no PYTHON*, no proxy."""

CLIENTS = "anthropic,botocore,google-genai,google_genai,google_generativeai,ollama,openai"
"""The instrumentations of model clients, by the names of their entry points."""

TIMEOUT = 90.0
"""Seconds after which a program under test counts as hung."""

IN_CODE = """\
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.{module}.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
PocketFlowInstrumentor().instrument()
"""


@dataclass(frozen=True)
class Finished:
    """A program that ended; `seconds` is from its start to its end, exit handlers included."""

    stdout: str
    stderr: str
    exit_code: int
    seconds: float

    @property
    def outcome(self) -> tuple[str, int]:
        """What must be the same with and without tracing: stdout and exit code."""
        return self.stdout, self.exit_code


def in_code(source: str, protocol: str) -> str:
    """Return `source` with lines before it that set up the SDK and instrument PocketFlow."""
    module = "grpc" if protocol == "grpc" else "http"
    return IN_CODE.format(module=module) + source


def otlp_environment(endpoint: str, protocol: str) -> dict[str, str]:
    """Return the variables that send traces, and traces only, to `endpoint` by `protocol`."""
    return {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
    }


def write_program(directory: Path, source: str) -> Path:
    """Write `source` to `main.py` in `directory`, which is made if need be, and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    script = directory / "main.py"
    script.write_text(source, encoding="utf-8")
    return script


def run(
    script: Path,
    env: Mapping[str, str] | None = None,
    *,
    zero_code: bool = False,
    cwd: Path | None = None,
    python: str = sys.executable,
) -> Finished:
    """Run a script to its end.

    Args:
        script: The program.
        env: Variables beside those of `clean_environment`.
        zero_code: Whether to put `opentelemetry-instrument` before the command.
        cwd: The working directory; by default the script's own, and then the command names the
            script without its path.
        python: The interpreter.

    Raises:
        subprocess.TimeoutExpired: It ran for more than `TIMEOUT` seconds.
    """
    command = [python, script.name if cwd is None else str(script)]
    if zero_code:
        command.insert(0, str(Path(sysconfig.get_path("scripts")) / "opentelemetry-instrument"))
    return ended(command, cwd or script.parent, env)


def ended(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> Finished:
    """Run a command to its end.

    Args:
        command: The program and its arguments.
        cwd: The working directory.
        env: Variables beside those of `clean_environment`.
        timeout: Seconds after which it counts as hung.

    Raises:
        subprocess.TimeoutExpired: It ran for longer.
    """
    start = time.monotonic()
    done = subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    return Finished(done.stdout, done.stderr, done.returncode, time.monotonic() - start)


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a program under test: `KEPT_VARIABLES` and what `extra` adds.

    The instrumentations of model clients are off, since importing the clients would take seconds;
    and nothing is kept in the state folder of whoever runs the tests.
    """
    kept = {key: os.environ[key] for key in KEPT_VARIABLES if key in os.environ}
    ours = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": CLIENTS, "XDG_STATE_HOME": state_home()}
    return {**kept, **ours, **(extra or {})}


@functools.cache
def state_home() -> str:
    """Return a folder that stands for the user's state, the same in all tests of this process."""
    folder = tempfile.TemporaryDirectory(prefix="pocketflow-state-")
    atexit.register(folder.cleanup)
    return folder.name
