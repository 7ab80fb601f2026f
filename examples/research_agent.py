"""An agent that decides for itself: search once more, or answer now.

    +--> Decide --search--> Search --+
    |      |                         |
    |      +--answer--> Answer       |
    +--------------------------------+

The notes in the shared store grow in place with every search; ``Decide`` reads them each time.

Run it:  python examples/research_agent.py
Or ask:  python examples/research_agent.py "Which is longer, the Danube or the Rhine?"
"""

import sys
from typing import Any

from pocketflow import Flow, Node

from call_llm import call_llm, parse_json

QUESTION = "Which is highest, Mont Blanc, Ben Nevis or Mount Fuji, and by how much?"
MAX_SEARCHES = 5

ENCYCLOPEDIA = {
    "Ben Nevis": "Ben Nevis in Scotland is 1,345 m high.",
    "Danube": "The Danube flows through ten countries and is 2,850 km long.",
    "Kilimanjaro": "Kilimanjaro in Tanzania is 5,895 m high.",
    "Mont Blanc": "Mont Blanc in the Alps is 4,806 m high.",
    "Mount Fuji": "Mount Fuji in Japan is 3,776 m high.",
    "Rhine": "The Rhine flows into the North Sea and is 1,230 km long.",
}


class Decide(Node):
    """Let the model choose the next action."""

    def prep(self, shared: dict[str, Any]) -> tuple[str, list[str]]:
        """Take the question and all that is known so far."""
        return shared["question"], shared["notes"]

    def exec(self, inputs: tuple[str, list[str]]) -> dict[str, Any]:
        """Ask for one of the two actions; a reply without one is asked for again."""
        question, notes = inputs
        decision = parse_json(call_llm(decision_prompt(question, notes)))
        if decision.get("action") not in {"search", "answer"}:
            raise ValueError(f"No such action: {decision.get('action')!r}")
        return decision

    def post(self, shared: dict[str, Any], inputs: object, decision: dict[str, Any]) -> str:
        """Follow the decision, but do not search for ever."""
        print(f"Decide: {decision['action']}. {decision.get('reason', '')}")
        if decision["action"] == "answer":
            return "answer"
        if len(shared["notes"]) == MAX_SEARCHES:
            print(f"Enough: {MAX_SEARCHES} searches must do.")
            return "answer"
        shared["query"] = str(decision.get("query") or shared["question"])
        return "search"


class Search(Node):
    """Look one thing up."""

    def prep(self, shared: dict[str, Any]) -> str:
        """Take what ``Decide`` wants to know."""
        return shared["query"]

    def exec(self, query: str) -> str:
        """Search the encyclopedia."""
        return search(query)

    def post(self, shared: dict[str, Any], query: str, result: str) -> None:
        """Add the result to the notes."""
        print(f"Search: {query} -> {result}")
        shared["notes"].append(result)


class Answer(Node):
    """Answer the question from the notes."""

    def prep(self, shared: dict[str, Any]) -> tuple[str, list[str]]:
        """Take the question and the notes."""
        return shared["question"], shared["notes"]

    def exec(self, inputs: tuple[str, list[str]]) -> str:
        """Let the model write the answer."""
        question, notes = inputs
        return call_llm(
            "Answer the question in one sentence, from the notes alone.\n"
            f"### QUESTION\n{question}\n### NOTES\n{bullets(notes)}"
        )

    def post(self, shared: dict[str, Any], inputs: object, answer: str) -> None:
        """Keep the answer."""
        shared["answer"] = answer


def decision_prompt(question: str, notes: list[str]) -> str:
    """Return the prompt that asks for the next action as JSON."""
    return (
        "You research a question. Decide what to do next.\n"
        f"### QUESTION\n{question}\n### NOTES\n{bullets(notes)}\n"
        "### ACTIONS\n"
        'search: {"action": "search", "reason": "...", "query": "the one thing to look up"}\n'
        'answer: {"action": "answer", "reason": "..."}\n'
        "### REPLY\nOne of the two JSON objects."
    )


def bullets(notes: list[str]) -> str:
    """Return the notes as a list that a model can read."""
    return "\n".join(f"- {note}" for note in notes) or "(none yet)"


def search(query: str) -> str:
    """Return what the encyclopedia says about everything that the query names."""
    found = [text for title, text in ENCYCLOPEDIA.items() if title.lower() in query.lower()]
    return " ".join(found) or f"Nothing found about {query}."


def build_flow() -> Flow:
    """Connect the three nodes; the edge from Search back to Decide makes the loop."""
    decide, look_up, answer = Decide(max_retries=3), Search(), Answer()
    decide - "search" >> look_up
    decide - "answer" >> answer
    look_up >> decide
    return Flow(start=decide)


def main() -> None:
    """Research the question on the command line, or the one above."""
    shared: dict[str, Any] = {"question": " ".join(sys.argv[1:]) or QUESTION, "notes": []}
    print(f"Question: {shared['question']}")
    build_flow().run(shared)
    print(f"Answer: {shared['answer']}")


if __name__ == "__main__":
    main()
