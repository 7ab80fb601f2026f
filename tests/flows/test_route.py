"""The route through a flow: actions, dead ends, loops, ids and the graph."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import enum
from typing import Any

import pytest

from support.framework import BatchFlow, Flow, Node
from support.tracing import Stage, note, traced


class Answers(Node):
    """Returns what it was made with, as its action.

    Args:
        action: what `post` returns.
    """

    def __init__(self, action: Any = None) -> None:
        super().__init__()
        self.action = action

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """The action."""
        return self.action


class Counts(Node):
    """Loops until the store's number is reached."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Counts down."""
        shared["left"] -= 1
        return "again" if shared["left"] else "done"


class Other(Node):
    """Another node."""


class Color(str, enum.Enum):
    """A string that is more than a string."""

    RED = "red"


STEP = ("node.action", "node.next", "node.dead_end")


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (None, {"node.action": "default", "node.next": "Other"}),
        ("default", {"node.action": "default", "node.next": "Other"}),
        ("", {"node.action": "default", "node.next": "Other"}),
        ("else", {"node.action": "else", "node.dead_end": True}),
        (7, {"node.dead_end": True}),
        (0, {"node.next": "Other"}),
        (("a", "b"), {"node.dead_end": True}),
        (Color.RED, {"node.action": "red", "node.dead_end": True}),
    ],
)
def test_the_action_and_what_follows(action: Any, expected: dict[str, Any]) -> None:
    """What the framework takes for an action is shown; its choice is told as it fell."""

    def program(stage: Stage) -> Any:
        first = Answers(action)
        first >> Other()
        stage.run(Flow(start=first))

    span = traced(program).node("Answers")

    assert span.pick(*STEP) == expected


def test_a_result_that_is_no_action_ends_a_flow_without_successors() -> None:
    """Nodes at the end of a flow may return anything; the flow returns it."""
    trace = traced(lambda stage: stage.run(Flow(start=Answers(("a", 1)))))

    assert trace.result.result == ("a", 1)
    assert trace.node("Answers").pick(*STEP) == {}


def test_a_result_that_can_not_be_an_action_fails_as_before() -> None:
    """A list has no hash: the framework's own error goes on, and is told on the flow."""

    def program(stage: Stage) -> Any:
        first = Answers(["unhashable"])
        first >> Other()
        return stage.run(Flow(start=first))

    trace = traced(program, raises=TypeError)

    assert trace.lines() == ["invoke_workflow AnswersFlow [TypeError, recorded]", "  Answers"]


def test_a_dead_end_keeps_the_frameworks_warning() -> None:
    """Its text, file and line are those of a plain run."""

    def program(stage: Stage) -> Any:
        first = Answers("elsewhere")
        first - "here" >> Other()
        return stage.run(Flow(start=first))

    trace = traced(program)

    (warning,) = trace.result.warnings
    assert "Flow ends: 'elsewhere' not found in ['here']" in warning
    assert trace.node("Answers")["node.dead_end"] is True
    assert "node.dead_end" not in trace.nodes[0]


def test_the_end_of_a_flow_is_no_dead_end() -> None:
    """A node without successors ends the flow as it should."""
    span = traced(lambda stage: stage.run(Flow(start=Other()))).node("Other")

    assert span.pick(*STEP) == {"node.action": "default"}


def loop() -> Any:
    """A flow that goes round, then on."""
    counts = Counts()
    counts - "again" >> counts
    counts - "done" >> Other()
    return Flow(start=counts)


def test_a_loop_counts_its_rounds() -> None:
    """Each round is a run of the same place in the graph."""
    trace = traced(lambda stage: stage.run(loop(), {"left": 3}))

    assert trace.values("node.iteration", "Counts") == [1, 2, 3]
    assert trace.values("node.id", "Counts") == ["Counts"] * 3
    assert trace.values("node.next", "Counts") == ["Counts", "Counts", "Other"]
    assert trace.nodes[0]["flow.path"] == ("Counts", "Counts", "Counts", "Other")


def test_a_long_path_is_cut_in_the_middle() -> None:
    """Beginning and end are kept, the number of node runs is true."""
    span = traced(lambda stage: stage.run(loop(), {"left": 300})).nodes[0]

    path = span["flow.path"]
    assert span["flow.node_runs"] == 301
    assert path[0] == "Counts"
    assert path[-1] == "Other"
    (marker,) = [step for step in path if "more)" in step]
    assert int(marker.strip("… (more)")) + len(path) - 1 == 301
    assert sum(map(len, path)) < 700


