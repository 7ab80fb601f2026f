"""Panels of a dashboard as SVG, written by hand. Knows numbers and boxes, and no data source."""

from __future__ import annotations

import math
import time
import typing
from dataclasses import dataclass
from xml.sax.saxutils import escape

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PALETTE: typing.Final = (
    "#2f8f6b", "#d1a12b", "#1f6feb", "#d1622b", "#a8403c", "#7d5bb5", "#3aa6b9", "#6f7d8c",
)  # fmt: skip
NAMED: typing.Final = {
    "green": "#2f8f6b",
    "orange": "#d1822b",
    "red": "#c9372c",
    "blue": "#1f6feb",
}
INK: typing.Final = "#24292f"
FAINT: typing.Final = "#57606a"
LINE: typing.Final = "#d0d7de"
PAPER: typing.Final = "#ffffff"
LETTER: typing.Final = 0.56
"""The width of a letter, in font sizes; system fonts differ, so this is on the safe side."""
TITLE: typing.Final = 30
"""Height of a panel's title."""
ROW: typing.Final = 22
"""Height of a table's row."""


@dataclass(frozen=True)
class Box:
    """Where something is drawn, in pixels."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.top + self.height

    def inside(self, left: float, top: float, right: float, bottom: float) -> Box:
        """What is left of it when margins are taken away."""
        width, height = self.width - left - right, self.height - top - bottom
        return Box(self.left + left, self.top + top, width, height)


@dataclass(frozen=True)
class Curve:
    """A result over time: seconds since the epoch and values, without those that are no number."""

    name: str
    color: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Cell:
    """A cell of a table; `part` of 0 to 1 is drawn as a bar."""

    text: str
    color: str = INK
    part: float | None = None


@dataclass(frozen=True)
class Span:
    """The time that is shown: seconds since the epoch, and the step between two values."""

    start: float
    end: float
    step: float


# --- Pieces -----------------------------------------------------------------------------------


def text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    size: float = 12,
    color: str = INK,
    bold: bool = False,
) -> str:
    """A line of text, its baseline at `y`."""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}"'
        f' fill="{color}"{weight}>{escape(words)}</text>'
    )


def rect(box: Box, color: str, *, edge: str = "", round_: float = 0) -> str:
    """A filled box."""
    border = f' stroke="{edge}"' if edge else ""
    corner = f' rx="{round_:g}"' if round_ else ""
    return (
        f'<rect x="{box.left:.1f}" y="{box.top:.1f}" width="{max(box.width, 0):.1f}"'
        f' height="{max(box.height, 0):.1f}" fill="{color}"{border}{corner}/>'
    )


def line(start: tuple[float, float], end: tuple[float, float]) -> str:
    """A line of the grid."""
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{LINE}"/>'


def cut(words: str, width: float, size: float = 12) -> str:
    """Text that fits a width, its end cut off where it must be."""
    fits = max(int(width / (size * LETTER)), 1)
    return words if len(words) <= fits else words[: max(fits - 1, 1)] + "…"


def frame(box: Box, title: str) -> Iterator[str]:
    """The panel itself."""
    yield rect(box, PAPER, edge=LINE, round_=4)
    yield text(box.left + 10, box.top + 20, cut(title, box.width - 20), size=12.5, bold=True)


def nothing(box: Box, words: str) -> Iterator[str]:
    """What stands there when there is no data."""
    size = 13
    words = cut(words or "No data", box.width - 16, size)
    middle = box.top + box.height / 2 + 5
    yield text(box.left + box.width / 2, middle, words, anchor="middle", size=size, color=FAINT)


# --- Kinds ------------------------------------------------------------------------------------


def stats(box: Box, values: Sequence[tuple[str, Cell]]) -> Iterator[str]:
    """Numbers side by side, each with its name below where it has one."""
    width = box.width / len(values)
    for at, (name, cell) in enumerate(values):
        middle = box.left + width * (at + 0.5)
        size = min(30, width / (max(len(cell.text), 3) * LETTER))
        base = box.top + box.height / 2 + size * 0.3
        yield text(middle, base, cell.text, anchor="middle", size=size, color=cell.color, bold=True)
        if name:
            yield text(middle, base + 16, name, anchor="middle", size=11, color=FAINT)


def bars(box: Box, rows: Sequence[tuple[str, Cell]]) -> Iterator[str]:
    """A bar for each name, the values right of them."""
    names = max(len(name) for name, _ in rows) * 11 * LETTER
    begin = box.left + min(names, box.width * 0.5) + 8
    height = min(box.height / len(rows), 30)
    for at, (name, cell) in enumerate(rows):
        top = box.top + at * height
        base = top + height / 2 + 4
        room = box.right - begin - 50
        yield text(begin - 8, base, cut(name, begin - box.left, 11), anchor="end", size=11)
        yield rect(Box(begin, top + 3, room, height - 6), "#f0f2f4", round_=2)
        yield rect(Box(begin, top + 3, room * (cell.part or 0), height - 6), cell.color, round_=2)
        yield text(box.right, base, cell.text, anchor="end", size=12, color=cell.color, bold=True)


def table(box: Box, names: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    """Names above, rows below, as many as fit; texts left, and bars in what is wide enough."""
    edges = columns(box, names, rows)
    for name, (left, right) in zip(names, edges, strict=True):
        yield text(
            left, box.top + 12, cut(name, right - left, 11.5), size=11.5, color=NAMED["blue"]
        )
    fits = int((box.height - 20) // ROW)
    for at, cells in enumerate(rows[:fits]):
        top = box.top + 18 + at * ROW
        yield line((box.left, top), (box.right, top))
        for cell, (left, right) in zip(cells, edges, strict=True):
            yield from cell_of(cell, Box(left, top, right - left, ROW))
    if len(rows) > fits:
        more = f"{len(rows) - fits} more rows, which Grafana scrolls to"
        yield text(box.right, box.bottom + 6, more, anchor="end", size=10, color=FAINT)


def cell_of(cell: Cell, box: Box) -> Iterator[str]:
    """A text, or a bar with the text right of it."""
    base = box.top + 15
    if cell.part is None:
        yield text(box.left, base, cut(cell.text, box.width, 11.5), size=11.5, color=cell.color)
        return
    room = box.width - 58
    yield rect(Box(box.left, box.top + 5, room, ROW - 10), "#f0f2f4", round_=2)
    yield rect(Box(box.left, box.top + 5, room * cell.part, ROW - 10), cell.color, round_=2)
    yield text(box.left + room + 6, base, cell.text, size=11.5)


def columns(
    box: Box, names: Sequence[str], rows: Sequence[Sequence[Cell]]
) -> list[tuple[float, float]]:
    """Left and right edge of each column, by how much it has to say."""
    wants: list[float] = []
    for at, name in enumerate(names):
        cells = [row[at] for row in rows]
        longest = max([len(name), *(len(cell.text) for cell in cells)])
        wants.append(22 if any(cell.part is not None for cell in cells) else min(longest, 40) + 2)
    unit = box.width / sum(wants)
    edges: list[tuple[float, float]] = []
    left = box.left
    for want in wants:
        edges.append((left, left + want * unit - 8))
        left += want * unit
    return edges


def graph(
    box: Box, curves: Sequence[Curve], span: Span, shown: Callable[[float], str], *, stacked: bool
) -> Iterator[str]:
    """Lines, or bars one upon the other, with axes and a legend."""
    plot = box.inside(56, 6, 8, 44)
    top = ceiling(highest(curves, stacked=stacked))
    for part in range(5):
        value, y = top * part / 4, plot.bottom - plot.height * part / 4
        yield line((plot.left, y), (plot.right, y))
        yield text(plot.left - 6, y + 4, shown(value), anchor="end", size=10.5, color=FAINT)
    yield from clock(plot, span)
    across = Axis(span.start, span.end, plot.left, plot.right)
    up = Axis(0, top, plot.bottom, plot.top)
    yield from stacks(curves, across, up, span.step) if stacked else lines(curves, across, up, span)
    yield from legend(box, curves)


@dataclass(frozen=True)
class Axis:
    """Values to pixels."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value is."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def highest(curves: Sequence[Curve], *, stacked: bool) -> float:
    """The largest value that is drawn."""
    if not stacked:
        return max((value for curve in curves for _, value in curve.points), default=0)
    sums: dict[float, float] = {}
    for curve in curves:
        for at, value in curve.points:
            sums[at] = sums.get(at, 0) + value
    return max(sums.values(), default=0)


