"""How rows of ours and the program's output share a terminal, whatever is written when."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import typing

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

if sys.platform == "win32":
    pytest.skip("needs a pseudo-terminal", allow_module_level=True)

import pty

import pyte
from terminals import set_size

from pocketflow_trace.views.region import RELEASE, Region, watch

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROWS, COLUMNS = 12, 20

Step: typing.TypeAlias = "str | int | None"
"""The program writes a text, we draw so many rows, or we give them back."""

TEXTS = st.text(st.sampled_from("ab \n\r"), min_size=1, max_size=45)
STEPS = st.lists(st.one_of(TEXTS, st.integers(1, 6), st.none()), max_size=12)


def shown(steps: Sequence[Step], *, with_region: bool) -> list[str]:
    """Return all lines on the screen and above it after the steps and a release."""
    main, side = pty.openpty()
    set_size(main, ROWS, COLUMNS)
    screen: typing.Any = pyte.HistoryScreen(COLUMNS, ROWS, history=1000)
    stream: typing.Any = pyte.ByteStream(screen)
    region = Region(side, None)
    for step in [*steps, None]:
        if isinstance(step, str):
            os.write(side, step.encode())
        elif with_region and step is None:
            region.release()
        elif with_region and step is not None:
            region.draw([f"row {number} of {step}" for number in range(step)])
        while select.select([main], [], [], 0)[0]:
            stream.feed(os.read(main, 65_536))
    os.close(side)
    # What was written arrives a little later; behind it comes the end.
    with contextlib.suppress(OSError):
        while data := os.read(main, 65_536):
            stream.feed(data)
    os.close(main)
    above = ["".join(line[x].data for x in range(COLUMNS)) for line in screen.history.top]
    lines = [line.rstrip() for line in (*above, *screen.display)]
    while lines and not lines[-1]:
        lines.pop()
    return lines


@given(STEPS)
@example(["a\n" * 30, 3, "b\n" * 30, 6, "a", 1, "b\n"])
@example(["a\n" * 8 + "b", 6, "ab", None, "a\n"])
@example(["50%\r", 3])
@settings(deadline=None)
def test_output_is_that_of_a_program_alone(steps: list[Step]) -> None:
    """Whatever is written and drawn in turns, what the program wrote can be read, line by line."""
    assert shown(steps, with_region=True) == shown(steps, with_region=False)


def terminal_of(rows: int, columns: int) -> tuple[int, int]:
    """Return both ends of a terminal of a size."""
    main, side = pty.openpty()
    set_size(main, rows, columns)
    return main, side


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [(24, 80, (12, 79)), (10, 20, (5, 19)), (9, 80, (0, 79)), (200, 80, (20, 79))],
)
def test_room(rows: int, columns: int, expected: tuple[int, int]) -> None:
    """Half of a window is ours at most, and nothing of a small one."""
    main, side = terminal_of(rows, columns)
    assert Region(side, None).room() == expected
    os.close(main)
    os.close(side)


def test_smaller_frame() -> None:
    """A frame of fewer rows empties those above it; they stay ours until the release."""
    main, side = terminal_of(24, 80)
    region = Region(side, None)
    region.draw(["a", "b"])
    os.read(main, 65_536)
    region.draw(["b"])
    assert os.read(main, 65_536) == b"\x1b7\x1b[23;1H\x1b[0m\x1b[2K\x1b8"
    os.close(main)
    os.close(side)


def test_what_did_not_change_is_not_written() -> None:
    """A frame writes the rows that differ, in one piece, and nothing where none does."""
    main, side = terminal_of(24, 80)
    region = Region(side, None)
    region.draw(["a", "b"])
    os.read(main, 65_536)
    region.draw(["a", "c"])
    assert os.read(main, 65_536) == b"\x1b7\x1b[24;1H\x1b[0m\x1b[2Kc\x1b8"
    region.draw(["a", "c"])
    assert not select.select([main], [], [], 0)[0]
    os.close(main)
    os.close(side)


@pytest.mark.parametrize(
    ("told", "expected"),
    [(b"", b""), (b"1", RELEASE.encode()), (b"10", b""), (b"101", RELEASE.encode())],
)
def test_guard(told: bytes, expected: bytes) -> None:
    """The guard gives rows back that are still taken when the program has ended, and only then."""
    (listen, tell), (seen, terminal) = os.pipe(), os.pipe()
    os.write(tell, told)
    os.close(tell)
    watch(terminal, listen)
    os.close(terminal)
    assert os.read(seen, 100) == expected
    os.close(listen)
    os.close(seen)


def test_guard_is_told() -> None:
    """The guard learns of the first frame before it is drawn, and of the release after it."""
    main, side = terminal_of(24, 80)
    listen, tell = os.pipe()
    region = Region(side, tell)
    drawing: list[Callable[[], None]] = [lambda: region.draw(["a"]), region.release]
    for draw, state in zip(drawing, (b"1", b"0"), strict=True):
        draw()
        assert os.read(listen, 10) == state
    for file in (main, side, listen, tell):
        os.close(file)
