"""The ledger: whatever order and mix of sources, each call counts once, at each level around it."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.pocketflow.capture.usage import book as books
from opentelemetry.instrumentation.pocketflow.capture.usage.book import (
    RECORDED,
    RESULT,
    WRITTEN,
    Source,
)
from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall
from opentelemetry.instrumentation.pocketflow.capture.usage.ledger import Account, Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.instrumentation.pocketflow.record import Tokens

SPAN = Source("an.instrumentation", has_span=True, has_metric=True)
OTHER_SPAN = Source("another.instrumentation", has_span=True)
SOURCES = (SPAN, OTHER_SPAN, RECORDED, RESULT, WRITTEN)
Kind = Literal["run", "item", "attempt"]


def unknown(call: ModelCall) -> Decimal | None:
    """Stands for a price list without any."""
    return None


def new_run(parent: Account | None = None, ledger: Ledger | None = None) -> Account:
    """Open the account of a run."""
    ledger = ledger or (parent.ledger if parent else Ledger(unknown, "USD"))
    return Account(ledger, parent, is_run=True)


def new_item(parent: Account, *, has_span: bool = True) -> Account:
    """Open the account of an item."""
    return Account(parent.ledger, parent, is_run=False, has_span=has_span)


def counts(tokens: Tokens | None) -> tuple[int, int | None, int | None]:
    """Return calls, input and output of a sum."""
    return (0, None, None) if tokens is None else (tokens.calls, tokens.input, tokens.output)


def total_of(account: Account) -> tuple[int, int | None, int | None]:
    """Return what an account's span shows in total."""
    usage = account.usage()
    return counts(None if usage is None else usage.total)


def wasted_of(account: Account) -> tuple[int, int | None, int | None]:
    """Return what an account's span shows as wasted."""
    usage = account.usage()
    return counts(None if usage is None else usage.wasted)


# --- Random trees ---------------------------------------------------------------------------


@dataclass
class Call:
    """A call of a random tree."""

    told_by: list[Source]
    late: int
    """It is told of once so many of the accounts around it are closed."""
    tokens: int = 0
    """Input; the output is twice that."""

    def tell(self, source: Source, account: Account) -> None:
        """One source tells of it."""
        call = ModelCall(model="m", input_tokens=self.tokens, output_tokens=2 * self.tokens)
        account.charge(call, source)


@dataclass
class Branch:
    """A run, item or attempt, and what happens in it."""

    kind: Kind
    failed: bool
    steps: list[Branch | Call]
    account: Account
    total: list[Call] = field(default_factory=list[Call])
    """The calls that its sums are to hold."""
    wasted: list[Call] = field(default_factory=list[Call])

    def open(self, around: Account | None) -> None:
        """Opens its account, as the tracer does."""
        if around is None:
            return
        if self.kind == "attempt":
            self.account = around.begin_attempt(has_span=True)
        else:
            is_run = self.kind == "run"
            self.account = Account(around.ledger, around, is_run=is_run)

    def close(self, around: Account | None) -> None:
        """Closes its account, as the tracer does."""
        if around is not None and self.kind == "attempt":
            around.end_attempt(failed=self.failed)
        else:
            self.account.close()


_INSIDE: dict[Kind, tuple[Kind, ...]] = {
    "run": ("run", "item", "attempt"),
    "item": ("run", "attempt"),
    "attempt": ("run",),
}
_CALLS = st.builds(
    Call,
    told_by=st.lists(st.sampled_from(SOURCES), min_size=1, unique=True),
    late=st.sampled_from((0, 0, 0, 1, 2, 3)),
)


@st.composite
def branches(draw: st.DrawFn, kind: Kind = "run", depth: int = 0) -> Branch:
    """A tree: runs hold items, attempts and runs; items and failed attempts may hold runs, too."""
    steps: list[Branch | Call] = list(draw(st.lists(_CALLS, max_size=3)))
    if depth < 4:
        kinds = draw(st.lists(st.sampled_from(_INSIDE[kind]), max_size=2))
        steps += [draw(branches(inner, depth + 1)) for inner in kinds]
    failed = kind == "attempt" and draw(st.booleans())
    return Branch(kind, failed, draw(st.permutations(steps)), new_run())


