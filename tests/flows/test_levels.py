"""How much is told: content, levels by class, phase spans, names, samplers."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ParentBased,
    Sampler,
)

from opentelemetry import trace as trace_api
from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor
from support.framework import AsyncFlow, AsyncNode, BatchFlow, BatchNode, Flow, Node
from support.samplers import Only
from support.tracing import SpanView, Stage, act, faults_raise, logged, note, traced, tracing

CONTENT = ("input.value", "output.value", "node.params", "shared.diff", "shared.initial")
SECRET = "the content"  # noqa: S105 - what must not be shown is no password


class Works(Node):
    """Takes and gives content in every way there is."""

    def prep(self, shared: Any) -> Any:
        """Input."""
        return [SECRET, shared["in"]]

    def exec(self, prep_res: Any) -> Any:
        """Output."""
        note("works")
        return {"result": SECRET}

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """A change."""
        shared["out"] = SECRET


class Breaks(Works):
    """Fails with content in its message."""

    def exec(self, prep_res: Any) -> Any:
        """An error."""
        raise ValueError(SECRET)


class Items(BatchNode):
    """A batch of content."""

    def prep(self, shared: Any) -> Any:
        """Two items."""
        return [SECRET, SECRET]


def program(stage: Stage) -> Any:
    """A flow with content everywhere."""
    first = Works(max_retries=2)
    first >> Items()
    flow = Flow(start=first)
    flow.set_params({"param": SECRET})
    return stage.run(flow, {"in": SECRET})


def everything(nodes: list[SpanView]) -> str:
    """All that spans say."""
    return repr([(node.name, node.attributes, node.events) for node in nodes])


# --- content --------------------------------------------------------------------------------


def test_values_are_shown_by_default() -> None:
    """Input, output, params and store."""
    trace = traced(program)

    span = trace.node("Works")
    assert span.json("input.value") == [SECRET, SECRET]
    assert span.json("output.value") == {"result": SECRET}
    assert span.json("node.params") == {"param": SECRET}
    assert span.patch[0]["value"] == SECRET


def test_keys_show_types_and_sizes() -> None:
    """Where content is `keys` no value appears anywhere, but its shape does."""
    trace = traced(program, content="keys")

    assert SECRET not in everything(trace.nodes)
    span = trace.node("Works")
    assert span.json("input.value") == {"type": "list", "size": 2}
    assert span.json("output.value") == {"type": "dict", "size": 1}
    assert span.json("node.params") == {"type": "dict", "size": 1}
    assert span.patch == [
        {"op": "add", "path": "/out", "type": "str", "size": 11, "phase": "post", "seq": 1}
    ]
    assert span["shared.added"] == ("out",)
    assert trace.nodes[0].json("shared.initial") == {"in": {"type": "str", "size": 11}}


def test_off_shows_nothing_of_the_data() -> None:
    """The run itself is told all the same."""
    trace = traced(program, content="off")

    assert SECRET not in everything(trace.nodes)
    assert not any(name in node for node in trace.nodes for name in CONTENT)
    assert trace.nodes[0]["flow.path"] == ("Works", "Items")
    assert trace.node("Works")["node.attempts"] == 1
    assert trace.node("Items")["batch.size"] == 2


@pytest.mark.parametrize("content", ["off", "keys"])
def test_exceptions_are_told_without_their_message(content: str) -> None:
    """Type and traceback stay, without values."""
    trace = traced(
        lambda stage: stage.run(Breaks(), {"in": SECRET}), content=content, raises=ValueError
    )

    (event,) = trace.node("Breaks").events
    assert event["exception.type"] == "ValueError"
    assert "exception.message" not in event
    assert SECRET not in str(event["exception.stacktrace"])
    assert "in exec" in str(event["exception.stacktrace"])


# --- levels ---------------------------------------------------------------------------------


def test_skip_leaves_a_node_out() -> None:
    """The program runs; the route still knows that it ran."""
    trace = traced(program, levels={"Works": "skip"})

    assert trace.lines() == [
        "invoke_workflow WorksFlow",
        "  Items",
        "    Items item",
        "    Items item",
    ]
    assert trace.nodes[0]["flow.path"] == ("Works", "Items")
    assert trace.nodes[0]["flow.node_runs"] == 2


def test_children_of_a_skipped_node_attach_to_its_parent() -> None:
    """What a skipped node runs is not lost."""

    class Outer(Node):
        def exec(self, prep_res: Any) -> Any:
            Flow(start=Works()).run({"in": 1})

    trace = traced(lambda stage: stage.run(Flow(start=Outer())), levels={"Outer": "skip"})

    assert trace.lines() == [
        "invoke_workflow OuterFlow",
        "  invoke_workflow WorksFlow",
        "    Works",
    ]


def test_a_skipped_flow_leaves_its_nodes() -> None:
    """They attach to what is around it, and keep their route."""

    class Quiet(Flow):
        pass

    def nested(stage: Stage) -> Any:
        first = Works()
        first >> Items()
        quiet = Quiet(start=first)
        quiet >> Works()
        return stage.run(Flow(start=quiet), {"in": SECRET})

    trace = traced(nested, levels={"Quiet": "skip"})

    assert [name for name, _ in trace.tree()[0][1]] == ["Works", "Items", "Works"]
    assert trace.node("Works")["node.next"] == "Items"
    assert trace.nodes[0]["flow.path"] == ("Quiet", "Works")


def test_a_skipped_root_flow() -> None:
    """Its nodes are roots; changes of the store are told on them."""
    trace = traced(program, levels={"Flow": "skip"})

    assert [name for name, _ in trace.tree()] == ["Works", "Items"]
    assert trace.node("Works").writes == [("add", "/out", "post")]
    assert trace.node("Works")["node.id"] == "Works"


def test_a_skipped_batch_flow() -> None:
    """Its items have no spans, its nodes do."""

    class Batch(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"n": 1}, {"n": 2}]

    trace = traced(
        lambda stage: stage.run(Batch(start=Works()), {"in": 1}), levels={"Batch": "skip"}
    )

    assert trace.lines() == ["Works", "Works"]


def test_a_skipped_nodes_exception_is_told_where_it_surfaces() -> None:
    """The first span that it leaves tells it."""
    trace = traced(
        lambda stage: stage.run(Flow(start=Breaks(max_retries=2)), {"in": 1}),
        levels={"Breaks": "skip"},
        raises=ValueError,
    )

    assert trace.lines() == ["invoke_workflow BreaksFlow [ValueError, recorded]"]


def test_timing_is_a_span_without_content() -> None:
    """Durations, attempts and route, but no data."""
    trace = traced(program, levels={"Works": "timing"})

    span = trace.node("Works")
    assert not any(name in span for name in CONTENT)
    assert SECRET not in everything([span])
    assert span["node.next"] == "Items"
    assert "node.exec.duration" in span
    assert trace.node("Items").json("input.value") == [SECRET, SECRET]


def test_keys_for_one_class() -> None:
    """Its shapes, and the others' values."""
    trace = traced(program, levels={"Works": "keys"})

    assert SECRET not in everything([trace.node("Works")])
    assert trace.node("Works").patch[0]["type"] == "str"
    assert trace.node("Items").json("input.value") == [SECRET, SECRET]