def ceiling(value: float) -> float:
    """The next number that divides by four well; 1 where there is nothing."""
    if value <= 0:
        return 1
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 1.2, 1.6, 2, 3, 4, 6, 8, 10) if value <= power * step)


def clock(plot: Box, span: Span) -> Iterator[str]:
    """The time of day, at five places."""
    for part in range(5):
        at = span.start + (span.end - span.start) * part / 4
        words = time.strftime("%H:%M", time.gmtime(at))
        x = plot.left + plot.width * part / 4
        yield text(x, plot.bottom + 15, words, anchor="middle", size=10.5, color=FAINT)


def lines(curves: Sequence[Curve], across: Axis, up: Axis, span: Span) -> Iterator[str]:
    """A line for each curve, with a gap where there is no value."""
    for curve in curves:
        for piece in unbroken(curve.points, span.step):
            at = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in piece)
            if len(piece) == 1:
                x, y = at.split(",")
                yield f'<circle cx="{x}" cy="{y}" r="2" fill="{curve.color}"/>'
            else:
                yield (
                    f'<polyline points="{at}" fill="none" stroke="{curve.color}"'
                    ' stroke-width="1.6"/>'
                )


def unbroken(
    points: Sequence[tuple[float, float]], step: float
) -> Iterator[list[tuple[float, float]]]:
    """The stretches of a curve that have a value at each step."""
    piece: list[tuple[float, float]] = []
    for point in points:
        if piece and point[0] - piece[-1][0] > step * 1.5:
            yield piece
            piece = []
        piece.append(point)
    if piece:
        yield piece


