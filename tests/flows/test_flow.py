"""Flow: nodes one after another, as their actions lead."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

from typing import Any

from support.framework import Flow, Node
from support.tracing import note, traced


class Decide(Node):
    """Searches as long as there are fewer than two facts."""

    def prep(self, shared: Any) -> Any:
        """How much is known."""
        return len(shared["facts"])

    def exec(self, prep_res: Any) -> Any:
        """What to do next."""
        note("decide", prep_res)
        return "search" if prep_res < 2 else "answer"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """The decision is the action."""
        return exec_res


class Search(Node):
    """Finds a fact."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Keeps the fact."""
        note("search")
        shared["facts"].append(f"fact {len(shared['facts'])}")
        return "decide"


class Answer(Node):
    """Ends the flow."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Keeps the answer."""
        shared["answer"] = " and ".join(shared["facts"])


def agent() -> Any:
    """A flow with a loop and a decision."""
    decide, search, answer = Decide(), Search(), Answer()
    decide - "search" >> search
    decide - "answer" >> answer
    search - "decide" >> decide
    return Flow(start=decide)


def test_a_flow_is_a_span_around_those_of_its_nodes() -> None:
    """One span for the flow, one for each node run, in order."""
    trace = traced(lambda stage: stage.run(agent(), {"facts": []}))

    assert trace.tree() == [
        (
            "invoke_workflow DecideFlow",
            [
                ("Decide", []),
                ("Search", []),
                ("Decide", []),
                ("Search", []),
                ("Decide", []),
                ("Answer", []),
            ],
        )
    ]
    span = trace.node("invoke_workflow DecideFlow")
    assert span["gen_ai.operation.name"] == "invoke_workflow"
    assert span["gen_ai.workflow.name"] == "DecideFlow"
    assert span["span.kind"] == "flow"


def test_the_route_is_told_step_by_step() -> None:
    """Each node says where it stands, how often it ran, what it chose and what follows."""
    trace = traced(lambda stage: stage.run(agent(), {"facts": []}))

    route = ("node.id", "node.iteration", "node.action", "node.next")
    assert [tuple(map(node.get, route)) for node in trace.nodes[1:]] == [
        ("Decide", 1, "search", "Search"),
        ("Search", 1, "decide", "Decide"),
        ("Decide", 2, "search", "Search"),
        ("Search", 2, "decide", "Decide"),
        ("Decide", 3, "answer", "Answer"),
        ("Answer", 1, "default", None),
    ]
    assert not trace.values("node.dead_end")


def test_the_flow_tells_its_graph_and_the_path_through_it() -> None:
    """What could have happened, and what did."""
    span = traced(lambda stage: stage.run(agent(), {"facts": ["a"]})).nodes[0]

    assert span["flow.path"] == ("Decide", "Search", "Decide", "Answer")
    assert span["flow.node_runs"] == 4
    assert span.json("graph") == {
        "start": "Decide",
        "nodes": ["Decide", "Search", "Answer"],
        "edges": [
            ["Decide", "search", "Search"],
            ["Decide", "answer", "Answer"],
            ["Search", "decide", "Decide"],
        ],
    }


def test_the_root_flow_shows_the_store_before_and_after() -> None:
    """Input and output of a whole program are what stood in its store."""
    span = traced(lambda stage: stage.run(agent(), {"facts": ["a", "b"]})).nodes[0]

    assert span.json("input.value") == {"facts": ["a", "b"]}
    assert span.json("shared.initial") == {"facts": ["a", "b"]}
    assert span.json("output.value") == {"facts": ["a", "b"], "answer": "a and b"}


def test_changes_stand_where_they_were_made() -> None:
    """In-place changes are found, and credited to the node and phase that made them."""
    trace = traced(lambda stage: stage.run(agent(), {"facts": ["a"]}))

    assert trace.node("Search").patch == [
        {"op": "add", "path": "/facts/1", "value": "fact 1", "phase": "post", "seq": 1}
    ]
    assert trace.node("Search")["shared.changed"] == ("facts",)
    assert trace.node("Answer")["shared.added"] == ("answer",)
    assert trace.nodes[0].patch == []


