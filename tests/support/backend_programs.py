"""What the tests of other backends run, and what a backend must make of it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

AGENT = EXAMPLES / "research_agent.py"

AGENT_OUTLINE = [
    "invoke_workflow DecideFlow",
    *(["  Decide", "    Decide attempt", "  Search"] * 3),
    "  Decide",
    "    Decide attempt",
    "  Answer",
]
"""The spans of `examples/research_agent.py`: three searches, then the answer."""

AGENT_ANSWER = "Mont Blanc is the highest, with 4,806 m: 1,030 m more than Mount Fuji."

MAIL = f"""\
import runpy

from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.instrumentation.pocketflow import conversation

OpenAIInstrumentor().instrument()
with conversation("c-42", session="s-7", user="u-9", tags=["beta"], metadata={{"plan": "pro"}}):
    runpy.run_path({str(EXAMPLES / "support_mail.py")!r}, run_name="__main__")
"""
"""`examples/support_mail.py`, not a line changed, as a user's conversation.

It instruments the client by itself, as this environment has several instrumentations of one client
that all have the same entry point name; with one installed, zero code suffices.
"""

MAIL_OUTLINE = [
    "invoke_workflow ClassifyFlow",
    "  Classify",
    *(["    Classify attempt", "      chat gpt-4o-mini"] * 3),
    *(["  Draft", "    chat gpt-4o-mini", "  Check", "    chat gpt-4o-mini"] * 2),
    "  HandOver",
]
"""Its spans where the model says the same sentence whatever it is asked."""

MAIL_MODEL = "gpt-4o-mini"

COUNTED = '''\
"""Model calls without a client: the program tells what they used."""
from opentelemetry.instrumentation.pocketflow import record_usage
from pocketflow import Flow, Node


class Plan(Node):
    """Its first answer is of no use."""

    answers = iter(["", "Paris"])

    def prep(self, shared):
        return {"question": shared["question"]}

    def exec(self, inputs):
        record_usage(
            provider="openai", model="gpt-4o-mini", input_tokens=800, output_tokens=100,
            cached_tokens=300, reasoning_tokens=40,
        )
        answer = next(Plan.answers)
        if not answer:
            raise ValueError("the model said nothing")
        return answer

    def post(self, shared, inputs, answer):
        shared["answer"] = answer


class Sum(Node):
    def exec(self, nothing):
        record_usage(
            provider="openai", model="gpt-4o-mini", input_tokens=500, output_tokens=20,
            cached_tokens=200,
        )
        return ["Paris"]


class Ask(Flow):
    pass


plan = Plan(max_retries=2)
plan >> Sum()
Ask(start=plan).run({"question": "Where is it?"})
'''

COUNTED_OUTLINE = [
    "invoke_workflow Ask",
    "  Plan",
    "    Plan attempt",
    "    Plan attempt",
    "  Sum",
]

COUNTED_TOKENS = {"input": 2 * 800 + 500, "output": 2 * 100 + 20, "cached": 2 * 300 + 200}
COUNTED_COST = Decimal("0.000387")
"""Computed by hand: 1,300 fresh, 800 cached and 220 output tokens of gpt-4o-mini, at 0.15, 0.075
and 0.60 US dollars a million."""
