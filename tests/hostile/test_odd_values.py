"""Values of the standard library and of others that programs hold, in every place."""

# The values are of many libraries, some of which come without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportMissingImports=false, reportUnknownParameterType=false

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import contextvars
import datetime as dt
import decimal
import enum
import fractions
import functools
import inspect
import io
import itertools
import math
import pathlib
import queue
import re
import socket
import sys
import tempfile
import threading
import types
import uuid
import weakref
import zoneinfo
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import wrapt

from support.dunders import make, misbehaving
from support.everywhere import as_results, everywhere
from support.framework import Node
from support.honest import assert_honest, shown_values, text_of
from support.tracing import compared, note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NO_ACTION = frozenset({"action"})
"""For what the framework itself would print, in its warning of an action that nothing follows."""


class Color(enum.Enum):
    """An enumeration."""

    RED = 1


class Flags(enum.IntFlag):
    """Flags."""

    ONE = 1
    TWO = 2


class Slots:
    """One of its slots is unset."""

    __slots__ = ("__weakref__", "set", "unset")

    def __init__(self) -> None:
        self.set = 1


class Overridden(dict[Any, Any]):
    """A dict whose methods tell something else than what it holds."""

    def items(self) -> Any:
        """None of its items."""
        note("items")
        return [("other", 2)]

    def keys(self) -> Any:
        """None of its keys."""
        note("keys")
        return ["other"]

    def values(self) -> Any:
        """None of its values."""
        note("values")
        return [2]

    def get(self, key: Any, default: Any = None) -> Any:
        """Something else."""
        note("get")
        return 2

    def copy(self) -> Any:
        """No copy."""
        note("copy")
        return self

    def __getitem__(self, key: Any) -> Any:
        note("__getitem__")
        return 2

    def __iter__(self) -> Any:
        note("__iter__")
        return iter(["other"])

    def __len__(self) -> int:
        note("__len__")
        return 10**6

    def __missing__(self, key: Any) -> Any:
        note("__missing__")
        self[key] = 2
        return 2

    def __contains__(self, key: object) -> bool:
        note("__contains__")
        return True


def _generator() -> Iterator[int]:
    note("a generator was started")
    yield 1


async def _async_generator() -> Any:
    note("an async generator was started")
    yield 1


async def _coroutine() -> None:
    note("a coroutine was started")


def _frame() -> types.FrameType | None:
    return sys._getframe()


def _made_in_loop(make: Callable[[], Any]) -> Any:
    async def inside() -> Any:
        return make()

    return asyncio.run(inside())


class Referent:
    """What weak references lead to."""


REFERENT = Referent()