class Play:
    """Plays a tree on real accounts, and keeps the truth beside them.

    Args:
        tree: what happens.
        common: tells of every call, and all calls have equal tokens; None where all differ.
    """

    def __init__(self, tree: Branch, common: Source | None = None) -> None:
        self.branches: list[Branch] = []
        self._common = common
        self._calls = 0
        self._path: list[Branch] = []
        self._pending: dict[int, list[tuple[Call, Account]]] = defaultdict(list)
        self._play(tree, None)

    def _play(self, branch: Branch, around: Account | None) -> None:
        branch.open(around)
        self.branches.append(branch)
        self._path.append(branch)
        rest: list[tuple[Call, Source]] = []
        for step in branch.steps:
            if isinstance(step, Branch):
                self._play(step, branch.account)
            else:
                rest += self._call(step, branch.account)
        for call, source in rest:
            call.tell(source, branch.account)
        branch.close(around)
        self._path.pop()
        for call, account in self._pending.pop(len(self._path), []):
            for source in call.told_by:
                call.tell(source, account)

    def _call(self, call: Call, account: Account) -> list[tuple[Call, Source]]:
        """Returns what is told of it later, before the account is closed."""
        self._calls += 1
        call.tokens = 7 if self._common else self._calls
        if self._common is not None and self._common not in call.told_by:
            call.told_by.append(self._common)
        still_open = max(len(self._path) - call.late, 0)
        self._credit(call, still_open)
        if call.late:
            self._pending[still_open].append((call, account))
            return []
        # Where tokens are equal, what is told later is told of any of them.
        now = len(call.told_by) if self._common else 1
        for source in call.told_by[:now]:
            call.tell(source, account)
        return [(call, source) for source in call.told_by[now:]]

    def _credit(self, call: Call, still_open: int) -> None:
        wasted = any(branch.failed for branch in self._path[still_open:])
        for branch in reversed(self._path[:still_open]):
            wasted = wasted or branch.failed
            branch.total.append(call)
            if wasted:
                branch.wasted.append(call)

    def check(self) -> None:
        """The sums at every level are the truth."""
        for branch in self.branches:
            assert total_of(branch.account) == told(branch.total)
            assert wasted_of(branch.account) == told(branch.wasted)


def told(calls: Sequence[Call]) -> tuple[int, int | None, int | None]:
    """What a span is to show for some calls."""
    if not calls:
        return 0, None, None
    tokens = sum(call.tokens for call in calls)
    return len(calls), tokens, 2 * tokens


@given(branches())
def test_calls_with_tokens_of_their_own_count_once_at_every_level(tree: Branch) -> None:
    """Any sources, in any order, some told when accounts are closed: sums and waste are right."""
    Play(tree).check()


@given(branches(), st.sampled_from(SOURCES))
def test_calls_with_equal_tokens_count_once_at_every_level(tree: Branch, common: Source) -> None:
    """Where one source tells of every call, what the others tell makes none more and none less."""
    Play(tree, common).check()


@given(st.lists(st.lists(st.sampled_from(SOURCES), min_size=1, unique=True), max_size=12))
def test_no_source_is_needed_to_tell_of_all(tellings: list[list[Source]]) -> None:
    """The sources of each call differ, and tell of all calls one source after another."""
    account = new_run()
    for source in SOURCES:
        for tokens, told_by in enumerate(tellings):
            if source in told_by:
                account.charge(ModelCall(input_tokens=tokens, output_tokens=1), source)
    account.close()

    total = (
        (len(tellings), sum(range(len(tellings))), len(tellings)) if tellings else (0, None, None)
    )
    assert total_of(account) == total


# --- Attempts -------------------------------------------------------------------------------


