"""A customer's mail, answered by a real model through the ``openai`` client.

    Classify --> Draft --> Check --send--> Send
                   ^         |
                   |         +--give_up--> HandOver
                   +--revise-+

``Classify`` wants JSON: what is none is asked for again, and after three attempts a topic that
suits every mail must do. ``Draft`` shows the reply while the model writes it. ``Check`` lets the
model read the reply once more and sends it back once; after that, a person takes over.

Install: pip install openai
Set:     POCKETFLOW_EXAMPLES_MODEL, and OPENAI_API_KEY or OPENAI_BASE_URL (see README.md)
Run it:  python examples/support_mail.py
Or ask:  python examples/support_mail.py "My bicycle has a flat tyre. What now?"
"""

import functools
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from pocketflow import Flow, Node

try:
    from openai import OpenAI, OpenAIError
except ImportError:
    sys.exit("This example asks a model through the openai package: pip install openai")

MODEL = os.environ.get("POCKETFLOW_EXAMPLES_MODEL", "")
KEY, SERVER = os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL")
SETTINGS = (
    "This example asks a real model: "
    "set POCKETFLOW_EXAMPLES_MODEL, and OPENAI_API_KEY or OPENAI_BASE_URL."
)

MAIL = "I brought the bicycle back at nine. Why did you charge me more than 18 euros? Ada"
MAX_DRAFTS = 2

RULES = {
    "prices": "A bicycle costs 18 euros a day. Helmets and locks are free.",
    "returns": "Bicycles are due back at seven. A late return costs 5 euros an hour.",
    "repairs": "We bring another bicycle within the hour, and the repair is free.",
    "other": "A colleague calls back on the same day.",
}
"""Topic of a mail -> what the shop's reply must agree with."""


class Classify(Node):
    """Find out what the mail is about."""

    def prep(self, shared: dict[str, Any]) -> str:
        """Take the mail."""
        return shared["mail"]

    def exec(self, mail: str) -> str:
        """Ask for the topic; an answer without one is an error, so that it is asked for again."""
        answer = call_llm(
            'What is this mail about? Reply with the JSON {"topic": "..."} and nothing else. '
            f"Topics: {', '.join(RULES)}.\n\n{mail}"
        )
        topic = parse_json(answer)["topic"]
        if topic not in RULES:
            raise ValueError(f"No such topic: {topic!r}")
        return topic

    def exec_fallback(self, mail: str, exc: Exception) -> str:
        """Answer in the model's place after the last attempt."""
        return "other"

    def post(self, shared: dict[str, Any], mail: object, topic: str) -> None:
        """Keep the topic."""
        shared["topic"] = topic
        print(f"Topic: {topic}")


class Draft(Node):
    """Write the reply, or write it anew."""

    def prep(self, shared: dict[str, Any]) -> str:
        """Put the mail, the rule and what was wrong with earlier drafts into one prompt."""
        remarks = "".join(f"\nAvoid this: {remark}" for remark in shared["remarks"])
        rule = RULES[shared["topic"]]
        return (
            f"Reply to this mail in three sentences.\n\n{shared['mail']}\n\nFact: {rule}{remarks}"
        )

    def exec(self, prompt: str) -> str:
        """Show the reply while it comes."""
        print("Draft: ", end="")
        pieces: list[str] = []
        for piece in stream_llm(prompt):
            print(piece, end="", flush=True)
            pieces.append(piece)
        print()
        return "".join(pieces)

    def post(self, shared: dict[str, Any], prompt: object, reply: str) -> None:
        """Keep the reply."""
        shared["reply"] = reply


class Check(Node):
    """Read the reply before the customer does."""

    def prep(self, shared: dict[str, Any]) -> tuple[str, str]:
        """Take the rule and the reply."""
        return RULES[shared["topic"]], shared["reply"]

    def exec(self, inputs: tuple[str, str]) -> str:
        """Ask the model for its verdict."""
        rule, reply = inputs
        return call_llm(
            "Is this reply to a customer polite, and does it agree with the fact? "
            f"Begin with yes or no, then say why.\n\nFact: {rule}\n\nReply: {reply}"
        )

    def post(self, shared: dict[str, Any], inputs: object, verdict: str) -> str:
        """Send it, let it be written anew, or leave it to a person."""
        print(f"Check: {verdict}")
        if verdict.lower().startswith("yes"):
            return "send"
        shared["remarks"].append(verdict)
        return "revise" if len(shared["remarks"]) < MAX_DRAFTS else "give_up"


class Send(Node):
    """Send the reply."""

    def post(self, shared: dict[str, Any], prep_res: object, exec_res: object) -> None:
        """Pretend to."""
        print("The reply is sent.")


class HandOver(Node):
    """Let a person answer."""

    def post(self, shared: dict[str, Any], prep_res: object, exec_res: object) -> None:
        """Say so."""
        print(f"A colleague answers, as {len(shared['remarks'])} drafts were not good enough.")


@functools.cache
def client() -> OpenAI:
    """Return the client; it takes the server's address from the environment by itself."""
    return OpenAI(api_key=KEY or "none")  # local servers need no key, but the client does


def call_llm(prompt: str) -> str:
    """Ask the model and return the text of its answer, and nothing of all else it tells."""
    answer = client().chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": prompt}],
    )
    return answer.choices[0].message.content or ""


def stream_llm(prompt: str) -> Iterator[str]:
    """Ask the model and yield its answer piece by piece."""
    chunks = client().chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": prompt}],
        stream=True,
        stream_options={"include_usage": True},  # else a stream does not tell its tokens
    )
    for chunk in chunks:
        if chunk.choices:  # the last chunk has none, but the usage
            yield chunk.choices[0].delta.content or ""


def parse_json(answer: str) -> dict[str, Any]:
    """Return the JSON object in an answer, whatever the model wrote around it.

    Raises:
        ValueError: If there is no such object.
    """
    found = re.search(r"\{.*\}", answer, re.DOTALL)
    if found is None:
        raise ValueError(f"No JSON object in the answer: {answer[:80]!r}")
    return json.loads(found[0])


def build_flow() -> Flow:
    """Connect the nodes; the edge from Check back to Draft makes the loop."""
    classify, draft, check = Classify(max_retries=3), Draft(), Check()
    classify >> draft >> check
    check - "revise" >> draft
    check - "send" >> Send()
    check - "give_up" >> HandOver()
    return Flow(start=classify)


def main() -> None:
    """Answer the mail on the command line, or the one above."""
    if not MODEL or not (KEY or SERVER):
        sys.exit(SETTINGS)
    shared: dict[str, Any] = {"mail": " ".join(sys.argv[1:]) or MAIL, "remarks": []}
    print(f"Mail: {shared['mail']}")
    try:
        build_flow().run(shared)
    except OpenAIError as error:
        sys.exit(f"The model did not answer: {error}")


if __name__ == "__main__":
    main()
