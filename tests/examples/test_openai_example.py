"""`examples/support_mail.py` and its real `openai` client, in processes of their own.

The model is on a loopback port. It says what a test wants it to, or the same sentence always, and
knows what it served.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import programs
from support.collector import running_collector
from support.list_prices import list_price
from support.providers import TEXT, Providers, Served
from support.providers.server import Failure
from support.providers.wire import WORDS, Reply
from support.received import in_order, outline, values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from support.received import ReceivedSpan, Value

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_mail.py"

MODEL = {"POCKETFLOW_EXAMPLES_MODEL": "gpt-4o-mini"}

SET_THIS = (
    "This example asks a real model: "
    "set POCKETFLOW_EXAMPLES_MODEL, and OPENAI_API_KEY or OPENAI_BASE_URL.\n"
)

TRACED = programs.in_code(
    f"""\
import runpy

from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

OpenAIInstrumentor().instrument()
runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")
""",
    "http/protobuf",
)
"""The example, not a line changed, in a program that instruments PocketFlow and the client."""


@dataclass(frozen=True)
class Story:
    """What the model says in one run, and what becomes of it."""

    texts: tuple[str, ...]
    """Its answers, one after the other; `TEXT` after the last."""
    printed: str
    """What the program prints, below the mail."""
    outline: list[str]
    """The spans of a traced run."""
    drafts: list[int]
    """Which of the calls, from 0, each run of `Draft` made."""
    wasted: int
    """Calls made in attempts that failed; they come first."""


HELPFUL = Story(
    (
        "That is about a late return.",
        'Sure: {"topic": "returns"}',
        "Dear Ada, you were late.",
        "No: that is not polite.",
        "Dear Ada, two late hours cost 10 euros.",
        "Yes, it does.",
    ),
    """\
Topic: returns
Draft: Dear Ada, you were late.
Check: No: that is not polite.
Draft: Dear Ada, two late hours cost 10 euros.
Check: Yes, it does.
The reply is sent.
""",
    [
        "invoke_workflow ClassifyFlow",
        "  Classify",
        "    Classify attempt",
        "      chat gpt-4o-mini",
        "    Classify attempt",
        "      chat gpt-4o-mini",
        "  Draft",
        "    chat gpt-4o-mini",
        "  Check",
        "    chat gpt-4o-mini",
        "  Draft",
        "    chat gpt-4o-mini",
        "  Check",
        "    chat gpt-4o-mini",
        "  Send",
    ],
    drafts=[2, 4],
    wasted=1,
)

STUBBORN = Story(
    (),
    f"""\
Topic: other
Draft: {TEXT}
Check: {TEXT}
Draft: {TEXT}
Check: {TEXT}
A colleague answers, as 2 drafts were not good enough.
""",
    [
        "invoke_workflow ClassifyFlow",
        "  Classify",
        "    Classify attempt",
        "      chat gpt-4o-mini",
        "    Classify attempt",
        "      chat gpt-4o-mini",
        "    Classify attempt",
        "      chat gpt-4o-mini",
        "  Draft",
        "    chat gpt-4o-mini",
        "  Check",
        "    chat gpt-4o-mini",
        "  Draft",
        "    chat gpt-4o-mini",
        "  Check",
        "    chat gpt-4o-mini",
        "  HandOver",
    ],
    drafts=[3, 5],
    wasted=3,
)


class Model(Providers):
    """A provider that answers with these texts, and keeps the prompts."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        super().__init__()
        self._texts = deque(texts)
        self.prompts: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """The settings that point the example at it."""
        return {**MODEL, "OPENAI_BASE_URL": f"{self.url}/v1"}

    def reply(self, path: str, body: Mapping[str, Any]) -> Reply | Failure:
        """Answer one request with the next text, or with the one that every model answers."""
        self.prompts.append(body["messages"][0]["content"])
        reply = super().reply(path, body)
        if isinstance(reply, Failure) or not self._texts:
            return reply
        return saying(self._texts.popleft(), reply)