VALUES: dict[str, Callable[[], Any]] = {
    # numbers
    "nan": lambda: math.nan,
    "infinity": lambda: -math.inf,
    "minus zero": lambda: -0.0,
    "huge int": lambda: 10**5000,
    "negative huge int": lambda: -(10**5000),
    "bool": lambda: True,
    "complex": lambda: complex(math.nan, -math.inf),
    "Decimal": lambda: decimal.Decimal("1e999999"),
    "long Decimal": lambda: decimal.Decimal("1" * 300_000),
    "Decimal NaN": lambda: decimal.Decimal("sNaN"),
    "Fraction": lambda: fractions.Fraction(1, 3),
    "huge Fraction": lambda: fractions.Fraction(10**5000, 3),
    "IntFlag": lambda: Flags.ONE | Flags.TWO,
    "Enum": lambda: Color.RED,
    # texts
    "bytes": lambda: b"\xff\xfe\x00",
    "bytearray": lambda: bytearray(b"\xff"),
    "memoryview": lambda: memoryview(b"\xff\x00"),
    "lone surrogates": lambda: "\ud800 and \udfff",
    "control characters": lambda: "\x00\x1b[31m\u2028\u202e\ufeff",
    "long path": lambda: pathlib.PurePosixPath("x" * 1_000_000),
    "UUID": lambda: uuid.UUID(int=7),
    # times
    "datetime": lambda: dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Zurich")),
    "timedelta": lambda: dt.timedelta.max,
    # mappings
    "odd keys": lambda: {math.nan: 1, (1, math.nan): 2, b"x": 3, "\ud800": 4, 10**5000: 5},
    "Overridden": lambda: Overridden(a=1),
    "defaultdict": lambda: collections.defaultdict(lambda: note("a key was made"), a=1),
    "OrderedDict": lambda: collections.OrderedDict(a=1),
    "Counter": lambda: collections.Counter("aab"),
    "ChainMap": lambda: collections.ChainMap({"a": 1}, {"b": 2}),
    "UserDict": lambda: collections.UserDict({"a": 1}),
    "UserList": lambda: collections.UserList([1]),
    "UserString": lambda: collections.UserString("text"),
    "mappingproxy": lambda: types.MappingProxyType({"a": 1}),
    "dict views": lambda: [{"a": 1}.keys(), {"a": 1}.items()],
    "environ": lambda: __import__("os").environ,
    # weak ones
    "weakref": lambda: weakref.ref(REFERENT),
    "weak proxy": lambda: weakref.proxy(REFERENT),
    "dead weak proxy": lambda: weakref.proxy(Referent()),
    "WeakSet": lambda: weakref.WeakSet([REFERENT]),
    "WeakValueDictionary": lambda: weakref.WeakValueDictionary({"a": REFERENT}),
    "WeakKeyDictionary": lambda: weakref.WeakKeyDictionary({REFERENT: 1}),
    # what runs
    "generator": _generator,
    "async generator": _async_generator,
    "coroutine": _coroutine,
    "iterator": lambda: iter([1, 2, 3]),
    "endless iterator": itertools.count,
    "map": lambda: map(note, ["mapped"]),
    "partial": lambda: functools.partial(note, "called"),
    "lambda": lambda: lambda: note("called"),
    "bound method": lambda: [].append,
    "range": lambda: range(10**12),
    "frame": _frame,
    "module": lambda: math,
    "class": lambda: Slots,
    "pattern": lambda: re.compile("a+"),
    "signature": lambda: inspect.signature(note),
    # threads and asyncio
    "lock": threading.RLock,
    "condition": threading.Condition,
    "thread": lambda: threading.Thread(target=note),
    "thread local": threading.local,
    "queue": queue.Queue,
    "context variable": lambda: contextvars.ContextVar("x", default=1),
    "future of threads": concurrent.futures.Future,
    "asyncio lock": lambda: _made_in_loop(asyncio.Lock),
    "asyncio queue": lambda: _made_in_loop(asyncio.Queue),
    "asyncio event": lambda: _made_in_loop(asyncio.Event),
    "asyncio semaphore": lambda: _made_in_loop(lambda: asyncio.Semaphore(2)),
    "asyncio future": lambda: _made_in_loop(lambda: asyncio.get_running_loop().create_future()),
    # files
    "StringIO": lambda: io.StringIO("text"),
    "closed file": lambda: _closed(io.BytesIO()),
    "file": tempfile.TemporaryFile,
    "socket": socket.socket,
    "stdout": lambda: sys.__stdout__,
    # records
    "slots": Slots,
    "SimpleNamespace": lambda: types.SimpleNamespace(a=math.nan),
    "deque": lambda: collections.deque([1], maxlen=1),
    # tests
    "Mock": mock.Mock,
    "MagicMock": mock.MagicMock,
    "AsyncMock": mock.AsyncMock,
    "autospec": lambda: mock.create_autospec(Slots),
    "sentinel": lambda: mock.sentinel.something,
    "ANY": lambda: mock.ANY,
    # proxies
    "ObjectProxy": lambda: wrapt.ObjectProxy({"a": 1}),
    "proxy of a lock": lambda: wrapt.ObjectProxy(threading.Lock()),
    "decorated": lambda: wrapt.FunctionWrapper(note, lambda *_: note("called")),
    # arrays
    "array": lambda: np.arange(6).reshape(2, 3),
    "array of objects": lambda: np.array([[object()], None], dtype=object),
    "scalar of numpy": lambda: np.float64(0.5),
    "int of numpy": lambda: np.int64(5),
    "nan of numpy": lambda: np.float32("nan"),
    "datetime of numpy": lambda: np.datetime64("NaT", "s"),
    "record array": lambda: np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
    "masked": lambda: np.ma.masked,
    "DataFrame": lambda: pd.DataFrame({"a": [1, 2]}),
    "Series": lambda: pd.Series([1, math.nan]),
    "index": lambda: pd.MultiIndex.from_tuples([("a", 1)]),
    "Timestamp": lambda: pd.Timestamp("2024-01-01", tz="Europe/Zurich"),
    "NaT": lambda: pd.NaT,
    "NA": lambda: pd.NA,
}