@pytest.mark.parametrize("content", ["off", "keys"])
def test_full_for_one_class(content: str) -> None:
    """Its values, where nothing else shows any."""
    trace = traced(program, content=content, levels={"Works": "full"})

    assert trace.node("Works").json("output.value") == {"result": SECRET}
    assert trace.node("Works").patch[0]["value"] == SECRET
    assert SECRET not in everything([node for node in trace.nodes if node.name != "Works"])


def test_detail_only_on_error() -> None:
    """A run that succeeds has no content; one that fails has all of it."""
    levels = {"*": "on_error"}
    good = traced(lambda stage: stage.run(Works(), {"in": SECRET}), levels=levels).node("Works")
    bad = traced(
        lambda stage: stage.run(Breaks(), {"in": SECRET}), levels=levels, raises=ValueError
    ).node("Breaks")

    assert SECRET not in everything([good])
    assert bad.json("input.value") == [SECRET, SECRET]
    assert bad.events[0]["exception.message"] == SECRET


def test_detail_only_on_error_covers_items() -> None:
    """Items that are fine show nothing; the one that failed does."""

    class Some(BatchNode):
        def prep(self, shared: Any) -> Any:
            return [SECRET, -1]

        def exec(self, prep_res: Any) -> Any:
            if prep_res == -1:
                raise ValueError("negative")
            return prep_res

    trace = traced(lambda stage: stage.run(Some()), levels={"Some": "on_error"}, raises=ValueError)

    good, bad = trace.all("Some item")
    assert SECRET not in everything([good])
    assert bad.json("input.value") == -1


