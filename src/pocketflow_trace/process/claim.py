"""Remembers that the command traces this process, so that `attach` does not do the same again."""

from __future__ import annotations

_claimed = False


def claim_process() -> None:
    """Say that this process is shown and kept by the command."""
    global _claimed  # noqa: PLW0603 - a fact of the process
    _claimed = True


def is_claimed() -> bool:
    """Tell whether the command shows and keeps this process."""
    return _claimed
