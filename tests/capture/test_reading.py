"""Values are looked into without running any code of theirs."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import gc
import json
import threading
import types
import uuid
import weakref
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from fractions import Fraction
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import attrs
import pydantic
import pytest

from opentelemetry.instrumentation.pocketflow.capture import reading
from opentelemetry.instrumentation.pocketflow.capture.preview import key_text, preview, shape_text
from opentelemetry.instrumentation.pocketflow.capture.reading import Kind, kind_of
from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor
from opentelemetry.instrumentation.pocketflow.capture.watch import StoreWatch
from opentelemetry.instrumentation.pocketflow.emit.budget import Shares
from support.hostile import ALARM, HOSTILE, dispose, trap

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

REDACTOR = Redactor()


@dataclasses.dataclass
class Data:
    """A plain record."""

    field: Any


@attrs.define
class Slotted:
    """A record without a dict."""

    field: Any
    other: Any = None


class Model(pydantic.BaseModel):
    """A record that takes further fields."""

    model_config = pydantic.ConfigDict(extra="allow")
    field: Any = None


class Color(enum.Enum):
    """An enumeration."""

    RED = 1


class Store:
    """A store with attributes."""

    def __init__(self, field: object) -> None:
        self.field = field


class Pair(NamedTuple):
    """A tuple with names."""

    first: int
    second: int


# --- No code of the program runs ---------------------------------------------------------------

WAYS: dict[str, Callable[[Any], Any]] = {
    "value": lambda value: {"k": value},
    "nested value": lambda value: {"k": {"n": {"m": value}}},
    "element of a list": lambda value: {"k": ["first", value, "last"]},
    "element of a tuple": lambda value: {"k": ("first", value)},
    "element of a deque": lambda value: {"k": deque([value])},
    "element of a set": lambda value: {"k": {value}},
    "element of a frozenset": lambda value: {"k": frozenset([value])},
    "key": lambda value: {value: 1},
    "nested key": lambda value: {"k": {value: 1}},
    "part of a key": lambda value: {"k": {(value, 1): 1}},
    "field of a dataclass": lambda value: {"k": Data(value)},
    "field of a record with slots": lambda value: {"k": Slotted(value)},
    "field of a model": lambda value: {"k": Model.model_construct(field=value)},
    "attribute": lambda value: {"k": types.SimpleNamespace(x=value)},
    "attribute of the store": Store,
    "element of the store": lambda value: ["first", value],
    "store": lambda value: value,
}


@contextlib.contextmanager
def left_alone(*values: Any) -> Generator[None]:
    """Fails where any code of hostile objects runs; of these, also where a mock is called."""
    mocks = [value for value in values if type(value).__mro__[1] is mock.MagicMock]
    calls = [len(one.mock_calls) for one in mocks]
    ALARM.calls.clear()
    with ALARM.armed():
        yield
    assert ALARM.calls == []
    assert [len(one.mock_calls) for one in mocks] == calls


@pytest.fixture
def hostile(kind: str) -> Generator[Callable[[], Any]]:
    """Makes objects of one kind, and lets go of them in the end."""
    made: list[Any] = []

    def make() -> Any:
        made.append(HOSTILE[kind]())
        return made[-1]

    yield make
    for value in made:
        dispose(value)


def has_hash(kind: str) -> bool:
    """Can objects of this kind be keys?"""
    value = HOSTILE[kind]()
    try:
        hash(value)
    except TypeError:
        return False
    finally:
        dispose(value)
    return True


NEED_HASH = {"element of a set", "element of a frozenset", "key", "nested key", "part of a key"}
PLACES = [
    (kind, way)
    for kind, can_be_key in {kind: has_hash(kind) for kind in HOSTILE}.items()
    for way in WAYS
    if can_be_key or way not in NEED_HASH
]


def poke(value: Any) -> None:
    """Change a container in place, as far as it lets us."""
    for change in (
        lambda: value.__setitem__("poked", [1]),
        lambda: value.append("poked"),
        lambda: value.add("poked"),
        lambda: setattr(value, "log", ["poked"]),
    ):
        with contextlib.suppress(Exception):
            change()


def swap(store: Any, other: Any) -> None:
    """Replace what the store holds by what another store of the same making holds."""
    if other is None:
        return
    if isinstance(store, Store):
        store.field = other.field
    elif isinstance(store, dict):
        store.clear()
        store |= other
    elif isinstance(store, list):
        store[:] = other


def watch(store: object, content: Any = "values") -> StoreWatch:
    """A watch with room for everything."""
    return StoreWatch(store, content, REDACTOR, Shares.of_node(1_000_000), 10_000, None)


@pytest.mark.parametrize("content", ["values", "keys"])
@pytest.mark.parametrize(("kind", "way"), PLACES)
def test_watching_runs_no_code_of_the_program(
    hostile: Callable[[], Any], way: str, content: str
) -> None:
    """From the first look to the last, whatever the object is and wherever it stands."""
    value, second = hostile(), hostile()
    store, other, none = (WAYS[way](what) for what in (value, second, None))
    with left_alone(value):
        seen = watch(store, content)
        seen.mark("prep")
    for change in (
        lambda: poke(value),
        lambda: poke(store),
        lambda: swap(store, other),
        lambda: swap(store, none),
        lambda: swap(store, other),
    ):
        change()
        with left_alone(value, second):
            seen.mark("post")
    with left_alone(value, second):
        shown = seen.show(10_000)
        seen.close()
    assert seen.record is not None
    for text in (seen.record.patch, shown, seen.initial):
        json.loads(text or "")


READERS: tuple[Callable[[Any], object], ...] = (
    reading.kind_of,
    reading.size_of,
    reading.instance_dict,
    shape_text,
    lambda item: reading.is_instance(item, dict),
    lambda item: json.dumps(preview(item, REDACTOR, 1_000)),
    lambda item: key_text(item, REDACTOR),
)


@pytest.mark.parametrize("kind", HOSTILE)
def test_reading_runs_no_code_of_the_program(hostile: Callable[[], Any]) -> None:
    """Neither do the functions by themselves."""
    value = hostile()
    with left_alone(value):
        for read in READERS:
            read(value)


def test_a_one_shot_iterator_keeps_its_items() -> None:
    """Looking at a generator takes nothing out of it."""
    store = {"stream": (number for number in range(3))}
    seen = watch(store)
    seen.mark("post")
    seen.close()
    assert list(store["stream"]) == [0, 1, 2]


def test_names_of_classes_are_read_past_their_metaclass() -> None:
    """A class may claim any name."""
    cls: Any = trap(type)("Named", (), {"__module__": "some.module"})
    with ALARM.armed():
        assert reading.qualified_name(cls) == "some.module.Named"
        assert reading.class_name(cls) == "Named"


def test_a_name_that_is_no_plain_string_becomes_one() -> None:
    """A class can be renamed to an instance of a subclass of str."""
    renamed: Any = type("Renamed", (), {})
    renamed.__name__ = trap(str)("Hostile")
    renamed.__qualname__ = trap(str)("Outer.Hostile")
    with ALARM.armed():
        names = reading.class_name(renamed), reading.qualified_name(renamed)
    assert [type(name) for name in names] == [str, str]
    assert names == ("Hostile", f"{__name__}.Outer.Hostile")


# --- What is read -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *((atom, Kind.ATOM) for atom in (None, True, 1, 1.5, 1j, "a", b"a", ...)),
        *((text, Kind.TEXT) for text in (dt.date(2024, 1, 1), decimal.Decimal(1), uuid.uuid4())),
        (PurePosixPath("/tmp"), Kind.TEXT),  # noqa: S108 - nothing is written there
        *(
            (mapping, Kind.DICT)
            for mapping in (dict[str, int](), OrderedDict[str, int](), Counter[str]())
        ),
        (defaultdict[str, int](int), Kind.DICT),
        ([1], Kind.LIST),
        *((items, Kind.TUPLE) for items in ((), Pair(1, 2))),
        *((items, Kind.SET) for items in (set[int](), frozenset[int]())),
        (deque[int](), Kind.DEQUE),
        *((record, Kind.FIELDS) for record in (Data(1), Slotted(1), Model())),
        (types.SimpleNamespace(), Kind.FIELDS),
        *((other, Kind.OPAQUE) for other in (object(), Store(1), Color.RED, int, ValueError())),
        *((other, Kind.OPAQUE) for other in (threading.Lock(), types, bytearray(), range(3))),
    ],
)
def test_kinds(value: object, kind: Kind) -> None:
    """How each value can be looked into."""
    assert kind_of(value) is kind


def contents(value: object) -> dict[Any, Any]:
    """Keys and items together."""
    keys, items = reading.contents_of(value, kind_of(value))
    return dict(zip(keys or (), items, strict=True))


def test_fields_of_records() -> None:
    """Fields of dataclasses, attrs and pydantic, in `__dict__`, in slots and beyond both."""
    assert contents(Data(1)) == {"field": 1}
    assert contents(Slotted(1, 2)) == {"field": 1, "other": 2}
    assert contents(Model(field=1, more=2)) == {"field": 1, "more": 2}  # pyright: ignore[reportCallIssue] - extra fields are allowed
    assert contents(types.SimpleNamespace(a=1)) == {"a": 1}


def test_fields_of_a_subclass_without_slots() -> None:
    """Slots of a base and the dict of a subclass make one object."""

    class Loose(Slotted):
        pass

    loose = Loose(1)
    loose.more = 3  # pyright: ignore[reportAttributeAccessIssue] - what slots would forbid
    assert contents(loose) == {"field": 1, "other": None, "more": 3}


def test_unset_slots_are_absent() -> None:
    """A slot that was never set, or deleted, is no field."""
    value = Slotted(1, 2)
    del value.other
    assert contents(value) == {"field": 1}
    assert reading.size_of(value) == 1


def test_properties_are_no_fields() -> None:
    """What a class computes is not stored in its instances."""

    @dataclasses.dataclass
    class Computed:
        a: int = 1

        @property
        def b(self) -> int:
            raise AssertionError

    assert contents(Computed()) == {"a": 1}


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("abc", 3),
        (b"ab", 2),
        ([1, 2], 2),
        ({"a": 1}, 1),
        ({1, 2}, 2),
        (frozenset([1]), 1),
        (deque([1, 2]), 2),
        (Pair(1, 2), 2),
        (Data(1), 1),
        (Model(), 1),
        (7, None),
        (object(), None),
    ],
)
def test_sizes(value: object, size: int | None) -> None:
    """Characters, bytes, items and fields are counted; other values have no size."""
    assert reading.size_of(value) == size


@pytest.mark.parametrize("value", [list(range(9)), dict.fromkeys(range(9)), set(range(9))])
def test_the_first_contents(value: Any) -> None:
    """At most as many items as asked for, in their order."""
    keys, items = reading.first_contents(value, kind_of(value), 4)
    assert list(keys or items) == list(value)[:4]
    assert len(items) == 4


def test_the_first_fields() -> None:
    """Of records too."""
    value = types.SimpleNamespace(**{f"f{number}": number for number in range(9)})
    assert reading.first_contents(value, Kind.FIELDS, 2) == (["f0", "f1"], [0, 1])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (decimal.Decimal("1.50"), "1.50"),
        (dt.date(2024, 2, 3), "2024-02-03"),
        (dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc), "2024-01-01 00:00:00+00:00"),
        (
            dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Zurich")),
            "2024-01-01 00:00:00+01:00",
        ),
        (dt.time(1, 2, 3), "01:02:03"),
        (PurePosixPath("/a/b"), "/a/b"),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_texts(value: object, text: str) -> None:
    """Values of the standard library have the text that `str` gives them."""
    assert reading.text_of(value) == text


def test_a_time_zone_of_the_program_is_named_but_not_asked() -> None:
    """Its offset would be computed by its own code."""
    moment = HOSTILE["time zone"]()
    with ALARM.armed():
        assert reading.text_of(moment) == "2024-01-01 00:00:00 Traptzinfo"


def test_a_number_of_too_many_digits_is_named_by_its_class() -> None:
    """The interpreter refuses to write it."""
    assert reading.text_of(Fraction(10**5000, 3)) is None


def test_subclasses_go_by_their_bases() -> None:
    """Not by what a class claims to be."""

    class Claims:
        @property
        def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
            return dict

    assert isinstance(Claims(), dict)
    assert not reading.is_instance(Claims(), dict)
    assert reading.is_instance(True, int)
    assert reading.is_subclass(OrderedDict, dict)


# --- The cache by class -------------------------------------------------------------------------


def test_each_class_is_read_once() -> None:
    """The second time, the entry is the same object."""
    made: list[type] = []

    def make(cls: type) -> object:
        made.append(cls)
        return object()

    per_class = reading.PerClass(make)
    assert per_class(Data) is per_class(Data)
    assert per_class(Data) is not per_class(Store)
    assert made == [Data, Store]


def test_classes_are_not_kept_alive() -> None:
    """A class that the program has dropped can go, and its entry with it."""
    per_class = reading.PerClass(lambda cls: cls.__name__)
    cls = type("Temporary", (), {})
    per_class(cls)
    alive = weakref.ref(cls)
    del cls
    gc.collect()
    assert alive() is None
    assert per_class._entries == {}
