"""The stores of random programs, and objects in them that tell when code of theirs runs."""

from __future__ import annotations

from collections import OrderedDict, UserDict, defaultdict
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

KEYS = ("a", "b", "c")


class Quiet:
    """An object that can be told from others by its label."""

    def __init__(self, label: str) -> None:
        self.label = label


class Token(Quiet):
    """One that also tells when any code of its class runs."""

    def __init__(self, label: str, log: list[Any]) -> None:
        super().__init__(label)
        self.log = log

    def _tell(self, name: str) -> None:
        self.log.append((name, self.label))

    def __eq__(self, other: object) -> bool:
        self._tell("__eq__")
        return self is other

    def __hash__(self) -> int:
        self._tell("__hash__")
        return 1

    def __bool__(self) -> bool:
        self._tell("__bool__")
        return True

    def __len__(self) -> int:
        self._tell("__len__")
        return 1

    def __repr__(self) -> str:
        self._tell("__repr__")
        return "Token"

    def __copy__(self) -> Any:
        self._tell("__copy__")
        return self

    def __deepcopy__(self, memo: object) -> Any:
        self._tell("__deepcopy__")
        return self

    def __getattr__(self, name: str) -> Any:
        self._tell("__getattr__")
        raise AttributeError(name)


class OwnDict(dict[str, Any]):
    """A dict that tells when its own methods are called."""

    log: list[Any]

    def __getitem__(self, key: str) -> Any:
        self.log.append("store[]")
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        self.log.append("iter(store)")
        return super().__iter__()

    def __len__(self) -> int:
        self.log.append("len(store)")
        return super().__len__()

    def items(self) -> Any:
        """Tells, too."""
        self.log.append("store.items")
        return super().items()


class OwnUserDict(UserDict[str, Any]):
    """A mapping in Python that tells when it is read."""

    log: list[Any] = []  # noqa: RUF012 - until it is given its own

    def __getitem__(self, key: str) -> Any:
        self.log.append("store[]")
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        self.log.append("iter(store)")
        return super().__iter__()


class Fields:
    """A store with attributes."""


class Slots:
    """A store with attributes in slots."""

    __slots__ = ("__weakref__", *KEYS)


def _own(log: list[Any]) -> Any:
    store = OwnDict()
    store.log = log
    return store


def _user(log: list[Any]) -> Any:
    store = OwnUserDict()
    store.log = log
    return store


def _ordered(log: list[Any]) -> Any:
    return OrderedDict[str, Any]()


def _defaulting(log: list[Any]) -> Any:
    return defaultdict[str, Any](list)


_MAKERS: dict[str, Callable[[list[Any]], Any]] = {
    "dict": lambda log: {},
    "subclass": _own,
    "ordered": _ordered,
    "defaultdict": _defaulting,
    "userdict": _user,
    "object": lambda log: Fields(),
    "slots": lambda log: Slots(),
    "list": lambda log: [],
    "none": lambda log: None,
}


def new_store(kind: str, content: Sequence[tuple[str, Any]], log: list[Any]) -> Any:
    """A store of a kind that tells a log when its own code runs."""
    store = _MAKERS[kind](log)
    for key, value in content:
        edit(store, "set", key, value)
    return store


def edit(store: Any, kind: str, key: str, value: Any) -> None:
    """Changes a store; where the change does not fit what stands there, nothing happens."""
    there = _get(store, key)
    if kind in {"set", "token"}:
        _set(store, key, fresh(value))
    elif kind == "alias":
        _set(store, key, _get(store, "a"))
    elif kind == "delete":
        _delete(store, key)
    elif isinstance(there, list):
        _edit_list(cast("list[Any]", there), kind, value)
    elif isinstance(there, dict):
        _edit_dict(cast("dict[str, Any]", there), kind, key, value)


def _edit_list(there: list[Any], kind: str, value: Any) -> None:
    if kind == "append":
        there.append(fresh(value))
    elif kind == "pop" and there:
        there.pop(0)
    elif kind == "clear":
        there.clear()
    elif kind == "nest":
        there.insert(0, [fresh(value)])


def _edit_dict(there: dict[str, Any], kind: str, key: str, value: Any) -> None:
    if kind == "nest":
        there[key] = fresh(value)
    elif kind == "clear":
        there.clear()
    elif kind == "pop" and there:
        there.popitem()


def _get(store: Any, key: str) -> Any:
    if isinstance(store, dict | UserDict):
        return store.get(key)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if isinstance(store, list):
        return store[-1] if store else None  # pyright: ignore[reportUnknownVariableType]
    return getattr(store, key, None)


def _set(store: Any, key: str, value: Any) -> None:
    if isinstance(store, dict | UserDict):
        store[key] = value
    elif isinstance(store, list):
        store.append(value)  # pyright: ignore[reportUnknownMemberType]
    elif store is not None:
        setattr(store, key, value)


def _delete(store: Any, key: str) -> None:
    if isinstance(store, dict | UserDict):
        store.pop(key, None)  # pyright: ignore[reportUnknownMemberType]
    elif isinstance(store, list):
        store[:1] = []
    elif hasattr(store, key):
        delattr(store, key)


def fresh(value: Any) -> Any:
    """A value of its own for each time it is written, as programs make them."""
    if isinstance(value, list):
        return [fresh(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return {key: fresh(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return value