@pytest.mark.parametrize("pattern", ["Works", "W*", "W?rks", "[VW]orks", "*"])
def test_levels_by_glob(pattern: str) -> None:
    """Names may be given by pattern."""
    trace = traced(program, levels={pattern: "skip"})

    assert "Works" not in [node.name for node in trace.nodes]


def test_the_first_pattern_that_matches_wins() -> None:
    """An exception is written before its rule."""
    trace = traced(program, levels={"Items": "full", "*": "skip"})

    assert trace.lines() == ["Items", "  Items item", "  Items item"]


# --- phase spans, names ---------------------------------------------------------------------


def test_phase_spans_are_opt_in() -> None:
    """Prep, exec and post as children, with what runs in exec below it."""
    trace = traced(lambda stage: stage.run(Works(max_retries=2), {"in": 1}), phase_spans=True)

    assert sorted(trace.lines()) == [
        "    Works attempt",
        "  Works exec",
        "  Works post",
        "  Works prep",
        "Works",
    ]
    attempt = trace.node("Works attempt")
    parent = trace.parent(attempt)
    assert parent is not None
    assert parent.name == "Works exec"
    spans = [trace.node(f"Works {phase}") for phase in ("prep", "exec", "post")]
    assert [span["phase"] for span in spans] == ["prep", "exec", "post"]
    assert spans[0].end <= spans[2].start


def test_a_phase_that_fails_is_an_error() -> None:
    """The exception itself is told on the node."""
    trace = traced(
        lambda stage: stage.run(Breaks(), {"in": 1}), phase_spans=True, raises=ValueError
    )

    assert trace.node("Breaks").label == "Breaks [ValueError, recorded]"
    assert trace.node("Breaks exec").label == "Breaks exec [ValueError]"
    assert trace.node("Breaks prep").label == "Breaks prep"
    assert not trace.all("Breaks post")


def test_phase_spans_of_flows_and_async_nodes() -> None:
    """Every run has its phases, under its own name; a flow's exec is its nodes."""

    class Waits(AsyncNode):
        pass

    trace = traced(lambda stage: stage.run_async(AsyncFlow(start=Waits())), phase_spans=True)

    assert {node.name for node in trace.nodes if node["span.kind"] == "phase"} == {
        "WaitsFlow prep",
        "WaitsFlow post",
        "Waits prep",
        "Waits exec",
        "Waits post",
    }


def test_flow_names() -> None:
    """A plain flow may be given a name, by its start node."""
    trace = traced(program, flow_names={"Works": "my-agent"})

    assert trace.nodes[0].name == "invoke_workflow my-agent"
    assert trace.nodes[0]["gen_ai.workflow.name"] == "my-agent"


def test_openinference_can_be_left_out() -> None:
    """No span carries its kind."""
    assert traced(program).values("openinference.span.kind")
    assert not traced(program, openinference=False).values("openinference.span.kind")


# --- nobody records -------------------------------------------------------------------------