def _closed(file: Any) -> Any:
    file.close()
    return file


CLOSED = {"file", "socket", "coroutine"}
"""Values that would warn when they are collected."""


@pytest.fixture
def value(kind: str) -> Iterator[Any]:
    """A value, closed in the end."""
    made: Any = VALUES[kind]()
    yield made
    if kind in CLOSED:
        made.close()


ACT = {"nan", "Enum", "lone surrogates", "bytes", "huge Fraction", "MagicMock", "slots", "class"}
"""Values that are returned as an action as well."""


@pytest.mark.parametrize("content", ["values", "keys"])
@pytest.mark.parametrize("kind", VALUES)
def test_a_program_is_the_same_whatever_it_holds(kind: str, value: Any, content: str) -> None:
    """Nothing is started, consumed, opened, called or asked."""
    but = frozenset[str]() if kind in ACT else NO_ACTION

    assert_honest(compared(everywhere(value, but=but), content=content))


def test_nothing_is_looked_at_where_nothing_is_shown() -> None:
    """All of them at once."""
    values = {kind: make() for kind, make in VALUES.items()}
    try:
        assert_honest(compared(everywhere(values, but=NO_ACTION), content="off"))
    finally:
        for kind in CLOSED:
            values[kind].close()


OPAQUE = {
    "bytearray": "bytearray",
    "memoryview": "memoryview",
    "UserDict": "collections.UserDict",
    "mappingproxy": "mappingproxy",
    "generator": "generator",
    "coroutine": "coroutine",
    "WeakSet": "_weakrefset.WeakSet",
    "asyncio lock": "asyncio.locks.Lock",
    "array": "ndarray",
    "DataFrame": "pandas.DataFrame",
    "range": "range",
    "slots": f"{__name__}.Slots",
    "huge Fraction": "fractions.Fraction",
    "long Decimal": "decimal.Decimal",
    "long path": "pathlib.PurePosixPath",
}


@pytest.mark.parametrize("kind", OPAQUE)
def test_what_cannot_be_shown_is_marked(value: Any, kind: str) -> None:
    """By its type, whether that is not looked into or its text would be too long."""
    shown = shown_values(compared(as_results(value)).nodes[1])["output.value"]

    named = shown["$opaque"].replace("numpy.", "").replace("core.frame.", "")
    assert (shown.keys(), named) == ({"$opaque"}, OPAQUE[kind])


SHOWN: dict[str, Any] = {
    "nan": "nan",
    "infinity": "-inf",
    "huge int": {"$cut": "int", "bits": 16610},
    "complex": "(nan-infj)",
    "Decimal": "1E+999999",
    "Enum": "Color.RED",
    "bytes": {"$opaque": "bytes", "length": 3},
    "lone surrogates": "\\ud800 and \\udfff",
    "control characters": "\x00\x1b[31m\u2028\u202e\ufeff",
    "odd keys": {"NaN": 1, "(1, NaN)": 2, "b'x'": 3, "\\ud800": 4, "<int>": 5},
    "Overridden": {"a": 1},
    "defaultdict": {"a": 1},
    "OrderedDict": {"a": 1},
    "deque": [1],
    "SimpleNamespace": {"a": "nan"},
    "scalar of numpy": 0.5,
}


@pytest.mark.parametrize("kind", SHOWN)
def test_what_can_be_shown_is_what_it_is(value: Any, kind: str) -> None:
    """In JSON's own words where it has any, else as text."""
    shown = shown_values(compared(as_results(value)).nodes[1])
    assert shown == {"input.value": SHOWN[kind], "output.value": SHOWN[kind]}


@pytest.mark.parametrize("make", [mock.Mock, mock.MagicMock, mock.AsyncMock])
def test_a_mock_records_no_calls(make: Callable[[], Any]) -> None:
    """Neither of itself, nor of what it gives out."""
    value = make()
    value.configured.return_value = 1
    compared(everywhere(value, but=NO_ACTION))
    assert value.mock_calls == []
    assert list(vars(value).get("_mock_children", {})) == ["configured"]


def test_a_defaultdict_gains_no_keys() -> None:
    """Not even those that are looked for in responses of models."""
    value = collections.defaultdict(list, {"model": "m"})
    compared(everywhere(value, but=NO_ACTION))
    assert dict(value) == {"model": "m"}


