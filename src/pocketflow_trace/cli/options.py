"""What the commands have in common on the command line."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pocketflow_trace.cli.errors import CliError
from pocketflow_trace.keeping.shelf import DIRECTORY_VARIABLE, LAST, Shelf, ShelfError, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketflow_trace.keeping.runfile import Reading

PROGRAM = "pocketflow-trace"
_RUN_HELP = (
    f"`{LAST}` (the default), `{LAST}~1` for the one before, an id or a part of one, or a file"
)


class CommandParser(argparse.ArgumentParser):
    """A command's arguments; what is wrong with them is a `CliError`.

    Args:
        name: The command.
        summary: What it does, in a sentence or a few.
        examples: Command lines without the program's name, each with what it does.
    """

    def __init__(self, name: str, summary: str, examples: Sequence[tuple[str, str]] = ()) -> None:
        width = max((len(line) for line, _ in examples), default=0)
        shown = "\n".join(f"  {PROGRAM} {line:<{width}}  # {what}" for line, what in examples)
        super().__init__(
            prog=f"{PROGRAM} {name}",
            description=summary,
            epilog=f"examples:\n{shown}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise what went wrong.

        Raises:
            CliError: Always.
        """
        raise CliError(f"{message}; see: {self.prog} --help")

    def add_shelf(self) -> None:
        """Add `--dir`, the folder of kept runs."""
        variable = f"by default that of {DIRECTORY_VARIABLE}, else the user's state folder"
        self.add_argument("--dir", metavar="DIR", help=f"folder of kept runs; {variable}")

    def add_run(self, name: str = "run") -> None:
        """Add an argument that names a run, and `--dir`."""
        self.add_argument(name, metavar=name.upper(), nargs="?", default=LAST, help=_RUN_HELP)


def shelf_of(args: argparse.Namespace) -> Shelf:
    """Return the shelf that the arguments or the environment name.

    Raises:
        CliError: There is no place for one.
    """
    if args.dir is not None:
        return Shelf(Path(args.dir))
    try:
        return Shelf.of(os.environ)
    except ShelfError as exc:
        raise CliError(str(exc)) from exc


def reading_of(args: argparse.Namespace, name: str = "run") -> Reading:
    """Return the run that an argument names.

    Raises:
        CliError: There is none, or its file cannot be read.
    """
    try:
        return read(shelf_of(args).find(getattr(args, name)))
    except ShelfError as exc:
        raise CliError(str(exc), exit_code=1) from exc
