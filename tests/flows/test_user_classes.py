"""Nodes that are more than plain classes: nothing of theirs is called, or written to."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import warnings
import weakref
from typing import Any

import pytest

from support.framework import AsyncNode, BaseNode, BatchNode, Flow, Node
from support.tracing import Stage, act, note, traced, tracing


class Leaf(Node):
    """A plain node; at module level, so that it can be pickled."""

    def exec(self, prep_res: Any) -> Any:
        """Something."""
        return "leaf"


def flow_of(node: Any) -> Any:
    """A node between two others."""
    first = Leaf()
    first >> node >> Leaf()
    return Flow(start=first)


class Slotted(Node):
    """Has slots beside what the framework needs."""

    __slots__ = ("counter",)

    def exec(self, prep_res: Any) -> Any:
        """Uses a slot."""
        self.counter = getattr(self, "counter", 0) + 1
        if self.counter < 2:
            raise OSError("first")
        return self.counter


def test_slots() -> None:
    """Attempts are counted without an attribute to count in."""
    trace = traced(lambda stage: stage.run(flow_of(Slotted(max_retries=3))))

    assert trace.node("Slotted")["node.attempts"] == 2


def test_counting_getattr_and_setattr() -> None:
    """Every look at, and write to, a node is one that the plain run makes as well."""

    class Counting(Node):
        def __getattr__(self, name: str) -> Any:
            note("getattr", name)
            raise AttributeError(name)

        def __setattr__(self, name: str, value: Any) -> None:
            note("setattr", name)
            super().__setattr__(name, value)

        def exec(self, prep_res: Any) -> Any:
            if self.cur_retry < 1:
                raise OSError("first")

    def program(stage: Stage) -> Any:
        Flow(start=Counting(max_retries=2)).run({})

    trace = traced(program)

    assert trace.node("Counting")["node.attempts"] == 2


def test_a_getattribute_that_counts() -> None:
    """Not even the reading of existing attributes is added to."""

    class Counting(Node):
        def __getattribute__(self, name: str) -> Any:
            note(name)
            return super().__getattribute__(name)

    def program(stage: Stage) -> Any:
        Flow(start=Counting(max_retries=2)).run({})

    trace = traced(program)

    assert trace.lines() == [
        "invoke_workflow CountingFlow",
        "  Counting",
        "    Counting attempt",
    ]


def test_frozen_dataclass_nodes() -> None:
    """A node that can't be written to works as far as the framework lets it."""

    @dataclasses.dataclass(frozen=True, eq=True)
    class Frozen(BaseNode):
        name: str

        def __post_init__(self) -> None:
            object.__setattr__(self, "params", {})
            object.__setattr__(self, "successors", {})

        def exec(self, prep_res: Any) -> Any:
            return self.name

    trace = traced(lambda stage: stage.run(Frozen("ice")))

    assert trace.node("Frozen").json("output.value") == "ice"


def test_a_dataclass_node_without_a_hash() -> None:
    """Equal nodes, which can't be hashed, are told apart by identity."""

    @dataclasses.dataclass
    class Equal(BaseNode):
        size: int = 0

        def __post_init__(self) -> None:
            super().__init__()

    def program(stage: Stage) -> Any:
        first = Equal()
        first >> Equal() >> Equal()
        return stage.run(Flow(start=first))

    assert traced(program).nodes[0]["flow.path"] == ("Equal", "Equal#2", "Equal#3")


def test_a_metaclass_that_counts() -> None:
    """A class is neither written to nor asked for anything by way of its metaclass."""

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            if counting:
                note("class", name)
            return super().__getattribute__(name)

        def __setattr__(cls, name: str, value: Any) -> None:
            note("class set", name)
            super().__setattr__(name, value)

        def __hash__(cls) -> int:
            note("class hash")
            return super().__hash__()

        def __instancecheck__(cls, instance: object) -> bool:
            note("isinstance")
            return super().__instancecheck__(instance)

    counting: list[bool] = []

    def program(stage: Stage) -> Any:
        class Made(Node, metaclass=Meta):
            def exec(self, prep_res: Any) -> Any:
                return "made"

        flow = flow_of(Made(max_retries=2))
        counting.append(True)
        try:
            flow.run({})
        finally:
            counting.clear()

    trace = traced(program)

    assert trace.node("Made")["node.id"] == "Made"
    assert trace.node("Made")["code.function.name"].endswith("Made")


def test_nodes_that_can_not_be_compared_or_shown() -> None:
    """`__eq__`, `__hash__`, `__repr__` and `__bool__` of nodes are not used."""

    class Shy(Node):
        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

        def __hash__(self) -> int:
            raise AssertionError("hashed")

        def __repr__(self) -> str:
            raise AssertionError("shown")

        def __len__(self) -> int:
            note("len")
            return 1

    def program(stage: Stage) -> Any:
        first = Shy(max_retries=2)
        first >> Shy()
        Flow(start=first).run({})

    assert traced(program).nodes[0]["flow.path"] == ("Shy", "Shy#2")


def test_params_and_successors_as_properties() -> None:
    """Where a class keeps them elsewhere, what can't be read is not told."""

    class Elsewhere(Node):
        @property
        def params(self) -> Any:
            note("params")
            return {"from": "property"}

        @params.setter
        def params(self, value: Any) -> None:
            note("set params")

        @property
        def max_retries(self) -> int:
            return 2

        @max_retries.setter
        def max_retries(self, value: int) -> None:
            pass

    trace = traced(lambda stage: stage.run(Elsewhere()))

    assert trace.lines() == ["Elsewhere", "  Elsewhere attempt"]
    assert trace.node("Elsewhere")["node.max_retries"] == 2
    assert "node.params" not in trace.node("Elsewhere")


