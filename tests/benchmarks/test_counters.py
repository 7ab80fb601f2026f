"""What makes tracing cheap, counted instead of timed: it does not depend on how large values are.

Every count is of what the tracer does while one node runs on a store that has been looked at
before: the calls that the interpreter reports, the items that are compared, the bytes of the span.
"""

# The framework's classes are Any here (see support.framework).
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import collections
import gc
import operator
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from support.framework import Flow, Node
from support.tracing import Stage, Trace, traced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KILO, MEGA = 10**3, 10**6
SIZES = (100 * KILO, 100 * MEGA)
SPAN_BYTES = 6144
BUDGET = 1_000
"""Items below the top level that are watched, in the tests that count these."""
NODES = 6

CALLS: collections.Counter[str] = collections.Counter()
"""Calls of methods of the leaves, by name."""

_COUNTED = (
    *("__bool__", "__contains__", "__copy__", "__deepcopy__", "__eq__", "__format__"),
    *("__getattr__", "__getattribute__", "__getitem__", "__getstate__", "__hash__", "__iter__"),
    *("__len__", "__lt__", "__ne__", "__reduce__", "__reduce_ex__", "__repr__", "__sizeof__"),
    *("__str__", "encode"),
)


def counting(base: type[Any]) -> type[Any]:
    """A subclass that counts the calls of its methods, and else is like its base."""

    def method(name: str) -> Callable[..., Any]:
        def counted(self: object, *args: Any) -> Any:
            CALLS[name] += 1
            return getattr(base, name)(self, *args)

        return counted

    return type(f"Counting{base.__name__}", (base,), {name: method(name) for name in _COUNTED})


Leaf: Any = counting(object)
Text: Any = counting(str)
Data: Any = counting(bytes)
Items: Any = counting(list)
Pairs: Any = counting(dict)


