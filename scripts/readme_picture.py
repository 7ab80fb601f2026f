"""Draws the README's picture, `docs/trace.svg`, from a real run in a real terminal.

It runs ``pocketflow-trace run examples/research_agent.py`` in a pseudo-terminal, and draws what
the terminal was sent.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = "examples/research_agent.py"
PICTURE = ROOT / "docs" / "trace.svg"
COLUMNS = 96


def terminal_output() -> str:
    """What a terminal of that width is sent on stderr, where the trace goes."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "pocketflow_trace", "run", "--no-live", "--no-file", EXAMPLE]
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=follower
    )
    os.close(follower)
    received = b""
    while True:
        try:
            received += (chunk := os.read(leader, 4096))
        except OSError:  # how Linux says that the other end is closed
            break
        if not chunk:
            break
    os.close(leader)
    if process.wait():
        raise SystemExit(f"{EXAMPLE} failed:\n{received.decode()}")
    return received.decode().replace("\r\n", "\n")


def main() -> None:
    """Writes the picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ pocketflow-trace run {EXAMPLE}", style="bold"))
    console.print(Text.from_ansi(terminal_output()))
    svg = console.export_svg(title="pocketflow-trace", unique_id="trace")
    # The picture stands alone: no font is fetched from anywhere.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    PICTURE.write_text(svg.replace("Fira Code", "ui-monospace, Menlo, Consolas"), encoding="utf-8")


if __name__ == "__main__":
    main()
