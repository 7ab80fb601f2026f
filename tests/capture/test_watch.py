"""What a run's view of its store says, and that what it says is true."""

from __future__ import annotations

import collections
import copy
import gc
import json
import sys
import threading
import types
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentelemetry.instrumentation.pocketflow.capture import journal
from opentelemetry.instrumentation.pocketflow.capture.preview import key_text, preview
from opentelemetry.instrumentation.pocketflow.capture.redact import REDACTED, Redactor
from opentelemetry.instrumentation.pocketflow.capture.watch import StoreWatch, Trail, can_watch, fit
from opentelemetry.instrumentation.pocketflow.emit.budget import Shares
from support.hostile import ALARM, HOSTILE, dispose
from support.stores import PROGRAMS, STORES, Attrs, Step, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from opentelemetry.instrumentation.pocketflow.capture.snapshot import Node
    from opentelemetry.instrumentation.pocketflow.config import Content
    from opentelemetry.instrumentation.pocketflow.record import Store as Record

REDACTOR = Redactor()
JSON: st.SearchStrategy[Any] = st.recursive(
    st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
PLENTY = 10_000_000
ROOMY = Shares(*[PLENTY] * 10)


def watch(
    store: object,
    *,
    content: Content = "values",
    max_items: int = 1_000_000,
    shares: Shares = ROOMY,
    around: StoreWatch | None = None,
) -> StoreWatch:
    """A watch, with room for everything unless told otherwise."""
    return StoreWatch(store, content, REDACTOR, shares, max_items, around)


def closed(seen: StoreWatch) -> Record:
    """What a watch has seen in the end."""
    seen.close()
    assert seen.record is not None
    return seen.record


@pytest.fixture(autouse=True)
def _no_open_journals() -> Generator[None]:
    """A test that fails leaves its stores open; the next must not find them."""
    yield
    journal._open.clear()


def operations(seen: StoreWatch) -> list[dict[str, Any]]:
    """The patch as a reader of the span gets it."""
    return json.loads(closed(seen).patch)


# --- A JSON Patch applier of its own -----------------------------------------------------------


def apply(document: Any, operation: dict[str, Any], *, check_was: bool) -> Any:
    """Apply one operation as RFC 6902 says, and fail where it may not be applied.

    Args:
        document: what the patch is for; it may be changed in place.
        operation: a member of the patch.
        check_was: must `was` be what stands there?
    """
    if operation["path"] == "":
        assert operation["op"] == "replace"
        return copy.deepcopy(operation["value"])
    *parents, last = (
        token.replace("~1", "/").replace("~0", "~") for token in operation["path"].split("/")[1:]
    )
    parent = document
    for token in parents:
        parent = parent[_index(parent, token)]
    index = _index(parent, last)
    if operation["op"] == "add":
        _add(parent, index, copy.deepcopy(operation["value"]))
        return document
    if check_was:
        assert canonical(parent[index]) == canonical(operation["was"])
    if operation["op"] == "remove":
        del parent[index]
    else:
        assert operation["op"] == "replace"
        parent[index]
        parent[index] = copy.deepcopy(operation["value"])
    return document


def _index(parent: Any, token: str) -> Any:
    if type(parent) is dict:
        return token
    assert type(parent) is list
    assert token == str(int(token))
    assert 0 <= int(token) <= len(_any(parent))
    return int(token)


def _add(parent: Any, index: Any, value: object) -> None:
    if type(parent) is list:
        _any(parent).insert(index, value)
    else:
        assert index not in parent
        parent[index] = value


def canonical(document: Any) -> str:
    """Text that is the same for what is the same: 1 is not 1.0 or true, and sets have no order."""
    return json.dumps(_sorted_sets(document), sort_keys=True)


def _sorted_sets(document: Any) -> Any:
    if type(document) is dict:
        return {key: _sorted_sets(value) for key, value in _any(document).items()}
    if type(document) is not list:
        return document
    if all(type(item) is str and item.startswith("s:") for item in _any(document)):
        return sorted(_any(document))
    return [_sorted_sets(item) for item in _any(document)]


def _any(value: Any) -> Any:
    """A value of a type that is known only at run time."""
    return value


# --- Everything is found, and nothing else -------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(STORES, PROGRAMS, st.sampled_from([1, 2, 4]))
def test_the_patches_lead_from_the_first_store_to_the_last(
    store: Any, program: list[list[Step]], loose: int
) -> None:
    """Applied in order, whatever the program does; and each `was` is what stood there."""
    with mock.patch.object(journal, "_MAX_LOOSE", loose):
        check_the_patches(store, program)


def check_the_patches(store: Any, program: list[list[Step]]) -> None:
    """Watch a program, and apply what is told of it."""
    seen = watch(store)
    first = json.loads(seen.initial or "")
    for steps in program:
        for step in steps:
            step.apply(store)
        seen.mark("post")
        seen.mark("post")  # finds nothing new
    last = json.loads(seen.show(PLENTY) or "")
    record = closed(seen)
    document = copy.deepcopy(first)
    for operation in json.loads(record.patch):
        document = apply(document, operation, check_was=True)
    assert canonical(document) == canonical(last)
    assert canonical(last) == canonical(as_shown(store))
    assert record.omitted == 0
    assert record.unwatched == 0 or '"$cut"' in json.dumps(last)  # deeper than a picture shows
    assert_names_tell(record, first, last)


def as_shown(store: Any) -> Any:
    """What a preview shows of a store by itself."""
    if isinstance(store, Store):
        seen = watch(store)
        return json.loads(seen.show(PLENTY) or "")
    return json.loads(json.dumps(preview(store, REDACTOR, PLENTY)))


def assert_names_tell(record: Record, first: Any, last: Any) -> None:
    """The lists of top-level keys must agree with the store at both ends."""
    if type(first) is not dict:
        return
    before: dict[str, Any] = _any(first)
    kept = before.keys() & last.keys()
    differing = {name for name in kept if canonical(before[name]) != canonical(last[name])}
    assert set(record.added) == last.keys() - before.keys()
    assert set(record.removed) == before.keys() - last.keys()
    assert differing <= set(record.changed) <= kept


@settings(max_examples=200, deadline=None)
@given(STORES, PROGRAMS)
def test_a_border_where_nothing_happened_finds_nothing(
    store: Any, program: list[list[Step]]
) -> None:
    """Neither does one that follows a border which found much."""
    seen = watch(store)
    for steps in program:
        for step in steps:
            step.apply(store)
        seen.mark("prep")
        seen.mark("post")
    assert "post" not in {operation["phase"] for operation in operations(seen)}


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v))
)
def test_replacing_a_value_by_an_equal_copy_is_no_change(value: Any) -> None:
    """Of builtins, that is: `json.loads(json.dumps(value))` is what programs do."""
    store = {"value": value}
    seen = watch(store)
    store["value"] = copy.deepcopy(value)
    seen.mark("post")
    assert operations(seen) == []