def test_a_failed_attempt_is_wasted_and_in_the_sums() -> None:
    """Its calls, those of a flow that it ran, and those that are told late, at every level."""
    flow = new_run()
    node = new_run(flow)
    attempt = node.begin_attempt(has_span=True)
    attempt.charge(ModelCall(input_tokens=1, output_tokens=1), SPAN)
    nested = new_run(attempt)
    nested.charge(ModelCall(input_tokens=10, output_tokens=10), SPAN)
    nested.close()
    node.end_attempt(failed=True)
    attempt.charge(ModelCall(input_tokens=100, output_tokens=100), SPAN)
    node.begin_attempt(has_span=True).charge(ModelCall(input_tokens=1000, output_tokens=1000), SPAN)
    node.end_attempt(failed=False)
    node.close()
    flow.close()

    assert wasted_of(nested) == (0, None, None)
    assert total_of(attempt) == wasted_of(attempt) == (2, 11, 11)
    for account in (node, flow):
        assert total_of(account) == (4, 1111, 1111)
        assert wasted_of(account) == (3, 111, 111)


def test_a_run_that_outlives_the_failed_attempt_around_it_is_wasted() -> None:
    """A task that an attempt started may end when the attempt has failed."""
    node = new_run()
    nested = new_run(node.begin_attempt(has_span=True))
    node.end_attempt(failed=True)
    nested.charge(ModelCall(input_tokens=10, output_tokens=5), SPAN)
    nested.close()
    node.close()

    assert total_of(node) == wasted_of(node) == (1, 10, 5)


def test_a_call_of_one_attempt_is_not_that_of_another() -> None:
    """Two attempts with equal tokens, each told by a source of its own, are two calls."""
    node = new_run()
    call = ModelCall(input_tokens=10, output_tokens=5)
    node.begin_attempt(has_span=False).charge(call, SPAN)
    node.end_attempt(failed=True)
    node.begin_attempt(has_span=False).charge(call, RESULT)
    node.end_attempt(failed=False)
    node.close()

    assert total_of(node) == (2, 20, 10)
    assert wasted_of(node) == (1, 10, 5)


def test_what_post_writes_is_the_call_of_the_attempt() -> None:
    """The run finds the calls of what is over in it: those of attempts and of items."""
    node = new_run()
    call = ModelCall(input_tokens=10, output_tokens=5)
    node.begin_attempt(has_span=False).charge(call, SPAN)
    node.end_attempt(failed=False)
    item = new_item(node)
    item.charge(call, RESULT)
    item.close()
    node.charge(call, WRITTEN)
    node.charge(call, WRITTEN)
    node.close()

    assert total_of(node) == (2, 20, 10)


# --- Late -----------------------------------------------------------------------------------


def test_what_comes_after_the_outermost_run_is_no_call_of_it() -> None:
    """Nothing is open any more, so nothing changes."""
    flow = new_run()
    node = new_run(flow)
    node.close()
    flow.close()

    assert node.charge(ModelCall(input_tokens=1), SPAN) is None
    assert flow.usage() is None
    assert node.usage() is None


def test_what_came_late_is_found_by_a_later_node() -> None:
    """A stream ends in a node after the one that opened it, which then tells of it, too."""
    flow = new_run()
    opener = new_run(flow)
    opener.close()
    reader = new_run(flow)
    call = ModelCall(input_tokens=10, output_tokens=5)
    opener.charge(call, SPAN)
    reader.charge(call, RECORDED)
    reader.close()
    flow.close()

    assert reader.usage() is None
    assert total_of(flow) == (1, 10, 5)


# --- Who answers for a call -----------------------------------------------------------------


@pytest.mark.parametrize(("has_span", "own"), [(True, (None, 10)), (False, (10, None))])
def test_the_nearest_span_is_the_call(has_span: bool, own: tuple[int | None, int | None]) -> None:
    """An item without a span leaves its call to the node's; what has a span of its own to none."""
    node = new_run()
    item = new_item(node, has_span=has_span)
    item.charge(ModelCall(input_tokens=10, output_tokens=5), RESULT)
    item.charge(ModelCall(input_tokens=99, output_tokens=5), SPAN)
    item.close()
    node.close()

    usages = (node.usage(), item.usage())
    shown = [usage.own.tokens.input if usage and usage.own else None for usage in usages]
    assert tuple(shown) == own
    assert [usage.total.calls for usage in usages if usage] == [2, 2]


