"""The error that ends a command."""

from __future__ import annotations


class CliError(Exception):
    """Ends the command with a message on stderr and an exit code.

    Attributes:
        exit_code: What the process returns; 2 is the code for wrong usage.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code