def test_what_changes_in_place_and_is_then_replaced_is_told_once() -> None:
    """By what is different in the end."""
    store: dict[str, Any] = {"log": [{"a": {"b": 1}}]}
    seen = watch(store)
    store["log"].append({"c": {"d": 1}})
    store["log"] = copy.deepcopy(store["log"])
    store["log"][1]["c"]["new"] = 2
    seen.mark("post")
    assert [(one["op"], one["path"], one["value"]) for one in operations(seen)] == [
        ("add", "/log/1", {"c": {"d": 1, "new": 2}})
    ]


def test_an_equal_copy_is_watched_from_then_on() -> None:
    """It is another object, though nothing was said of it."""
    store: dict[str, Any] = {"log": [[1]]}
    seen = watch(store)
    store["log"] = [[1]]
    seen.mark("prep")
    store["log"][0].append(2)
    seen.mark("post")
    assert [one["path"] for one in operations(seen)] == ["/log/0/1"]


@settings(max_examples=300, deadline=None)
@given(STORES, PROGRAMS, st.sampled_from([0, 1, 3, 10, 30]))
def test_nothing_wrong_is_said_of_what_is_not_watched(
    store: Any, program: list[list[Step]], max_items: int
) -> None:
    """Every operation can be applied, and all that is watched is in the end as the patches say."""
    seen = watch(store, max_items=max_items)
    document = json.loads(seen.initial or "")
    for steps in program:
        for step in steps:
            step.apply(store)
        seen.mark("post")
    root = seen._journal.recorded()
    unwatched = sum(node.items is None and not node.is_cycle for node in root.nodes())
    record = closed(seen)
    for operation in json.loads(record.patch):
        document = apply(document, operation, check_was=False)
    assert_agrees(document, root)
    assert record.unwatched == unwatched


