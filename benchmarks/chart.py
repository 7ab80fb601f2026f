"""What was found, as a picture: SVG, written by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from benchmarks.growth import Point

_COLORS: Final = ("#1f6feb", "#d1822b", "#a8403c", "#6f7d8c", "#7d5bb5", "#2f8f6b")
_WIDTH: Final = 960
_BAR: Final = 11
_GAP: Final = 18
"""Between groups of bars."""
_TOP: Final = 64
_CURVES_HEIGHT: Final = 260


class Scale(NamedTuple):
    """A logarithmic axis."""

    low: float
    high: float
    begin: float
    """Where `low` is, in pixels."""
    end: float

    def __call__(self, value: float) -> float:
        """Where a value is; what is below the axis is where it begins."""
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)

    def powers(self) -> Iterator[float]:
        """The powers of ten on the axis."""
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        yield from (10.0**exponent for exponent in range(first, last + 1))


def picture(bars: Mapping[str, Mapping[str, float]], curves: Mapping[str, Sequence[Point]]) -> str:
    """Bars above, curves below.

    Args:
        bars: floors per node, by store and tracer.
        curves: floors per node by size, by what grows.
    """
    ways = list(next(iter(bars.values())))
    height_of_bars = len(bars) * (len(ways) * _BAR + _GAP)
    top_of_curves = _TOP + height_of_bars + 70
    height = top_of_curves + _CURVES_HEIGHT + 60
    parts = [
        *_bars(bars, _TOP, height_of_bars),
        *_curves(curves, top_of_curves, top_of_curves + _CURVES_HEIGHT),
    ]
    return "\n".join((*_head(height), *parts, "</svg>")) + "\n"


def _head(height: float) -> Iterable[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}"'
        ' font-family="system-ui, sans-serif" font-size="12" fill="#24292f">'
    )
    yield f'<rect width="{_WIDTH}" height="{height:.0f}" rx="6" fill="#ffffff"/>'


def _bars(bars: Mapping[str, Mapping[str, float]], top: float, height: float) -> Iterator[str]:
    ways = list(next(iter(bars.values())))
    most = max(max(floors.values()) for floors in bars.values())
    scale = Scale(0.1, max(most * 3, 10), 170, _WIDTH - 20)
    yield _text(20, 22, "Added to one node, in bare OpenTelemetry spans (logarithmic)", bold=True)
    yield from _legend(ways, 40)
    yield from _grid(scale, top - 6, top + height)
    place = top
    for store, floors in bars.items():
        yield _text(162, place + len(ways) * _BAR / 2 + 4, store, anchor="end")
        for color, way in zip(_COLORS, ways, strict=False):
            yield _bar(scale, place, floors[way], color)
            place += _BAR
        place += _GAP


def _bar(scale: Scale, place: float, value: float, color: str) -> str:
    end = scale(value)
    shown = f"{value:,.0f}" if value >= 10 else f"{value:.1f}"  # noqa: PLR2004 - two digits
    bar = (
        f'<rect x="{scale.begin:.1f}" y="{place:.1f}" width="{max(end - scale.begin, 1):.1f}"'
        f' height="{_BAR - 2}" fill="{color}"/>'
    )
    return bar + _text(end + 4, place + _BAR - 3, shown, size=10)


def _legend(names: Sequence[str], place: float) -> Iterator[str]:
    left = 20.0
    for color, name in zip(_COLORS, names, strict=False):
        yield f'<rect x="{left:.0f}" y="{place - 9:.0f}" width="10" height="10" fill="{color}"/>'
        yield _text(left + 15, place, name)
        left += 34 + 6.4 * len(name)


def _grid(scale: Scale, top: float, bottom: float) -> Iterator[str]:
    for power in scale.powers():
        at = scale(power)
        width = 2 if power == 1 else 1
        yield _line((at, top), (at, bottom), "#d0d7de", width)
        yield _text(at, bottom + 14, _count(power), anchor="middle", color="#57606a")


def _count(number: float) -> str:
    """As a person would write it: 0.1, 10,000, 10 M."""
    million = 1_000_000
    return f"{number:,g}" if number < million else f"{number / million:,g} M"


def _curves(curves: Mapping[str, Sequence[Point]], top: float, bottom: float) -> Iterator[str]:
    points = [point for found in curves.values() for point in found]
    across = Scale(1, max(10, *(point.size for point in points)), 60, _WIDTH - 30)
    most = max(10.0, *(2 * point.per_node for point in points))
    up = Scale(0.5, most, bottom, top + 30)
    yield _text(20, top - 22, "The same, as one thing in the store grows", bold=True)
    yield from _legend(list(curves), top - 2)
    yield from _grid(across, top + 24, bottom)
    for power in up.powers():
        yield _line((across.begin, up(power)), (across.end, up(power)), "#d0d7de", 1)
        yield _text(across.begin - 6, up(power) + 4, f"{power:,g}", anchor="end", color="#57606a")
    for color, found in zip(_COLORS, curves.values(), strict=False):
        yield from _curve([(across(point.size), up(point.per_node)) for point in found], color)


def _curve(points: Sequence[tuple[float, float]], color: str) -> Iterator[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>'
    for x, y in points:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>'


def _line(start: tuple[float, float], end: tuple[float, float], color: str, width: int) -> str:
    (x1, y1), (x2, y2) = start, end
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        f' stroke="{color}" stroke-width="{width}"/>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 12,
    color: str = "#24292f",
    bold: bool = False,
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
        f' fill="{color}"{weight}>{escape(text.replace("`", ""))}</text>'
    )
