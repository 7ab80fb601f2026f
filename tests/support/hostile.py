"""Objects of programs that must not be disturbed: each tells when any code of its class runs."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import datetime as dt
import enum
import fractions
import io
import socket
import tempfile
import threading
import types
import typing
import weakref
from typing import Any
from unittest import mock

import attrs
import numpy as np
import pandas as pd
import pydantic

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Generator


class IntrusionError(Exception):
    """Code of a hostile object ran."""


class Alarm:
    """Rings when code of a hostile object runs while it is armed, and keeps what has run."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._armed = False

    def ring(self, call: str) -> None:
        """Called by every hostile method."""
        if self._armed:
            self.calls.append(call)
            raise IntrusionError(call)

    @contextlib.contextmanager
    def armed(self) -> Generator[None]:
        """Arm it, for code that must leave hostile objects alone."""
        self._armed = True
        try:
            yield
        finally:
            self._armed = False


ALARM = Alarm()

_BUILTINS = (object, dict, list, tuple, set, collections.deque, str, bytes, int, float, complex)
_NOT_HOOKED = {"__new__", "__init__", "__class__", "__init_subclass__", "__subclasshook__"}
_HOOKS = {
    *(name for cls in _BUILTINS for name in dir(cls) if callable(getattr(cls, name))),
    *("__getattr__", "__next__", "__length_hint__", "__missing__", "__call__", "__fspath__"),
    *("__bytes__", "__enter__", "__exit__", "__instancecheck__", "__subclasscheck__"),
} - _NOT_HOOKED
"""Every method of the builtins that programs override, and what else an object may be asked."""


def trap(base: type[Any], **attributes: object) -> type[Any]:
    """A subclass with every method overridden: it rings, then does what the base does.

    Args:
        base: any class that can be subclassed.
        attributes: what else the subclass has.
    """
    namespace = {name: _hook(base, name) for name in _HOOKS} | attributes
    return types.new_class(f"Trap{base.__name__}", (base,), {}, _body(namespace))


