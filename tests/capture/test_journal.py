"""Each change is found once, in order, and credited to the phase that made it."""

from __future__ import annotations

import gc
import operator
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from opentelemetry.instrumentation.pocketflow.capture import journal as journals
from opentelemetry.instrumentation.pocketflow.capture import snapshot as snapshots
from opentelemetry.instrumentation.pocketflow.capture.journal import (
    ELSEWHERE,
    EXEC,
    POST,
    PREP,
    Branch,
    Credited,
    Journal,
    acquire,
    release,
)
from support.stores import Attrs, Data, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

LIMIT = 10_000


class Listener:
    """One run on a journal, which keeps what it is told."""

    def __init__(self, journal: Journal, parent: Listener | None = None) -> None:
        self.journal = journal
        self.branch = Branch(parent.branch if parent else journal.root)
        self.told: list[Credited] = []

    def mark(self, phase: str) -> None:
        """Come to the end of a phase."""
        self.journal.mark(self.branch, phase, self.told.extend)

    @property
    def phases(self) -> list[tuple[str, str]]:
        """The last step of the path, and the phase, of each change."""
        return [(str(one.change.path[-1]), one.phase) for one in self.told]


@pytest.fixture
def fast_switching() -> Generator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Do it in as many threads at once."""
    barrier = threading.Barrier(count)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except BaseException as exc:  # noqa: BLE001 - it is raised again below
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


# --- Credit --------------------------------------------------------------------------------------


def test_a_change_belongs_to_the_phase_that_ends() -> None:
    """Whatever the phase may be."""
    store: dict[str, Any] = {"log": []}
    run = Listener(Journal(store, LIMIT))
    for phase in (ELSEWHERE, PREP, EXEC, POST):
        store["log"].append(phase)
        run.mark(phase)
    assert run.phases == [("0", ELSEWHERE), ("1", PREP), ("2", EXEC), ("3", POST)]


@pytest.mark.parametrize("most", [1, 2, 4])
def test_changes_are_told_in_the_order_of_the_store(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever changed first, and however many are known to change."""
    monkeypatch.setattr(journals, "_MAX_LOOSE", most)
    store: dict[str, Any] = {name: [] for name in "abcdef"}
    run = Listener(Journal(store, LIMIT))
    for name in "cfadbe":
        store[name].append(name)
        run.mark(PREP)
    run.told.clear()
    for name in "fcbead":
        store[name].append(name)
    run.mark(POST)
    assert "".join(str(one.change.value) for one in run.told) == "abcdef"


def test_changes_are_numbered_over_all_runs() -> None:
    """In the order in which they are found."""
    store: dict[str, Any] = {}
    journal = Journal(store, LIMIT)
    first, second = Listener(journal), Listener(journal)
    for number, run in enumerate((first, second, first)):
        store.update({f"a{number}": 1, f"b{number}": 1})
        run.mark(POST)
    assert [one.seq for one in first.told] == [1, 2, 5, 6]
    assert [one.seq for one in second.told] == [3, 4]


def test_a_change_is_found_once() -> None:
    """By the first run that comes to a border."""
    store: dict[str, Any] = {}
    journal = Journal(store, LIMIT)
    first, second = Listener(journal), Listener(journal)
    store["a"] = 1
    first.mark(POST)
    second.mark(POST)
    assert (len(first.told), len(second.told)) == (1, 0)


def test_what_is_there_at_the_beginning_is_no_change() -> None:
    """The first look is where the journal begins."""
    run = Listener(Journal({"a": {"b": [1]}}, LIMIT))
    run.mark(PREP)
    assert run.told == []


def test_exec_beside_another_branch_is_not_blamed() -> None:
    """It has no store to write to, so the other branch did it."""
    store: dict[str, Any] = {}
    journal = Journal(store, LIMIT)
    alone = Listener(journal)
    store["a"] = 1
    alone.mark(EXEC)
    Listener(journal)
    store["b"] = 1
    alone.mark(EXEC)
    store["c"] = 1
    alone.mark(POST)
    assert alone.phases == [("a", EXEC), ("b", ELSEWHERE), ("c", POST)]


