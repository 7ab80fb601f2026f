"""Which of the calls already told of is the one that another source tells of."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.pocketflow.capture.usage.book import (
    RECORDED,
    RESULT,
    WRITTEN,
    Source,
)
from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall
from opentelemetry.instrumentation.pocketflow.capture.usage.ledger import Account, Ledger

SPAN = Source("an.instrumentation", has_span=True, has_metric=True)
ROUGH = Source("a.rough.one", has_span=True, is_rough=True)


def merged(*tellings: tuple[Source, ModelCall]) -> list[ModelCall]:
    """The calls that remain of what was told on one account."""
    account = Account(Ledger(lambda _: None, "USD"), None, is_run=True)
    for source, call in tellings:
        account.charge(call, source)
    return [charge.call for charge in account.close()]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_each_source_adds_what_the_others_do_not_know(order: tuple[int, ...]) -> None:
    """In any order: provider and id from one, tokens from another, cached ones from a third."""
    tellings = [
        (SPAN, ModelCall(provider="openai", model="gpt-4o", response_id="r1", input_tokens=10)),
        (RECORDED, ModelCall(input_tokens=10, output_tokens=5, reasoning_tokens=2)),
        (RESULT, ModelCall(input_tokens=10, output_tokens=5, cached_tokens=4)),
    ]

    (call,) = merged(*(tellings[index] for index in order))

    assert call == ModelCall(
        provider="openai",
        model="gpt-4o",
        response_id="r1",
        input_tokens=10,
        output_tokens=5,
        cached_tokens=4,
        reasoning_tokens=2,
    )


@pytest.mark.parametrize("turned", [False, True])
def test_tokens_unknown_to_one_are_known_to_another(turned: bool) -> None:
    """A stream whose usage its instrumentation did not see."""
    tellings = [
        (SPAN, ModelCall(model="gpt-4o")),
        (RECORDED, ModelCall(input_tokens=10, output_tokens=5)),
    ]

    (call,) = merged(*(reversed(tellings) if turned else tellings))

    assert call == ModelCall(model="gpt-4o", input_tokens=10, output_tokens=5)


def test_absent_is_not_zero() -> None:
    """No cached tokens is known; that nobody told of reasoning stays unknown."""
    (call,) = merged(
        (SPAN, ModelCall(input_tokens=0, output_tokens=0, cached_tokens=0)),
        (RESULT, ModelCall(input_tokens=0, output_tokens=0)),
    )

    assert (call.cached_tokens, call.reasoning_tokens) == (0, None)


def test_ids_that_differ_keep_calls_apart() -> None:
    """The same prompt twice gives the same tokens, and two responses."""
    one = ModelCall(response_id="r1", input_tokens=10, output_tokens=5)
    other = replace(one, response_id="r2")

    calls = merged(
        (SPAN, one),
        (RESULT, other),
        (WRITTEN, one),
        (WRITTEN, other),
    )

    assert [call.response_id for call in calls] == ["r1", "r2"]


def test_one_id_is_one_call_whatever_else_is_told() -> None:
    """The id is surer than the counts: what was told first stands."""
    (call,) = merged(
        (SPAN, ModelCall(response_id="r1", model="a", input_tokens=10, output_tokens=5)),
        (RESULT, ModelCall(response_id="r1", model="b", input_tokens=11, output_tokens=6)),
    )

    assert (call.model, call.input_tokens, call.output_tokens) == ("a", 10, 5)


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", 1),
        ("openai/gpt-4o", "gpt-4o", 1),
        ("GPT-4o", "gpt-4o", 1),
        ("gpt-4o", "claude-sonnet-4", 2),
        ("gpt-4o", None, 1),
    ],
)
def test_a_model_may_be_named_in_two_ways(one: str, other: str | None, count: int) -> None:
    """Dated, or with its provider before it; but another model is another call."""
    calls = merged(
        (SPAN, ModelCall(model=one, input_tokens=10, output_tokens=5)),
        (RESULT, ModelCall(model=other, input_tokens=10, output_tokens=5)),
    )

    assert len(calls) == count


def test_an_embedding_is_no_chat() -> None:
    """Though one of its sources does not know the output."""
    calls = merged(
        (SPAN, ModelCall(operation="embeddings", input_tokens=10)),
        (RESULT, ModelCall(operation="chat", input_tokens=10, output_tokens=5)),
    )

    assert [call.operation for call in calls] == ["embeddings", "chat"]


@pytest.mark.parametrize("turned", [False, True])
def test_what_miscounts_is_overridden(turned: bool) -> None:
    """Whether it tells first or last; what only it knows is kept."""
    tellings = [
        (ROUGH, ModelCall(provider="p", input_tokens=10, output_tokens=6, cached_tokens=0)),
        (RESULT, ModelCall(input_tokens=10, output_tokens=5, cached_tokens=4)),
    ]

    (call,) = merged(*(reversed(tellings) if turned else tellings))

    assert call == ModelCall(provider="p", input_tokens=10, output_tokens=5, cached_tokens=4)


def test_two_that_miscount_are_one_call() -> None:
    """The better word stands, also when it comes last."""
    (call,) = merged(
        (ROUGH, ModelCall(input_tokens=10, output_tokens=6)),
        (ROUGH._replace(name="another.rough.one"), ModelCall(input_tokens=10, output_tokens=7)),
        (RESULT, ModelCall(input_tokens=10, output_tokens=5)),
    )

    assert call.output_tokens == 5


def test_a_third_source_finds_a_call_by_what_the_second_told() -> None:
    """The id came with the second."""
    calls = merged(
        (RECORDED, ModelCall(input_tokens=10, output_tokens=5)),
        (RESULT, ModelCall(input_tokens=10, output_tokens=5, response_id="r1")),
        (SPAN, ModelCall(response_id="r1")),
    )

    assert len(calls) == 1


def test_one_source_that_tells_twice_tells_of_two() -> None:
    """Each call of `record_usage` is a call of a model."""
    call = ModelCall(input_tokens=10, output_tokens=5)

    assert len(merged((RECORDED, call), (RECORDED, call), (SPAN, call))) == 2


def test_a_call_of_which_only_the_model_is_known_counts() -> None:
    """Twice, if told twice; and each takes the tokens that another source knows."""
    calls = merged(
        (SPAN, ModelCall(model="a")),
        (SPAN, ModelCall(model="b")),
        (RESULT, ModelCall(model="b", input_tokens=1, output_tokens=2)),
    )

    assert calls == [ModelCall(model="a"), ModelCall(model="b", input_tokens=1, output_tokens=2)]


_TOKENS = st.none() | st.integers(0, 3)


@given(
    st.lists(
        st.tuples(
            st.sampled_from((SPAN, ROUGH, RECORDED, RESULT, WRITTEN)),
            st.builds(
                ModelCall,
                model=st.sampled_from((None, "a", "b")),
                input_tokens=_TOKENS,
                output_tokens=_TOKENS,
                response_id=st.sampled_from((None, "r1", "r2", "r3")),
            ),
        )
    )
)
def test_whatever_is_told_nothing_is_lost_or_made_up(
    tellings: list[tuple[Source, ModelCall]],
) -> None:
    """At least as many calls as the busiest source told of, and no more than were told of."""
    calls = merged(*tellings)

    by_source = [[call for source, call in tellings if source is one] for one, _ in tellings]
    assert max(map(len, by_source), default=0) <= len(calls) <= len(tellings)
    ids = {call.response_id for _, call in tellings} - {None}
    assert ids <= {call.response_id for call in calls} | {None}
