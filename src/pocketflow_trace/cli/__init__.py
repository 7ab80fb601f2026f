"""The `pocketflow-trace` command: finds the command asked for and runs it.

Each command is a module of this package with a function `main(args) -> int`, imported only when
it runs. The commands say what went wrong by raising `CliError`.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Final

from pocketflow_trace.cli.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["main"]

PROGRAM: Final = "pocketflow-trace"

COMMANDS: Final[Mapping[str, str]] = {
    "run": "run a program, show what its flows do, and keep it",
    "list": "list the kept runs",
    "show": "show a kept run",
    "store": "show the shared store as it stood at a node",
    "graph": "draw a flow and the path that a run took, as Mermaid",
    "stats": "add up many runs: times, errors, retries, tokens and cost",
    "diff": "compare two runs",
    "report": "write a page about a run that failed, to be pasted somewhere",
    "export": "send a kept run to a collector, or write it as OTLP",
    "prune": "delete old runs",
    "doctor": "tell what is installed and active, and what would be captured",
    "completion": "print a script that completes commands in a shell",
}
"""Commands and what they do; the name of a command is the name of its module."""

_HELP: Final = """\
Shows what a PocketFlow program does: every node, its route, its retries and errors, and what it
changed in the shared store. The program needs no change.

usage: pocketflow-trace COMMAND [ARGS...]

commands:
{commands}

options:
  -h, --help     show this text; after a command, show that command's
  --version      show the version

examples:
  pocketflow-trace run main.py            instead of: python main.py
  pocketflow-trace run -m mypackage.app   instead of: python -m mypackage.app
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code.
    """
    # Not `list(...)`: once it is imported, the command of that name stands here in its place.
    args = [*(sys.argv[1:] if argv is None else argv)]
    try:
        exit_code = _dispatch(args)
        sys.stdout.flush()  # here, where it is known what to do about a reader that has gone
    except CliError as exc:
        sys.stderr.write(f"{PROGRAM}: {exc}\n")
        return exc.exit_code
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has enough. Python would complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return exit_code


def _dispatch(args: Sequence[str]) -> int:
    if not args or args[0] in {"-h", "--help"}:
        sys.stdout.write(_HELP.format(commands=_command_list()))
        return 0 if args else 2
    if args[0] == "--version":
        sys.stdout.write(f"{PROGRAM} {_version()}\n")
        return 0
    if args[0] not in COMMANDS:
        there_is = f"there is: {', '.join(COMMANDS)}"
        if os.path.isfile(args[0]):  # noqa: PTH113 - pathlib is not imported for this
            there_is = f"to run it: {PROGRAM} run {args[0]}"
        raise CliError(f"no command {args[0]!r}; {there_is}")
    command = importlib.import_module(f"{__name__}.{args[0]}")
    exit_code: int = command.main(args[1:])
    return exit_code


def _version() -> str:
    # Importing it loads the instrumentation, which no other command needs in this process.
    module = importlib.import_module("opentelemetry.instrumentation.pocketflow.version")
    version: str = module.__version__
    return version


def _command_list() -> str:
    return "\n".join(f"  {name:<14} {summary}" for name, summary in COMMANDS.items())