def test_nodes_of_one_class_are_told_apart() -> None:
    """By the order in which the graph is walked, not by the order in which they run."""

    def program(stage: Stage) -> Any:
        first, second, third = Answers("right"), Answers(), Answers()
        first - "left" >> second
        first - "right" >> third
        third >> second
        return stage.run(Flow(start=first))

    trace = traced(program)

    assert trace.values("node.id") == ["Answers", "Answers#3", "Answers#2"]
    assert trace.nodes[0].json("graph")["edges"] == [
        ["Answers", "left", "Answers#2"],
        ["Answers", "right", "Answers#3"],
        ["Answers#3", "default", "Answers#2"],
    ]


def test_the_same_graph_has_the_same_hash() -> None:
    """In every run and process; another graph has another one."""

    def other() -> Any:
        flow = loop()
        flow.start_node.next(Other(), "never")
        return flow

    hashes = [
        traced(lambda stage, flow=flow: stage.run(flow(), {"left": 1})).nodes[0]["graph.hash"]
        for flow in (loop, loop, other)
    ]

    assert hashes[0] == hashes[1] != hashes[2]
    assert len(hashes[0]) == 16


def test_a_nested_flow_is_a_node_of_the_graph() -> None:
    """By its name; its own nodes are in its own graph."""

    class Sub(Flow):
        pass

    def program(stage: Stage) -> Any:
        sub = Sub(start=Other())
        sub >> Answers()
        return stage.run(Flow(start=sub))

    trace = traced(program)

    assert trace.nodes[0].json("graph") == {
        "start": "Sub",
        "nodes": ["Sub", "Answers"],
        "edges": [["Sub", "default", "Answers"]],
    }
    assert trace.node("invoke_workflow Sub").json("graph")["nodes"] == ["Other"]


def test_a_large_graph_is_cut_and_still_json() -> None:
    """The cut is marked with the true size, and the hash is that of the whole graph."""

    def program(stage: Stage) -> Any:
        first = node = Other()
        for _ in range(200):
            node = node.next(Other())
        return stage.run(Flow(start=first))

    span = traced(program).nodes[0]

    graph = span.json("graph")
    assert graph["$cut"] == {"nodes": 201, "edges": 200}
    assert graph["start"] == "Other"
    assert len(span["graph"]) < 800


def test_a_graph_that_grows_while_it_runs() -> None:
    """Nodes that are connected later are named when they run."""

    class Plans(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            note("planned")
            self.next(Other())

    trace = traced(lambda stage: stage.run(Flow(start=Plans())))

    assert trace.nodes[0]["flow.path"] == ("Plans", "Other")
    assert trace.node("Plans")["node.next"] == "Other"
    assert trace.node("Other")["node.id"] == "Other"


def test_a_successor_that_is_none() -> None:
    """A None among the successors is a dead end, as the framework has it."""

    def program(stage: Stage) -> Any:
        first = Answers()
        first.successors["default"] = None
        return stage.run(Flow(start=first))

    trace = traced(program)

    assert trace.node("Answers")["node.dead_end"] is True
    assert trace.nodes[0].json("graph")["edges"] == []


def test_the_route_of_a_batch_item_is_its_own() -> None:
    """Loops count anew for each item."""

    class Twice(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"n": 1}, {"n": 2}]

    class Loops(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            key = f"seen {self.params['n']}"
            shared[key] = shared.get(key, 0) + 1
            return "again" if shared[key] < self.params["n"] else None

    def program(stage: Stage) -> Any:
        loops = Loops()
        loops - "again" >> loops
        return stage.run(Twice(start=loops))

    trace = traced(program)

    assert trace.values("flow.path", "Twice item") == [("Loops",), ("Loops", "Loops")]
    assert trace.values("node.iteration", "Loops") == [1, 1, 2]
    assert trace.nodes[0]["flow.node_runs"] == 3


def test_a_flow_that_ends_with_an_exception_tells_how_far_it_got() -> None:
    """The path includes the node that failed."""

    class Breaks(Node):
        def prep(self, shared: Any) -> Any:
            raise OSError("no")

    def program(stage: Stage) -> Any:
        first = Other()
        first >> Breaks() >> Answers()
        return stage.run(Flow(start=first))

    span = traced(program, raises=OSError).nodes[0]

    assert span["flow.path"] == ("Other", "Breaks")
    assert span["flow.node_runs"] == 2


def test_what_a_flow_returns_is_its_action() -> None:
    """An inner flow's action leads the outer one on."""

    def program(stage: Stage) -> Any:
        inner = Flow(start=Answers("deep"))
        inner - "deep" >> Other()
        return stage.run(Flow(start=inner))

    trace = traced(program)

    span = trace.nodes[1]
    assert span.name == "invoke_workflow AnswersFlow"
    assert span.pick(*STEP) == {"node.action": "deep", "node.next": "Other"}