def assert_agrees(document: Any, node: Node) -> None:
    """The document must show what the watched part of the store holds."""
    assert node.items is not None or node.is_cycle or node.length >= 0
    if node.items is None:
        return
    assert len(document) == len(node.items)
    for index, item in enumerate(node.items):
        step = node.step_to(index)
        shown = document[step if node.keys is None else key_text(step, REDACTOR)]
        child = node.children.get(index)
        if child is not None:
            assert_agrees(shown, child)
        elif node.kind is not node.kind.SET:
            assert canonical(shown) == canonical(preview(item, REDACTOR, PLENTY))


@pytest.mark.parametrize(
    ("max_items", "unwatched"), [(0, 3), (2, 2), (5, 1), (7, 1), (8, 0), (100, 0)]
)
def test_what_is_beyond_the_limit_is_counted(max_items: int, unwatched: int) -> None:
    """A container takes one and its items; the keys of the store take nothing."""
    store = {"a": ["x"], "b": ["y", "z"], "c": {"k": 1, "l": 2}, "d": 1}
    assert closed(watch(store, max_items=max_items)).unwatched == unwatched


def test_an_unwatched_value_still_shows_when_its_length_changes() -> None:
    """Its length before is known, its items are not."""
    store = {"log": [1, 2]}
    seen = watch(store, max_items=0)
    store["log"][0] = 5
    seen.mark("prep")
    store["log"].append(3)
    seen.mark("post")
    assert operations(seen) == [
        {
            "op": "replace",
            "path": "/log",
            "was": {"$cut": "list", "length": 2},
            "value": [5, 2, 3],
            "phase": "post",
            "seq": 1,
        }
    ]


def test_what_changes_while_it_is_told_is_told_next_time() -> None:
    """An operation shows what was found, so that the next one can be applied to it."""
    value: list[Any] = ["a"]

    class Meddling(Redactor):
        """Changes the value at the worst moment, as another thread may."""

        def text(self, text: str) -> str:
            if len(value) < 3:
                value.append("b")
            return super().text(text)

    store: dict[str, Any] = {}
    seen = StoreWatch(store, "values", Meddling(), ROOMY, 1_000, None)
    store["new"] = value
    seen.mark("prep")
    seen.mark("post")
    assert [(one["path"], one["value"]) for one in operations(seen)] == [
        ("/new", ["a"]),
        ("/new/1", "b"),
        ("/new/2", "b"),
    ]


@pytest.mark.parametrize("kind", ["dict", "list", "deque", "set", "namespace", "nested"])
def test_patches_stay_true_while_another_thread_changes_the_store(kind: str) -> None:
    """Nothing is raised, and when the thread rests, all is told."""
    value, change = BUSY[kind]()
    store: dict[str, Any] = {"before": 1, "value": value, "after": [value]}
    seen = watch(store)
    began, stop = threading.Barrier(2), threading.Event()

    def work() -> None:
        began.wait()
        for turn in range(20_000):
            change(turn)
            store[f"key {turn % 7}"] = turn
            store.pop(f"key {turn % 5}", None)
            if stop.is_set():
                return

    thread = threading.Thread(target=work)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    began.wait()
    for _ in range(60):
        seen.mark("post")
    stop.set()
    thread.join()
    sys.setswitchinterval(interval)
    seen.mark("post")
    document = json.loads(seen.initial or "")
    last = seen.show(PLENTY) or ""
    for operation in operations(seen):
        document = apply(document, operation, check_was=False)
    assert canonical(document) == canonical(json.loads(last)) == canonical(as_shown(store))


def _busy_dict() -> tuple[Any, Callable[[int], object]]:
    value: dict[str, Any] = {}

    def change(turn: int) -> None:
        value[str(turn % 50)] = [turn]
        value.pop(str(turn % 37), None)

    return value, change


def _busy_list() -> tuple[Any, Callable[[int], object]]:
    value: list[Any] = []

    def change(turn: int) -> None:
        value.append({"turn": turn})
        if len(value) > 20:
            del value[turn % 10 : turn % 10 + 2]

    return value, change


def _busy_deque() -> tuple[Any, Callable[[int], object]]:
    value = collections.deque[int](maxlen=20)
    return value, value.append


def _busy_set() -> tuple[Any, Callable[[int], object]]:
    value: set[str] = set()
    return value, lambda turn: value.symmetric_difference_update({f"s:{turn % 31}"})


