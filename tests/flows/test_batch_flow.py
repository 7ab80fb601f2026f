"""BatchFlow: one way through the flow for each set of params."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

from typing import Any

from support.framework import BatchFlow, Flow, Node
from support.tracing import note, traced


class Load(Node):
    """Reads the file that the params name."""

    def exec(self, prep_res: Any) -> Any:
        """The file's name, unless it is bad."""
        note("load", self.params)
        if self.params["file"] == "bad":
            raise OSError("unreadable")
        return self.params["file"]

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Keeps the name."""
        shared.setdefault("files", []).append(exec_res)


class Count(Node):
    """Follows Load."""


class Files(BatchFlow):
    """One run for each name in the store."""

    def prep(self, shared: Any) -> Any:
        """A set of params for each."""
        return [{"file": name} for name in shared["names"]]


def files() -> Any:
    """A batch flow of two nodes."""
    load = Load()
    load >> Count()
    return Files(start=load)


def test_each_set_of_params_is_an_item_with_its_own_route() -> None:
    """Nodes stand below the item they ran for."""
    trace = traced(lambda stage: stage.run(files(), {"names": ["a", "b"]}))

    assert trace.lines() == [
        "invoke_workflow Files",
        "  Files item",
        "    Load",
        "    Count",
        "  Files item",
        "    Load",
        "    Count",
    ]
    assert [item.json("node.params") for item in trace.all("Files item")] == [
        {"file": "a"},
        {"file": "b"},
    ]
    assert trace.values("item.index") == [0, 1]
    assert trace.values("flow.path", "Files item") == [("Load", "Count")] * 2
    assert trace.values("flow.node_runs", "Files item") == [2, 2]
    assert trace.values("node.iteration", "Load") == [1, 1]
    assert trace.values("node.next", "Load") == ["Count", "Count"]
    assert [node.json("node.params") for node in trace.all("Load")] == [
        {"file": "a"},
        {"file": "b"},
    ]


def test_the_flow_sums_up_its_items() -> None:
    """Size, failures and node runs are those of all items; there is no single path."""
    span = traced(lambda stage: stage.run(files(), {"names": ["a", "b"]})).nodes[0]

    assert span.pick("batch.size", "batch.failed", "batch.items_traced", "flow.node_runs") == {
        "batch.size": 2,
        "batch.failed": 0,
        "batch.items_traced": 2,
        "flow.node_runs": 4,
    }
    assert "flow.path" not in span
    assert "batch.retried" not in span
    assert span["node.base"] == "BatchFlow"


def test_items_beyond_the_cap_have_no_span_of_their_own() -> None:
    """Their nodes stay, below the flow."""
    trace = traced(
        lambda stage: stage.run(files(), {"names": ["a", "b"]}),
        max_batch_items=1,
    )

    assert trace.lines() == [
        "invoke_workflow Files",
        "  Files item",
        "    Load",
        "    Count",
        "  Load",
        "  Count",
    ]
    assert trace.nodes[0]["batch.size"] == 2
    assert trace.nodes[0]["batch.items_traced"] == 1
    assert trace.nodes[0]["flow.node_runs"] == 4


def test_an_item_that_fails_ends_the_flow() -> None:
    """Item and flow are errors; the exception is told on the node."""
    trace = traced(lambda stage: stage.run(files(), {"names": ["a", "bad", "c"]}), raises=OSError)

    assert trace.lines() == [
        "invoke_workflow Files [OSError]",
        "  Files item",
        "    Load",
        "    Count",
        "  Files item [OSError]",
        "    Load [OSError, recorded]",
    ]
    assert trace.nodes[0]["batch.failed"] == 1


def test_a_batch_that_ends_early_counts_the_items_that_began() -> None:
    """The list that prep returned stays with the framework, so later items are unknown."""
    span = traced(
        lambda stage: stage.run(files(), {"names": ["a", "bad", "d"]}), raises=OSError
    ).nodes[0]

    assert span["batch.size"] == 2


def test_an_empty_batch_runs_no_node() -> None:
    """A batch of nothing is a batch of size 0."""
    trace = traced(lambda stage: stage.run(files(), {"names": []}))

    assert trace.lines() == ["invoke_workflow Files"]
    assert trace.nodes[0]["batch.size"] == 0
    assert trace.nodes[0]["batch.failed"] == 0


def test_batch_flows_nest() -> None:
    """Each level has its own items, and inner nodes see the params of both."""

    class Folders(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"folder": "x"}, {"folder": "y"}]

    class Inner(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"file": f"{self.params['folder']}1"}]

    trace = traced(lambda stage: stage.run(Folders(start=Inner(start=Load()))))

    assert trace.lines() == [
        "invoke_workflow Folders",
        "  Folders item",
        "    invoke_workflow Inner",
        "      Inner item",
        "        Load",
        "  Folders item",
        "    invoke_workflow Inner",
        "      Inner item",
        "        Load",
    ]
    assert [node.json("node.params") for node in trace.all("Load")] == [
        {"folder": "x", "file": "x1"},
        {"folder": "y", "file": "y1"},
    ]
    assert [node.json("node.params") for node in trace.all("invoke_workflow Inner")] == [
        {"folder": "x"},
        {"folder": "y"},
    ]


def test_a_batch_flow_stands_in_a_flow() -> None:
    """It is one node of the outer route."""

    def program(stage: Any) -> Any:
        batch = files()
        batch >> Count()
        return stage.run(Flow(start=batch), {"names": ["a"]})

    trace = traced(program)

    assert trace.lines() == [
        "invoke_workflow FilesFlow",
        "  invoke_workflow Files",
        "    Files item",
        "      Load",
        "      Count",
        "  Count",
    ]
    assert trace.nodes[0]["flow.path"] == ("Files", "Count")
