"""Random spans of the SDK, with everything that a span can have."""

from __future__ import annotations

import typing

from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceState

RESOURCES = (
    Resource({}),
    Resource({"service.name": "shop", "process.pid": 7}, "https://example.org/schema"),
)
SCOPES = (
    None,
    InstrumentationScope("one"),
    InstrumentationScope("two", "1.0", "https://example.org/schema", {"key": ["value"]}),
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
keys = texts.filter(bool)
numbers = st.integers(-(2**63), 2**63 - 1)
scalars = st.one_of(texts, st.booleans(), numbers, st.floats(), st.binary(max_size=50))
values = st.one_of(scalars, st.lists(texts, max_size=8), st.lists(st.floats(), max_size=5))
attributes = st.dictionaries(keys, values, max_size=6)
times = st.integers(1, 2**63 - 1)
states = st.sampled_from([TraceState(), TraceState([("a", "b"), ("c", "d")])])
contexts = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    trace_state=states,
)
statuses = st.one_of(
    st.builds(Status, st.sampled_from([StatusCode.UNSET, StatusCode.OK])),
    st.builds(Status, st.just(StatusCode.ERROR), texts),
)


def spans() -> st.SearchStrategy[ReadableSpan]:
    """Return spans."""
    drawn: typing.Any = st.builds(
        ReadableSpan,
        name=texts,
        context=contexts,
        parent=st.none() | contexts,
        resource=st.sampled_from(RESOURCES),
        attributes=attributes,
        events=st.lists(st.builds(Event, texts, attributes, times), max_size=3),
        links=st.lists(st.builds(Link, contexts, attributes), max_size=3),
        kind=st.sampled_from(SpanKind),
        status=statuses,
        start_time=times,
        end_time=times,
        instrumentation_scope=st.sampled_from(SCOPES),
    )
    return drawn
