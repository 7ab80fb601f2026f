"""Reads values of somebody else's program without running any of their code.

Pure: no OpenTelemetry. Nothing here calls a method that a user's class can define (`__eq__`,
`__hash__`, `__len__`, `__iter__`, `__getattr__`, properties, ...), nor one of its metaclass:
builtins are read through the builtin type's own methods, and objects through the descriptors that
the interpreter made for their fields.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import pathlib
import types
import uuid
import weakref
import zoneinfo
from collections import deque
from itertools import chain, islice, repeat
from operator import is_
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator


T = TypeVar("T")


class Kind(enum.IntEnum):
    """How a value can be looked into."""

    ATOM = 0
    """Immutable and builtin, of exactly that type: compared by value where identity fails."""
    TEXT = 1
    """An immutable value of the standard library with a harmless `str()`."""
    DICT = 2
    LIST = 3
    TUPLE = 4
    SET = 5
    DEQUE = 6
    FIELDS = 7
    """A plain object: a dataclass, an attrs or pydantic model, a SimpleNamespace."""
    OPAQUE = 8
    """Anything else: compared by identity, shown as its type."""

    __hash__ = int.__hash__  # that of an enumeration is not in C


CONTAINERS: Final = frozenset({Kind.DICT, Kind.LIST, Kind.TUPLE, Kind.SET, Kind.DEQUE, Kind.FIELDS})

# Builtin classes live as long as the interpreter, so their ids are safe keys, and an id is looked
# up without asking a metaclass for a hash.
_EXACT: Final[dict[int, Kind]] = {
    **{
        id(cls): Kind.ATOM
        for cls in (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))
    },
    **{
        id(cls): Kind.TEXT
        for cls in (
            dt.date,
            dt.datetime,
            dt.time,
            dt.timedelta,
            decimal.Decimal,
            fractions.Fraction,
            uuid.UUID,
            pathlib.PosixPath,
            pathlib.WindowsPath,
            pathlib.PurePosixPath,
            pathlib.PureWindowsPath,
        )
    },
    id(dict): Kind.DICT,
    id(list): Kind.LIST,
    id(tuple): Kind.TUPLE,
    id(set): Kind.SET,
    id(frozenset): Kind.SET,
    id(deque): Kind.DEQUE,
    id(types.SimpleNamespace): Kind.FIELDS,
}
ATOM_TYPE_IDS: Final = frozenset(i for i, kind in _EXACT.items() if kind not in CONTAINERS)

_BASES: Final = (
    (dict, Kind.DICT),
    (list, Kind.LIST),
    (tuple, Kind.TUPLE),
    (set, Kind.SET),
    (frozenset, Kind.SET),
    (deque, Kind.DEQUE),
)

# The builtins' own methods, which pass over those of a subclass.
dict_len: Final[Callable[[Any], int]] = dict[Any, Any].__len__
dict_keys: Final[Callable[[Any], Collection[Any]]] = dict[Any, Any].keys
dict_values: Final[Callable[[Any], Collection[Any]]] = dict[Any, Any].values
_dict_items: Final[Callable[[Any], Iterable[tuple[Any, Any]]]] = dict[Any, Any].items
_list_len: Final[Callable[[Any], int]] = list[Any].__len__
_list_iter: Final[Callable[[Any], Iterator[Any]]] = list[Any].__iter__
_tuple_len: Final[Callable[[Any], int]] = tuple[Any, ...].__len__
_tuple_iter: Final[Callable[[Any], Iterator[Any]]] = tuple[Any, ...].__iter__
_set_len: Final[Callable[[Any], int]] = set[Any].__len__
_set_iter: Final[Callable[[Any], Iterator[Any]]] = set[Any].__iter__
_frozenset_len: Final[Callable[[Any], int]] = frozenset[Any].__len__
_frozenset_iter: Final[Callable[[Any], Iterator[Any]]] = frozenset[Any].__iter__
_deque_len: Final[Callable[[Any], int]] = deque[Any].__len__
_deque_iter: Final[Callable[[Any], Iterator[Any]]] = deque[Any].__iter__
_list_item: Final[Callable[[Any, int], Any]] = list[Any].__getitem__
_tuple_item: Final[Callable[[Any, int], Any]] = tuple[Any, ...].__getitem__
_deque_item: Final[Callable[[Any, int], Any]] = deque[Any].__getitem__

# `type`'s own descriptors, so that a metaclass's `__getattribute__` is never asked.
_namespace_of: Final[Callable[[type], dict[str, Any]]] = type.__dict__["__dict__"].__get__
_mro_of: Final[Callable[[type], tuple[type, ...]]] = type.__dict__["__mro__"].__get__
_qualname_of: Final[Callable[[type], str]] = type.__dict__["__qualname__"].__get__
_name_of: Final[Callable[[type], str]] = type.__dict__["__name__"].__get__
_plain: Final = str.__str__
"""A class may be given a name of a subclass of str; this makes it a str."""

_MAX_TEXT_BITS: Final = 8_192
_MAX_TEXT_CHARS: Final = 65_536
"""Longer texts are not made of a value."""

_LIBRARY_ZONES: Final = (dt.timezone, zoneinfo.ZoneInfo)

_MODEL_MARKS: Final = ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__")
"""What makes a class a plain record, by the library that made it one."""

_PYDANTIC_EXTRA: Final = "__pydantic_extra__"
_PYDANTIC_PRIVATE: Final = "__pydantic_private__"


class PerClass(Generic[T]):
    """A cache by class that neither asks a metaclass for a hash nor keeps the class alive.

    Args:
        make: computes the entry of a class.
    """

    def __init__(self, make: Callable[[type], T]) -> None:
        self._make = make
        self._entries: dict[int, tuple[weakref.ref[type], T]] = {}

    def __call__(self, cls: type) -> T:
        """The entry of a class."""
        entry = self._entries.get(id(cls))
        if entry is not None and entry[0]() is cls:
            return entry[1]
        made = self._make(cls)
        key, entries = id(cls), self._entries
        entries[key] = (weakref.ref(cls, lambda _: entries.pop(key, None)), made)
        return made


Getter: TypeAlias = "Callable[[object], Any]"
_Slot: TypeAlias = "tuple[str, Getter]"


class Layout(NamedTuple):
    """Where the fields of an object are, in the order in which they are read."""

    slots: tuple[_Slot, ...]
    """Names, and how to read them; AttributeError where one is unset."""
    dicts: tuple[Getter, ...]
    """How to read its `__dict__`, and what else is a dict of fields in some instances."""


class _ClassFacts(NamedTuple):
    kind: Kind
    dict_of: Getter | None
    layout: Layout


def kind_of(value: object) -> Kind:
    """Tells how a value can be looked into."""
    exact = _EXACT.get(id(type(value)))
    return exact if exact is not None else _facts_of(type(value)).kind


def class_name(cls: type) -> str:
    """The class's bare name."""
    return _plain(_name_of(cls))


