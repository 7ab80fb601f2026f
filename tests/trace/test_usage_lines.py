"""What a run says in the terminal about tokens and cost."""

from __future__ import annotations

import io
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_spans import Stage, attempt, flow, item, node, paid_run, used

from opentelemetry.instrumentation.pocketflow import semconv
from pocketflow_trace.record.model import Entry, Run
from pocketflow_trace.views.console import print_run
from pocketflow_trace.views.totals import totals

if typing.TYPE_CHECKING:
    from collections.abc import Mapping

PAID = """\
flow Chat  900 ms - 3 calls, 2,948 tokens - $0.0071 (812 tokens, $0.0021 wasted)
├── Plan  100 ms - 615 tokens - $0.0008 → Write
└── Write  800 ms - 2 calls, 2,333 tokens - $0.0063 (812 tokens, $0.0021 wasted), 2 of 3 attempts \
→ done (end)
    ├── attempt 1/3  300 ms - 812 tokens - $0.0021 failed: ValueError: no JSON in the answer, \
next at once
    │   └── chat gpt-5  290 ms - 812 tokens
    └── attempt 2/3  500 ms - 1,521 tokens - $0.0042
        └── chat gpt-5  490 ms - 1,521 tokens
2 node runs in 900 ms, 1 retry
3 model calls, 2,948 tokens - $0.0071 (812 tokens, $0.0021 wasted)
"""

counts = st.integers(-1, 2**70) | st.booleans() | st.text(max_size=3)
values = counts | st.floats(allow_nan=False, allow_infinity=False) | st.lists(counts).map(tuple)
roll_ups = st.fixed_dictionaries(
    {semconv.USAGE_CALLS: counts},
    optional={
        semconv.USAGE_UNMETERED_CALLS: values,
        semconv.USAGE_TOTAL_TOKENS: values,
        semconv.USAGE_COST: values,
        semconv.USAGE_CURRENCY: values | st.text(),
        semconv.USAGE_UNPRICED_MODELS: values | st.lists(st.text()).map(tuple),
        semconv.USAGE_WASTED_CALLS: values,
        semconv.USAGE_WASTED_TOTAL_TOKENS: values,
        semconv.USAGE_WASTED_COST: values,
        semconv.GEN_AI_INPUT_TOKENS: values,
    },
)


def shown(run: Run, width: int = 120) -> list[str]:
    """Return the lines of a run as it is printed to a UTF-8 file."""
    file = io.StringIO()
    print_run(run, file, width=width)
    return file.getvalue().splitlines()


def node_run(attributes: Mapping[str, typing.Any]) -> Run:
    """Return a run of one node that used what the attributes say."""
    stage = Stage()
    stage.leaf("Ask", 0, 5, attributes={**node("Ask"), **attributes})
    return stage.run


def shown_node(attributes: Mapping[str, typing.Any]) -> str:
    """Return what the line of a node says after its time."""
    return shown(node_run(attributes))[0].removeprefix("Ask  5.0 ms")


def closing(attributes: Mapping[str, typing.Any]) -> list[str]:
    """Return what a run of one node says below the count of its node runs."""
    return shown(node_run(attributes))[2:]


def test_paid_run() -> None:
    """Flow, nodes, attempts and client spans tell what they used, and the end sums it up once."""
    assert "\n".join(shown(paid_run())) + "\n" == PAID


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, ""),
        (used(1, 1521, 0.0042), " - 1,521 tokens - $0.0042"),
        (used(1, 1, 0), " - 1 token - $0"),
        (used(1, 0), " - 0 tokens"),
        (used(1200, 1521), " - 1,200 calls, 1,521 tokens"),
        (used(3, unmetered_calls=3), " - 3 calls, tokens unknown"),
        (used(1), " - 1 call, tokens unknown"),
        (used(1, cost=0.25), " - 1 call, tokens unknown - $0.25"),
        (used(3, 1521, unmetered_calls=1), " - 3 calls, 1,521+ tokens"),
        (used(2, 900, 0.01, unpriced_models=("my-llama",)), " - 2 calls, 900 tokens - $0.01+"),
        (used(1, 900, unpriced_models=("my-llama",)), " - 900 tokens"),
        (used(1, 900, 1.5, currency="CHF"), " - 900 tokens - 1.50 CHF"),
        (used(1, 900, 1.5, currency="EUR"), " - 900 tokens - €1.50"),
    ],
)
def test_node(attributes: Mapping[str, typing.Any], expected: str) -> None:
    """A node tells what is known; what is absent is not shown as zero, a part is marked."""
    assert shown_node(attributes) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (used(2, 900, wasted_calls=1, wasted_total_tokens=812), " (812 tokens wasted)"),
        (used(2, 900, wasted_calls=1, wasted_cost=0.5), " (1 call, $0.50 wasted)"),
        (used(2, 900, wasted_calls=2, wasted_total_tokens=900), " (all wasted)"),
        (used(2, 900, wasted_calls=0, wasted_total_tokens=0), ""),
    ],
)
def test_waste(attributes: Mapping[str, typing.Any], expected: str) -> None:
    """What failed attempts used stands behind the sum that it is a part of."""
    assert shown_node(attributes) == f" - 2 calls, 900 tokens{expected}"


