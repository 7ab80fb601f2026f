"""What a call costs: told, asked from the user's function, or looked up in genai-prices."""

from __future__ import annotations

import decimal
import logging
import subprocess
import sys
import textwrap
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import genai_prices
import pytest

from opentelemetry.instrumentation.pocketflow import guard
from opentelemetry.instrumentation.pocketflow.capture.usage import prices
from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall
from opentelemetry.instrumentation.pocketflow.capture.usage.prices import Pricer, as_price

if TYPE_CHECKING:
    from pathlib import Path

CALL = ModelCall(
    provider="openai", model="gpt-4o", input_tokens=1000, output_tokens=100, cached_tokens=400
)


@pytest.fixture(autouse=True)
def fresh_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has been logged yet."""
    monkeypatch.setattr(guard, "_reported", set[str]())


# --- genai-prices ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "theirs"),
    [
        ("openai", "gpt-4o-2024-08-06", "openai"),
        ("openai", "text-embedding-3-small", "openai"),
        ("anthropic", "claude-sonnet-4-20250514", "anthropic"),
        ("gcp.gemini", "gemini-2.5-flash", "google"),
        ("gcp.vertex_ai", "gemini-2.5-flash", "google"),
        ("aws.bedrock", "anthropic.claude-3-5-sonnet-20241022-v2:0", "aws"),
        (None, "gpt-4o", None),
    ],
)
@pytest.mark.parametrize("cached", [None, 0, 400])
def test_known_models_cost_what_genai_prices_says(
    provider: str | None, model: str, theirs: str | None, cached: int | None
) -> None:
    """To the last decimal, with and without cached tokens."""
    call = ModelCall(
        provider=provider,
        model=model,
        input_tokens=1000,
        output_tokens=100,
        cached_tokens=cached,
    )
    usage = genai_prices.Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=cached)

    price = Pricer(None, "USD")(call)

    assert price == genai_prices.calc_price(usage, model, provider_id=theirs).total_price
    assert isinstance(price, Decimal)
    assert price > 0


def test_cached_tokens_cost_less_and_written_ones_more() -> None:
    """Both are parts of the input, and are not paid for twice."""
    pricer = Pricer(None, "USD")
    call = ModelCall(
        provider="anthropic", model="claude-sonnet-4-0", input_tokens=1000, output_tokens=1
    )

    plain = pricer(call) or 0
    read = pricer(replace(call, cached_tokens=1000)) or 0
    written = pricer(replace(call, cache_write_tokens=1000)) or 0

    assert 0 < read < plain < written < 2 * plain


@pytest.mark.parametrize(
    "call",
    [
        ModelCall(provider="openai", model="no-such-model", input_tokens=1, output_tokens=1),
        ModelCall(provider="ollama", model="gpt-4o", input_tokens=1, output_tokens=1),
        ModelCall(provider="my.own", model="gpt-4o", input_tokens=1, output_tokens=1),
        ModelCall(provider="anthropic", model="gpt-4o", input_tokens=1, output_tokens=1),
        ModelCall(provider="openai", input_tokens=1, output_tokens=1),
        ModelCall(provider="openai", model="gpt-4o"),
        ModelCall(provider="openai", model="gpt-4o", cached_tokens=3),
        ModelCall(model="gpt-4o", input_tokens=1, output_tokens=1, cached_tokens=2),
        ModelCall(model="", input_tokens=1, output_tokens=1),
    ],
)
def test_what_has_no_list_price_has_none(call: ModelCall, caplog: pytest.LogCaptureFixture) -> None:
    """Unknown models, own machines, no tokens, contradictory ones: no price, and nothing logged."""
    assert Pricer(None, "USD")(call) is None
    assert caplog.messages == []


def test_a_service_with_the_interface_of_openai_is_found_by_its_models() -> None:
    """Its client calls the provider `openai`, whatever is behind it."""
    call = ModelCall(provider="openai", model="deepseek-chat", input_tokens=1000, output_tokens=1)

    assert (Pricer(None, "USD")(call) or 0) > 0


def test_what_was_told_is_not_asked_for() -> None:
    """A price that came with the call stands, zero too."""
    pricer = Pricer(lambda _: Decimal(9), "USD")

    assert pricer(ModelCall(model="gpt-4o", input_tokens=1, cost=Decimal("0.25"))) == Decimal(
        "0.25"
    )
    assert pricer(ModelCall(model="gpt-4o", input_tokens=1, cost=Decimal(0))) == 0


# --- The user's function --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "price"),
    [
        (Decimal("0.0042"), Decimal("0.0042")),
        (0.1, Decimal("0.1")),
        (3, Decimal(3)),
        (0, Decimal(0)),
    ],
)
def test_the_users_function_comes_first(said: Any, price: Decimal) -> None:
    """It is handed the call; a float is taken as it is written."""
    asked: list[ModelCall] = []

    def function(call: ModelCall) -> Any:
        asked.append(call)
        return said

    assert Pricer(function, "USD")(CALL) == price
    assert asked == [CALL]


def test_what_the_users_function_does_not_know_is_looked_up() -> None:
    """None falls through to the list prices."""
    assert Pricer(lambda _: None, "USD")(CALL) == Pricer(None, "USD")(CALL)
    assert Pricer(None, "USD")(CALL) is not None


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("0.1", "must be a number"),
        (True, "must be a number"),
        ([1], "must be a number"),
        (-1, "must be a number from 0"),
        (float("nan"), "must be a number from 0"),
        (float("inf"), "must be a number from 0"),
        (Decimal("-0.1"), "must be a number from 0"),
        (Decimal("sNaN"), "must be a number from 0"),
        (10**40, "must be a number from 0"),
        (Decimal("1e999999"), "must be a number from 0"),
        (1e300, "must be a number from 0"),
    ],
)
def test_what_is_no_price_is_logged_once(
    said: Any, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong answer costs nothing but a line in the log, and the list price stands in."""
    pricer = Pricer(lambda _: said, "USD")

    assert [pricer(CALL), pricer(CALL)] == [Pricer(None, "USD")(CALL)] * 2
    assert len(caplog.records) == 1
    info = caplog.records[0].exc_info
    assert info
    assert problem in str(info[1])


