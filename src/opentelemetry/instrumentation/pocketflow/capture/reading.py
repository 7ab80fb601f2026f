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
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, cast

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
CONTAINER_TYPE_IDS: Final = frozenset(i for i, kind in _EXACT.items() if kind in CONTAINERS)
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
_list_slice: Final[Callable[[Any, slice], list[Any]]] = list[Any].__getitem__
_tuple_len: Final[Callable[[Any], int]] = tuple[Any, ...].__len__
_tuple_iter: Final[Callable[[Any], Iterator[Any]]] = tuple[Any, ...].__iter__
_set_len: Final[Callable[[Any], int]] = set[Any].__len__
_set_iter: Final[Callable[[Any], Iterator[Any]]] = set[Any].__iter__
_frozenset_len: Final[Callable[[Any], int]] = frozenset[Any].__len__
_frozenset_iter: Final[Callable[[Any], Iterator[Any]]] = frozenset[Any].__iter__
_deque_len: Final[Callable[[Any], int]] = deque[Any].__len__
_deque_iter: Final[Callable[[Any], Iterator[Any]]] = deque[Any].__iter__

# `type`'s own descriptors, so that a metaclass's `__getattribute__` is never asked.
_namespace_of: Final[Callable[[type], dict[str, Any]]] = type.__dict__["__dict__"].__get__
_mro_of: Final[Callable[[type], tuple[type, ...]]] = type.__dict__["__mro__"].__get__
_qualname_of: Final[Callable[[type], str]] = type.__dict__["__qualname__"].__get__
_name_of: Final[Callable[[type], str]] = type.__dict__["__name__"].__get__

_MODEL_MARKS: Final = ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__")
"""What makes a class a plain record, by the library that made it one."""

_PYDANTIC_EXTRA: Final = "__pydantic_extra__"


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


class _ClassFacts(NamedTuple):
    kind: Kind
    dict_of: Callable[[object], Any] | None
    slots: tuple[tuple[str, Callable[[object], Any]], ...]
    extra_of: Callable[[object], Any] | None


def kind_of(value: object) -> Kind:
    """Tells how a value can be looked into."""
    exact = _EXACT.get(id(type(value)))
    return exact if exact is not None else _facts_of(type(value)).kind


def class_name(cls: type) -> str:
    """The class's bare name."""
    return _name_of(cls)


def qualified_name(cls: type) -> str:
    """`module.QualName`; builtins without the module."""
    module = _namespace_of(cls).get("__module__")
    name = _qualname_of(cls)
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
        return pairs_of(value)
    if kind is Kind.FIELDS:
        return pairs_of(fields_of(value))
    return None, list(_ITERATE[kind](value))


def first_contents(value: Any, kind: Kind, most: int) -> tuple[list[Any] | None, list[Any]]:
    """Like `contents_of`, but at most the first `most`, at no more cost than these.

    Raises:
        RuntimeError: another thread changes the container just now.
    """
    if kind is Kind.LIST:
        return None, _list_slice(value, slice(most))
    if kind is Kind.FIELDS:
        keys, items = contents_of(value, kind)
        return keys and keys[:most], items[:most]
    if kind is Kind.DICT:
        pairs = list(islice(_dict_items(value), most))
        return [key for key, _ in pairs], [item for _, item in pairs]
    return None, list(islice(_ITERATE[kind](value), most))


def fields_of(value: object) -> dict[str, Any]:
    """The fields of a plain object by name, read without its own code. Unset slots are absent."""
    facts = _facts_of(type(value))
    fields: dict[str, Any] = {}
    for name, getter in facts.slots:
        try:
            fields[name] = getter(value)
        except AttributeError:
            continue
    if facts.dict_of is not None and type(own := facts.dict_of(value)) is dict:
        fields.update(cast("dict[str, Any]", own))
    if facts.extra_of is not None and type(extra := facts.extra_of(value)) is dict:
        fields.update(cast("dict[str, Any]", extra))
    return fields


def instance_dict(value: object) -> dict[str, Any] | None:
    """The `__dict__` of an instance itself, not a copy; None where it has none."""
    getter = _facts_of(type(value)).dict_of
    own = getter(value) if getter is not None else None
    return cast("dict[str, Any]", own) if type(own) is dict else None


def is_mutable_in_place(value: object, kind: Kind) -> bool:
    """Can the container itself change, apart from what it contains?"""
    return kind is not Kind.TUPLE and not (kind is Kind.SET and type(value) is frozenset)


def pairs_of(mapping: dict[Any, Any]) -> tuple[list[Any], list[Any]]:
    """Keys and items of a dict, as they are at one moment."""
    # One list() of the items is atomic under the interpreter lock; keys and values taken one after
    # the other would not be.
    items = list(_dict_items(mapping))
    return [key for key, _ in items], [item for _, item in items]


def _is_set(value: object) -> bool:
    return is_subclass(type(value), set)


_LENGTH: Final[dict[Kind, Callable[[Any], int]]] = {
    Kind.DICT: dict_len,
    Kind.LIST: _list_len,
    Kind.TUPLE: _tuple_len,
    Kind.SET: lambda value: (_set_len if _is_set(value) else _frozenset_len)(value),
    Kind.DEQUE: _deque_len,
    Kind.FIELDS: lambda value: len(fields_of(value)),
}
_ITERATE: Final[dict[Kind, Callable[[Any], Iterator[Any]]]] = {
    Kind.LIST: _list_iter,
    Kind.TUPLE: _tuple_iter,
    Kind.SET: lambda value: (_set_iter if _is_set(value) else _frozenset_iter)(value),
    Kind.DEQUE: _deque_iter,
}


def is_subclass(cls: type, base: type) -> bool:
    """Like `issubclass`, by the method resolution order alone."""
    return base in _mro_of(cls) if type(cls) is type else any(c is base for c in _mro_of(cls))


def _read_class(cls: type) -> _ClassFacts:
    dict_of: Callable[[object], Any] | None = None
    extra_of: Callable[[object], Any] | None = None
    slots: list[tuple[str, Callable[[object], Any]]] = []
    is_record = False
    for base, namespace in namespaces(cls):
        is_record = is_record or any(mark in namespace for mark in _MODEL_MARKS)
        for name, attribute in list(namespace.items()):
            # Only descriptors that the interpreter made: a property of the user is never called.
            if type(attribute) not in (types.MemberDescriptorType, types.GetSetDescriptorType):
                continue
            if name == "__dict__" and attribute.__objclass__ is base:
                dict_of = dict_of or attribute.__get__
            elif name == _PYDANTIC_EXTRA:
                extra_of = attribute.__get__
            elif type(attribute) is types.MemberDescriptorType and not name.startswith("__"):
                slots.append((name, attribute.__get__))
    return _ClassFacts(_kind_of_class(cls, is_record), dict_of, tuple(slots), extra_of)


def _kind_of_class(cls: type, is_record: bool) -> Kind:  # noqa: FBT001 - private, one caller
    exact = _EXACT.get(id(cls))
    if exact is not None:
        return exact
    for base, kind in _BASES:
        if is_subclass(cls, base):
            return kind
    return Kind.FIELDS if is_record else Kind.OPAQUE


_facts_of: Final = PerClass(_read_class)
