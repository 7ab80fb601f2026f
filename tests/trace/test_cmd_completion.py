"""`pocketflow-trace completion`: the script works in a real bash."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import typing

import pytest
from kept_programs import about, keep
from sample_spans import agent_run

from pocketflow_trace import cli
from pocketflow_trace.cli import main

if typing.TYPE_CHECKING:
    from pathlib import Path

BASH = shutil.which("bash")

ASK = """\
source {script}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_pocketflow_trace
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with the script, the program and two kept runs."""
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out, encoding="utf-8")
    program = tmp_path / "bin" / "pocketflow-trace"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pocketflow_trace "$@"\n')
    program.chmod(0o700)
    for number in (1, 2):
        keep(agent_run(), tmp_path, about(number))
    return tmp_path


def completed(folder: Path, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    assert BASH is not None
    typed = " ".join(map(shlex.quote, ["pocketflow-trace", *words]))
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [BASH, "--norc", "-c", ASK.format(script=folder / "script", words=typed)],
        env={"PATH": path, "POCKETFLOW_TRACE_DIR": str(folder)},
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(BASH is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["s"], ["show", "store", "stats"]),
        (["--v"], ["--version"]),
        (["show", "--ver"], ["--verbosity"]),
        (["show", "--verbosity", ""], ["minimal", "normal", "verbose"]),
        (["export", "last", "--to", "otlp-"], ["otlp-json"]),
        (["export", "--protocol", ""], ["http/protobuf", "grpc"]),
        (["store", "--be"], ["--before"]),
        (["show", "2"], ["20231114-221322-0002", "20231114-221321-0001"]),
        (["show", "last"], ["last", "last~1"]),
        (["list", "2"], []),
        (["list", "--i"], []),
        (["completion", ""], ["--help", "bash", "zsh", "fish"]),
        (["nope", "x"], []),
    ],
)
def test_in_bash(folder: Path, words: list[str], offered: list[str]) -> None:
    """Commands, options, their values, and ids of runs where a run is asked for."""
    assert completed(folder, *words) == offered


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_a_hostile_id(folder: Path) -> None:
    """Bash runs commands in words to be completed; no file may bring one in."""
    file = keep(agent_run(), folder, about(3))
    text = file.read_text(encoding="utf-8").replace("20231114-221323-0003", "$(touch x)", 1)
    file.write_text(text, encoding="utf-8")
    assert "20231114-221321-0001" in completed(folder, "show", "")
    assert not (folder / "x").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each script knows all commands, and options that a help names."""
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in cli.COMMANDS)
    assert ("-l verbosity" if shell == "fish" else "--verbosity") in text
    assert not any("'" in summary for summary in cli.COMMANDS.values())


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """The shells that there are are named."""
    assert main(["completion", "csh"]) == 2
    assert "invalid choice: 'csh'" in capsys.readouterr().err