def qualified_name(cls: type) -> str:
    """`module.QualName`; builtins without the module."""
    module = _namespace_of(cls).get("__module__")
    name = _plain(_qualname_of(cls))
    return f"{module}.{name}" if type(module) is str and module != "builtins" else name


def namespaces(cls: type) -> list[tuple[type, dict[str, Any]]]:
    """The classes of the method resolution order, each with its own namespace."""
    return [(c, _namespace_of(c)) for c in _mro_of(cls)]


def size_of(value: object) -> int | None:
    """Characters, bytes, items or fields; None where there is no such number."""
    if type(value) is str or type(value) is bytes:
        return len(value)
    kind = kind_of(value)
    return length_of(value, kind) if kind in CONTAINERS else None


def length_of(value: Any, kind: Kind) -> int:
    """Number of items or fields of a container of that kind."""
    return _LENGTH[kind](value)


def contents_of(value: Any, kind: Kind) -> tuple[list[Any] | None, list[Any]]:
    """Keys (of dicts and objects, else None) and items of a container, as new lists.

    Raises:
        RuntimeError: another thread changes the container just now.
    """
    if kind is Kind.DICT:
        keys, items = iter(dict_keys(value)), iter(dict_values(value))
        # Of one moment: the interpreter changes threads at calls and jumps, and here is none
        # between the two. A list of pairs would be as sure, but takes five times as long.
        both = [*keys, *items]
        half = len(both) // 2
        return both[:half], both[half:]
    if kind is Kind.FIELDS:
        return _unzip(list(_field_pairs(value)))
    return None, list(_ITERATE[kind](value))


def first_contents(value: Any, kind: Kind, most: int) -> tuple[list[Any] | None, list[Any]]:
    """Like `contents_of`, but at most the first `most`, at no more cost than these.

    Raises:
        RuntimeError: another thread changes the container just now.
    """
    if kind is Kind.DICT or kind is Kind.FIELDS:
        return _unzip(list(islice(_PAIRS[kind](value), most)))
    return None, list(islice(_ITERATE[kind](value), most))