def test_place_among_the_rest() -> None:
    """Usage stands next to the time, before whatever may be long."""
    attributes = used(1, 7, 2) | node("Ask", node_iteration=2, node_action="a", node_next="B")
    assert shown_node(attributes) == " - 7 tokens - $2.00, iteration 2 → a → B"


def test_item() -> None:
    """A batch item tells what it used."""
    stage = Stage()
    with stage.span("Map", 0, 5, node("Map", batch_size=1) | used(1, 50)):
        stage.leaf("Map item", 0, 5, attributes=item(0) | used(1, 50))
    assert "└── item 0  5.0 ms - 50 tokens" in shown(stage.run)


def test_waste_inside_a_good_attempt() -> None:
    """An attempt that went well tells of waste inside it; one that failed is waste as a whole."""
    stage = Stage()
    usage = used(2, 90, wasted_calls=1, wasted_total_tokens=40)
    with stage.span("Ask", 0, 9, node("Ask", node_attempts=2)):
        stage.leaf("Ask attempt", 0, 5, attributes=attempt(1) | usage, error=ValueError("no"))
        stage.leaf("Ask attempt", 5, 9, attributes=attempt(2) | usage)
    text = shown(stage.run)
    assert "├── attempt 1  5.0 ms - 2 calls, 90 tokens failed: ValueError: no" in text
    assert "└── attempt 2  4.0 ms - 2 calls, 90 tokens (40 tokens wasted)" in text


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"gen_ai.usage.input_tokens": 1500, "gen_ai.usage.output_tokens": 21}, " - 1,521 tokens"),
        ({"gen_ai.usage.prompt_tokens": 5, "gen_ai.usage.completion_tokens": 2}, " - 7 tokens"),
        ({"llm.token_count.prompt": 5, "llm.token_count.completion": 2}, " - 7 tokens"),
        ({"llm.token_count.prompt": 5, "llm.token_count.total": 9}, " - 9 tokens"),
        ({"gen_ai.usage.input_tokens": 5, "llm.token_count.prompt": 5}, " - 5 tokens"),
        ({"gen_ai.usage.output_tokens": 0}, " - 0 tokens"),
        ({"gen_ai.usage.input_tokens": "many"}, ""),
        ({"gen_ai.request.model": "gpt-5"}, ""),
        (used(1, 99, 5.0), ""),
    ],
)
def test_client_span(attributes: Mapping[str, typing.Any], expected: str) -> None:
    """A client's span tells its own tokens, whatever its dialect; they are in no total."""
    stage = Stage()
    with stage.span("Ask", 0, 5, node("Ask")):
        stage.leaf("chat gpt-5", 0, 5, attributes=attributes, scope="some.llm.client")
    assert shown(stage.run)[1:] == [
        f"└── chat gpt-5  5.0 ms{expected}",
        "1 node run in 5.0 ms",
    ]


def test_own_call_of_a_node_is_not_told_twice() -> None:
    """A node that is itself the call shows its roll-up, not its standard attributes as well."""
    own = {semconv.GEN_AI_INPUT_TOKENS: 30, semconv.LLM_TOKEN_COUNT_PROMPT: 30}
    assert shown_node(own) == ""
    assert shown_node(used(1, 30) | own) == " - 30 tokens"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, []),
        (used(1, 1521, 0.0042), ["1 model call, 1,521 tokens - $0.0042"]),
        (used(3), ["3 model calls, tokens unknown"]),
        (
            used(3, 1521, 0.0042, unmetered_calls=1, unpriced_models=("my-llama", "unknown")),
            [
                "3 model calls, 1,521+ tokens - $0.0042+",
                "unknown: tokens of 1 call; price of my-llama and an unnamed model",
            ],
        ),
        (
            used(3, 15, unpriced_models=("a", "b", "my\x1b[31m")),
            ["3 model calls, 15 tokens", "unknown: price of a, b and my\\x1b[31m"],
        ),
        (
            used(1, 9, wasted_calls=1, wasted_total_tokens=9),
            ["1 model call, 9 tokens (all wasted)"],
        ),
    ],
)
def test_closing(attributes: Mapping[str, typing.Any], expected: list[str]) -> None:
    """The end says what the run used, and what the sums are without."""
    assert closing(attributes) == expected