def test_a_function_that_raises_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The call has no price of the user's; nothing reaches the program."""

    def function(call: ModelCall) -> Decimal:
        raise KeyError(call.model)

    pricer = Pricer(function, "EUR")

    with caplog.at_level(logging.WARNING):
        assert [pricer(CALL), pricer(CALL)] == [None, None]
    assert len(caplog.records) == 1


def test_another_currency_never_asks_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its prices are in US dollars."""

    def never() -> Any:
        raise AssertionError("asked")

    monkeypatch.setattr(prices, "_list_prices", never)

    assert Pricer(None, "EUR")(CALL) is None
    assert not Pricer(None, "EUR").has_source
    assert Pricer(lambda _: Decimal(1), "EUR").has_source
    assert Pricer(lambda _: None, "EUR")(CALL) is None


@pytest.mark.parametrize("value", ["1", None, True, b"1", 1j])
def test_a_price_is_a_number(value: Any) -> None:
    """The message names what was given, and what is allowed."""
    with pytest.raises(TypeError, match=r"x=.*: must be a number, best a Decimal"):
        as_price("x", value)


# --- The program's decimals -----------------------------------------------------------------


def test_the_programs_decimals_are_left_alone() -> None:
    """A context that traps everything raises nothing, and no flag is set in it."""
    pricer = Pricer(lambda call: 0.1 if call.model == "mine" else None, "USD")
    expected = pricer(CALL)
    with decimal.localcontext() as context:
        context.prec = 2
        for signal in context.traps:
            context.traps[signal] = True
        context.clear_flags()

        assert pricer(CALL) == expected
        assert pricer(ModelCall(model="mine", input_tokens=1)) == Decimal("0.1")
        assert not any(context.flags.values())
        assert context.prec == 2


# --- In a process of its own ----------------------------------------------------------------


def run(tmp_path: Path, code: str) -> list[str]:
    """Runs a program in a process of its own; returns the lines it prints."""
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


TRACED = """
    import sys
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor, record_usage
    from pocketflow import Node

    class Ask(Node):
        def exec(self, prep_res):
            record_usage(provider="openai", model="gpt-4o", input_tokens=1000, output_tokens=10)

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    PocketFlowInstrumentor().instrument(tracer_provider=provider, resource=False)
    Ask().run({})
    for name, value in sorted(exporter.get_finished_spans()[0].attributes.items()):
        if name.startswith("pocketflow.usage."):
            print(name, value)
"""


def test_without_genai_prices_costs_are_not_spoken_of(tmp_path: Path) -> None:
    """There is neither a cost nor a model that misses one."""
    hide = """
    import sys
    class Hide:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "genai_prices":
                raise ModuleNotFoundError(name)
    sys.meta_path.insert(0, Hide())
    import importlib.util
    find = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: (
        None if name == "genai_prices" else find(name, *rest)
    )
    """

    assert run(tmp_path, hide + TRACED) == [
        "pocketflow.usage.calls 1",
        "pocketflow.usage.input_tokens 1000",
        "pocketflow.usage.output_tokens 10",
        "pocketflow.usage.total_tokens 1010",
    ]


def test_prices_come_without_a_network(tmp_path: Path) -> None:
    """No socket is made, by the import or by the look-up; nothing is asked of a resolver."""
    block = """
    import sys
    def audit(event, arguments):
        if event.startswith("socket."):
            print("network", event, arguments)
    sys.addaudithook(audit)
    """

    assert run(tmp_path, block + TRACED) == [
        "pocketflow.usage.calls 1",
        "pocketflow.usage.cost 0.0026",
        "pocketflow.usage.currency USD",
        "pocketflow.usage.input_tokens 1000",
        "pocketflow.usage.output_tokens 10",
        "pocketflow.usage.total_tokens 1010",
    ]


def test_the_core_does_not_import_genai_prices_for_another_currency(tmp_path: Path) -> None:
    """What takes most of a second is only done where its prices are used."""
    options = "resource=False, currency='EUR'"
    code = TRACED.replace("resource=False", options) + "    print('genai_prices' in sys.modules)\n"

    assert run(tmp_path, code)[-1] == "False"


def test_decimals_that_a_program_set_for_all_its_threads(tmp_path: Path) -> None:
    """Neither a low precision nor traps of the default context change what a call costs."""
    strict = """
    import decimal
    for context in (decimal.DefaultContext, decimal.getcontext()):
        context.prec = 2
        context.traps[decimal.Inexact] = context.traps[decimal.Rounded] = True
        context.traps[decimal.FloatOperation] = True
    """
    code = TRACED.replace("input_tokens=1000", "input_tokens=1234567")

    assert run(tmp_path, strict + code)[1] == "pocketflow.usage.cost 3.0865175"
