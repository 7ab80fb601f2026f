"""Classes with every special method overridden, each to misbehave in one way and to say so.

`support.hostile` rings where a method runs that should not; here, methods count in the program's
own log, so that a plain run and a traced one can be compared call by call, and then they misbehave.
"""

from __future__ import annotations

import builtins
import collections
import dataclasses
import itertools
import types
import typing
from typing import Any

from support.tracing import note

if typing.TYPE_CHECKING:
    from collections.abc import Callable

Method: typing.TypeAlias = "Callable[..., Any]"


_MAKES = {"Record": frozenset({"__setattr__"})}
"""What an instance cannot be made without."""


class MisbehavedError(Exception):
    """What raising methods raise."""


class MisbehavedFatally(BaseException):
    """What passes by `except Exception`."""


_NEVER = {
    *("__new__", "__init__", "__init_subclass__", "__subclasshook__", "__set_name__", "__base__"),
    *("__class__", "__dict__", "__del__", "__slots__", "__doc__", "__module__", "__weakref__"),
}
"""What makes the object or its class in the first place, and what is no method."""

_BEYOND_BUILTINS = {
    *("__getattr__", "__get__", "__set__", "__delete__", "__missing__", "__next__", "__call__"),
    *("__length_hint__", "__enter__", "__exit__", "__await__", "__aiter__", "__anext__"),
    *("__aenter__", "__aexit__", "__copy__", "__deepcopy__", "__getnewargs__", "__getstate__"),
    *("__getnewargs_ex__", "__getinitargs__", "__setstate__", "__fspath__", "__bytes__"),
    *("__complex__", "__index__", "__matmul__", "__imatmul__", "__rmatmul__", "__objclass__"),
    *("__instancecheck__", "__subclasscheck__", "__prepare__", "__mro_entries__"),
    *("__buffer__", "__release_buffer__", "__class_getitem__", "__annotations__"),
    *("__array__", "__array_interface__", "__array_struct__", "__array_priority__"),
    *("__array_ufunc__", "__dataframe__", "__dlpack__", "__cuda_array_interface__"),
    *("__arrow_c_array__", "__html__", "__json__", "__rich__", "__rich_repr__", "__pretty__"),
    *("__rich_console__", "__repr_args__", "__wrapped__", "__func__", "__self__"),
    *("__text_signature__", "__signature__", "__clause_element__", "__composite_values__"),
}
"""What the interpreter, the standard library and others ask an object for besides."""


def special_methods() -> list[str]:
    """Every special method of the builtins, and those that libraries and protocols ask for."""
    classes = [value for value in vars(builtins).values() if isinstance(value, type)]
    classes += [collections.deque, collections.OrderedDict, collections.defaultdict]
    classes += [value for value in vars(types).values() if isinstance(value, type)]
    found = {name for cls in classes for name in dir(cls) if callable(getattr(cls, name, None))}
    dunders = {name for name in found if name.startswith("__")}
    return sorted((dunders | _BEYOND_BUILTINS) - _NEVER)


def _inherited(base: type[Any], name: str) -> Any:
    return next((vars(cls)[name] for cls in base.__mro__ if name in vars(cls)), None)


# --- Ways of misbehaving --------------------------------------------------------------------


def _raises(error: type[BaseException]) -> Callable[[type[Any], str], Method]:
    def make(base: type[Any], name: str) -> Method:
        def method(self: object, *args: Any, **kwargs: Any) -> Any:
            note(f"{base.__name__}.{name}")
            raise error(name)

        return method

    return make


def _counts(base: type[Any], name: str) -> Method:
    """As the base does it; the count is all."""
    inherited = _inherited(base, name)

    def method(self: object, *args: Any, **kwargs: Any) -> Any:
        note(f"{base.__name__}.{name}")
        if inherited is None:
            raise AttributeError(name)
        return inherited(self, *args, **kwargs)

    return method


def _recurses(base: type[Any], name: str) -> Method:
    def method(self: object, *args: Any, **kwargs: Any) -> Any:
        note(f"{base.__name__}.{name}")
        return again(self)

    def again(self: object) -> Any:
        return again(self)

    return method


_LIES: dict[str, Callable[[], Any]] = {
    "__len__": lambda: 10**9,
    "__length_hint__": lambda: 10**9,
    "__bool__": lambda: True,
    "__eq__": lambda: True,
    "__ne__": lambda: True,
    "__lt__": lambda: True,
    "__hash__": lambda: 7,
    "__contains__": lambda: True,
    "__iter__": itertools.count,
    "__str__": lambda: "another text",
    "__repr__": lambda: "another text",
    "__format__": lambda: "another text",
    "__int__": lambda: 42,
    "__index__": lambda: 0,
    "__float__": lambda: 0.0,
    "__dir__": lambda: ["another", "name"],
}
"""What methods answer that have to answer something of a kind; the others answer a lie."""


def _lies(base: type[Any], name: str) -> Method:
    answer = _LIES.get(name, lambda: "a lie")

    def method(self: object, *args: Any, **kwargs: Any) -> Any:
        note(f"{base.__name__}.{name}")
        return answer()

    return method


WAYS: dict[str, Callable[[type[Any], str], Method]] = {
    "raises": _raises(MisbehavedError),
    "raises fatally": _raises(MisbehavedFatally),
    "counts": _counts,
    "recurses": _recurses,
    "lies": _lies,
}


@dataclasses.dataclass
class Record:
    """A plain object with fields."""

    a: Any


BASES: dict[str, tuple[type[Any], tuple[Any, ...]]] = {
    "object": (object, ()),
    "Record": (Record, (["b"],)),
    "dict": (dict, ({"a": ["b"]},)),
    "list": (list, (["a", ["b"]],)),
    "tuple": (tuple, (["a", ["b"]],)),
    "set": (set, (["a"],)),
    "frozenset": (frozenset, (["a"],)),
    "str": (str, ("a text",)),
    "bytes": (bytes, (b"bytes",)),
    "bytearray": (bytearray, (b"bytes",)),
    "int": (int, (5,)),
    "float": (float, (0.5,)),
    "complex": (complex, (1j,)),
    "deque": (collections.deque, (["a", ["b"]],)),
}
"""What is subclassed, and what its instances are made of."""


def misbehaving(base: type[Any], way: str, *, keeps: frozenset[str] = frozenset()) -> type[Any]:
    """A subclass whose special methods all misbehave in one way.

    Args:
        base: any class that can be subclassed.
        way: one of `WAYS`.
        keeps: methods that are left as they are.
    """
    namespace: dict[str, Any] = {
        name: WAYS[way](base, name) for name in special_methods() if name not in keeps
    }
    if "__hash__" in keeps:  # Python takes it from a class that defines `__eq__` alone
        namespace["__hash__"] = base.__hash__
    namespace |= {"__class__": property(_claimed_class), "__module__": __name__}
    return types.new_class(f"Bad{base.__name__}", (base,), {}, lambda body: body.update(namespace))


def _claimed_class(self: object) -> type:
    note("__class__")
    return dict


def make(kind: str, way: str, *, keeps: frozenset[str] = frozenset()) -> Any:
    """An instance of a subclass of `BASES[kind]` that misbehaves."""
    base, arguments = BASES[kind]
    cls = misbehaving(base, way, keeps=keeps | _MAKES.get(kind, frozenset()))
    return cls(*arguments)


KINDS = [(kind, way) for kind in BASES for way in WAYS]
"""Each base, misbehaving in each way."""