def saying(text: str, reply: Reply) -> Reply:
    """Put another text into a reply, whole or streamed; in a stream it is the first piece."""
    texts = {**dict.fromkeys(WORDS, ""), WORDS[0]: text, TEXT: text}
    pieces = reply.pieces
    for old, new in texts.items():
        quoted = json.dumps(old).encode(), json.dumps(new).encode()
        pieces = tuple(piece.replace(*quoted) for piece in pieces)
    return replace(reply, pieces=pieces)


@pytest.fixture(scope="module", params=[HELPFUL, STUBBORN], ids=["helpful", "stubborn"])
def story(request: pytest.FixtureRequest) -> Story:
    """Both stories, one after the other."""
    chosen: Story = request.param
    return chosen


# --- Plain ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(story: Story) -> programs.Finished:
    """A run of the example that nobody traces."""
    with Model(story.texts) as model:
        return programs.run(EXAMPLE, model.environment)


def test_reaches_an_end_with_whatever_the_model_says(
    story: Story, plain: programs.Finished
) -> None:
    """JSON is asked for until it comes or the fallback answers; the reply is sent or handed on."""
    assert (plain.exit_code, plain.stderr) == (0, "")
    mail, _, printed = plain.stdout.partition("\n")
    assert mail.startswith("Mail: I brought the bicycle back at nine.")
    assert printed == story.printed


def test_asks_what_a_real_model_needs_to_know() -> None:
    """The topics, the mail, the rule of its topic and what the check said all reach the model."""
    with Model(HELPFUL.texts) as model:
        programs.run(EXAMPLE, model.environment)
    first, again, draft, check, redraft, _check = model.prompts
    assert first == again
    assert "Topics: prices, returns, repairs, other." in first
    assert "I brought the bicycle back at nine." in first
    assert "I brought the bicycle back at nine." in draft
    assert "A late return costs 5 euros an hour." in draft
    assert "Reply: Dear Ada, you were late." in check
    assert redraft == f"{draft}\nAvoid this: No: that is not polite."


