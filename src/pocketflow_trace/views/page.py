"""Prints styled lines as they are, however long: a terminal wraps them, a pipe gets them whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from pocketflow_trace.text import encodable
from pocketflow_trace.views.lines import STYLES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from pocketflow_trace.views.lines import Line


def print_lines(lines: Iterable[Line], file: TextIO) -> None:
    """Write lines; in colours only on a terminal, and never where NO_COLOR is set.

    Raises:
        OSError: The file cannot be written.
    """
    target = Console(file=file, legacy_windows=False)
    painted = target.is_terminal and not os.environ.get("NO_COLOR")
    console = Console(
        file=file,
        color_system="auto" if painted else None,
        force_terminal=target.is_terminal,
        legacy_windows=False,
    )
    encoding = file.encoding or "utf-8"
    for line in lines:
        text = Text()
        for piece, style in line:
            text.append(encodable(piece, encoding), STYLES.get(style, ""))
        console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