def _busy_namespace() -> tuple[Any, Callable[[int], object]]:
    value = types.SimpleNamespace(a=0)

    def change(turn: int) -> None:
        vars(value)[f"f{turn % 13}"] = turn
        vars(value).pop(f"f{turn % 7}", None)

    return value, change


def _busy_nested() -> tuple[Any, Callable[[int], object]]:
    value: dict[str, Any] = {"a": {"b": [[0], {"k": [0]}]}}

    def change(turn: int) -> None:
        value["a"]["b"][1]["k"].append(turn)
        value["a"] = {"b": [[turn], {"k": value["a"]["b"][1]["k"][-5:]}]}

    return value, change


BUSY: dict[str, Callable[[], tuple[Any, Callable[[int], object]]]] = {
    "dict": _busy_dict,
    "list": _busy_list,
    "deque": _busy_deque,
    "set": _busy_set,
    "namespace": _busy_namespace,
    "nested": _busy_nested,
}


# --- How it is said ------------------------------------------------------------------------------


def changes(store: Any, change: Any, **how: Any) -> list[dict[str, Any]]:
    """The operations of one change, without their phases and numbers."""
    seen = watch(store, **how)
    change(store)
    seen.mark("post")
    found = operations(seen)
    return [{k: v for k, v in one.items() if k not in {"phase", "seq"}} for one in found]


def test_an_item_that_moves_to_the_next_list_is_removed_and_added() -> None:
    """Also where both lists, laid end to end, look as before."""
    first, second = ["think"], ["write", "test"]
    store = {"tasks": {"first": first, "second": second}}
    for source, target, at in ((first, second, 0), (second, first, 1), (first, second, 2)):

        def move(_: Any, source: Any = source, target: Any = target, at: int = at) -> None:
            target.insert(at, source.pop(-1 if at == 0 else 0))

        assert sorted(one["op"] for one in changes(store, move)) == ["add", "remove"]


def test_a_window_that_slides_is_removals_and_additions() -> None:
    """A memory of the last few messages is not all new when one has gone and one has come."""
    store = {"memory": [{"text": f"m{number}"} for number in range(6)]}

    def slide(store: Any) -> None:
        store["memory"] = [*store["memory"][1:], {"text": "new"}]

    assert changes(store, slide) == [
        {"op": "remove", "path": "/memory/0", "was": {"text": "m0"}},
        {"op": "add", "path": "/memory/5", "value": {"text": "new"}},
    ]


def test_paths_are_json_pointers() -> None:
    """With the escapes of RFC 6901, and keys as JSON names them."""
    store: dict[Any, Any] = {"a/b": {"m~n": [0]}, 7: {None: 0}}

    def change(store: Any) -> None:
        store["a/b"]["m~n"][0] = 1
        store[7][None] = 1

    assert [one["path"] for one in changes(store, change)] == ["/a~1b/m~0n/0", "/7/null"]


def test_a_change_of_type_is_a_change() -> None:
    """1, True and 1.0 are equal but not the same; neither are the two zeros."""
    store = {"one": 1, "zero": 0.0, "items": [1]}

    def change(store: Any) -> None:
        store.update(one=True, zero=-0.0)
        store["items"][0] = 1.0

    found = changes(store, change)
    assert json.dumps(found) == json.dumps(
        [
            {"op": "replace", "path": "/one", "was": 1, "value": True},
            {"op": "replace", "path": "/zero", "was": 0.0, "value": -0.0},
            {"op": "replace", "path": "/items/0", "was": 1, "value": 1.0},
        ]
    )


def test_another_order_of_a_dict_or_a_set_is_no_change() -> None:
    """JSON objects have no order, and sets neither."""
    store = {"dict": {"a": 1, "b": 2}, "set": {1, 2, 3}, "frozen": frozenset("ab")}

    def reorder(store: Any) -> None:
        store["dict"]["a"] = store["dict"].pop("a")
        store["set"] = {3, 2, 1}
        store["frozen"] = frozenset("ba")
        store["dict"] = store.pop("dict")

    assert changes(store, reorder) == []


def test_an_object_in_a_set_can_change() -> None:
    """Records with an identity may be members of a set, and have fields."""
    member = Attrs(["old"])
    store = {"set": {member}}

    def change(_: Any) -> None:
        member.a.append("new")

    assert changes(store, change) == [{"op": "add", "path": "/set/0/a/1", "value": "new"}]