def _body(namespace: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda body: body.update(namespace)


def _inherited(base: type[Any], name: str) -> Any:
    """What a class has under that name, its metaclass not asked."""
    return next((vars(cls)[name] for cls in base.__mro__ if name in vars(cls)), None)


def _hook(base: type[Any], name: str) -> Callable[..., Any]:
    label = f"{base.__name__}.{name}"
    inherited = _inherited(base, name)

    def hook(self: object, *args: Any, **kwargs: Any) -> Any:
        ALARM.ring(label)
        if name == "__bool__":
            return True
        if inherited is None and name == "__getattr__":
            raise AttributeError(args[0])
        if inherited is None:
            raise TypeError(label)
        return inherited(self, *args, **kwargs)

    return hook


def _ringing_property(name: str) -> Any:
    def get(self: object) -> object:
        ALARM.ring(name)
        return type(self)

    return property(get)


class _Descriptor(metaclass=trap(type)):
    """A descriptor whose own class has a hostile metaclass."""

    def __get__(self, instance: object, owner: type) -> int:
        ALARM.ring("descriptor.__get__")
        return 1

    def __set__(self, instance: object, value: object) -> None:
        ALARM.ring("descriptor.__set__")


class _Plain:
    """An ordinary object with attributes."""

    def __init__(self) -> None:
        self.name = "plain"
        self.log = ["a"]


class _Slots:
    """An object without a dict; one of its slots is unset."""

    __slots__ = ("log", "name", "unset")

    def __init__(self) -> None:
        self.name = "slots"
        self.log = ["a"]


@dataclasses.dataclass
class _Data:
    name: str = "data"
    log: list[str] = dataclasses.field(default_factory=lambda: ["a"])


@dataclasses.dataclass(frozen=True)
class _SlotsData:
    __slots__ = ("log", "name")
    name: str
    log: list[str]


@attrs.define(eq=False)
class _Attrs:
    name: str = "attrs"
    log: list[str] = attrs.field(factory=lambda: ["a"])


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str = "model"
    log: list[str] = ["a"]


def _lazy(name: str = "computed") -> dict[str, object]:
    return {name: _ringing_property(name), "described": _Descriptor()}


class _Color(trap(enum.Enum)):
    """An enumeration whose members are hostile."""

    RED = 1


_MetaTrap = types.new_class("MetaTrap", (), {"metaclass": trap(type)})
_MetaTrapDict = types.new_class("MetaTrapDict", (dict,), {"metaclass": trap(type)})
_MetaTrapList = types.new_class("MetaTrapList", (list,), {"metaclass": trap(type)})
_TrapZone = trap(dt.tzinfo, **{name: _hook(dt.timezone, name) for name in ("utcoffset", "dst")})
_REFERENT = trap(_Plain)()


async def _never_awaited() -> None:
    await asyncio.sleep(0)


def _mutable_key_attributes() -> object:
    plain: Any = types.SimpleNamespace()
    plain.__dict__[trap(str)("name")] = 1
    return plain


HOSTILE: dict[str, Callable[[], Any]] = {
    "object": trap(_Plain, **_lazy()),
    "object with slots": trap(_Slots, __slots__=()),
    "object with __class__": trap(_Plain, __class__=_ringing_property("__class__")),
    "object with __dict__": types.new_class(
        "OwnDict", (), {}, _body({"__dict__": _ringing_property("__dict__")})
    ),
    "dataclass": trap(_Data, **_lazy()),
    "dataclass with slots": lambda: trap(_SlotsData, __slots__=())("slots", ["a"]),
    "attrs": trap(_Attrs, __slots__=()),
    "pydantic": lambda: trap(_Model)(extra=["b"]),
    "SimpleNamespace": lambda: trap(types.SimpleNamespace)(name="x", log=["a"]),
    "namespace with a hostile name": _mutable_key_attributes,
    "dict": lambda: trap(dict)(name="x", log=["a"]),
    "defaultdict": lambda: trap(collections.defaultdict)(list, log=["a"]),
    "OrderedDict": lambda: trap(collections.OrderedDict)(log=["a"]),
    "Counter": lambda: trap(collections.Counter)("aab"),
    "list": lambda: trap(list)(["x", ["a"]]),
    "tuple": lambda: trap(tuple)(["x", ["a"]]),
    "set": lambda: trap(set)(["x"]),
    "frozenset": lambda: trap(frozenset)(["x"]),
    "deque": lambda: trap(collections.deque)(["x", ["a"]]),
    "str": lambda: trap(str)("text"),
    "bytes": lambda: trap(bytes)(b"bytes"),
    "int": lambda: trap(int)(5),
    "float": lambda: trap(float)(0.5),
    "Fraction": lambda: trap(fractions.Fraction)(1, 3),
    "enum": lambda: _Color.RED,
    "exception": lambda: trap(ValueError)("no"),
    "metaclass": _MetaTrap,
    "metaclass of a dict": lambda: _MetaTrapDict(a=["b"]),
    "metaclass of a list": lambda: _MetaTrapList(["x", ["a"]]),
    "class": lambda: _MetaTrap,
    "time zone": lambda: dt.datetime(2024, 1, 1, tzinfo=_TrapZone()),
    "proxy": lambda: weakref.proxy(_REFERENT),
    "MagicMock": mock.MagicMock,
    "array": lambda: np.arange(6),
    "DataFrame": lambda: pd.DataFrame({"a": [1, 2]}),
    "lock": threading.Lock,
    "socket": socket.socket,
    "generator": lambda: (ALARM.ring("generator") for _ in range(3)),
    "coroutine": _never_awaited,
    "file": tempfile.TemporaryFile,
    "module": lambda: types.ModuleType("some_module"),
}
"""Makes an object of each kind, by the name of the kind."""


_CLOSEABLE = (socket.socket, types.CoroutineType, types.GeneratorType, io.IOBase)


def dispose(value: object) -> None:
    """Let go of what would warn when it is collected."""
    if isinstance(value, _CLOSEABLE):
        value.close()
