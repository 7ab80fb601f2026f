"""Shared stores: what a program has in its store while its nodes read and write small keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Store: TypeAlias = "dict[str, Any]"
MakeStore: TypeAlias = "Callable[[], Store]"

MESSAGES = 200
"""In the chat, before a node adds one."""


def small() -> Store:
    """One key."""
    return {"question": "why?"}


def large_text() -> Store:
    """A document of 1 MB."""
    return {"question": "why?", "text": "x" * 1_000_000}


def rows() -> Store:
    """A table of 10,000 small dicts."""
    return {"question": "why?", "rows": [{"id": i, "text": str(i)} for i in range(10_000)]}


def many_keys() -> Store:
    """1,000 keys."""
    return {"question": "why?", **{f"key{i}": i for i in range(1_000)}}


def chat() -> Store:
    """A conversation, to which each node adds a message."""
    messages = [{"role": "user", "content": f"message {i}"} for i in range(MESSAGES)]
    return {"question": "why?", "messages": messages}


STORES: dict[str, MakeStore] = {
    "small store": small,
    "1 MB string": large_text,
    "10,000 small dicts": rows,
    "1,000 keys": many_keys,
    "chat of 200 messages": chat,
}
"""Those of the table in issue 6."""


def write(store: Store) -> None:
    """What a node writes: one small key, and in a chat a message."""
    store["count"] = store.get("count", 0) + 1
    if "messages" in store:
        store["messages"].append({"role": "user", "content": "hello"})


def restore(store: Store) -> None:
    """Takes back what the nodes of a lap have written."""
    store.pop("count", None)
    if "messages" in store:
        del store["messages"][MESSAGES:]


def with_keys(number: int) -> MakeStore:
    """That many keys."""
    return lambda: {"question": "why?", **{f"key{i}": i for i in range(number)}}


def with_text(size: int) -> MakeStore:
    """A text of that many bytes, the same object in each store that is made."""
    text = "x" * size
    return lambda: {"question": "why?", "text": text}


def with_depth(depth: int) -> MakeStore:
    """A dict in a dict in a dict."""
    value: Any = "leaf"
    for _ in range(depth):
        value = {"inside": value}
    return lambda: {"question": "why?", "nested": value}


def with_list(length: int) -> MakeStore:
    """A list of that many numbers, the same object in each store that is made."""
    numbers = list(range(length))
    return lambda: {"question": "why?", "numbers": numbers}


def with_rows(length: int) -> MakeStore:
    """A list of that many small dicts, the same object in each store that is made."""
    table = [{"id": i, "text": str(i)} for i in range(length)]
    return lambda: {"question": "why?", "rows": table}
