"""The page and the picture that `make bench` writes, from made-up numbers."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from benchmarks import (
    chart,
    exported,
    growth,
    overhead,
    peers,
    processes,
    report,
    results,
    self_report,
)

CONFIGURATIONS = dict.fromkeys(overhead.CONFIGURATIONS, 1.25)
FOUND = results.Results(
    machine={"date": "today", "load": "0.5"},
    rounds=400,
    stores={"small store": overhead.Row(40.0, CONFIGURATIONS, CONFIGURATIONS)},
    units={"async node": 1.5},
    curves={"keys": [growth.Point(10, 1.5, 2.0, 0.25), growth.Point(100_000, 1_234.5, 2.0, 0.5)]},
    lengths=[processes.Length(1_000_000, 50.0, 2.5)],
    imports={"`opentelemetry.sdk.trace`": 100.0},
    exported={"small store": {"a bare span": exported.Sizes(252.0, 252, 0)}},
    comparison=peers.Comparison({"small store": {"this <project>": 1.25}}, {}, ["deepdiff"]),
    self_reports={"values": {"small store": self_report.Report(0.85, 0.15)}},
    left_out=["1,000,000,000 bytes: not enough memory"],
)


@pytest.mark.parametrize(
    "line",
    [
        "| load | 0.5 |",
        "| content `values` (default) | 1.25 |",
        "| *one floor, µs of CPU* | 40.0 |",
        "| async node | 1.50 |",
        "| 100,000 | 1,234 | 2.00 | 0.50 |",
        "| 1,000,000 | 50.0 | 2.5 |",
        "| `opentelemetry.sdk.trace` | 100 |",
        "| a bare span | 252 |",
        "| content `values`: told | 0.85 |",
        "| content `values`: extra | 0.15 |",
        "Not installed, and so left out: deepdiff.",
        "- 1,000,000,000 bytes: not enough memory",
    ],
)
def test_the_page_tells_everything(line: str) -> None:
    """Each number in a table, and what is missing by name."""
    assert line in report.page(FOUND).splitlines()


def test_a_run_shares_out_its_beginning_and_its_end() -> None:
    """A hundredth of what a run costs comes to each of a hundred nodes."""
    assert "| content `keys` | 1.26 |" in report.page(FOUND).splitlines()


def test_next_to_nothing_is_no_minus_zero() -> None:
    """Where noise is all there is."""
    assert report.number(-0.004) == "0"


def test_the_picture_is_one_and_names_what_it_shows() -> None:
    """Well-formed, however tracers are called."""
    picture = ET.fromstring(chart.picture(FOUND.comparison.floors, FOUND.curves))  # noqa: S314 - ours

    texts = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"this <project>", "small store", "keys", "1.2", "10,000"} <= texts


def test_the_gate_watches_each_store_and_unit() -> None:
    """By names that tell them apart."""
    watched = results.ratios(FOUND.stores, FOUND.units)

    assert watched["small store: content `off`"] == 1.25
    assert watched["unit: async node"] == 1.5
    assert len(watched) == len(CONFIGURATIONS) + 1
