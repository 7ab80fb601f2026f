"""Values larger than a trace could ever show: they cost what is shown of them."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import gc
import mmap
import tracemalloc
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from support.everywhere import as_results, everywhere, in_store
from support.honest import assert_honest, received, shown_values
from support.tracing import act, compared, tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GIGABYTE = 10**9
MEGABYTE = 10**6


def peak_of(action: Callable[[], object]) -> int:
    """Bytes that are allocated at most at one time while something runs."""
    gc.collect()
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def traced_peak(value: Any, *, but: frozenset[str] = frozenset()) -> int:
    """What tracing takes at most beyond what the program does by itself, in all places."""
    program = everywhere(value, but=but)
    with tracing():
        act(program)  # what is loaded once is loaded
    plain = peak_of(lambda: act(program))
    with tracing():
        return peak_of(lambda: act(program)) - plain


class Text(str):
    """A subclass of str, of which a plain copy would be as large."""

    __slots__ = ()


# --- A gigabyte -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gigabyte() -> Iterator[dict[str, Any]]:
    """A gigabyte that takes hardly any memory: pages of zeros that nobody has written to."""
    raw = bytes(GIGABYTE)
    with mmap.mmap(-1, GIGABYTE) as mapped:
        view = memoryview(mapped)
        yield {"bytes": raw, "memoryview": view, "mmap": mapped, "bytearray": bytearray(GIGABYTE)}
        view.release()


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "memoryview", "mmap"])
def test_a_gigabyte_of_bytes_costs_nothing(gigabyte: dict[str, Any], kind: str) -> None:
    """Wherever it stands, it is not copied."""
    # As the action, the framework itself puts it into a warning.
    assert traced_peak(gigabyte[kind], but=frozenset({"action"})) < 3 * MEGABYTE


def test_a_gigabyte_of_text_costs_what_is_shown_of_it() -> None:
    """Of a text, and then of a subclass: the first few thousand characters."""
    text = "x" * GIGABYTE
    where = frozenset({"action", "store", "params", "items", "async items", "async results"})
    assert traced_peak(text, but=where) < 3 * MEGABYTE
    node = compared(as_results(text)).nodes[1]
    assert node.json("input.value")["length"] == GIGABYTE
    assert node.json("output.value")["head"].startswith("xxx")


# --- Many items, and large ones ---------------------------------------------------------------

LARGE: dict[str, Callable[[], Any]] = {
    "str": lambda: "x" * (20 * MEGABYTE),
    "subclass of str": lambda: Text("x" * (20 * MEGABYTE)),
    "umlauts": lambda: "\u00fc" * (10 * MEGABYTE),
    "tuple": lambda: tuple(range(MEGABYTE)),
    "nested": lambda: {"a": [{"b": tuple(range(MEGABYTE))}]},
    "int": lambda: 1 << (8 * MEGABYTE),
    "keys": lambda: {"k" * MEGABYTE + str(number): number for number in range(20)},
    "subclass as key": lambda: {Text("k" * (20 * MEGABYTE)): 1},
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_value_costs_what_is_shown_of_it(kind: str) -> None:
    """In all places; without us, Python copies a large key where the program prints it."""
    assert traced_peak(LARGE[kind](), but=frozenset({"action"})) < 6 * MEGABYTE


MILLION: dict[str, Callable[[], Any]] = {
    "list": lambda: list(range(MEGABYTE)),
    "dict": lambda: dict.fromkeys(range(MEGABYTE)),
    "set": lambda: set(range(MEGABYTE)),
    "deque": lambda: deque(range(MEGABYTE)),
    "fields": lambda: SimpleNamespace(**{f"f{number}": number for number in range(200_000)}),
    "lists": lambda: [[number] for number in range(200_000)],
    "dicts": lambda: {number: {"n": number} for number in range(200_000)},
}


@pytest.mark.parametrize("kind", MILLION)
def test_of_a_million_items_few_are_looked_at(kind: str) -> None:
    """What is beyond the limit of watched items is counted and not read."""
    value = MILLION[kind]()
    # The top level of a store is always watched, so it costs what it is long.
    assert traced_peak(value, but=frozenset({"action", "the store itself"})) < 6 * MEGABYTE
    trace = compared(in_store(value))
    assert_honest(trace)
    assert trace.nodes[0]["shared.unwatched"] >= 1


# --- Depth --------------------------------------------------------------------------------------

DEPTH = 10_000


def _deep(wrap: Callable[[Any], Any]) -> Any:
    value: Any = "leaf"
    for _ in range(DEPTH):
        value = wrap(value)
    return value


DEEP: dict[str, Callable[[Any], Any]] = {
    "list": lambda inner: [inner],
    "tuple": lambda inner: (inner,),
    "dict": lambda inner: {"k": inner},
    "frozenset": lambda inner: frozenset([inner]),
    "namespace": lambda inner: SimpleNamespace(field=inner),
    "mixed": lambda inner: [{"k": (inner,)}],
    "exception": ValueError,
    "wide": lambda inner: [inner, inner],
}


@pytest.mark.parametrize("content", ["values", "keys", "off"])
@pytest.mark.parametrize("kind", DEEP)
def test_ten_thousand_levels(kind: str, content: str) -> None:
    """Deeper than the interpreter's stack: no recursion of ours follows it."""
    trace = compared(everywhere(_deep(DEEP[kind]), but=frozenset({"action"})), content=content)
    assert_honest(trace)


def test_a_deep_key() -> None:
    """A tuple in a tuple in a tuple, as a key."""
    key: Any = ("leaf",)
    for _ in range(200):  # hashing it recurses in the interpreter
        key = (key, 1)
    trace = compared(everywhere({key: 1}, but=frozenset({"action"})))
    assert_honest(trace)
    assert shown_values(trace.nodes[1])["input.value"] == {"((…), 1)": 1}


# --- Cycles --------------------------------------------------------------------------------------


def _in_itself() -> dict[str, Any]:
    listed: list[Any] = [1]
    listed.append(listed)
    mapped: dict[str, Any] = {}
    mapped["self"] = (mapped, [mapped])
    field = SimpleNamespace()
    field.self = field
    exc = ValueError()
    exc.args = (exc,)
    one, other = [], {}
    one.append(other)
    other["one"] = one
    return {"list": listed, "dict": mapped, "namespace": field, "exception": exc, "two": one}


@pytest.mark.parametrize("content", ["values", "keys", "off"])
@pytest.mark.parametrize("kind", ["list", "dict", "namespace", "exception", "two"])
def test_what_stands_inside_itself(kind: str, content: str) -> None:
    """Is shown once; the place inside says so."""
    value = _in_itself()[kind]
    assert_honest(compared(everywhere(value, but=frozenset({"action"})), content=content))
    if content == "values" and kind != "exception":
        assert "$cycle" in compared(as_results(value)).nodes[1]["input.value"]


def test_the_store_inside_itself() -> None:
    """Also where a node puts it there."""
    store: dict[str, Any] = {"a": 1}
    store["self"] = [store]
    trace = compared(everywhere(store, but=frozenset({"action"})))
    assert_honest(trace)
    assert received(trace)
