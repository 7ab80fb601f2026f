"""The graph of a flow: its nodes by stable ids, and the actions that lead from one to another.

Read through instance dicts alone. A node's id is its class's name, with ``#2``, ``#3`` for further
nodes of one class in the order in which a walk from the start node meets them, so it is the same
in every run of the same graph.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from opentelemetry.instrumentation.pocketflow.capture import classes, reading, redact
from opentelemetry.instrumentation.pocketflow.capture.preview import (
    LOOK_AHEAD,
    cut_text,
    dumps,
    shortened,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.instrumentation.pocketflow.capture.preview import Json

_MAX_NODES: Final = 1_000
"""Nodes beyond are still named when they run, but not walked to."""
_MAX_TEXT: Final = 80


class Description(NamedTuple):
    """A graph without the objects in it."""

    start: str
    nodes: tuple[str, ...]
    edges: tuple[tuple[str, str, str], ...]
    """From, action, to."""


class Graph:
    """Ids for the nodes of one flow.

    Args:
        start: the start node, or None.
        name_of: the name of a node's class, or of a nested flow.
    """

    def __init__(self, start: object | None, name_of: Callable[[object], str]) -> None:
        self._name_of = name_of
        self._ids: dict[int, str] = {}
        # The dicts are kept, so that their ids stay theirs for as long as the graph is used.
        self._keys: list[object] = []
        self._names: Counter[str] = Counter()
        self.description = self._walk(start)

    def id_of(self, node: object) -> str:
        """The id of a node or of a copy of it; nodes that the walk did not meet get a new one."""
        successors = classes.successors_of(node)
        key = node if successors is None else successors
        known = self._ids.get(id(key))
        return known if known is not None else self._name(node, key)

    def _name(self, node: object, key: object) -> str:
        name = cut_text(self._name_of(node), _MAX_TEXT)
        self._names[name] += 1
        count = self._names[name]
        name = name if count == 1 else f"{name}#{count}"
        self._ids[id(key)] = name
        self._keys.append(key)
        return name

    def _walk(self, start: object | None) -> Description | None:
        if start is None:
            return None
        edges: list[tuple[str, str, str]] = []
        first = self.id_of(start)
        pending = deque([(first, classes.successors_of(start))])
        while pending:
            source, successors = pending.popleft()
            for action, target in list((successors or {}).items()):
                if target is None:
                    continue
                following = classes.successors_of(target)
                key = target if following is None else following
                known = self._ids.get(id(key))
                if known is None:
                    if len(self._keys) >= _MAX_NODES:
                        continue
                    known = self._name(target, key)
                    pending.append((known, following))
                edges.append((source, _action_text(action), known))
        return Description(first, tuple(self._ids.values()), tuple(edges))


def _action_text(action: object) -> str:
    if reading.is_instance(action, str):
        seen = str.__getitem__(cast("str", action), slice(_MAX_TEXT + LOOK_AHEAD + 1))
        return shortened(seen, _MAX_TEXT, redact.in_use)
    cls: type = type(action)
    return reading.class_name(cls)


@lru_cache(maxsize=128)
def describe(description: Description, budget: int) -> tuple[str, str]:
    """The graph as JSON within a budget of bytes, and the hash of the uncut graph."""
    digest = hashlib.sha256(_to_json(description).encode("utf-8", "replace")).hexdigest()[:16]
    text = _to_json(description)
    edges, nodes = len(description.edges), len(description.nodes)
    while len(text.encode("utf-8", "replace")) > budget and (edges or nodes):
        edges, nodes = (edges // 2, nodes) if edges else (0, nodes // 2)
        text = _to_json(description, edges, nodes)
    return text, digest


def _to_json(description: Description, edges: int | None = None, nodes: int | None = None) -> str:
    all_edges, all_nodes = description.edges, description.nodes
    graph: dict[str, Json] = {
        "start": description.start,
        "nodes": list(all_nodes[:nodes]),
        "edges": [cast("Json", list(edge)) for edge in all_edges[:edges]],
    }
    if (edges is not None and edges < len(all_edges)) or (
        nodes is not None and nodes < len(all_nodes)
    ):
        graph["$cut"] = {"nodes": len(all_nodes), "edges": len(all_edges)}
    return dumps(graph)