def test_exec_of_a_flow_leaves_changes_to_the_runs_inside() -> None:
    """While they are open; when they are closed, what is left is its own."""
    store: dict[str, Any] = {}
    journal = Journal(store, LIMIT)
    flow = Listener(journal)
    node = Listener(journal, flow)
    store["a"] = 1
    flow.mark(EXEC)
    node.mark(POST)
    node.branch.close()
    store["b"] = 1
    flow.mark(EXEC)
    assert (flow.phases, node.phases) == ([("b", EXEC)], [("a", POST)])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_branches_at_the_same_time_are_concurrent(order: tuple[int, int]) -> None:
    """Both, whichever began first, and also after one has ended; those around them are not."""
    journal = Journal({}, LIMIT)
    flow = Branch(journal.root)
    branches = [Branch(flow), Branch(flow)]
    inside = Branch(branches[0])
    branches[order[0]].close()
    assert [branch.is_concurrent() for branch in (*branches, inside)] == [True, True, True]
    assert not flow.is_concurrent()
    branches[order[1]].close()
    assert not Branch(flow).is_concurrent()


def test_branches_one_after_the_other_are_not_concurrent() -> None:
    """As the nodes of a flow are."""
    journal = Journal({}, LIMIT)
    flow = Branch(journal.root)
    for _ in range(3):
        node = Branch(flow)
        assert not node.is_concurrent()
        node.close()
    assert not flow.is_concurrent()


# --- Conflicts -----------------------------------------------------------------------------------


def conflicts(*runs: Listener) -> list[list[tuple[object, ...]]]:
    """The paths of which each run is told."""
    return [list(run.branch.conflicts.values()) for run in runs]


def test_two_branches_that_write_one_path_conflict() -> None:
    """Both are told, once for each path."""
    store: dict[Any, Any] = {"deep": {"k": 0}}
    journal = Journal(store, LIMIT)
    left, right = Listener(journal), Listener(journal)
    for number, run in enumerate((left, right, left, right), 1):
        store["deep"]["k"] = number
        store[f"own {number}"] = number
        run.mark(POST)
    assert conflicts(left, right) == [[("deep", "k")], [("deep", "k")]]


def test_the_one_that_has_ended_is_not_told_any_more() -> None:
    """But the one that writes over its work is."""
    store: dict[str, Any] = {}
    journal = Journal(store, LIMIT)
    left, right = Listener(journal), Listener(journal)
    store["k"] = 1
    left.mark(POST)
    left.branch.close()
    store["k"] = 2
    right.mark(POST)
    assert conflicts(left, right) == [[], [("k",)]]


def test_runs_inside_one_another_or_apart_do_not_conflict() -> None:
    """Nor do changes that nobody is credited with."""
    store: dict[str, Any] = {"k": 0}
    journal = Journal(store, LIMIT)
    flow = Listener(journal)
    first = Listener(journal, flow)
    runs = [flow, first]
    for run in runs:
        store["k"] += 1
        run.mark(POST)
    first.branch.close()
    second = Listener(journal, flow)
    store["k"] += 1
    second.mark(POST)
    other = Listener(journal)
    store["k"] += 1
    other.mark(ELSEWHERE)
    assert conflicts(flow, first, second, other) == [[], [], [], []]


def test_a_key_made_anew_in_the_place_of_another_is_another_key() -> None:
    """Writers are remembered by keys, and keys that have gone do not lend their identity."""

    class Key:
        pass

    store: dict[Any, Any] = {}
    journal = Journal(store, LIMIT)
    left, right = Listener(journal), Listener(journal)
    for number in range(50):
        run = (left, right)[number % 2]
        store[Key()] = 1
        run.mark(POST)
        store.clear()
        run.mark(POST)
        run.told.clear()
    assert conflicts(left, right) == [[], []]


# --- Threads, and finalizers ---------------------------------------------------------------------


