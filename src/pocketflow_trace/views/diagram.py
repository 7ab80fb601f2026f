"""Draws the flows of a run as a Mermaid flowchart: the graph, and the path that was taken.

Pure. A flow that ran several times is drawn once, with sums over its runs. All names are escaped,
whatever a program calls its classes and actions.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record.facts import count, text, workflow
from pocketflow_trace.text import duration, plural, printable, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pocketflow_trace.record.model import Entry

MAX_LABEL: Final = 60
"""Characters of a name."""

_MAX_ACTION: Final = 80
"""Characters of an action in the graph that the core tells; that of a node is not cut."""

_PLAIN: Final = frozenset(" _.,+-/")
"""Characters beside letters and digits that mean nothing to Mermaid inside a quoted label."""

_BACKSLASH: Final = "\u2216"
"""Looks like one. Mermaid breaks lines at `\\n`, even where that backslash stands by its number."""

_ENDS: Final = {"end": '(["end"])', "dead": '{{"dead end"}}'}
"""Where a flow ended: as it should, or for want of a successor. By the sign of their ids."""

_THROUGH: Final = frozenset({"item", "phase", "other"})
"""What may stand between a flow and the nodes that it runs."""

_CLASSES: Final = (
    "classDef never stroke-dasharray:4 4,fill:none",
    "classDef failed stroke:red,stroke-width:3px",
    "classDef dead stroke:orange,stroke-width:3px",
)


@dataclass(slots=True)
class NodeSums:
    """What became of one node, or of a flow as a whole, over all of its runs.

    Attributes:
        runs: How often it ran.
        nanos: Time of all of its runs.
        failed: How many of them failed.
        unfinished: How many of them had not ended.
        is_flow: Is it a flow?
    """

    runs: int = 0
    nanos: int = 0
    failed: int = 0
    unfinished: int = 0
    is_flow: bool = False

    def add(self, entry: Entry) -> None:
        """Count one run."""
        self.runs += 1
        self.failed += entry.status == "error"
        self.is_flow = self.is_flow or entry.kind == "flow"
        if entry.end is None:
            self.unfinished += 1
        else:
            self.nanos += entry.end - entry.start

    def words(self) -> str:
        """Return `3 runs, 1.24 s, 1 failed`."""
        if not self.runs:
            return "never run"
        texts = [plural(self.runs, "run")]
        if self.unfinished < self.runs:
            texts.append(duration(self.nanos))
        texts += [f"{self.failed:,} failed"] if self.failed else []
        texts += [f"{self.unfinished:,} unfinished"] if self.unfinished else []
        return ", ".join(texts)


@dataclass(slots=True)
class FlowSums:
    """One flow of a program with what its runs came to.

    Attributes:
        name: Its name.
        start: Id of its first node; empty where unknown.
        sums: Of the flow as a whole.
        nodes: Its nodes by id, in the order of the graph; those that only ran come last.
        edges: From, action and to, with the times they were taken; to is `end` or `dead` in
            `exits`.
        exits: From, action and how it ended there, with the times.
        is_cut: Is the graph that the trace tells of cut?
        untraced: Items of a batch that have no span, so that what ran in them is not counted.
    """

    name: str
    start: str = ""
    sums: NodeSums = field(default_factory=NodeSums)
    nodes: dict[str, NodeSums] = field(default_factory=dict[str, NodeSums])
    edges: Counter[tuple[str, str, str]] = field(default_factory=Counter[tuple[str, str, str]])
    exits: Counter[tuple[str, str, str]] = field(default_factory=Counter[tuple[str, str, str]])
    is_cut: bool = False
    untraced: int = 0


# --- Adding up ------------------------------------------------------------------------------


def flows(entries: Sequence[Entry]) -> list[FlowSums]:
    """Add up the flows among entries: what has one name and one graph is one flow.

    Args:
        entries: All entries of a run, by start.
    """
    found: dict[tuple[str, str], FlowSums] = {}
    for entry in entries:
        if entry.kind == "flow":
            name = workflow(entry)
            key = (name, text(entry, semconv.GRAPH_HASH))
            _add_flow(found.setdefault(key, FlowSums(name)), entry)
    return list(found.values())


def _add_flow(flow: FlowSums, entry: Entry) -> None:
    flow.sums.add(entry)
    _add_graph(flow, entry)
    size, traced = count(entry, semconv.BATCH_SIZE), count(entry, semconv.BATCH_ITEMS_TRACED)
    flow.untraced += max((size or 0) - (traced or 0), 0)
    for node in _node_runs(entry):
        _add_node(flow, node)


def _add_graph(flow: FlowSums, entry: Entry) -> None:
    graph = _graph(entry)
    flow.start = flow.start or str(graph.get("start", ""))
    flow.is_cut = flow.is_cut or "$cut" in graph
    nodes, edges = graph.get("nodes"), graph.get("edges")
    for node in cast("list[object]", nodes) if isinstance(nodes, list) else []:
        flow.nodes.setdefault(str(node), NodeSums())
    for edge in cast("list[object]", edges) if isinstance(edges, list) else []:
        if isinstance(edge, list) and len(parts := cast("list[object]", edge)) == 3:  # noqa: PLR2004 - from, action, to
            source, action, target = map(str, parts)
            flow.edges[source, action, target] += 0


def _graph(entry: Entry) -> Mapping[str, object]:
    try:
        graph = json.loads(text(entry, semconv.GRAPH) or "{}")
    except (ValueError, RecursionError):  # a limit of the SDK's cut it
        return {"$cut": {}}
    return cast("Mapping[str, object]", graph) if isinstance(graph, dict) else {}


def _node_runs(flow: Entry) -> Iterator[Entry]:
    """Yield the runs of a flow's own nodes, in order."""
    pending = list(reversed(flow.children))
    while pending:
        entry = pending.pop()
        if entry.kind in _THROUGH:
            pending.extend(reversed(entry.children))
        elif text(entry, semconv.NODE_ID):  # a flow that was run by hand has none
            yield entry


