"""Tells which of the calls already told of is the one that another source tells of now. Pure.

One call may be told of by several sources: the spans of one or two instrumentations of the client,
`record_usage`, the object that `exec` returned, what `post` wrote. What two sources tell is one
call where it can be: the same response, else the same tokens of the same model, as far as both
know them. So each source may tell of all calls, of some or of none, in any order, and two calls
that one source tells of stay two.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from decimal import Decimal

    from opentelemetry.instrumentation.pocketflow.capture.usage.ledger import Account


class Source(NamedTuple):
    """Who tells of a call."""

    name: str
    """An instrumentation's scope, or one of those below."""
    has_span: bool = False
    """Is there a span for the call, which says what it used?"""
    has_metric: bool = False
    """Does it record `gen_ai.client.token.usage` for the call?"""
    is_rough: bool = False
    """Does it miscount, so that what another tells is better?"""


RECORDED: Final = Source("record_usage")
RESULT: Final = Source("result")
WRITTEN: Final = Source("written")

_MAX_COMPARED: Final = 500
"""With how many calls alike one is compared; of more, it is taken for another."""
_FIELDS: Final = tuple(field.name for field in fields(ModelCall))

_EMBEDDINGS: Final = "embeddings"
_Mark: TypeAlias = "str | tuple[int, int] | int | None"
"""What calls are looked up by: the response's id, their tokens, their input; or None where nobody
told that."""


class Charge:
    """One model call, on the account that answers for it."""

    __slots__ = (
        "account",
        "book",
        "call",
        "cost",
        "has_metric",
        "has_span",
        "is_rough",
        "priced",
        "sources",
        "wasted",
    )

    def __init__(self, account: Account, call: ModelCall, source: Source, *, wasted: bool) -> None:
        self.account = account
        self.call = call
        self.sources = {source.name}
        self.has_span = source.has_span
        self.has_metric = source.has_metric
        self.is_rough = source.is_rough
        """Does all that is known come from sources that miscount?"""
        self.book: Book | None = None
        """Where it is found by what it says."""
        self.wasted = wasted
        """Was it made in an attempt that failed?"""
        self.cost: Decimal | None = None
        self.priced = False

    def merge(self, call: ModelCall, source: Source) -> None:
        """Another source tells of the same call: it may know what the others did not."""
        better = self.is_rough and not source.is_rough
        self.call = filled(call, self.call) if better else filled(self.call, call)
        self.is_rough = self.is_rough and source.is_rough
        self.has_span = self.has_span or source.has_span
        self.has_metric = self.has_metric or source.has_metric
        self.sources.add(source.name)
        self.priced = False


class Book:
    """The calls of one account, found again by what another source tells of them."""

    __slots__ = ("_alike", "_told", "charges")

    def __init__(self) -> None:
        self.charges: list[Charge] = []
        self._alike: dict[_Mark, list[Charge]] = {}
        self._told: dict[tuple[_Mark, str], int] = {}
        """How many of the first calls alike a source has told of."""

    def add(self, charge: Charge) -> None:
        """Adds a call that nobody told of before."""
        self.charges.append(charge)
        self._note(charge, _marks(charge.call))

    def merge(self, charge: Charge, call: ModelCall, source: Source) -> None:
        """Another source tells of the same call: it may know what the others did not."""
        before = _marks(charge.call)
        charge.merge(call, source)
        # By what it says now, a third source finds it as well.
        self._note(charge, [mark for mark in _marks(charge.call) if mark not in before])

    def _note(self, charge: Charge, marks: Iterable[_Mark]) -> None:
        charge.book = self
        for mark in marks:
            self._alike.setdefault(mark, []).append(charge)

    def find(self, call: ModelCall, source: Source) -> Charge | None:
        """The same call, as another source has told of it."""
        for mark in dict.fromkeys((*_marks(call), None)):
            for charge in self._not_told(mark, source):
                if _may_be_one(charge, call, source):
                    return charge
        return self._find_any(call, source) if call.input_tokens is None else None

    def find_exactly(self, call: ModelCall, source: Source) -> Charge | None:
        """Like `find`, where the tokens are known to be the same."""
        mark = _tokens(call)
        if mark is None:
            return None
        return next((c for c in self._not_told(mark, source) if _may_be_one(c, call, source)), None)

    def _not_told(self, mark: _Mark, source: Source) -> Iterator[Charge]:
        alike = self._alike.get(mark, [])
        begin = self._told.get((mark, source.name), 0)
        while begin < len(alike) and source.name in alike[begin].sources:
            begin += 1
        self._told[mark, source.name] = begin
        for charge in alike[begin : begin + _MAX_COMPARED]:
            if source.name not in charge.sources:
                yield charge

    def _find_any(self, call: ModelCall, source: Source) -> Charge | None:
        """The tokens of this call are not known: it may be any of the same model."""
        for charge in self.charges[-_MAX_COMPARED:]:
            if source.name not in charge.sources and _may_be_one(charge, call, source):
                return charge
        return None


def filled(call: ModelCall, other: ModelCall) -> ModelCall:
    """A call, with what only the other account of it tells."""
    told = {name: getattr(other, name) for name in _FIELDS if getattr(call, name) is None}
    return replace(call, **told)


def is_unmetered(call: ModelCall) -> bool:
    """Has nobody told its tokens?"""
    return call.input_tokens is None and call.output_tokens is None


def _marks(call: ModelCall) -> list[_Mark]:
    """What the call is looked up by, the surest first."""
    marks: list[_Mark] = [] if call.response_id is None else [call.response_id]
    if (tokens := _tokens(call)) is not None:
        marks.append(tokens)
    return [*marks, call.input_tokens]


def _tokens(call: ModelCall) -> tuple[int, int] | None:
    if call.input_tokens is None or call.output_tokens is None:
        return None
    return call.input_tokens, call.output_tokens


def _may_be_one(charge: Charge, other: ModelCall, source: Source) -> bool:
    """Can both tell of the same call?"""
    one = charge.call
    if one.response_id is not None and other.response_id is not None:
        return one.response_id == other.response_id
    if not _related(one.model, other.model) or not _same_kind(one, other):
        return False
    same_output = _may_be_equal(one.output_tokens, other.output_tokens)
    return _may_be_equal(one.input_tokens, other.input_tokens) and (
        same_output or charge.is_rough or source.is_rough
    )


def _may_be_equal(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one == other


def _same_kind(one: ModelCall, other: ModelCall) -> bool:
    """An embedding is no chat, whatever a chat is called."""
    if one.operation is None or other.operation is None:
        return True
    return (one.operation == _EMBEDDINGS) == (other.operation == _EMBEDDINGS)


def _related(one: str | None, other: str | None) -> bool:
    """May both name one model? One may be dated, or have its provider before it."""
    if one is None or other is None:
        return True
    short, long = sorted((_bare(one), _bare(other)), key=len)
    return long.startswith(short)


def _bare(model: str) -> str:
    return model.rpartition("/")[2].lower()