def test_a_border_inside_a_border_is_passed_over() -> None:
    """Such as one that a finalizer's flow comes to; its changes are found at the next."""
    store: dict[str, Any] = {"a": 1}
    journal = Journal(store, LIMIT)
    inner, outer = Listener(journal), Listener(journal)

    def render(changes: list[Credited]) -> None:
        store["b"] = 1
        inner.mark(POST)
        outer.told.extend(changes)

    store["a"] = 2
    journal.mark(outer.branch, POST, render)
    assert (len(outer.told), inner.told) == (1, [])
    inner.mark(POST)
    assert inner.phases == [("b", POST)]


def test_a_renderer_that_fails_does_not_block_the_next_border() -> None:
    """Its changes are lost, and no others."""
    store: dict[str, Any] = {}
    run = Listener(Journal(store, LIMIT))

    def render(changes: list[Credited]) -> None:
        raise ZeroDivisionError

    store["a"] = 1
    with pytest.raises(ZeroDivisionError):
        run.journal.mark(run.branch, POST, render)
    store["b"] = 1
    run.mark(POST)
    assert run.phases == [("b", POST)]


def test_a_flow_that_begins_while_another_begins() -> None:
    """A finalizer may run anything at any time, also on the same store."""
    store = {str(number): [[number]] for number in range(200)}

    class Finalized:
        def __del__(self) -> None:
            inner, _ = acquire(store, LIMIT)
            release(inner)

    threshold = gc.get_threshold()
    gc.set_threshold(3)
    try:
        for _ in range(10):
            loop: list[Any] = [Finalized()]
            loop.append(loop)
            del loop
            outer, _ = acquire(store, LIMIT)
            release(outer)
    finally:
        gc.set_threshold(*threshold)
        gc.collect()
    assert id(store) not in journals._open


@pytest.mark.usefixtures("fast_switching")
def test_runs_in_many_threads_are_counted_right() -> None:
    """When all have ended, none is left open; else a flow's `exec` would never be looked at."""
    journal = Journal({}, LIMIT)
    flow = Branch(journal.root)

    def work(_: int) -> None:
        for _ in range(2_000):
            Branch(Branch(flow)).close()

    def work_and_close(_: int) -> None:
        for _ in range(2_000):
            branch = Branch(flow)
            branch.close()

    in_threads(4, work_and_close)
    assert flow.open_children == 0
    in_threads(4, work)
    assert flow.open_children == 8_000


@pytest.mark.usefixtures("fast_switching")
def test_threads_share_the_journal_of_a_store() -> None:
    """However many begin and end at once; then it is let go."""
    store = {"a": [1]}
    seen: set[int] = set()

    def work(_: int) -> None:
        for _ in range(300):
            journal, _ = acquire(store, LIMIT)
            assert journal.store is store
            seen.add(journal.users)
            release(journal)

    in_threads(4, work)
    assert id(store) not in journals._open
    assert min(seen) >= 1


@pytest.mark.usefixtures("fast_switching")
def test_marks_in_many_threads_find_each_change_once() -> None:
    """None is lost, none is doubled."""
    store: dict[str, Any] = {"log": []}
    journal = Journal(store, LIMIT)
    runs = [Listener(journal) for _ in range(4)]

    def work(number: int) -> None:
        for turn in range(100):
            store["log"].append((number, turn))
            store[f"{number} {turn}"] = turn
            runs[number].mark(POST)

    in_threads(4, work)
    runs[0].mark(POST)
    told = sorted((one for run in runs for one in run.told), key=lambda one: one.seq)
    assert [one.seq for one in told] == list(range(1, 801))
    assert [one.change.op for one in told] == ["add"] * 800
    indices = [one.change.path[1] for one in told if len(one.change.path) == 2]
    assert indices == list(range(400))


# --- The life of a journal -----------------------------------------------------------------------


