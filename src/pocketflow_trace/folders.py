"""Folders for what runs leave behind, which is nobody's but the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_private(folder: Path) -> None:
    """Make a folder and those above it that are missing, each for its owner alone.

    `Path.mkdir` gives only the last one a mode: those above it are as open as the umask lets them.

    Raises:
        OSError: It can't be made.
    """
    for place in reversed(folder.parents):
        # Not everywhere does the system say first that it exists.
        if not place.exists():
            place.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
