"""Runs programs in processes of their own: plain, and under `pocketflow-trace run`."""

from __future__ import annotations

import subprocess
import sys
import time
import typing
from dataclasses import dataclass

from support.programs import TIMEOUT, clean_environment

if typing.TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PLAIN = (sys.executable,)
TRACED = (sys.executable, "-m", "pocketflow_trace", "run", "--no-live")


@dataclass(frozen=True)
class Ended:
    """A process that ended; output as the very bytes."""

    stdout: bytes
    stderr: bytes
    exit_code: int
    seconds: float

    @property
    def text(self) -> str:
        """What it wrote to stderr."""
        return self.stderr.decode()


@dataclass(frozen=True)
class Both:
    """The same program, plain and traced."""

    plain: Ended
    traced: Ended

    def tree(self) -> str:
        """Return what tracing added, having checked that it changed nothing else."""
        assert self.traced.stdout == self.plain.stdout
        assert self.traced.exit_code == self.plain.exit_code
        assert self.traced.stderr.startswith(self.plain.stderr)
        return self.traced.stderr[len(self.plain.stderr) :].decode()


def run(
    command: tuple[str, ...],
    *args: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> Ended:
    """Run a command with arguments to its end.

    Args:
        command: `PLAIN`, `TRACED` or another one.
        args: What follows it, such as a program and its arguments.
        cwd: The working directory.
        env: Variables beside those of `clean_environment`; runs are kept in `.state` of `cwd`,
            unless they say where.
        stdin: What it can read.
    """
    start = time.monotonic()
    done = subprocess.run(
        [*command, *args],
        cwd=cwd,
        env=clean_environment({"XDG_STATE_HOME": str(cwd / ".state"), **(env or {})}),
        input=stdin,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    return Ended(done.stdout, done.stderr, done.returncode, time.monotonic() - start)


def both(*args: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Both:
    """Run a program plain and traced."""
    plain = run(PLAIN, *args, cwd=cwd, env=env, stdin=stdin)
    return Both(plain, run(TRACED, *args, cwd=cwd, env=env, stdin=stdin))
