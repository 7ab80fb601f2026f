"""Nodes, actions, params and classes that misbehave: only what the framework calls is called."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnusedExpression=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from support.dunders import WAYS, make, misbehaving
from support.framework import AsyncFlow, AsyncNode, BatchFlow, BatchNode, Flow, Node
from support.honest import assert_honest
from support.tracing import Stage, Trace, act, compared, note


def honest(program: Any, **options: Any) -> Trace:
    """The trace of a program, plain and traced alike."""
    trace = compared(program, **options)
    assert_honest(trace)
    return trace


# --- Classes ---------------------------------------------------------------------------------

KEPT = frozenset({"__prepare__", "__call__", "__setattr__", "__getattribute__", "__copy__"})
"""Without these, no node could be made of a class, or copied by the framework."""


def meta(way: str) -> type:
    """A metaclass whose special methods misbehave while a program runs."""
    # To copy a node, Python asks its class for these; where they may be, they are counted.
    asked = frozenset[str]() if way == "counts" else frozenset({"__hash__", "__getattr__"})
    return misbehaving(type, way, keeps=KEPT | asked)


@pytest.mark.parametrize("content", ["values", "keys", "off"])
@pytest.mark.parametrize("way", WAYS)
def test_a_metaclass_is_not_asked(way: str, content: str) -> None:
    """For a hash, an instance check or whether two classes are equal."""
    cls: Any = types.new_class("Made", (Node,), {"metaclass": meta(way)})
    items: Any = types.new_class("Items", (BatchNode,), {"metaclass": meta(way)})
    flow: Any = types.new_class("Around", (Flow,), {"metaclass": meta(way)})

    def program(stage: Stage) -> None:
        first = cls(max_retries=2)
        first >> items() >> cls()
        flow(start=first).run({"class": cls, "instance": first})

    act(program)  # Python keeps for each class what it has asked to copy it
    trace = honest(program, content=content)
    assert trace.nodes[0]["flow.path"] == ("Made", "Items", "Made#2")


def test_a_metaclass_that_misreads_every_attribute() -> None:
    """Attributes of the class are read past it; the framework reads none by way of the class."""

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            if name != "__dict__" and name in seen:
                note("asked for", name)
            return super().__getattribute__(name)

    seen = ("__name__", "__qualname__", "__module__", "__mro__", "__bases__", "__doc__")
    cls: Any = Meta("Made", (Node,), {"exec": lambda self, prep_res: 1})
    assert "Made" in honest(lambda stage: note(cls().run({}))).lines()[0]


class _Text(str):
    """Rings where one of its methods is called."""

    __slots__ = ()

    def __str__(self) -> str:
        note("str of a name")
        return "another"

    def __format__(self, spec: str) -> str:
        note("format of a name")
        return "another"

    def __eq__(self, other: object) -> bool:
        note("eq of a name")
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    "name",
    [
        "a b\nc",
        "\u202egnirts",
        "\U0001f600" * 300,
        "<script>",
        "%s{}",
        "$cut",
        "[REDACTED]",
        "item",
    ],
)
def test_names_of_classes_may_be_anything(name: str) -> None:
    """They are cut, and otherwise shown as they are."""
    cls: Any = type(name, (Node,), {})
    trace = honest(lambda stage: Flow(start=cls()).run({}))
    assert trace.nodes[1]["node.class"] == (name if len(name) < 120 else f"{name[:119]}\u2026")


def test_names_that_are_no_plain_text() -> None:
    """A subclass of str, or text that UTF-8 cannot carry."""
    cls: Any = type("Made", (Node,), {})
    cls.__name__, cls.__qualname__ = _Text("Named"), _Text("Outer.\ud800Named")
    trace = honest(lambda stage: Flow(start=cls()).run({}))
    assert trace.nodes[1]["node.class"] == "Named"
    assert trace.nodes[1]["code.function.name"] == f"{__name__}.Outer.\\ud800Named"


MODULES: dict[str, Any] = {
    "missing": None,
    "a number": 5,
    "an object": make("object", "raises"),
    "a subclass of str": _Text("some.module"),
    "surrogates": "\ud800",
    "not loaded": "no.such.module",
    "turned off": "turned_off",
    "lazy": "lazy_module",
    "no module": "no_module",
}


@pytest.mark.parametrize("kind", MODULES)
def test_a_module_may_be_named_anything_or_nothing(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not in order is left out, and no module is made to load itself."""

    class Lazy(types.ModuleType):
        def __getattribute__(self, name: str) -> Any:
            note("loaded by", name)
            return super().__getattribute__(name)

    monkeypatch.setitem(sys.modules, "lazy_module", Lazy("lazy_module"))
    monkeypatch.setitem(sys.modules, "no_module", make("object", "raises"))
    monkeypatch.setitem(sys.modules, "turned_off", None)  # pyright: ignore[reportArgumentType]
    cls: Any = type("Made", (Node,), {})
    cls.__module__ = MODULES[kind]
    trace = honest(lambda stage: Flow(start=cls()).run({}))
    assert "code.file.path" not in trace.nodes[1]


