"""Whatever the tools write, only its owner can read, also where the umask would let all."""

from __future__ import annotations

import stat
import subprocess
import sys
import typing

import pytest

from support.collector import free_port
from support.programs import TIMEOUT, clean_environment

if typing.TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":
    pytest.skip("needs POSIX modes", allow_module_level=True)

PROGRAM = """\
from pocketflow import Flow, Node

class Fail(Node):
    def exec(self, prep_res):
        raise ValueError("no")

try:
    Flow(Fail()).run({})
except ValueError:
    pass
"""


def tool(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the tool with a umask of 0, and a collector that is not there."""
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "XDG_STATE_HOME": str(cwd / "state"),
    }
    command = [sys.executable, "-m", "pocketflow_trace", *arguments]
    return subprocess.run(
        ["sh", "-c", 'umask 0 && exec "$@"', "sh", *command],
        cwd=cwd,
        env=clean_environment(env),
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )


def test_all_files_are_their_owners(tmp_path: Path) -> None:
    """Kept runs, spans that could not be sent, and exports."""
    (tmp_path / "main.py").write_text(PROGRAM, encoding="utf-8")
    assert tool(tmp_path, "run", "--no-live", "main.py").returncode == 0
    exported = tool(tmp_path, "export", "--to", "otlp-json", "--out", "out.jsonl")
    assert exported.returncode == 0, exported.stderr

    written = [*(tmp_path / "state").rglob("*"), tmp_path / "out.jsonl"]
    modes = {
        str(path.relative_to(tmp_path)): oct(stat.S_IMODE(path.stat().st_mode)) for path in written
    }
    folders = {str(path.relative_to(tmp_path)) for path in written if path.is_dir()}
    assert {name: mode for name, mode in modes.items() if mode != "0o600"} == dict.fromkeys(
        folders, "0o700"
    )
    assert any("undelivered" in name for name in modes)
    assert sum(name.endswith(".jsonl") for name in modes) >= len(["kept", "out", "undelivered"])
