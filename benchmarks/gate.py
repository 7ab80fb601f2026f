"""Has tracing become slower? Ratios that were recorded, and how far one may be above its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Ratios: TypeAlias = "dict[str, float]"
"""Floors, by what was measured."""

FACTOR: Final = 1.3
"""So many times what was recorded is too much."""
SLACK: Final = 0.05
"""Floors that are never too much: two microseconds, where next to nothing was recorded."""
ATTEMPTS: Final = 3

RECORDED: Final = Path(__file__).with_name("recorded.json")


class Excess(NamedTuple):
    """A ratio that is above its limit."""

    name: str
    measured: float | None
    """None where it was not measured at all."""
    limit: float

    def __str__(self) -> str:
        """For a person."""
        found = "not measured" if self.measured is None else f"{self.measured:.2f}"
        return f"{self.name}: {found}, the limit is {self.limit:.2f}"


def limit_of(recorded: float) -> float:
    """The most that a ratio may be now."""
    return max(recorded * FACTOR, recorded + SLACK)


def excesses(measured: Ratios, recorded: Ratios) -> list[Excess]:
    """The ratios above their limits. One that was not recorded has no limit."""
    limits = {name: limit_of(ratio) for name, ratio in recorded.items()}
    return [
        Excess(name, measured.get(name), limit)
        for name, limit in limits.items()
        if name not in measured or measured[name] > limit
    ]


def check(
    measure: Callable[[], Ratios], recorded: Ratios, attempts: int = ATTEMPTS
) -> list[Excess]:
    """Measures until each ratio has once been within its limit.

    What else runs on a machine makes code slower, and seldom faster: the best attempt counts.

    Args:
        measure: measures all ratios.
        recorded: those to compare with.
        attempts: how often it may be tried.

    Returns:
        The ratios that never were.
    """
    best: Ratios = {}
    for _ in range(attempts):
        measured = measure()
        best |= {name: min(ratio, best.get(name, ratio)) for name, ratio in measured.items()}
        if not excesses(best, recorded):
            break
    return excesses(best, recorded)


def read(path: Path = RECORDED) -> Ratios:
    """The recorded ratios."""
    return json.loads(path.read_text(encoding="utf-8"))


def write(ratios: Ratios, path: Path = RECORDED) -> None:
    """Records ratios in the place of those before."""
    rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
    path.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