def test_secrets_do_not_show() -> None:
    """Whether the secret key is the one that changes or one on the way."""
    store: dict[Any, Any] = {"api_key": "old", "credentials": {"user": "u"}, ("token", 1): "x"}

    def change(store: Any) -> None:
        store["api_key"] = "new"
        store["credentials"]["user"] = "v"
        store["x" * 300 + "_password"] = "hunter2"
        store[("token", 1)] = "y"
        store["nested"] = {"session": {"password": "p"}}

    found = changes(store, change)
    shown = json.dumps(found)
    assert all(word not in shown for word in ('"old"', '"new"', '"u"', '"v"', "hunter2", '"y"'))
    by_path = {one["path"]: one for one in found}
    assert by_path["/nested"]["value"] == {"session": {"password": REDACTED}}
    assert by_path["/credentials/user"] == {
        "op": "replace",
        "path": "/credentials/user",
        "was": REDACTED,
        "value": REDACTED,
    }


class Login(NamedTuple):
    """A named tuple with a secret."""

    user: str
    password: Any


def test_what_a_flag_or_field_makes_secret_does_not_show() -> None:
    """When it comes, when another takes its place, and when it goes alone or with its flag."""

    def start(store: Any) -> None:
        store["cmd"] = ["mysql", "--password", "old", "db"]
        store["login"] = Login("ada", "old")

    def edit(store: Any) -> None:
        store["cmd"][2] = "new"
        store["login"] = Login("ada", "new")

    def nest(store: Any) -> None:
        store["cmd"][2] = ["new"]
        store["login"] = Login("ada", ["new"])

    def nest_deeper(store: Any) -> None:
        store["cmd"][2][0] = "old"
        store["login"][1][0] = "old"

    def clear(store: Any) -> None:
        store["cmd"].clear()

    def overwrite(store: Any) -> None:
        store["cmd"][1:3] = ["user", "ada"]

    for steps in ([start, edit, clear], [start, edit, overwrite], [start, nest, nest_deeper]):
        store: dict[str, Any] = {}
        found = [change for step in steps for change in changes(store, step)]
        shown = json.dumps(found)
        assert not any(word in shown for word in ('"old"', '"new"')), found
        assert all(word in shown for word in (REDACTED, '"db"', '"ada"')), found


class Key:
    """A key that may be hashed by the program alone."""

    is_refusing = False

    def __hash__(self) -> int:
        """Refuse, once the program is done."""
        assert not Key.is_refusing
        return 1


def test_a_gone_flag_asks_no_other_key_for_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes beside it may have a key of the program's own."""
    store: dict[Any, Any] = {"cmd": ["run", "--password", "old"]}

    def change(store: Any) -> None:
        store["cmd"].clear()
        store[Key()] = "x"
        monkeypatch.setattr(Key, "is_refusing", True)

    found = changes(store, change)
    assert sorted(one["op"] for one in found) == ["add", "remove", "remove", "remove"]
    assert "old" not in json.dumps(found)


def test_a_flag_without_a_value_hides_no_change_of_the_next() -> None:
    """Nor of a count behind it."""
    store: dict[str, Any] = {"cmd": ["run", "--auth"], "n": ["--token", 1]}

    def change(store: Any) -> None:
        store["cmd"].append("--port")
        store["n"][1] = 2

    assert [one["value"] for one in changes(store, change)] == ["--port", 2]


def test_content_keys_shows_types_and_sizes_only() -> None:
    """Paths, types and sizes; no value, old or new."""
    store: dict[str, Any] = {"name": "Ada", "log": ["a"]}
    seen = watch(store, content="keys")
    assert json.loads(seen.initial or "") == {
        "name": {"type": "str", "size": 3},
        "log": {"type": "list", "size": 1},
    }
    store["log"].append("secret thought")
    store["name"] = 5
    del store["log"][0]
    seen.mark("post")
    shown = seen.show(1_000)
    assert operations(seen) == [
        {"op": "replace", "path": "/name", "type": "int", "phase": "post", "seq": 1},
        {
            "op": "replace",
            "path": "/log/0",
            "type": "str",
            "size": 14,
            "phase": "post",
            "seq": 2,
        },
    ]
    assert json.loads(shown or "") == {
        "name": {"type": "int"},
        "log": {"type": "list", "size": 1},
    }