def test_a_store_has_one_journal_while_it_is_in_use() -> None:
    """The first one to ask is told that it is new; equal stores are different ones."""
    store, equal = {"a": 1}, {"a": 1}
    first, is_new = acquire(store, LIMIT)
    again, is_new_again = acquire(store, LIMIT)
    other, _ = acquire(equal, LIMIT)
    assert (is_new, is_new_again) == (True, False)
    assert first is again
    assert first is not other
    assert first.id != other.id
    for journal in (first, again, other):
        release(journal)
    fresh, is_new = acquire(store, LIMIT)
    assert is_new
    assert fresh is not first
    release(fresh)


def test_a_released_journal_holds_nothing() -> None:
    """Neither the store nor anything that ever was in it."""
    store = Store()
    vars(store).update(items=[Store()], table={"k": Store()})
    members: list[Any] = [store, vars(store)["items"][0], vars(store)["table"]["k"]]
    alive = [weakref.ref(one) for one in members]
    journal, _ = acquire(store, LIMIT)
    run = Listener(journal)
    vars(store)["more"] = [Store()]
    run.mark(POST)
    run.told.clear()
    release(journal)
    del store, members
    gc.collect()
    assert [one() for one in alive] == [None] * 3


def test_a_late_border_on_a_released_journal_is_not_heard() -> None:
    """It finds nothing, and breaks nothing."""
    journal, _ = acquire({"a": 1}, LIMIT)
    run = Listener(journal)
    release(journal)
    run.mark(POST)
    assert run.told == []


def test_top_level_keys_are_watched_beyond_any_limit() -> None:
    """The limit is for what is inside."""
    store: dict[str, Any] = {str(number): number for number in range(50)}
    run = Listener(Journal(store, 0))
    store["3"] = "new"
    del store["4"]
    store["more"] = [1, 2, 3]
    run.mark(POST)
    assert [(one.change.op, one.change.path) for one in run.told] == [
        ("remove", ("4",)),
        ("replace", ("3",)),
        ("add", ("more",)),
    ]
    assert run.journal.unwatched == 1


def test_what_has_gone_makes_room() -> None:
    """A limit that is enough for what is there stays enough, however much comes and goes."""
    store: dict[str, Any] = {}
    run = Listener(Journal(store, 10))
    for turn in range(30):
        store["a"] = [turn, [turn]]
        run.mark(POST)
        store["a"] = {"k": (turn, turn)}
        run.mark(POST)
        assert run.journal.unwatched == 0
        if turn % 2:
            del store["a"]
            run.mark(POST)


@pytest.mark.parametrize(
    "store", [{"a": {"b": [1]}}, [1, {"a": [2]}], (1, [2])], ids=["dict", "list", "tuple"]
)
def test_the_store_as_it_was_found(store: Any) -> None:
    """The journal can tell what it holds without looking at it again."""
    journal = Journal(store, LIMIT)
    node = journal.recorded()
    values: list[Any] = list(getattr(store, "values", lambda: store)())
    assert node.value is store
    assert node.items == values
    inner = node.children[len(values) - 1]
    assert inner.value is values[-1]


# --- Cost ----------------------------------------------------------------------------------------