def last_of(value: Any, kind: Kind, back: int = 1) -> Any:
    """The last item of a list, tuple or deque; with `back` of 2 the one before it, and so on.

    Raises:
        IndexError: it has fewer items.
    """
    # Not -1: for that index, a deque asks for the `__len__` of the subclass.
    length = length_of(value, kind)
    return _ITEM[kind](value, length - back if length >= back else length)


def private_fields(value: object) -> dict[str, Any] | None:
    """The private attributes of a pydantic model, not a copy; None where it has none."""
    getter = _private_getter_of(type(value))
    try:
        own = getter(value) if getter is not None else None
    except AttributeError:  # unset, as in a model made without validation
        return None
    return cast("dict[str, Any]", own) if type(own) is dict else None


def text_of(value: object) -> str | None:
    """A value of kind `TEXT`, or a complex number, as text; None where there is no short one."""
    if type(value) is not complex and kind_of(value) is not Kind.TEXT:
        return None
    zone = _own_zone_of(value)
    if zone is not None:
        moment = cast("dt.datetime", value)
        return f"{moment.replace(tzinfo=None)} {class_name(type(zone))}"
    return exact_text(value)


def exact_text(value: object) -> str | None:
    """`str()` of a value of kind `TEXT`, or of a complex number.

    None where that would be long, or run code of a user's class, and so for any other value.
    """
    if _own_zone_of(value) is not None:
        return None  # it would be asked for its offset
    is_short = _IS_SHORT.get(id(type(value)))
    return str(value) if is_short is None or is_short(value) else None


def _own_zone_of(value: object) -> object | None:
    """The time zone of a moment, if it is of a class of the program's own."""
    if type(value) is not dt.datetime and type(value) is not dt.time:
        return None
    zone = cast("dt.datetime", value).tzinfo
    known = zone is None or any(type(zone) is library for library in _LIBRARY_ZONES)
    return None if known else zone


def _is_short_fraction(value: Any) -> bool:
    parts = (value.numerator, value.denominator)  # a subclass of int may have put anything there
    return all(type(part) is int and part.bit_length() <= _MAX_TEXT_BITS for part in parts)


def _is_short_decimal(value: Any) -> bool:
    return value.__sizeof__() <= _MAX_TEXT_CHARS


def _is_short_path(value: Any) -> bool:
    # Where Python keeps what a path was made of, up to 3.11 and since; it is put together late.
    parts: Any = getattr(value, "_parts", None) or getattr(value, "_raw_paths", ())
    is_plain = all(type(part) is str for part in parts)
    return is_plain and sum(map(len, parts)) <= _MAX_TEXT_CHARS


def layout_of(cls: type) -> Layout:
    """Where the fields of instances of a class are."""
    return _facts_of(cls).layout


def instance_dict(value: object) -> dict[str, Any] | None:
    """The `__dict__` of an instance itself, not a copy; None where it has none."""
    getter = _facts_of(type(value)).dict_of
    own = getter(value) if getter is not None else None
    return cast("dict[str, Any]", own) if type(own) is dict else None


def is_mutable_in_place(value: object, kind: Kind) -> bool:
    """Can the container itself change, apart from what it contains?"""
    return kind is not Kind.TUPLE and not (kind is Kind.SET and type(value) is frozenset)


