"""The run and its JSON form."""

from __future__ import annotations

import json
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_spans import agent_run

from pocketflow_trace.record import model
from pocketflow_trace.record.model import Entry, Failure, ModelError, Run

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = text | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
failures = st.builds(Failure, text, st.none() | text, st.none() | text)


def entries(children: st.SearchStrategy[tuple[Entry, ...]]) -> st.SearchStrategy[Entry]:
    """Return entries with any content and these children."""
    return st.builds(
        Entry,
        kind=st.sampled_from(typing.get_args(model.Kind)),
        name=text,
        start=st.integers(),
        end=st.none() | st.integers(),
        status=st.sampled_from(typing.get_args(model.Status)),
        message=text,
        attributes=st.dictionaries(text, scalars | st.lists(scalars).map(tuple), max_size=3),
        failures=st.lists(failures, max_size=2).map(tuple),
        children=children,
        trace_id=text,
        span_id=text,
    )


trees = st.recursive(
    entries(st.just(())),
    lambda inner: entries(st.lists(inner, max_size=3).map(tuple)),
    max_leaves=8,
)
runs = st.builds(Run, roots=st.lists(trees, max_size=3).map(tuple), dropped=st.integers(0))


@given(runs)
def test_round_trip(run: Run) -> None:
    """What was saved reads back as the same run, types included."""
    assert model.loads(model.dumps(run)) == run
    assert repr(model.loads(model.dumps(run))) == repr(run)


def test_plain_json() -> None:
    """The JSON form is one flat list, in which every entry names its parent's position."""
    saved = json.loads(model.dumps(agent_run()))
    assert saved["version"] == 1
    assert [(row["name"], row["parent"]) for row in saved["entries"]] == [
        ("invoke_workflow Agent", None),
        ("Decide", 0),
        ("Search", 0),
        ("Search attempt", 2),
        ("Search attempt", 2),
        ("chat gpt-5", 4),
        ("Decide", 0),
        ("Answer", 0),
    ]


def test_deep_tree() -> None:
    """A tree deeper than Python's stack saves, reads and walks."""
    entry = Entry("flow", "f", 0, 1)
    for _ in range(5_000):
        entry = Entry("flow", "f", 0, 1, children=(entry,))
    read = model.loads(model.dumps(Run(roots=(entry,))))
    assert sum(1 for _ in model.walk(read.roots)) == 5_001


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_unknown_version(version: object) -> None:
    """A run of another version is refused, with both versions named."""
    with pytest.raises(ModelError, match=rf"version {version!r}; this program reads version 1"):
        model.from_json({**model.to_json(agent_run()), "version": version})


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "banana"},
        {"start": "1"},
        {"start": True},
        {"end": 1.5},
        {"attributes": {"a": {}}},
        {"attributes": {"a": float("nan")}},
        {"attributes": None},
        {"failures": [{"type": 1}]},
        {"parent": 7},
        {"parent": -1},
        {"parent": 0},
        {"status": None},
    ],
)
def test_wrong_shape(change: dict[str, object]) -> None:
    """What is no run is refused rather than half read."""
    saved = model.to_json(Run(roots=(Entry("node", "Ask", 0),)))
    saved["entries"][0].update(change)
    with pytest.raises(ModelError):
        model.from_json(saved)


@pytest.mark.parametrize("saved", ["", "{", "[]", "null", '{"version": 1}'])
def test_not_a_run(saved: str) -> None:
    """Any other text is refused with the same error."""
    with pytest.raises(ModelError):
        model.loads(saved)