def texts(size: int) -> dict[str, Any]:
    """A few long texts that add up to that many bytes."""
    return {f"text {i}": "x" * (size // 4) for i in range(4)}


def leaves(size: int) -> dict[str, Any]:
    """Objects of the user's own classes: texts, bytes, and some that cannot be looked into."""
    return {
        "text": Text("x" * (size // 2)),
        "data": Data(b"x" * (size // 2)),
        "leaves": [Leaf() for _ in range(50)],
        "containers": Items([Pairs({"leaf": Leaf()})]),
    }


def pages(size: int) -> dict[str, Any]:
    """A list of texts that add up to that many bytes."""
    return {"pages": ["x" * (size // 100) + str(i) for i in range(100)]}


SHAPES = [texts, leaves, pages]

MANY: dict[str, Callable[[int], dict[str, Any]]] = {
    "dicts in a list": lambda number: {"rows": [{"id": i} for i in range(number)]},
    "lists in a dict": lambda number: {"rows": {str(i): [i] for i in range(number)}},
    "dicts at the top": lambda number: {str(i): {"id": i} for i in range(number)},
    "lists at the top": lambda number: {str(i): list(range(100)) for i in range(number)},
    "numbers": lambda number: {"numbers": list(range(number))},
}
"""Stores with that many containers, or items of one."""


class Counts(NamedTuple):
    """What the tracer does for one node."""

    events: int
    """Calls of functions, of Python and of C, as a profiler is told of them."""
    compared: int
    """Items whose identity is compared."""


class Watch:
    """Counts what happens from one node to the next."""

    def __init__(self) -> None:
        self.counts: list[Counts] = []
        self._events = 0
        self._compared = 0
        self._since = (0, 0)

    def event(self, frame: object, event: str, arg: object) -> None:
        """For `sys.setprofile`."""
        self._events += event in {"call", "c_call"}

    def comparing(self, compare: Callable[[object, object], bool]) -> Any:
        """The comparison, counted."""

        def counted(one: object, other: object) -> bool:
            self._compared += 1
            self._events -= 2  # this one and that one, which a profiler would not see otherwise
            return compare(one, other)

        return counted

    def node_begins(self) -> None:
        """All since the last node began was for that one."""
        events, compared = self._since
        self.counts.append(Counts(self._events - events, self._compared - compared))
        self._since = self._events, self._compared


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Watches the comparisons of the tracer, whichever module makes them."""
    watch = Watch()
    for module in _modules_of_the_tracer():
        for name, value in list(vars(module).items()):
            if value is operator.is_ or value is operator.is_not:
                monkeypatch.setattr(module, name, watch.comparing(value))
    return watch


def _modules_of_the_tracer() -> Iterator[Any]:
    for name, module in list(sys.modules.items()):
        if name.startswith("opentelemetry.instrumentation.pocketflow"):
            yield module


def run(watch: Watch, store: dict[Any, Any], act: Callable[[Any], None], **options: Any) -> Trace:
    """A run of a few nodes, watched.

    Args:
        watch: counts from node to node.
        store: the shared store.
        act: what each node does with it.
        **options: of the instrumentor.
    """

    class Step(Node):
        def prep(self, shared: Any) -> Any:
            watch.node_begins()

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            act(shared)
            shared["count"] = shared.get("count", 100) + 1
            return "next"

    first = last = Step()
    for _ in range(NODES):
        last = last.next(Step(), "next")

    def program(stage: Stage) -> None:
        watch.counts.clear()
        flow = Flow(start=first)
        gc.collect()
        gc.disable()  # what is collected calls back
        sys.setprofile(watch.event)
        try:
            flow.run(dict(store))
        finally:
            sys.setprofile(None)
            gc.enable()

    return traced(program, **options)


def nothing(shared: Any) -> None:
    """Leaves the values as they are."""


def copy_all(shared: Any) -> None:
    """Writes containers that are equal to those before, but new."""
    shared["copy"] = {key: shared[key] for key in list(shared) if key != "copy"}


def peak_bytes(store: dict[Any, Any], act: Callable[[Any], None], **options: Any) -> int:
    """The most memory that is allocated at a time during a run, beyond what was before.

    Args:
        store: the shared store.
        act: what the only node does with it.
        **options: of the instrumentor.
    """
    peaks: list[int] = []

    class Step(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            act(shared)

    def program(stage: Stage) -> None:
        tracemalloc.start()
        Flow(start=Step()).run(dict(store))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    traced(program, **options)
    return peaks[-1]  # the first run was without tracing


def counts_of(watch: Watch) -> Counts:
    """Of a node in the middle of the run; all of these are the same."""
    found = set(watch.counts[3:])
    assert len(found) == 1, f"nodes differ: {watch.counts}"
    return found.pop()


@pytest.mark.parametrize("content", ["off", "keys", "values"])
@pytest.mark.parametrize("shape", SHAPES)
def test_unchanged_values_cost_the_same_at_any_size(
    watch: Watch, shape: Callable[[int], dict[str, Any]], content: str
) -> None:
    """From 100 KB to 100 MB not one call, comparison or byte is added."""
    found: list[tuple[Counts, int]] = []
    for size in SIZES:
        CALLS.clear()
        trace = run(watch, shape(size), nothing, content=content)
        found.append((counts_of(watch), trace.all("Step")[3].size))
        assert not CALLS

    small, large = found
    assert small == large


@pytest.mark.parametrize("content", ["keys", "values"])
@pytest.mark.parametrize("shape", SHAPES)
def test_written_values_cost_their_preview(
    watch: Watch, shape: Callable[[int], dict[str, Any]], content: str
) -> None:
    """What a node writes is shown within the limit, at the same number of calls at any size."""
    found: list[tuple[Counts, int]] = []
    for size in SIZES:
        written = shape(size)
        CALLS.clear()

        def write(shared: Any, written: dict[str, Any] = written) -> None:
            shared["copy"] = dict(written)  # equal to the one before, but new

        trace = run(watch, {}, write, content=content)
        found.append((counts_of(watch), max(span.size for span in trace.nodes)))
        assert not CALLS

    (small, small_bytes), (large, large_bytes) = found
    assert small == large
    assert max(small_bytes, large_bytes) <= SPAN_BYTES
    assert abs(large_bytes - small_bytes) <= 100, "only the digits of the true sizes may differ"


@pytest.mark.parametrize("content", ["keys", "values"])
@pytest.mark.parametrize("act", [nothing, copy_all], ids=["unchanged", "written"])
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_as_large_as_a_value_is_ever_made(
    shape: Callable[[int], dict[str, Any]], act: Callable[[Any], None], content: str
) -> None:
    """One call can do much: but no text, copy or JSON of 100 MB is made to be cut then."""
    small, large = (peak_bytes(shape(size), act, content=content) for size in SIZES)

    assert large - small < 100 * KILO


@pytest.mark.parametrize("make", MANY.values(), ids=MANY.keys())
def test_items_are_looked_at_within_the_budget(
    watch: Watch, make: Callable[[int], dict[str, Any]]
) -> None:
    """However many containers there are: the top level, and the budget, at each of four borders."""
    store = make(5 * BUDGET)

    run(watch, store, nothing, max_store_items=BUDGET)

    top = 2 * (len(store) + 1)  # keys and values
    assert counts_of(watch).compared <= 5 * (top + 3 * BUDGET)


def test_a_larger_table_costs_no_more_once_it_is_over_the_budget(watch: Watch) -> None:
    """Ten times the rows: the same calls and comparisons."""
    found: list[Counts] = []
    for rows in (2 * BUDGET, 20 * BUDGET):
        run(watch, {"rows": [{"id": i} for i in range(rows)]}, nothing, max_store_items=BUDGET)
        found.append(counts_of(watch))

    small, large = found
    assert small == large


def test_keys_at_the_top_are_compared_a_few_times_a_node(watch: Watch) -> None:
    """Each key and value once at each of four borders, and once more where one was written."""
    run(watch, {f"key {i}": i for i in range(1_000)}, nothing)

    assert 2 * 1_000 <= counts_of(watch).compared <= 5 * 2 * (1_000 + 10)


def test_sampled_out_runs_look_at_nothing(watch: Watch) -> None:
    """A run whose spans are not wanted does not compare the store."""
    run(watch, leaves(100 * KILO), nothing, sampler=ALWAYS_OFF)

    assert {found.compared for found in watch.counts[1:]} == {0}


def test_the_first_look_at_a_large_store_is_bounded(watch: Watch) -> None:
    """What a run's beginning costs depends on the budget, and not on how much there is."""
    found: list[int] = []
    for rows in (2 * BUDGET, 20 * BUDGET):
        run(watch, {"rows": [{"id": i} for i in range(rows)]}, nothing, max_store_items=BUDGET)
        found.append(watch.counts[0].events)

    small, large = found
    assert large <= small + 100
