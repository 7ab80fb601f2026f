"""The command line itself, without a program to run."""

from __future__ import annotations

import subprocess
import sys
import types
from typing import TYPE_CHECKING

import pytest

from opentelemetry.instrumentation.pocketflow.version import __version__
from pocketflow_trace.cli import COMMANDS, main, run
from support.programs import clean_environment

if TYPE_CHECKING:
    from pathlib import Path


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is that of the distribution."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pocketflow-trace {__version__}\n"


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Help names every command, on stdout; no arguments at all get it too, as wrong usage."""
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert f"  {name:<14} {summary}\n" in text
    assert main([]) == 2
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "run"])
def test_each_command_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command explains itself, with examples."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"usage: pocketflow-trace {name}" in text
    assert "examples:" in text


def test_a_reader_that_has_enough(tmp_path: Path) -> None:
    """`pocketflow-trace ... | head -1` ends without a complaint."""
    command = f"{sys.executable} -m pocketflow_trace completion bash"
    script = f"for i in 1 2 3; do {command}; done | head -c 1 >/dev/null"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        check=False,
    )
    assert done.stderr == b""


def test_help_of_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A command's help is its own."""
    assert main(["run", "--help"]) == 0
    assert "pocketflow-trace run [OPTIONS] -m MODULE [ARGS...]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["frobnicate"], f"no command 'frobnicate'; there is: {', '.join(COMMANDS)}"),
        (["run"], "no program to run; see: pocketflow-trace run --help"),
        (["run", "-m"], "no program to run; see: pocketflow-trace run --help"),
        (["run", "--"], "no program to run; see: pocketflow-trace run --help"),
        (["run", "-x", "main.py"], "unknown option '-x'; see: pocketflow-trace run --help"),
    ],
)
def test_wrong_usage(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage is told in one line and ends with 2."""
    assert main(args) == 2
    assert capsys.readouterr() == ("", f"pocketflow-trace: {message}\n")


@pytest.mark.parametrize("package", ["rich", "opentelemetry.sdk"])
def test_missing_package(
    package: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra the program is not run, and the line to install it is shown."""

    def is_installed(name: str) -> bool:
        return name != package

    monkeypatch.setattr(run, "_is_installed", is_installed)
    assert main(["run", "main.py"]) == 2
    assert capsys.readouterr().err == (
        f"pocketflow-trace: {package} is missing; install it with:\n"
        "  pip install 'opentelemetry-instrumentation-pocketflow[terminal]'\n"
    )


def test_isolated_interpreter(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interpreter that ignores PYTHONPATH is refused rather than run untraced."""
    flags = types.SimpleNamespace(ignore_environment=1, isolated=1, no_site=0)
    monkeypatch.setattr(sys, "flags", flags)
    assert main(["run", "main.py"]) == 2
    assert "cannot trace under Python's options -E, -I and -S" in capsys.readouterr().err
