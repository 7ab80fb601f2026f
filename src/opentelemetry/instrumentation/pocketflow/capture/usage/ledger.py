"""Credits each model call once, to the attempt, item, node and flow that made it. Pure.

Each span has an account. What is below a run adds to it when it is over, so a flow's sums are those
of its nodes, and nothing is counted twice.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.pocketflow.capture.usage.book import Book, Charge, Source
from opentelemetry.instrumentation.pocketflow.capture.usage.call import checked
from opentelemetry.instrumentation.pocketflow.capture.usage.totals import Totals
from opentelemetry.instrumentation.pocketflow.record import OwnCalls, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from decimal import Decimal

    from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall

_MAX_SEEN: Final = 40_000
"""More than a search finds: what it finds again must not have been pushed out by itself."""


class Ledger:
    """What the accounts of one outermost run share.

    Args:
        price: the price of a call, None where it is not known.
        currency: what prices are in.
        has_prices: is there anything that knows prices? If not, none is missed.
    """

    def __init__(
        self,
        price: Callable[[ModelCall], Decimal | None],
        currency: str,
        *,
        has_prices: bool = True,
    ) -> None:
        self.price = price
        self.has_prices = has_prices
        self.currency = currency
        # Reentrant: a finalizer may run in the middle of anything and tell of a call.
        self.lock = threading.RLock()
        self._seen: dict[object, Callable[[], object]] = {}
        _alive.add(self)

    def is_new(self, call: ModelCall, usage: object) -> bool:
        """Is it the first time that a call is seen in a result or in the store?

        Args:
            call: known again by its response's id, also where its counts were copied.
            usage: the very object that holds the counts. What cannot be referred to weakly is
                kept, so that its id stays its own: mostly a dict of a few token counts.
        """
        refer = _reference(usage)
        with self.lock:
            is_new = self._see(id(usage), refer)
            if call.response_id is None:
                return is_new
            # There are servers that give all their responses one id.
            name = (call.response_id, call.input_tokens, call.output_tokens)
            return self._see(name, _always) and is_new

    def forget(self) -> None:
        """The outermost run is over. Contexts that the program keeps may keep this for long."""
        with self.lock:
            self._seen = {}

    def _see(self, name: object, refer: Callable[[], object]) -> bool:
        known = self._seen.get(name)
        if known is not None and known() is not None:
            return False  # what has gone may have left its id to another
        self._seen[name] = refer
        if len(self._seen) > _MAX_SEEN:
            self._seen.pop(next(iter(self._seen)))
        return True


_alive: Final[weakref.WeakSet[Ledger]] = weakref.WeakSet()


def _renew_locks() -> None:
    """For a forked child: the threads that held them are not there to release them."""
    for ledger in list(_alive):
        ledger.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class Account:
    """What one run, item or attempt answers for.

    Args:
        ledger: what is shared by all below one outermost run.
        parent: the account that this one's calls add to.
        is_run: is it a run of a node or flow? Others are items and attempts.
        has_span: has it a span to tell of its calls on?
    """

    __slots__ = (
        "book",
        "expected",
        "failed",
        "has_span",
        "inner",
        "is_open",
        "is_run",
        "ledger",
        "nested",
        "over",
        "parent",
        "wasted",
    )

    def __init__(
        self, ledger: Ledger, parent: Account | None, *, is_run: bool, has_span: bool = True
    ) -> None:
        self.ledger = ledger
        self.parent = parent
        self.is_run = is_run
        self.has_span = has_span
        self.is_open = True
        self.failed = False
        """Is it an attempt that failed?"""
        self.inner: Account | None = None
        """That of the attempt in progress, where there is one."""
        self.expected = False
        """Is there an attempt in progress without an account so far?"""
        # Most runs call no model: what holds the calls is made for the first.
        self.book: Book | None = None
        self.over: Book | None = None
        """The calls of items and attempts that are over."""
        self.nested: Totals | None = None
        """What other runs below have used, and what of that was wasted."""
        self.wasted: Totals | None = None

    def is_in(self, account: Account) -> bool:
        """Is it that account, or one of the items and attempts of the same run below it?"""
        own: Account | None = self
        while own is not None and own is not account:
            own = None if own.is_run else own.parent
        return own is account

    # --- attempts ---

    def begin_attempt(self, *, has_span: bool) -> Account:
        """An attempt begins: what is told from now on belongs to it."""
        self.expected = False
        self.inner = Account(self.ledger, self, is_run=False, has_span=has_span)
        return self.inner

    def expect_attempt(self) -> None:
        """An attempt without a span begins. Most call no model: its account waits for a call."""
        self.inner, self.expected = None, True

    def innermost(self) -> Account:
        """What answers for a call that is made now: the attempt in progress, if there is one."""
        if self.expected:
            with self.ledger.lock:
                if self.expected:
                    self.begin_attempt(has_span=False)
        return self.inner or self

    def end_attempt(self, *, failed: bool) -> Account | None:
        """The attempt in progress is over."""
        inner, self.inner, self.expected = self.inner, None, False
        if inner is not None:
            inner.close(failed=failed)
        return inner

    # --- calls ---

    def charge(
        self, call: ModelCall, source: Source, *, here: Account | None = None
    ) -> Charge | None:
        """Credits a call, unless another source has told of it: then it adds what that did not.

        What comes late goes to the nearest account around that is still open; after the outermost
        run there is none.

        Args:
            call: what the source knows of it.
            source: who tells of it.
            here: the account of whoever tells, where the call began under this one. The node that
                reads a stream to its end may have told of the call just before.
        """
        call = checked(call)
        with self.ledger.lock:
            account, wasted = self._open_account()
            if account is None:
                return None
            charge = account.find(call, source)
            if charge is None and account is not self and here is not None:
                charge = here.find_exactly(call, source) if here.ledger is self.ledger else None
            if charge is not None:
                self.merge(charge, call, source)
                return charge
            charge = Charge(account, call, source, wasted=wasted)
            if account.book is None:
                account.book = Book()
            account.book.add(charge)
            return charge

    def merge(self, charge: Charge, call: ModelCall, source: Source) -> None:
        """Adds what another source knows of a call that is credited already."""
        with self.ledger.lock:
            if charge.book is not None:
                charge.book.merge(charge, checked(call), source)

    def _open_account(self) -> tuple[Account | None, bool]:
        """The nearest open account, and whether an attempt on the way to it has failed."""
        account: Account | None = self
        wasted = False
        while account is not None and not account.is_open:
            wasted = wasted or account.failed
            account = account.parent
        return account, wasted

    def find(self, call: ModelCall, source: Source) -> Charge | None:
        """What another source has told of the same call, here or around here.

        Not beside here: another attempt or item has calls of its own.
        """
        for book in (self.book, self.over):
            if book is not None and (known := book.find(call, source)):
                return known
        account: Account = self
        in_run = not account.is_run
        while account.parent is not None:
            account = account.parent
            if account.book is not None:
                # Around the run there may be a call of its own that was told of late.
                find = account.book.find if in_run else account.book.find_exactly
                if known := find(call, source):
                    return known
            in_run = in_run and not account.is_run
        return None

    def find_exactly(self, call: ModelCall, source: Source) -> Charge | None:
        """The same call with the same tokens, as another source has told of it in this run."""
        account: Account | None = self
        while account is not None:
            for book in (account.book, account.over):
                if book is not None and (known := book.find_exactly(call, source)):
                    return known
            account = None if account.is_run else account.parent
        return None

    # --- the end ---

    def close(self, *, failed: bool = False) -> list[Charge]:
        """The span is over: what is told later goes further out.

        Args:
            failed: is it an attempt that failed?

        Returns:
            The calls that are credited to a run; none for items and attempts, whose calls are
            credited to their run.
        """
        if self.inner is not None or self.expected:
            self.end_attempt(failed=failed)
        with self.ledger.lock:
            if not self.is_open:
                return []
            self.is_open = False
            self.failed = failed
            charges = [] if self.is_empty else self._charges()
            if not self.is_run:
                self._hand_over(charges)
                return []
        if charges or self.nested is not None:
            total, wasted = self._totals()  # asks for prices, so outside of the lock
            with self.ledger.lock:
                around, in_failed = self._open_account()
                if around is not None:
                    around.add_nested(total, total if in_failed else wasted)
        if self.parent is None:
            self.ledger.forget()
        return charges

    def usage(self) -> Usage | None:
        """What the calls here and below have used, once it is closed; None where there was none."""
        if self.is_empty:
            return None
        total, wasted = self._totals()
        tokens = total.sum()
        if tokens is None:
            return None
        by_model = total.by_model
        return Usage(
            total=tokens,
            wasted=wasted.sum(),
            by_model=by_model if len(by_model) > 1 else (),
            unpriced=total.unpriced if self.ledger.has_prices or tokens.cost is not None else (),
            currency=self.ledger.currency,
            own=self._own_calls(),
        )

    @property
    def is_empty(self) -> bool:
        """Has no call been told of, here or below?"""
        return self.book is None and self.over is None and self.nested is None

    def _hand_over(self, charges: list[Charge]) -> None:
        """An item or attempt is over: its calls are its run's."""
        for charge in charges:
            charge.wasted = charge.wasted or self.failed
        around, _ = self._open_account()
        if around is None:
            return
        if charges:
            around.over = around.over or Book()
            for charge in charges:
                around.over.add(charge)
        if self.nested is not None:
            around.add_nested(self.nested, self.nested if self.failed else self.wasted)

    def add_nested(self, total: Totals, wasted: Totals | None) -> None:
        """Adds what a run below has used, and what of that was wasted."""
        self.nested = self.nested or Totals()
        self.wasted = self.wasted or Totals()
        self.nested.add(total)
        if wasted is not None:
            self.wasted.add(wasted)

    def _charges(self) -> list[Charge]:
        books = (book for book in (self.book, self.over) if book is not None)
        return [charge for book in books for charge in book.charges]

    def _totals(self) -> tuple[Totals, Totals]:
        """What was used here and below, and what of it was wasted."""
        total, wasted = Totals(), Totals()
        for charge in self._charges():
            cost = self.cost_of(charge)
            total.add_call(charge.call, cost)
            if charge.wasted:
                wasted.add_call(charge.call, cost)
        if self.nested is not None:
            total.add(self.nested)
            wasted.add((self.nested if self.failed else self.wasted) or Totals())
        return total, wasted

    def cost_of(self, charge: Charge) -> Decimal | None:
        """The price of a call; None where it is not known."""
        if not charge.priced:
            charge.cost = self.ledger.price(charge.call)
            charge.priced = True
        return charge.cost

    def _own_calls(self) -> OwnCalls | None:
        """The calls that only this span can tell of: no other span stands for them."""
        own = [c for c in self._charges() if not c.has_span and self._answers_for(c.account)]
        totals = Totals()
        for charge in own:
            totals.add_call(charge.call, self.cost_of(charge))
        tokens = totals.sum()
        if tokens is None:
            return None
        return OwnCalls(
            tokens,
            provider=_only(charge.call.provider for charge in own),
            model=_only(charge.call.model for charge in own),
            operation=_only(charge.call.operation for charge in own),
        )

    def _answers_for(self, account: Account) -> bool:
        """Is this the nearest account with a span around that one?"""
        nearest: Account | None = account
        while nearest is not None and not nearest.has_span:
            nearest = nearest.parent
        return nearest is self


def _always() -> bool:
    return True


def _reference(value: object) -> Callable[[], object]:
    try:
        return weakref.ref(value)
    except TypeError:  # a dict, or an object with slots
        return lambda: value


def _only(values: Iterable[str | None]) -> str | None:
    """The value that all have; None where there are several."""
    distinct: Iterator[str | None] = iter(set(values))
    first = next(distinct, None)
    return first if next(distinct, None) is None else None