def test_a_file_of_a_module_that_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module may say anything of where it is from."""
    module = types.ModuleType("odd_module")
    module.__file__ = make("str", "raises")
    monkeypatch.setitem(sys.modules, "odd_module", module)
    cls: Any = type("Made", (Node,), {"__module__": "odd_module"})
    assert "code.file.path" not in honest(lambda stage: Flow(start=cls()).run({})).nodes[1]


def test_methods_that_name_no_module() -> None:
    """The names of functions can be set to anything, too."""

    class Made(Node):
        def prep(self, shared: Any) -> Any:
            return 1

        def exec(self, prep_res: Any) -> Any:
            return 2

    Made.prep.__module__ = make("object", "raises")
    Made.exec.__qualname__ = _Text("Made.exec")
    assert honest(lambda stage: Flow(start=Made()).run({})).nodes[1]["node.class"] == "Made"


def test_a_file_whose_name_is_no_utf_8() -> None:
    """Such a path holds surrogates, which no exporter can encode."""
    path = "/srv/caf\udce9/nodes.py"
    source = "class Odd(Node):\n  def exec(self, prep_res):\n    return 1\n"
    namespace: dict[str, Any] = {"Node": Node, "__name__": "odd"}
    exec(compile(source, path, "exec"), namespace)  # noqa: S102 - a file with such a name
    trace = honest(lambda stage: Flow(start=namespace["Odd"]()).run({}))
    assert trace.nodes[1]["code.file.path"] == "/srv/caf\\udce9/nodes.py"


# --- Instances --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wait", "max_retries", "params", "cur_retry", "start_node"])
@pytest.mark.parametrize("way", WAYS)
def test_attributes_of_a_node_may_be_anything(name: str, way: str) -> None:
    """What the framework asks of them is all that is asked."""

    class Fails(Node):
        def exec(self, prep_res: Any) -> Any:
            raise OSError

        def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
            return "another"

    def program(stage: Stage) -> None:
        node, flow = Fails(max_retries=2), Flow(start=Node())
        for one in (node, flow):
            one.__dict__[name] = value
            try:
                one.run({})
            except BaseException as exc:  # noqa: BLE001 - whatever the value raises, in both runs
                note(type(exc).__name__)

    value = make("object", way)
    honest(program)


def test_a_wait_whose_class_has_no_hash() -> None:
    """It is compared with zero by the framework, and with nothing by us."""

    class Meta(type):
        def __hash__(cls) -> int:
            note("hash of a class")
            return 1

        def __eq__(cls, other: object) -> bool:
            note("eq of a class")
            return False

    class Wait(metaclass=Meta):
        def __gt__(self, other: object) -> bool:
            note("compared")
            return False

    class Fails(Node):
        def exec(self, prep_res: Any) -> Any:
            raise OSError

        def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
            return 1

    trace = honest(lambda stage: note(Fails(max_retries=2, wait=Wait()).run({Meta: Wait()})))
    assert trace.nodes[0]["node.attempts"] == 2


# --- Actions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["str", "object", "bytes", "int"])
def test_an_action_is_asked_what_the_framework_asks(kind: str, way: str) -> None:
    """Its truth, its hash and whether it is equal; as a key of the graph, nothing at all."""
    keeps = frozenset({"__hash__", "__eq__", "__bool__", "__len__"})
    action, plain = make(kind, way), make(kind, way, keeps=keeps)

    class Acts(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return shared["action"]

    def program(stage: Stage) -> None:
        for returned in (action, plain):
            node = Acts()
            node.successors[plain] = Node()
            try:
                Flow(start=node).run({"action": returned})
            except BaseException as exc:  # noqa: BLE001 - whatever the value raises, in both runs
                note(type(exc).__name__)

    trace = honest(program)
    if kind == "str":
        assert trace.node("Acts", 2)["node.action"] == "a text"
        assert trace.node("Acts", 2)["node.next"] == "Node"
    else:
        assert "node.action" not in trace.node("Acts", 2)


def test_an_action_that_claims_another_class() -> None:
    """It is no text, whatever it says."""

    class Claims:
        @property
        def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
            note("asked for its class")
            return str

    key = Claims()

    def program(stage: Stage) -> None:
        node = Node()
        node.successors[key] = Node()
        node.successors["default"] = Node()
        Flow(start=node).run({})

    trace = honest(program)
    assert ["Node", "Claims", "Node#2"] in trace.nodes[0].json("graph")["edges"]


@pytest.mark.parametrize("length", [1, 121, 10_000_000])
def test_a_long_action_is_cut(length: int) -> None:
    """Of a subclass of str, no copy of all is made."""

    class Acts(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return misbehaving(str, "counts")("a" * length)

    trace = honest(lambda stage: note(type(Acts().run({})).__name__))
    shown = trace.nodes[0]["node.action"]
    assert shown == "a" * length if length < 120 else f"{'a' * 119}\u2026"


# --- Params and batches -----------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_params_of_the_programs_own_kind(way: str) -> None:
    """Where the framework would copy a mapping, the copy is shown; else the class of it."""

    class Each(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"item": 1}]

        def _run(self, shared: Any) -> Any:
            try:
                self._orch(shared, make("dict", way))
            except BaseException as exc:  # noqa: BLE001 - whatever the value raises, in both runs
                note(type(exc).__name__)

    def program(stage: Stage) -> None:
        node = Node()
        node.set_params(make("dict", way))
        node.run({})
        Each(start=Node()).run({})

    honest(program)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["list", "object", "dict", "tuple"])
def test_a_batch_that_is_no_plain_list(kind: str, way: str) -> None:
    """The framework asks for its truth and iterates once; its length is the true one."""

    class Items(BatchNode):
        def prep(self, shared: Any) -> Any:
            return make(kind, way, keeps=frozenset({"__iter__", "__getitem__"}))

        def exec(self, prep_res: Any) -> Any:
            note("item")
            return 1

    def program(stage: Stage) -> None:
        try:
            Items().run({})
        except BaseException as exc:  # noqa: BLE001 - whatever the value raises, in both runs
            note(type(exc).__name__)

    trace = honest(program)
    if kind in {"list", "tuple"} and "item" in trace.result.log:
        assert trace.node("Items")["batch.size"] == 2


class Awaits(AsyncNode):
    """Gives an awaitable from one method to the next."""

    async def prep_async(self, shared: Any) -> Any:
        """A coroutine that is not awaited yet."""
        return self.later()

    async def later(self) -> str:
        """What it comes to."""
        return "later"

    async def exec_async(self, prep_res: Any) -> Any:
        """Awaits it."""
        return await prep_res


def test_awaitables_between_methods() -> None:
    """They can be awaited once, by the program."""

    async def program(stage: Stage) -> None:
        await AsyncFlow(start=Awaits()).run_async({})

    assert honest(program).nodes[1].json("output.value") == "later"