def test_names_that_are_text_of_the_program_are_left_out() -> None:
    """A model has no blanks in its name, and is not longer than 200 characters."""
    account = new_run()
    for tokens, model in enumerate(("gpt 4", "a\nb", "x" * 201, "ünknown", "org/m:1-a_b@2+c.d")):
        account.charge(ModelCall(provider=model, model=model, input_tokens=tokens), RECORDED)
    account.close()
    usage = account.usage()

    assert usage is not None
    assert [(model, tokens.calls) for model, tokens in usage.by_model] == [
        ("unknown", 4),
        ("org/m:1-a_b@2+c.d", 1),
    ]


# --- Prices ---------------------------------------------------------------------------------


def test_costs_add_up_as_decimals_and_what_has_none_is_named() -> None:
    """Ten times 0.1 is 1; a model without a price makes the cost a part, and is told."""
    ledger = Ledger(lambda call: Decimal("0.1") if call.model == "a" else None, "EUR")
    flow = new_run(ledger=ledger)
    for index in range(10):
        node = new_run(flow)
        node.charge(ModelCall(model="a", input_tokens=index), RECORDED)
        node.close()
    flow.charge(ModelCall(model="b", input_tokens=1), RECORDED)
    flow.close()
    usage = flow.usage()

    assert usage is not None
    assert usage.total.cost == Decimal("1.0")
    assert usage.unpriced == ("b",)
    assert usage.currency == "EUR"


def test_a_price_is_asked_for_once_for_each_call() -> None:
    """However often and at how many levels the cost is needed."""
    asked: list[ModelCall] = []

    def price(call: ModelCall) -> Decimal | None:
        asked.append(call)
        return None

    flow = new_run(ledger=Ledger(price, "USD"))
    node = new_run(flow)
    node.charge(ModelCall(input_tokens=1), RECORDED)
    for account in (node, node, flow):
        account.close()
        account.usage()

    assert len(asked) == 1


def test_without_anything_that_knows_prices_none_is_missed() -> None:
    """Nobody is told that a model has no price where none could have one."""
    account = new_run(ledger=Ledger(unknown, "USD", has_prices=False))
    account.charge(ModelCall(model="m", input_tokens=1), RECORDED)
    account.close()
    usage = account.usage()

    assert usage is not None
    assert (usage.total.cost, usage.unpriced) == (None, ())


# --- Many at once ---------------------------------------------------------------------------


def test_threads_that_tell_at_once_lose_nothing() -> None:
    """Eight threads on one account, each call told by two sources."""
    account = new_run()
    barrier = threading.Barrier(8)

    def work(thread: int) -> None:
        barrier.wait()
        for index in range(200):
            call = ModelCall(input_tokens=thread * 200 + index, output_tokens=1)
            account.charge(call, SPAN)
            account.charge(call, RESULT)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    account.close()

    assert total_of(account) == (1600, sum(range(1600)), 1600)


def test_runs_that_end_at_once_lose_nothing() -> None:
    """Parallel branches of one flow, each with items and attempts of its own."""
    flow = new_run()
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        for _ in range(100):
            node = new_run(flow)
            node.begin_attempt(has_span=True).charge(ModelCall(input_tokens=1), SPAN)
            node.end_attempt(failed=True)
            item = new_item(node)
            item.charge(ModelCall(input_tokens=1), SPAN)
            item.close()
            node.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    flow.close()

    assert total_of(flow) == (1600, 1600, None)
    assert wasted_of(flow) == (800, 800, None)


@pytest.mark.parametrize("one_by_one", [True, False])
def test_equal_calls_are_not_each_compared_with_all(
    one_by_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand calls of equal tokens told by two sources take some comparisons each."""
    compared: list[None] = []
    may_be_one = books._may_be_one

    def counting(charge: books.Charge, call: ModelCall, source: Source) -> bool:
        compared.append(None)
        return may_be_one(charge, call, source)

    monkeypatch.setattr(books, "_may_be_one", counting)
    account, call, many = new_run(), ModelCall(input_tokens=10, output_tokens=5), 10_000
    if one_by_one:
        tellings = [source for _ in range(many) for source in (SPAN, RESULT)]
    else:
        tellings = [SPAN] * many + [RESULT] * many
    for source in tellings:
        account.charge(call, source)
    account.close()

    assert total_of(account) == (many, 10 * many, 5 * many)
    assert len(compared) <= 3 * many
