"""The gate for the speed of tracing, without a clock: which ratios it lets through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import gate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECORDED = {"node": 2.0, "sampled out": 0.0}


def attempts(*found: gate.Ratios) -> tuple[Callable[[], gate.Ratios], list[gate.Ratios]]:
    """A measurement that finds one after the other, and what it has not found yet."""
    left = list(found)
    return lambda: left.pop(0), left


def test_as_fast_as_recorded() -> None:
    """One attempt is enough."""
    measure, left = attempts({"node": 2.0, "sampled out": 0.0}, {})

    assert not gate.check(measure, RECORDED)
    assert left == [{}]


def test_a_little_slower_is_let_through() -> None:
    """1.3 times what was recorded, and a few hundredths where nothing was."""
    measure, _ = attempts({"node": 2.6, "sampled out": 0.05})

    assert not gate.check(measure, RECORDED)


def test_slower_is_not_let_through() -> None:
    """What is above its limit in all attempts is named with the best of these."""
    measure, left = attempts(
        {"node": 2.8, "sampled out": 0.0},
        {"node": 2.7, "sampled out": 0.0},
        {"node": 2.9, "sampled out": 0.0},
        {"node": 1.0, "sampled out": 0.0},
    )

    (excess,) = gate.check(measure, RECORDED)

    assert (excess.name, excess.measured) == ("node", 2.7)
    assert str(excess) == "node: 2.70, the limit is 2.60"
    assert len(left) == 1


def test_each_ratio_may_have_its_own_good_attempt() -> None:
    """What disturbs one attempt need not disturb the other."""
    measure, _ = attempts({"node": 9.0, "sampled out": 0.0}, {"node": 2.0, "sampled out": 9.0})

    assert not gate.check(measure, RECORDED)


def test_what_is_no_longer_measured_is_told() -> None:
    """A gate must not open since a measurement has got another name."""
    (excess,) = gate.excesses({"sampled out": 0.0}, RECORDED)

    assert str(excess) == "node: not measured, the limit is 2.60"


def test_what_is_new_has_no_limit_yet() -> None:
    """Until it is recorded."""
    assert not gate.excesses({**RECORDED, "new": 100.0}, RECORDED)


def test_what_is_recorded_is_read_again(tmp_path: Path) -> None:
    """To three digits after the point."""
    gate.write({"node": 1.23456}, tmp_path / "recorded.json")

    assert gate.read(tmp_path / "recorded.json") == {"node": 1.235}