def test_roots_add_up() -> None:
    """Several flows of a program are added up, and a model without a price is named once."""
    stage = Stage()
    for name in ("One", "Two"):
        more = {"unpriced_models": ("my-llama",), "wasted_calls": 1, "wasted_total_tokens": 50}
        with stage.span(name, 0, 5, flow(name) | used(2, 1000, 0.1, **more)):
            stage.leaf("Ask", 0, 5, attributes=node("Ask") | used(2, 1000, 0.1, **more))
    stage.leaf("Ask", 0, 5, attributes=node("Ask") | used(1, unmetered_calls=1))
    assert shown(stage.run)[-2:] == [
        "5 model calls, 2,000+ tokens - $0.20+ (100 tokens wasted)",
        "unknown: tokens of 1 call; price of my-llama",
    ]


def test_currencies_stay_apart() -> None:
    """Amounts of different currencies are not added up."""
    stage = Stage()
    for cost, currency in ((0.1, "USD"), (0.5, "CHF"), (0.2, "USD")):
        usage = used(1, 10, cost, currency=currency)
        stage.leaf("Ask", 0, 5, attributes=node("Ask") | usage)
    assert shown(stage.run)[-1] == "3 model calls, 30 tokens - $0.30 - 0.50 CHF"


def test_flow_that_did_not_end() -> None:
    """A flow without a roll-up yet is stood for by what is inside it."""
    stage = Stage()
    with stage.span("invoke_workflow Chat", 0, None, flow("Chat")):
        stage.leaf("Ask", 0, 5, attributes=node("Ask") | used(1, 10))
        with stage.span("Ask", 5, 9, node("Ask") | used(2, 20)):
            stage.leaf("Ask attempt", 5, 9, attributes=attempt(1) | used(2, 20))
    assert shown(stage.run)[-1] == "3 model calls, 30 tokens"


def test_span_around_the_flow() -> None:
    """A flow that runs inside a span of the program is counted."""
    stage = Stage()
    with stage.span("POST /chat", 0, 9, scope="some.web.framework"):
        stage.leaf("invoke_workflow Chat", 0, 9, attributes=flow("Chat") | used(1, 10))
    assert shown(stage.run)[-1] == "1 model call, 10 tokens"


def test_thousands_of_models() -> None:
    """Many models without a price take a few lines, not a page."""
    models = tuple(f"model-{number}" for number in range(5_000))
    assert len("".join(closing(used(1, 1, unpriced_models=models)))) < 400


def test_ascii() -> None:
    """Where a currency's sign cannot be written, its code can."""
    file = io.TextIOWrapper(io.BytesIO(), "ascii")
    print_run(node_run(used(1, 1521, 0.0042, currency="EUR")), file, width=80)
    file.seek(0)
    assert file.readline() == "Ask  5.0 ms - 1,521 tokens - EUR 0.0042\n"


def test_waste_has_the_colour_of_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal waste is yellow, and what a client's span tells is dim."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    print_run(paid_run(), terminal, width=120)
    assert "\x1b[33m (812 tokens, $0.0021 wasted)\x1b[0m" in terminal.getvalue()
    assert "\x1b[2m - 812 tokens\x1b[0m" in terminal.getvalue()


@pytest.mark.parametrize("width", [1, 20, 33, 60])
def test_narrow(width: int) -> None:
    """On a narrow terminal usage wraps between words, as all else does."""
    lines = shown(paid_run(), width)
    assert max(map(len, lines)) <= max(width, 20)
    assert "812 tokens, $0.0021" in " ".join(" ".join(lines).split())


@given(st.sampled_from(["flow", "node", "item", "attempt", "other"]), roll_ups)
def test_any_attributes(kind: typing.Any, attributes: dict[str, typing.Any]) -> None:
    """Whatever a file claims, the output is printable and bounded."""
    lines = shown(Run(roots=(Entry(kind, "x", 0, 5, attributes=attributes),)), 80)
    assert all(line.isprintable() and len(line) <= 80 for line in lines)
    assert len(lines) < 12


@given(st.lists(st.tuples(st.integers(1, 9), st.none() | st.integers(0, 10**9)), max_size=6))
def test_totals(parts: list[tuple[int, int | None]]) -> None:
    """The total is the sum over the roots of what was told, and None where nothing was."""
    stage = Stage()
    for calls, tokens in parts:
        stage.leaf("Ask", 0, 1, attributes=node("Ask") | used(calls, tokens))
    usage = totals(stage.run).usage
    told = [tokens for _, tokens in parts if tokens is not None]
    assert (usage is None) == (not parts)
    if usage is not None:
        assert usage.total.calls == sum(calls for calls, _ in parts)
        assert usage.total.tokens == (sum(told) if told else None)
        assert usage.unmetered == sum(calls for calls, tokens in parts if tokens is None)