def test_a_node_copied_while_it_runs() -> None:
    """`copy` and `deepcopy` inside a run give nodes that run."""

    class Copies(Node):
        def prep(self, shared: Any) -> Any:
            return shared

        def exec(self, prep_res: Any) -> Any:
            if not prep_res.get("copied"):
                prep_res["copied"] = True
                for made in (copy.copy(self), copy.deepcopy(self)):
                    note(sorted(vars(made)))
                    made.run(prep_res)

    trace = traced(lambda stage: stage.run(flow_of(Copies(max_retries=2))))

    assert [line.strip() for line in trace.lines()].count("Copies") == 3


def test_nodes_and_flows_pickled_while_traced() -> None:
    """What is pickled is the node as it is, and comes back as one."""
    with tracing() as running:
        revived = pickle.loads(pickle.dumps(flow_of(Leaf(max_retries=2))))  # noqa: S301 - our own
        revived.run({})
    plain = pickle.loads(pickle.dumps(revived))  # noqa: S301 - our own

    assert running.trace().nodes[0]["flow.path"] == ("Leaf", "Leaf#2", "Leaf#3")
    assert act(lambda stage: stage.run(plain)).raised == ()


@pytest.mark.parametrize("owner", [Node, AsyncNode, BatchNode, Flow])
def test_methods_pickled_while_traced(owner: Any) -> None:
    """Functions of the framework go by name, as in multiprocessing, and come back the same."""
    with tracing():
        revived = pickle.loads(pickle.dumps(owner()._run))  # noqa: S301 - our own
        assert (type(revived.__self__), revived.__name__) == (owner, "_run")


def test_nothing_is_left_on_instances_and_classes() -> None:
    """During exec a node holds what it always does."""

    class Looks(Node):
        def exec(self, prep_res: Any) -> Any:
            note(sorted(vars(self)), sorted(vars(type(self))), type(self) is Looks)
            return None

    traced(lambda stage: stage.run(flow_of(Looks(max_retries=2))))


def test_self_in_exec_is_the_node() -> None:
    """No stand-in is handed to the user's methods."""

    class Checks(Node):
        def prep(self, shared: Any) -> Any:
            shared["node"] = self
            return shared

        def exec(self, prep_res: Any) -> Any:
            note(prep_res["node"] is self, type(self).__name__)
            raise OSError

        def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
            note(prep_res["node"] is self)

    def program(stage: Stage) -> Any:
        Checks(max_retries=2).run({})

    traced(program)


@pytest.mark.parametrize("phase", ["prep", "exec", "post", "exec_fallback"])
def test_a_warning_keeps_its_file_and_line(phase: str) -> None:
    """`stacklevel=2` names who called the method: the framework's line, as in a plain run."""

    class Warns(Node):
        def prep(self, shared: Any) -> Any:
            self.maybe("prep")

        def exec(self, prep_res: Any) -> Any:
            self.maybe("exec")
            if phase == "exec_fallback":
                raise OSError

        def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
            self.maybe("exec_fallback")

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            self.maybe("post")

        def maybe(self, here: str) -> None:
            if here == phase:
                warnings.warn("deprecated", DeprecationWarning, stacklevel=3)

    trace = traced(lambda stage: stage.run(flow_of(Warns(max_retries=2))))

    (warning,) = trace.result.warnings
    assert warning.startswith("__init__.py:")
    assert warning.endswith("DeprecationWarning: deprecated")


def test_warnings_of_async_nodes_keep_their_file_and_line() -> None:
    """The same for coroutines."""

    class Warns(AsyncNode):
        async def prep_async(self, shared: Any) -> Any:
            warnings.warn("in prep", stacklevel=2)

        async def exec_async(self, prep_res: Any) -> Any:
            warnings.warn("in exec", stacklevel=2)

    trace = traced(lambda stage: stage.run_async(Warns(max_retries=2)))

    assert len(trace.result.warnings) == 2


def test_generators_and_streams_are_not_consumed() -> None:
    """What prep and exec hand on can be read once only, by the program."""

    class Streams(Node):
        def prep(self, shared: Any) -> Any:
            return iter([1, 2, 3])

        def exec(self, prep_res: Any) -> Any:
            return (note("item", item) or item for item in prep_res)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["items"] = list(exec_res)
            shared["stream"] = iter("rest")

    def program(stage: Stage) -> Any:
        store: dict[str, Any] = {}
        Flow(start=Streams()).run(store)
        return store["items"], "".join(store["stream"])

    trace = traced(program)

    assert trace.result.result == ([1, 2, 3], "rest")


def test_a_class_named_after_the_frameworks() -> None:
    """Names of the user's classes mean nothing."""
    batch: Any = type("BatchNode", (Node,), {"exec": lambda self, items: "one"})
    trace = traced(lambda stage: stage.run(batch(max_retries=2)))

    assert trace.lines() == ["BatchNode", "  BatchNode attempt"]
    assert trace.node("BatchNode")["node.base"] == "Node"


def test_many_short_lived_classes() -> None:
    """Classes made in a loop are told by their own names, and not kept."""
    with tracing() as running:
        references = [
            weakref.ref(made)
            for made in (type(f"Made{n}", (Node,), {}) for n in range(20))
            if made().run({}) is None
        ]
        gc.collect()
        assert sum(reference() is not None for reference in references) <= 1
    assert [node.name for node in running.trace().nodes] == [f"Made{n}" for n in range(20)]