def test_content_keys_of_a_list() -> None:
    """A store that is a list is shown as a list of types."""
    seen = watch([1, "ab"], content="keys")
    seen.close()
    assert json.loads(seen.initial or "") == [{"type": "int"}, {"type": "str", "size": 2}]


def test_content_off_shows_nothing() -> None:
    """Not even that something changed."""
    store = {"a": 1}
    seen = watch(store, content="off")
    store["a"] = 2
    seen.mark("post")
    assert (seen.initial, seen.show(100)) == (None, None)
    seen.close()
    assert seen.record is None


def test_attributes_of_an_object_are_a_store() -> None:
    """Whatever its class; they show by name."""
    store = Store()
    vars(store).update(a=1, log=["x"])
    seen = watch(store)
    assert json.loads(seen.initial or "") == {"a": 1, "log": ["x"]}
    vars(store)["log"].append("y")
    seen.mark("post")
    assert [one["path"] for one in operations(seen)] == ["/log/1"]


@pytest.mark.parametrize("kind", HOSTILE)
def test_any_object_can_be_a_store(kind: str) -> None:
    """Locks, sockets and frames of data are stores with nothing to say."""
    store = HOSTILE[kind]()
    with ALARM.armed():
        seen = watch(store) if can_watch(store) else watch({})
        seen.mark("post")
    assert operations(seen) == []
    json.loads(seen.initial or "")
    dispose(store)


@pytest.mark.parametrize("value", [None, 1, "text", 1.5, b"x"])
def test_what_cannot_change_is_not_watched(value: object) -> None:
    """Builtin values that cannot change, and no store at all."""
    assert not can_watch(value)


def test_names_tell_the_net_effect_of_the_run() -> None:
    """What was added and removed again is neither; what was removed and added again is changed."""
    store: dict[str, Any] = {"kept": 1, "gone": 1, "again": 1, "log": []}
    seen = watch(store)
    store["new"] = store["brief"] = 1
    del store["gone"], store["again"]
    seen.mark("prep")
    store["again"] = 2
    del store["brief"]
    store["new"] = 2
    store["log"].append(1)
    seen.mark("post")
    record = closed(seen)
    assert (record.added, record.changed, record.removed) == (("new",), ("again", "log"), ("gone",))


# --- Within limits -------------------------------------------------------------------------------

TEXTS = st.text(max_size=9) | st.sampled_from(["é" * 500, "\ud800" * 99, '"' * 400, "x" * 5000])


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(TEXTS, st.recursive(TEXTS, lambda v: st.lists(v) | st.dictionaries(TEXTS, v))),
    st.integers(0, 3_000),
    st.sampled_from(["values", "keys"]),
)
def test_every_text_keeps_its_budget(
    changed: dict[str, Any], budget: int, content: Content
) -> None:
    """The patch and the names, whatever is in them, as an exporter would send them."""
    store: dict[str, Any] = {}
    seen = watch(store, content=content, shares=Shares(*[budget] * 10))
    store.update(changed)
    seen.mark("prep")
    for name in changed:
        store[name] = [store[name]]
    seen.mark("post")
    shown = seen.show(budget) or ""
    record = closed(seen)
    assert len(record.patch.encode()) <= max(budget, 2)
    assert len(shown.encode()) <= max(budget, 48)
    assert len(json.loads(record.patch)) + record.omitted == 2 * len(changed)
    for names in (record.added, record.changed, record.removed, record.conflicts):
        real = [name for name in names if not name.startswith("… (")]
        assert sum(len(name.encode()) for name in real) <= budget


def test_a_patch_fills_its_budget_and_not_a_byte_more() -> None:
    """Whatever the budget, brackets and commas included."""
    for budget in range(100, 800):
        store: dict[str, Any] = {}
        seen = watch(store, shares=Shares(*[budget] * 10))
        store.update({f"k{number}": number for number in range(15)})
        seen.mark("post")
        record = closed(seen)
        assert len(record.patch) <= budget
        assert record.omitted == 15 - len(json.loads(record.patch))


def test_changes_without_room_are_counted() -> None:
    """What is there is whole; what is not is a number."""
    store: dict[str, Any] = {}
    seen = watch(store, shares=Shares(*[500] * 10))
    store.update({f"key{number}": "x" * 50 for number in range(20)})
    seen.mark("post")
    record = closed(seen)
    found = json.loads(record.patch)
    assert 0 < len(found) < 20
    assert record.omitted == 20 - len(found)