def _unzip(pairs: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [key for key, _ in pairs], [item for _, item in pairs]


def _field_pairs(value: object) -> Iterable[tuple[str, Any]]:
    """Names and values of fields, read without the object's own code. Unset slots are absent."""
    layout = layout_of(type(value))
    own = map(_dict_items, _own_dicts(value, layout))
    return chain.from_iterable((_slot_pairs(value, layout), *own) if layout.slots else own)


def _own_dicts(value: object, layout: Layout) -> list[dict[str, Any]]:
    found = [getter(value) for getter in layout.dicts]
    return [own for own in found if type(own) is dict]


def _slot_pairs(value: object, layout: Layout) -> Iterator[tuple[str, Any]]:
    for name, getter in layout.slots:
        try:
            yield name, getter(value)
        except AttributeError:
            continue


def _count_fields(value: object) -> int:
    layout = layout_of(type(value))
    return sum(map(len, _own_dicts(value, layout))) + sum(1 for _ in _slot_pairs(value, layout))


def _is_set(value: object) -> bool:
    return is_subclass(type(value), set)


_LENGTH: Final[dict[Kind, Callable[[Any], int]]] = {
    Kind.DICT: dict_len,
    Kind.LIST: _list_len,
    Kind.TUPLE: _tuple_len,
    Kind.SET: lambda value: (_set_len if _is_set(value) else _frozenset_len)(value),
    Kind.DEQUE: _deque_len,
    Kind.FIELDS: _count_fields,
}
_PAIRS: Final[dict[Kind, Callable[[Any], Iterable[tuple[Any, Any]]]]] = {
    Kind.DICT: _dict_items,
    Kind.FIELDS: _field_pairs,
}
_ITERATE: Final[dict[Kind, Callable[[Any], Iterator[Any]]]] = {
    Kind.LIST: _list_iter,
    Kind.TUPLE: _tuple_iter,
    Kind.SET: lambda value: (_set_iter if _is_set(value) else _frozenset_iter)(value),
    Kind.DEQUE: _deque_iter,
}
_ITEM: Final[dict[Kind, Callable[[Any, int], Any]]] = {
    Kind.LIST: _list_item,
    Kind.TUPLE: _tuple_item,
    Kind.DEQUE: _deque_item,
}


_IS_SHORT: Final[dict[int, Callable[[Any], bool]]] = {
    id(fractions.Fraction): _is_short_fraction,
    id(decimal.Decimal): _is_short_decimal,
    **{
        id(cls): _is_short_path
        for cls in (
            pathlib.PosixPath,
            pathlib.WindowsPath,
            pathlib.PurePosixPath,
            pathlib.PureWindowsPath,
        )
    },
}
"""Of values whose text may be long, by the id of their class."""


def is_subclass(cls: type, base: type) -> bool:
    """Like `issubclass`, by the method resolution order alone."""
    # `in` would compare, which a metaclass may have its own way of.
    return any(map(is_, _mro_of(cls), repeat(base)))


def is_instance(value: object, cls: type) -> bool:
    """Like `isinstance`, without asking the value for its class."""
    return is_subclass(type(value), cls)


def _read_class(cls: type) -> _ClassFacts:
    dict_of: Getter | None = None
    extra_of: Getter | None = None
    slots: list[_Slot] = []
    is_record = False
    for base, namespace in namespaces(cls):
        is_record = is_record or any(mark in namespace for mark in _MODEL_MARKS)
        for name, attribute in list(namespace.items()):
            # Only descriptors that the interpreter made: a property of the user is never called.
            is_member = type(attribute) is types.MemberDescriptorType
            if not is_member and type(attribute) is not types.GetSetDescriptorType:
                continue
            if name == "__dict__" and _is_own_dict(attribute, base):
                dict_of = dict_of or attribute.__get__
            elif name == _PYDANTIC_EXTRA:
                extra_of = attribute.__get__
            elif is_member and not name.startswith("__"):
                slots.append((name, attribute.__get__))
    dicts = tuple(getter for getter in (dict_of, extra_of) if getter is not None)
    return _ClassFacts(_kind_of_class(cls, is_record), dict_of, Layout(tuple(slots), dicts))


class _Plain:
    """A class as programs write them."""


_DICT_DOC: Final = _namespace_of(_Plain)["__dict__"].__doc__


def _is_own_dict(attribute: Any, base: type) -> bool:
    """Is it the interpreter's own way to the dict of an instance?

    That of a proxy written in C leads to what it stands for, which may be made by that.
    """
    if attribute.__objclass__ is not base:
        return False
    is_member = type(attribute) is types.MemberDescriptorType
    return is_member or attribute.__doc__ == _DICT_DOC or base is BaseException


def _kind_of_class(cls: type, is_record: bool) -> Kind:  # noqa: FBT001 - private, one caller
    exact = _EXACT.get(id(cls))
    if exact is not None:
        return exact
    for base, kind in _BASES:
        if is_subclass(cls, base):
            return kind
    return Kind.FIELDS if is_record else Kind.OPAQUE


def _find_private_getter(cls: type) -> Getter | None:
    for _, namespace in namespaces(cls):
        attribute = namespace.get(_PYDANTIC_PRIVATE)
        # Only the slot that the interpreter made: a property of the user is never called.
        if type(attribute) is types.MemberDescriptorType:
            return attribute.__get__
    return None


_facts_of: Final = PerClass(_read_class)
_private_getter_of: Final = PerClass(_find_private_getter)