class Untouchable:
    """Raises whatever is done to it."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"touched: {name}")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    def __hash__(self) -> int:
        raise AssertionError("hashed")

    def __repr__(self) -> str:
        raise AssertionError("shown")


class Carries(Node):
    """Hands on what must not be touched."""

    def prep(self, shared: Any) -> Any:
        """The input."""
        return shared["thing"]

    def exec(self, prep_res: Any) -> Any:
        """The output."""
        note("carried")
        return prep_res


class Watched(dict[str, Any]):
    """A store that tells when it is looked at."""

    def keys(self) -> Any:
        """Counts."""
        note("keys")
        return super().keys()

    def __iter__(self) -> Any:
        note("iter")
        return super().__iter__()

    def __len__(self) -> int:
        note("len")
        return super().__len__()


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(ALWAYS_OFF)])
def test_nothing_is_captured_where_nobody_records(sampler: Sampler) -> None:
    """Not a value is looked at."""

    def carry(stage: Stage) -> Any:
        first = Carries(max_retries=2)
        first >> Items()
        Flow(start=first).run(Watched(thing=Untouchable()))

    trace = traced(carry, sampler=sampler)

    assert trace.nodes == []
    assert trace.result.log == ("carried",)


def test_values_that_resist_are_told_by_their_type() -> None:
    """Where somebody records, hostile values are no trouble either."""

    def carry(stage: Stage) -> Any:
        return Flow(start=Carries(max_retries=2)).run(Watched(thing=Untouchable()))

    trace = traced(carry)

    assert "Untouchable" in trace.node("Carries")["input.value"]
    assert trace.result.log == ("carried",)


@pytest.mark.parametrize("name", ["invoke_workflow WorksFlow", "Works", "Items", "Items item"])
def test_a_sampler_that_drops_some_names(name: str) -> None:
    """What is left is sound, and the program is as before."""
    trace = traced(program, sampler=Only(name))

    assert name not in [node.name for node in trace.nodes]
    assert len(trace.nodes) >= 2


def test_a_dropped_node_leaves_route_and_store_to_the_others() -> None:
    """Its changes are found by the next one, credited to elsewhere."""
    trace = traced(program, sampler=Only("Works"))

    assert trace.nodes[0]["flow.path"] == ("Works", "Items")
    assert [change["path"] for change in trace.patches()] == ["/out"]


def test_suppressed_instrumentation() -> None:
    """Code under `suppress_instrumentation` makes no spans."""

    def quiet(stage: Stage) -> Any:
        with suppress_instrumentation():
            return program(stage)

    assert traced(quiet).nodes == []


def test_instrumentation_suppressed_inside_a_node() -> None:
    """Only what runs there is left out."""

    class Outer(Node):
        def exec(self, prep_res: Any) -> Any:
            with suppress_instrumentation():
                Flow(start=Works()).run({"in": 1})

    assert traced(lambda stage: stage.run(Outer())).lines() == ["Outer"]


def test_without_an_sdk() -> None:
    """With the API alone everything runs, and nothing is made."""
    plain = act(program)
    provider = trace_api.NoOpTracerProvider()
    with faults_raise(), logged() as problems:
        PocketFlowInstrumentor().instrument(tracer_provider=provider, resource=False)
        try:
            assert vars(act(program)) == vars(plain)
        finally:
            PocketFlowInstrumentor().uninstrument()
    assert not problems


def test_uninstrumented_in_the_middle_of_a_run() -> None:
    """A run that began traced ends its span; later runs make none."""

    class Stops(Node):
        def exec(self, prep_res: Any) -> Any:
            PocketFlowInstrumentor().uninstrument()

    with tracing() as running:
        first = Stops()
        first >> Works()
        Flow(start=first).run({"in": 1})

    assert set(running.recorder.started) == set(running.recorder.ended)
    assert running.trace().lines()[:2] == ["invoke_workflow StopsFlow", "  Stops"]