def test_names_that_do_not_fit_leave_their_number() -> None:
    """The first and the last are kept."""
    names = tuple(f"key{number:03}" for number in range(100))
    assert fit(names, 60) == (*names[:5], "… (90 more)", *names[-5:])
    assert fit(names, 59) == (*names[:5], "… (91 more)", *names[-4:])


@given(st.lists(st.text(max_size=50)), st.integers(0, 500))
def test_fitting_names_are_all_there_or_counted(names: list[str], budget: int) -> None:
    """Nothing is lost without a number."""
    shown = fit(tuple(names), budget)
    if sum(len(name.encode()) for name in names) <= budget:
        assert shown == tuple(names)
    else:
        left = [name for name in shown if not name.startswith("… (")]
        assert sum(len(name.encode()) for name in left) <= budget
        assert f"… ({len(names) - len(shown) + 1} more)" in shown


# --- Nested runs ---------------------------------------------------------------------------------


def test_only_the_outermost_run_shows_the_store_at_its_beginning() -> None:
    """Those inside it go on from there."""
    store = {"a": 1}
    outer = watch(store)
    inner = watch(store, around=outer)
    assert (outer.is_outermost, inner.is_outermost) == (True, False)
    assert (outer.initial, inner.initial) == ('{"a":1}', None)
    inner.close()
    outer.close()


def test_a_change_is_told_once_by_the_run_that_finds_it() -> None:
    """And the numbers go on through all runs of the store."""
    store: dict[str, Any] = {"a": 0}
    outer = watch(store)
    store["a"] = 1
    outer.mark("prep")
    inner = watch(store, around=outer)
    store["a"] = 2
    inner.mark("post")
    inner.close()
    store["a"] = 3
    outer.mark("post")
    outer.close()
    assert [(one["seq"], one["value"]) for one in operations(outer)] == [(1, 1), (3, 3)]
    assert [(one["seq"], one["value"]) for one in operations(inner)] == [(2, 2)]


def test_a_run_on_another_store_between_two_on_one() -> None:
    """The nearest run on the same store is the one around."""
    store, other = {"a": 1}, {"b": 1}
    outer = watch(store)
    between = watch(other, around=outer)
    inner = watch(store, around=between)
    assert inner.branch.parent is outer.branch
    assert between.branch.parent is not outer.branch
    for seen in (inner, between, outer):
        seen.close()


def test_branches_that_write_the_same_key_are_told_so() -> None:
    """Both of them, with the path."""
    store: dict[str, Any] = {}
    left, right = watch(store), watch(store)
    store["answer"] = 1
    left.mark("post")
    store["answer"] = 2
    right.mark("post")
    for seen in (left, right):
        record = closed(seen)
        assert (record.concurrent, record.conflicts) == (True, ("/answer",))


def test_nothing_is_marked_after_the_end() -> None:
    """A border that comes late says nothing and breaks nothing."""
    store = {"a": 1}
    seen = watch(store)
    seen.close()
    store["a"] = 2
    seen.mark("post")
    seen.close()
    assert operations(seen) == []


def test_everything_is_let_go_in_the_end() -> None:
    """Not the store, nor its keys, nor what was in it, nor what it was replaced by."""

    class Kept:
        pass

    store = Store()
    objects = [Kept() for _ in range(4)]
    alive = [weakref.ref(one) for one in (store, *objects)]
    vars(store).update(log=[objects[0]], table={objects[1]: [1]}, gone=objects[2])
    left, right = watch(store), watch(store)
    for turn, seen in enumerate((left, right, left)):
        vars(store)["table"][objects[1]] = [turn]
        vars(store)["log"].append(objects[3])
        vars(store).pop("gone", None)
        seen.mark("post")
    assert right.branch.conflicts
    left.close()
    right.close()
    del store, objects
    gc.collect()
    assert [one() for one in alive] == [None] * 5
    assert (left.record, right.record) != (None, None)
    assert journal._open == {}


@given(st.integers(1, 60), st.integers(0, 400))
def test_a_path_without_end_is_kept_at_its_ends(budget: int, length: int) -> None:
    """What is shown of a path is what would be shown of all of it, and little is kept."""
    path = Trail(budget)
    names = tuple(f"N{number}" for number in range(length))
    for name in names:
        path.add(name)
    assert path.shown() == fit(names, budget)
    assert path.length == length
    assert len(path._first) + len(path._last) <= 2 * budget