def _add_node(flow: FlowSums, node: Entry) -> None:
    source, action = text(node, semconv.NODE_ID), text(node, semconv.NODE_ACTION)
    action = shorten(action, _MAX_ACTION)
    flow.start = flow.start or source
    flow.nodes.setdefault(source, NodeSums()).add(node)
    if following := text(node, semconv.NODE_NEXT):
        flow.nodes.setdefault(following, NodeSums())
        flow.edges[source, action, following] += 1
    elif node.attributes.get(semconv.NODE_DEAD_END):
        flow.exits[source, action, "dead"] += 1
    elif node.end is not None and node.status != "error":
        flow.exits[source, action, "end"] += 1


# --- Drawing --------------------------------------------------------------------------------


def mermaid(found: Sequence[FlowSums]) -> str:
    """Return flows as the text of one Mermaid flowchart, each in a box of its own."""
    lines = ["flowchart TD", *(line for n, flow in enumerate(found) for line in _flow(n, flow))]
    return "\n".join([*lines, *(f"    {line}" for line in _CLASSES), ""])


def escaped(text: str) -> str:
    """Return a text that Mermaid shows as it is: all but plain characters by their number."""
    short = shorten(printable(text), MAX_LABEL).replace("\\", _BACKSLASH)
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in short) or " "


def _flow(number: int, flow: FlowSums) -> Iterator[str]:
    # On one line: Mermaid leaves no room for a second line of a title.
    yield f'    subgraph f{number}["{escaped(flow.name)} - {escaped(flow.sums.words())}"]'
    yield "        direction TB"  # or Mermaid lays a box of its own out from left to right
    if flow.is_cut:
        yield "        %% the graph is cut in the trace: only a part of it is drawn"
    if flow.untraced:
        yield f"        %% {plural(flow.untraced, 'item')} of a batch not traced, not counted here"
    ids = {node: f"f{number}n{place}" for place, node in enumerate(flow.nodes)}
    for line in (*_nodes(flow, ids), *_edges(flow, ids), *_exits(number, flow, ids)):
        yield f"        {line}"
    yield "    end"
    yield from (f"    class {ids[node]} {name}" for node, name in _marks(flow) if node in ids)


def _label(name: str, sums: NodeSums) -> str:
    return f"{escaped(name)}<br/>{escaped(sums.words())}"


def _nodes(flow: FlowSums, ids: Mapping[str, str]) -> Iterator[str]:
    for node, sums in flow.nodes.items():
        left, right = ("[[", "]]") if sums.is_flow else ("([", "])") if node == flow.start else "[]"
        yield f'{ids[node]}{left}"{_label(node, sums)}"{right}'


def _edges(flow: FlowSums, ids: Mapping[str, str]) -> Iterator[str]:
    for (source, action, target), times in flow.edges.items():
        if source in ids and target in ids:
            yield f"{ids[source]} {_arrow(action, times)} {ids[target]}"


def _exits(number: int, flow: FlowSums, ids: Mapping[str, str]) -> Iterator[str]:
    for place, ((source, action, kind), times) in enumerate(flow.exits.items()):
        end = f"f{number}x{place}"
        yield f"{ids[source]} {_arrow(action, times)} {end}{_ENDS[kind]}"


def _arrow(action: str, times: int) -> str:
    """Return an arrow: thick where it was taken, dotted where never; `default` goes unsaid."""
    name = "" if action in {"", "default"} else escaped(action)
    words = " ".join(filter(None, (name, f"{times:,}x" if times else "")))
    label = f'|"{words}"|' if words else ""
    return ("==>" if times else "-.->") + label


def _marks(flow: FlowSums) -> Iterator[tuple[str, str]]:
    """Yield node and class of the nodes that are drawn in another way."""
    dead = {source for source, _, kind in flow.exits if kind == "dead"}
    for node, sums in flow.nodes.items():
        if not sums.runs:
            yield node, "never"
        elif sums.failed:
            yield node, "failed"
        elif node in dead:
            yield node, "dead"