@pytest.mark.parametrize(
    "env",
    [
        {},
        MODEL,
        {"OPENAI_API_KEY": "sk-test"},
        {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"},
        {**MODEL, "OPENAI_API_KEY": ""},
    ],
    ids=", ".join,
)
def test_says_what_to_set(env: dict[str, str]) -> None:
    """Without a model's name, or without a provider, one line on stderr says what is needed."""
    done = programs.run(EXAMPLE, env)
    assert (done.stdout, done.stderr, done.exit_code) == ("", SET_THIS, 1)


def test_says_what_to_install(tmp_path: Path) -> None:
    """Without the client, one line on stderr tells the command that installs it."""
    (tmp_path / "openai.py").write_text("raise ModuleNotFoundError(__name__)", encoding="utf-8")
    done = programs.run(EXAMPLE, {**MODEL, "PYTHONPATH": str(tmp_path)})
    expected = "This example asks a model through the openai package: pip install openai\n"
    assert (done.stdout, done.stderr, done.exit_code) == ("", expected, 1)


def test_says_why_the_provider_did_not_answer() -> None:
    """An error that the node's attempts cannot mend ends the program with one line."""
    with Model() as model:
        for _ in range(4):  # three attempts of Classify, one of Draft
            model.fail(401)
        done = programs.run(EXAMPLE, {**model.environment, "OPENAI_API_KEY": "sk-wrong"})
    assert done.stderr == "The model did not answer: Error code: 401 - scripted failure\n"
    assert (done.exit_code, model.requests) == (1, 4)


# --- Traced -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Traced:
    """What a traced run printed, what the provider served it, and what the collector got."""

    done: programs.Finished
    served: list[Served]
    spans: list[ReceivedSpan]

    @property
    def flow(self) -> ReceivedSpan:
        """The span of the flow: the root."""
        (root,) = (span for span in self.spans if span.parent_span_id is None)
        return root


@pytest.fixture(scope="module")
def traced(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """A traced run of the story."""
    directory = tmp_path_factory.mktemp("traced")
    script = programs.write_program(directory, TRACED)
    with Model(story.texts) as model, running_collector(directory) as collector:
        sending = programs.otlp_environment(collector.http_endpoint, "http/protobuf")
        done = programs.run(script, {**model.environment, **sending})
        return Traced(done, model.served, collector.drain())


def test_prints_the_same_when_traced(plain: programs.Finished, traced: Traced) -> None:
    """Tracing changes neither what the program prints nor how it ends, and complains of nothing."""
    assert traced.done.outcome == plain.outcome
    assert traced.done.stderr == ""


def test_every_call_is_a_span_below_its_node(story: Story, traced: Traced) -> None:
    """The trace is the flow as it ran, with one span of the client's for each call."""
    assert outline(traced.spans) == story.outline


def test_the_flow_tells_what_was_served(traced: Traced) -> None:
    """Tokens and cost of the root flow are those of all that the provider would bill."""
    assert usage(traced.flow) == billed(traced.served)


def test_the_flow_tells_what_was_wasted(story: Story, traced: Traced) -> None:
    """Failed attempts' tokens and cost stand apart, on the flow and on the node."""
    wasted = billed(traced.served[: story.wasted], of_all=False)
    (classify,) = in_order(traced.spans, "Classify")
    assert usage(traced.flow, "wasted.") == wasted
    assert usage(classify, "wasted.") == wasted


def test_streams_count_like_other_calls(story: Story, traced: Traced) -> None:
    """Each draft, of which the program only keeps the text, tells what its own stream used."""
    drafts = in_order(traced.spans, "Draft")
    assert [usage(draft) for draft in drafts] == [
        billed([traced.served[at]]) for at in story.drafts
    ]


def test_what_a_backend_adds_up_is_the_same(traced: Traced) -> None:
    """The spans of the calls, and no others, carry the tokens that backends sum."""
    key = "gen_ai.usage.input_tokens"
    tell = [span for span in traced.spans if key in span.attributes]
    in_turn = in_order(tell, "chat gpt-4o-mini")
    assert values(in_turn, key) == [served.input_tokens for served in traced.served]
    assert len(tell) == len(in_turn)


PARTS = ("cached_tokens", "cache_write_tokens", "reasoning_tokens")


def test_the_command_shows_what_it_used(story: Story, plain: programs.Finished) -> None:
    """`pocketflow-trace run` tells calls, tokens and cost of a program that throws them away."""
    command = [sys.executable, "-m", "pocketflow_trace", "run", "--no-live", "--no-file", EXAMPLE]
    with Model(story.texts) as model:
        env = {**model.environment, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "", "COLUMNS": "200"}
        done = subprocess.run(
            command,
            env=programs.clean_environment(env),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        served = model.served
    tokens = sum(answer.input_tokens + answer.output_tokens for answer in served)
    assert (done.stdout, done.returncode) == plain.outcome
    assert f"{len(served)} model calls, {tokens:,} tokens - $" in done.stderr


def usage(span: ReceivedSpan, prefix: str = "") -> dict[str, Value]:
    """Return what a span's roll-up says, `wasted.` or all, without its prefix and the currency."""
    start = f"pocketflow.usage.{prefix}"
    return {
        key.removeprefix(start): value
        for key, value in span.attributes.items()
        if key.startswith(start) and "." not in key.removeprefix(start)
        if key != "pocketflow.usage.currency"
    }


def billed(served: Sequence[Served], *, of_all: bool = True) -> dict[str, Value]:
    """Return the roll-up that these answers must come to; of wasted ones it has no parts."""
    read = [answer.input_tokens for answer in served]
    written = [answer.output_tokens for answer in served]
    sums: dict[str, Value] = {
        "calls": len(served),
        "input_tokens": sum(read),
        "output_tokens": sum(written),
        "total_tokens": sum(read) + sum(written),
        "cost": float(list_price(served)),
    }
    if of_all:
        sums |= {part: sum(getattr(answer, part) for answer in served) for part in PARTS}
    return sums