def test_a_subclass_gives_the_flow_its_name() -> None:
    """A class of its own says what the flow is; its prep and post are phases of it."""

    class Research(Flow):
        def prep(self, shared: Any) -> Any:
            shared["begun"] = True
            return "prepared"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            note("post", prep_res, exec_res)
            shared["ended"] = True
            return "done"

    trace = traced(lambda stage: stage.run(Research(start=Answer()), {"facts": []}))

    assert trace.lines() == ["invoke_workflow Research", "  Answer"]
    span = trace.nodes[0]
    assert span["node.action"] == "done"
    assert span.writes == [("add", "/begun", "prep"), ("add", "/ended", "post")]
    assert trace.node("Answer").writes == [("add", "/answer", "post")]


def test_a_flow_without_nodes_runs_and_ends() -> None:
    """An empty flow has no path."""
    trace = traced(lambda stage: stage.run(Flow()))

    assert trace.lines() == ["invoke_workflow EmptyFlow"]
    assert trace.nodes[0]["flow.node_runs"] == 0


def test_an_exception_is_told_once_on_the_node_it_left() -> None:
    """The flow is an error too, but does not repeat the exception."""

    class Breaks(Node):
        def exec(self, prep_res: Any) -> Any:
            raise ZeroDivisionError("by zero")

    def program(stage: Any) -> Any:
        first = Answer()
        first >> Breaks()
        return stage.run(Flow(start=first), {"facts": []})

    trace = traced(program, raises=ZeroDivisionError)

    assert trace.lines() == [
        "invoke_workflow AnswerFlow [ZeroDivisionError]",
        "  Answer",
        "  Breaks [ZeroDivisionError, recorded]",
    ]
    assert trace.nodes[0]["flow.path"] == ("Answer", "Breaks")
    assert "node.post.duration" not in trace.nodes[0]


def test_an_exception_of_the_flow_itself_stands_on_its_span() -> None:
    """Prep and post of a flow are the flow's own."""

    class Clumsy(Flow):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            raise ValueError("late")

    trace = traced(
        lambda stage: stage.run(Clumsy(start=Answer()), {"facts": []}), raises=ValueError
    )

    assert trace.lines() == ["invoke_workflow Clumsy [ValueError, recorded]", "  Answer"]
    assert "node.post.duration" in trace.nodes[0]


def test_params_of_the_flow_reach_its_nodes() -> None:
    """What a node ran with is shown on its span."""

    class Show(Node):
        def exec(self, prep_res: Any) -> Any:
            return self.params["lang"]

    def program(stage: Any) -> Any:
        flow = Flow(start=Show())
        flow.set_params({"lang": "de"})
        return stage.run(flow)

    trace = traced(program)

    assert [node.json("node.params") for node in trace.nodes] == [{"lang": "de"}] * 2
    assert trace.node("Show").json("output.value") == "de"


def test_a_flow_runs_inside_a_flow_as_one_span() -> None:
    """A nested flow is a node of the outer one, and has its own route."""

    def program(stage: Any) -> Any:
        inner = agent()
        last = Answer()
        inner >> last
        return stage.run(Flow(start=inner), {"facts": ["a", "b"]})

    trace = traced(program)

    assert trace.lines() == [
        "invoke_workflow DecideFlow",
        "  invoke_workflow DecideFlow",
        "    Decide",
        "    Answer",
        "  Answer",
    ]
    outer, inner = trace.all("invoke_workflow DecideFlow")
    assert outer["flow.path"] == ("DecideFlow", "Answer")
    assert outer["flow.node_runs"] == 2
    assert inner["flow.path"] == ("Decide", "Answer")
    assert inner.pick("node.id", "node.iteration", "node.next", "node.action") == {
        "node.id": "DecideFlow",
        "node.iteration": 1,
        "node.next": "Answer",
        "node.action": "default",
    }
    assert "shared.initial" not in inner
