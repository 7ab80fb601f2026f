"""Values that another thread changes during the whole of a run."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnusedExpression=false

from __future__ import annotations

import collections
import contextlib
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import pytest

from support.framework import BatchNode, Flow, Node
from support.honest import assert_honest
from support.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@contextlib.contextmanager
def changing(change: Callable[[int], object]) -> Generator[None]:
    """Another thread does nothing but to change something, and takes turns as often as it can."""
    stop, began = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                change(turn)
            except BaseException as exc:  # noqa: BLE001 - a thread's exception would go unseen
                failed.append(exc)
                break
            began.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=work)
    thread.start()
    began.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert failed == []


def _change_dict(value: dict[Any, Any], turn: int) -> None:
    value[turn % 50] = [turn]
    value.pop(turn % 37, None)
    value[("key", turn % 3)] = {"turn": turn}


def _change_list(value: list[Any], turn: int) -> None:
    value.append({"turn": turn})
    if len(value) > 30:
        del value[turn % 10 : turn % 10 + 3]


def _change_deque(value: collections.deque[Any], turn: int) -> None:
    value.append(turn)
    value.popleft()


def _change_set(value: set[Any], turn: int) -> None:
    value.add(turn % 41)
    value.discard(turn % 29)


def _change_namespace(value: Any, turn: int) -> None:
    vars(value)[f"f{turn % 13}"] = turn
    vars(value).pop(f"f{turn % 7}", None)


class Mapping(dict[Any, Any]):
    """A subclass of dict."""


CHANGING: dict[str, tuple[Callable[[], Any], Callable[[Any, int], object]]] = {
    "dict": (dict, _change_dict),
    "subclass of dict": (Mapping, _change_dict),
    "OrderedDict": (collections.OrderedDict, _change_dict),
    "list": (list, _change_list),
    "deque": (collections.deque, _change_deque),
    "short deque": (lambda: collections.deque[Any](maxlen=5), lambda v, turn: v.append([turn])),
    "set": (set, _change_set),
    "namespace": (types.SimpleNamespace, _change_namespace),
}


class Passes(Node):
    """Hands the value from one method to the next, and to the store."""

    def prep(self, shared: Any) -> Any:
        """What is in the store."""
        return shared["value"]

    def exec(self, prep_res: Any) -> Any:
        """The same, beside itself."""
        return [prep_res, prep_res]

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Puts it in other places."""
        shared["again"] = exec_res
        shared["count"] = shared.get("count", 0) + 1


class Items(BatchNode):
    """Each item is the value."""

    def prep(self, shared: Any) -> Any:
        """Three of them."""
        return [shared["value"]] * 3

    def exec(self, prep_res: Any) -> Any:
        """Fails with the value in its arguments, and is tried again."""
        if self.cur_retry == 0:
            raise ValueError("with", prep_res)
        return prep_res


@pytest.mark.parametrize("content", ["values", "keys"])
@pytest.mark.parametrize("kind", CHANGING)
def test_a_value_that_another_thread_changes(kind: str, content: str) -> None:
    """In the store, as a result, as an item and in an exception: nothing is raised or lost."""
    make, change = CHANGING[kind]
    value = make()
    store = {"value": value, "nested": {"value": [value]}}
    with tracing(content=content) as running, changing(lambda turn: change(value, turn)):
        for _ in range(8):
            first = Passes()
            first >> Items(max_retries=2) >> Passes()
            Flow(start=first).run(store)

    assert_honest(running.trace())
    assert len(running.trace().all("Passes")) == 16
    assert store["count"] == 16


@pytest.mark.parametrize("content", ["values", "keys"])
def test_a_store_that_another_thread_changes(content: str) -> None:
    """The store itself, at its top level."""
    store: dict[Any, Any] = {"value": 1}

    def change(turn: int) -> None:
        store[f"key {turn % 31}"] = [turn]
        store.pop(f"key {turn % 17}", None)

    with tracing(content=content) as running, changing(change):
        for _ in range(20):
            Flow(start=Passes()).run(store)

    assert_honest(running.trace())
    assert store["count"] == 20


def test_pairs_are_not_torn() -> None:
    """What is written at once is shown at once, in inputs and in changes alike."""
    box: dict[str, Any] = {"pair": (0, 0)}

    def change(turn: int) -> None:
        box["pair"] = (turn, turn)

    class Looks(Node):
        def prep(self, shared: Any) -> Any:
            return shared["box"]

    with tracing() as running, changing(change):
        for _ in range(30):
            Looks().run({"box": box})

    shown = [node.json("input.value")["pair"] for node in running.trace().nodes]
    written = [
        step["value"] for node in running.trace().nodes for step in node.patch if "value" in step
    ]
    pairs: list[Any] = [*shown, *(value for value in written if type(value) is list)]
    assert len(pairs) >= 30
    assert [left for left, _ in pairs] == [right for _, right in pairs]