def calls_of(action: Callable[[], object]) -> int:
    """How many functions are called, written in Python or in C."""
    count = 0

    def profile(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    gc.disable()  # others may have hooked their own code into a collection
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def cost_of_a_border(store: Any, change: Callable[[], object] = lambda: None) -> int:
    """Calls that a border takes after a change, once the journal knows the store."""
    run = Listener(Journal(store, 10_000_000))
    run.mark(PREP)
    change()
    return calls_of(lambda: run.mark(POST))


SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "keys": lambda size: {str(number): number for number in range(size)},
    "keys of lists": lambda size: {str(number): [number] for number in range(size)},
    "messages": lambda size: {"history": [{"role": "user", "n": n} for n in range(size)]},
    "nested": lambda size: {"a": {str(n): {"b": [n, {n}]} for n in range(size)}},
    "records": lambda size: {"a": [Data(n, Attrs([n])) for n in range(size)]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_changed_costs_the_same_whatever_the_size(shape: str) -> None:
    """The comparison is a few calls, however many items the store has."""
    costs = {cost_of_a_border(SHAPES[shape](size)) for size in (10, 1_000, 20_000)}
    assert len(costs) == 1
    assert costs.pop() < 60


def test_a_hundred_thousand_keys() -> None:
    """No call for each of them."""
    assert cost_of_a_border(SHAPES["keys"](100_000)) < 60


def test_one_more_message_costs_the_same_whatever_the_history() -> None:
    """A chat history is the usual store: what is added costs, what is there does not."""

    def append_to(size: int) -> int:
        store = SHAPES["messages"](size)
        return cost_of_a_border(store, lambda: store["history"].append({"role": "x", "n": -1}))

    assert append_to(200) == append_to(5_000)
    assert append_to(200) < 250


def test_one_more_line_of_a_log_costs_the_same_whatever_its_length() -> None:
    """The same for a list of texts, also where the list is another one."""

    def append_to(size: int) -> int:
        store: dict[str, Any] = {"log": [str(number) for number in range(size)]}
        return cost_of_a_border(store, lambda: store["log"].append("new"))

    def extend(size: int) -> int:
        store: dict[str, Any] = {"log": [str(number) for number in range(size)]}
        return cost_of_a_border(store, lambda: store.update(log=[*store["log"], "new"]))

    assert append_to(100) == append_to(10_000)
    assert extend(100) == extend(10_000)


def test_one_changed_key_costs_the_same_however_many_there_are() -> None:
    """At the top level, and in a dict inside."""

    def change(size: int) -> int:
        store = {"inner": SHAPES["keys"](size)} | SHAPES["keys"](size)

        def set_one() -> None:
            store["3"] = "new"
            store["inner"]["3"] = "new"

        return cost_of_a_border(store, set_one)

    assert change(100) == change(10_000)


def comparisons_of(run: Listener, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many pairs of objects a border looks at."""
    count = 0

    def counting(compare: Callable[[object, object], bool]) -> Callable[[object, object], bool]:
        def compare_and_count(before: object, now: object) -> bool:
            nonlocal count
            count += 1
            return compare(before, now)

        return compare_and_count

    with monkeypatch.context() as patched:
        patched.setattr(journals, "is_", counting(operator.is_))
        patched.setattr(snapshots, "is_", counting(operator.is_))
        patched.setattr(snapshots, "is_not", counting(operator.is_not))
        run.mark(POST)
    return count


def test_a_key_and_its_value_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether nothing has changed, or one value, or one key has come."""
    store = SHAPES["keys"](1_000)
    run = Listener(Journal(store, LIMIT))
    assert comparisons_of(run, monkeypatch) == 2_000
    store["500"] = "new"
    assert comparisons_of(run, monkeypatch) == 2_000
    store["more"] = 1
    assert comparisons_of(run, monkeypatch) == 2_000
    del store["0"]
    assert comparisons_of(run, monkeypatch) < 6_000


def test_a_history_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message as often when one has come as when none has."""
    store = SHAPES["messages"](1_000)
    run = Listener(Journal(store, LIMIT))
    for turn in range(3):
        assert comparisons_of(run, monkeypatch) == 2 + 5 * (1_000 + turn)
        store["history"].append({"role": "user", "n": turn})
        assert comparisons_of(run, monkeypatch) <= 20 + 5 * (1_000 + turn)
    assert len(run.told) == 3


def test_one_of_many_lists_that_grows_costs_as_much_as_itself() -> None:
    """Once it is known to grow, the others are not looked through for it again."""

    def grow(size: int) -> int:
        store = SHAPES["keys of lists"](size)
        run = Listener(Journal(store, LIMIT))
        store["0"].append("first")
        run.mark(POST)
        store["0"].append("more")
        return calls_of(lambda: run.mark(POST))

    assert grow(10) == grow(1_000)


def test_opening_a_store_costs_its_size_and_not_more() -> None:
    """Ten times as many containers take ten times as many calls."""
    small, large = SHAPES["keys of lists"](300), SHAPES["keys of lists"](3_000)
    few = calls_of(lambda: Journal(small, 1_000_000))
    assert calls_of(lambda: Journal(large, 1_000_000)) < few * 11