def stacks(curves: Sequence[Curve], across: Axis, up: Axis, step: float) -> Iterator[str]:
    """Bars of all curves, one upon the other."""
    below: dict[float, float] = {}
    width = max((across(step) - across(0)) * 0.75, 1)
    for curve in curves:
        path: list[str] = []
        for at, value in curve.points:
            if value <= 0 or at <= across.low:  # what ended before the time shown
                continue
            low = below.get(at, 0)
            below[at] = low + value
            height = up(low) - up(low + value)
            path.append(
                f"M{across(at) - width:.1f} {up(low):.1f}h{width:.1f}v{-height:.1f}h{-width:.1f}z"
            )
        if path:
            yield f'<path d="{"".join(path)}" fill="{curve.color}"/>'


def diamonds(
    box: Box, points: Sequence[tuple[float, float]], curves: Sequence[Curve], span: Span
) -> Iterator[str]:
    """Exemplars, in the same plot as the curves; what is above it is at its top."""
    plot = box.inside(56, 6, 8, 44)
    across = Axis(span.start, span.end, plot.left, plot.right)
    up = Axis(0, ceiling(highest(curves, stacked=False)), plot.bottom, plot.top)
    for at, value in points:
        x, y = across(at), max(up(value), plot.top)
        path = f"M{x:.1f} {y - 3.5:.1f}l3.5 3.5l-3.5 3.5l-3.5-3.5z"
        yield f'<path d="{path}" fill="#7d5bb5" fill-opacity="0.75"/>'


def legend(box: Box, curves: Sequence[Curve]) -> Iterator[str]:
    """Names below, as many as fit."""
    left, base = box.left, box.bottom - 4
    for at, curve in enumerate(curves):
        width = 22 + len(curve.name) * 11 * LETTER
        if left + width > box.right - 50 and at < len(curves) - 1:
            yield text(left, base, f"+ {len(curves) - at}", size=11, color=FAINT)
            return
        yield rect(Box(left, base - 8, 10, 4), curve.color)
        yield text(
            left + 14, base, cut(curve.name, box.right - left - 14, 11), size=11, color=FAINT
        )
        left += width
