"""What Jaeger shows of the examples: every span, in its place, as the program made it.

The same programs wrote a local file beside, which the spans in Jaeger are compared with.
"""

from __future__ import annotations

import json
import typing

import pytest

from opentelemetry.instrumentation.pocketflow import semconv
from support.stack_runs import SERVICES

if typing.TYPE_CHECKING:
    from pocketflow_trace.record.model import Entry
    from support.stack_runs import Ran

every_service = pytest.mark.parametrize("service", SERVICES)


def _in_jaeger(ran: Ran, service: str) -> dict[str, typing.Any]:
    """Return Jaeger's spans of a service by their ids."""
    traces = ran.stack.traces(service)
    return {span["spanID"]: span for trace in traces for span in trace["spans"]}


def _parent(span: typing.Any) -> str | None:
    return next(
        (each["spanID"] for each in span["references"] if each["refType"] == "CHILD_OF"), None
    )


def _tags(span: typing.Any) -> dict[str, typing.Any]:
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def _parents(entries: typing.Sequence[Entry]) -> dict[str, str]:
    return {child.span_id: entry.span_id for entry in entries for child in entry.children}


def _named(ran: Ran, name: str) -> list[typing.Any]:
    """Return the spans of that name that the program with problems left, oldest first."""
    found = [span for span in _in_jaeger(ran, "problems").values() if span["operationName"] == name]
    return sorted(found, key=lambda span: span["startTime"])


@every_service
def test_every_span_stands_below_its_parent(ran: Ran, service: str) -> None:
    """Jaeger has the spans that the program made, no other ones, under the same parents."""
    made, stored = ran.spans[service], _in_jaeger(ran, service)
    parents = _parents(made)

    assert {each: span["operationName"] for each, span in stored.items()} == {
        entry.span_id: entry.name for entry in made
    }
    assert {each: _parent(span) for each, span in stored.items()} == {
        entry.span_id: parents.get(entry.span_id) for entry in made
    }


@every_service
def test_every_attribute_arrives(ran: Ran, service: str) -> None:
    """Nothing is lost or changed on the way: text, numbers, bools; lists as JSON."""
    stored = _in_jaeger(ran, service)

    for entry in ran.spans[service]:
        tags = _tags(stored[entry.span_id])
        for key, value in entry.attributes.items():
            arrived = tags[key]
            as_said = json.loads(arrived) if isinstance(value, (list, tuple)) else arrived
            assert as_said == (list(value) if isinstance(value, tuple) else value), key


@every_service
def test_durations_are_the_programs(ran: Ran, service: str) -> None:
    """Jaeger's start and duration are those of the span, to its microsecond."""
    stored = _in_jaeger(ran, service)

    for entry in ran.spans[service]:
        span = stored[entry.span_id]
        assert span["startTime"] == pytest.approx(entry.start / 1000, abs=1)
        assert entry.end is not None
        assert span["duration"] == pytest.approx((entry.end - entry.start) / 1000, abs=1)


def test_an_error_is_told_where_it_happened(ran: Ran) -> None:
    """The node that raised has the exception, its flow the error's type only."""
    node, flow = _named(ran, "Charge")[0], _named(ran, "invoke_workflow ChargeFlow")[0]

    assert _tags(node)["error"] is _tags(flow)["error"] is True
    assert _tags(node)["error.type"] == _tags(flow)["error.type"] == "KeyError"
    (event,) = node["logs"]
    fields = {field["key"]: field["value"] for field in event["fields"]}
    assert fields["event"] == "exception"
    assert fields["exception.message"] == "'iban'"
    assert 'return {}["iban"]' in fields["exception.stacktrace"]
    assert flow["logs"] == []


def test_a_failed_attempt_is_red_and_its_node_is_not(ran: Ran) -> None:
    """A retry is seen as one: the first attempt failed, the second answered."""
    first, second = _named(ran, "Draft attempt")[:2]
    node = _named(ran, "Draft")[0]

    assert (_tags(first)["error"], _tags(first)["error.type"]) == (True, "TimeoutError")
    assert "error" not in _tags(second)
    assert "error" not in _tags(node)
    assert _tags(node)[semconv.NODE_ATTEMPTS] == 2
    assert _parent(first) == _parent(second) == node["spanID"]


def test_a_dead_end_and_the_cost_can_be_searched(ran: Ran) -> None:
    """Jaeger finds runs by the tags that a person would look for."""
    dead_end = json.dumps({semconv.NODE_DEAD_END: "true"})
    costly = json.dumps({semconv.USAGE_COST: "0.5"})

    assert len(ran.stack.traces("problems", tags=dead_end)) == ran.runs["problems"]
    assert len(ran.stack.traces("problems", tags=costly)) == ran.runs["problems"]


@every_service
def test_the_process_says_which_commit_ran(ran: Ran, service: str) -> None:
    """Process tags carry git, without the remote's password, and the program's own name."""
    for trace in ran.stack.traces(service):
        for process in trace["processes"].values():
            tags = {tag["key"]: tag["value"] for tag in process["tags"]}
            assert process["serviceName"] == service
            assert tags[semconv.VCS_REF_HEAD_REVISION] == ran.commit
            assert tags[semconv.VCS_REF_HEAD_NAME] == "trunk"
            assert tags[semconv.VCS_REPOSITORY_URL_FULL].startswith("https://git.example.com/team")
            assert tags[semconv.VCS_DIRTY] is False
            assert tags[semconv.PROCESS_COMMAND_ARGS].endswith(f'"{service}.py"]')
            assert "s3cret" not in json.dumps(process)


def test_every_service_is_listed(ran: Ran) -> None:
    """Jaeger's search offers each program, and its flows and nodes as operations."""
    services = ran.stack.ask_jaeger("services")
    operations = ran.stack.ask_jaeger("services/research_agent/operations")

    assert set(SERVICES) <= set(services)
    assert set(operations) == {
        "invoke_workflow DecideFlow", "Decide", "Decide attempt", "Search", "Answer",
    }  # fmt: skip