def test_a_cache_is_not_filled() -> None:
    """A property that is computed once is computed by the program, or never."""

    class Computes:
        @functools.cached_property
        def expensive(self) -> int:
            note("computed")
            return 1

    value = Computes()
    compared(everywhere(value, but=NO_ACTION))
    assert vars(value) == {}


def test_a_file_is_where_it_was() -> None:
    """Nothing is read from it."""
    with tempfile.TemporaryFile() as file:
        file.write(b"some text")
        file.seek(3)
        compared(everywhere(file, but=NO_ACTION))
        assert file.tell() == 3


def test_iterators_keep_their_items() -> None:
    """Looking at one would take an item out of it."""
    values = [iter([1, 2]), map(str, [1, 2]), zip([1, 2]), (n for n in [1, 2]), enumerate([1, 2])]
    for value in values:
        compared(everywhere(value, but=NO_ACTION))
        assert len(list(value)) == 2


def test_a_coroutine_is_not_said_to_be_never_awaited() -> None:
    """By us, that is: warnings are errors here, and the program closes it."""
    value = _coroutine()
    trace = compared(everywhere(value, but=NO_ACTION))
    assert inspect.getcoroutinestate(value) == inspect.CORO_CREATED
    assert trace.result.warnings == ()
    value.close()


def test_surrogates_are_told_alike_in_every_place() -> None:
    """In keys, texts, actions and exceptions: an escape, which any exporter can encode."""
    trace = compared(everywhere({"\ud800": "\udfff"}))
    assert_honest(trace)
    assert "\\\\ud800" in text_of(trace)


def test_torch() -> None:
    """Tensors are not asked whether they are true, or how long they are."""
    torch: Any = pytest.importorskip("torch", reason="torch is large, and not among the extras")
    with contextlib.suppress(RuntimeError):
        trace = compared(everywhere(torch.zeros(2, 3), but=NO_ACTION))
        assert_honest(trace)


# --- Changes between values that look alike -----------------------------------------------------


class Changes(Node):
    """Puts something in the place of something else."""

    def __init__(self, *changes: tuple[Any, Any]) -> None:
        super().__init__()
        self.changes = changes

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Each key with its new value, in that order."""
        shared.clear()
        shared.update(dict(self.changes))


class Zone(dt.tzinfo):
    """A time zone of the program's own."""

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        """Nobody's business."""
        note("asked for the offset")
        return dt.timedelta(0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (math.nan, float("nan")),
        (decimal.Decimal("NaN"), decimal.Decimal("NaN")),
        (complex(math.nan), complex(math.nan)),
        (fractions.Fraction(10**5000, 3), fractions.Fraction(10**5000, 7)),
        (pathlib.PurePosixPath("x" * 99_999), pathlib.PurePosixPath("x" * 99_998)),
    ],
    ids=["float", "Decimal", "complex", "Fraction", "path"],
)
def test_keys_that_look_alike_are_told_apart(one: Any, other: Any) -> None:
    """They are no change where both are still there."""
    trace = compared(lambda stage: Changes((other, 2), (one, 1), ("x", 0)).run({one: 1, other: 2}))
    assert trace.nodes[0].writes == [("add", "/x", "post")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (fractions.Fraction(10**5000, 3), fractions.Fraction(10**5000, 7)),
        (dt.datetime(2024, 1, 1, tzinfo=Zone()), dt.datetime(2024, 1, 1, tzinfo=Zone())),
        (decimal.Decimal("1" * 300_000), decimal.Decimal("2" * 300_000)),
    ],
    ids=["Fraction", "datetime", "Decimal"],
)
def test_values_that_look_alike_are_a_change(one: Any, other: Any) -> None:
    """What can't be told by its text is told by its identity."""
    trace = compared(lambda stage: Changes(("x", other)).run({"x": one}))
    assert trace.nodes[0].writes == [("replace", "/x", "post")]


def test_values_of_the_standard_library_made_of_hostile_parts() -> None:
    """Their text would run code of the parts."""

    class Number(int):
        @property
        def numerator(self) -> Any:
            return make("object", "raises")

        @property
        def denominator(self) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
            return 1

    for value in (
        fractions.Fraction(Number(3)),
        pathlib.PurePosixPath(misbehaving(str, "counts")("a/b")),
        dt.datetime(2024, 1, 1, tzinfo=Zone()),
    ):
        assert_honest(compared(everywhere(value, but=NO_ACTION)))
