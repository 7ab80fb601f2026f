"""A chat that remembers: the whole conversation is one list in the shared store.

    +--> Listen --reply--> Reply --+
    |      |                       |
    |      +--exit--> Goodbye      |
    +------------------------------+

Run it:  python examples/chat.py                       (type; "exit" ends it)
Or:      python examples/chat.py "I am hungry" "Why?"  (each argument is a turn)

Where nobody can type, because standard input is not a terminal, a short scripted chat runs.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from pocketflow import Flow, Node

from call_llm import call_llm

SYSTEM_PROMPT = "You are a friendly assistant. Answer in one or two sentences."

SCRIPT = [
    "Hello!",
    "My name is Ada.",
    "What is 12 times 7?",
    "What is my name?",
    "What did we talk about?",
]


class Listen(Node):
    """Wait for the user's next line."""

    def __init__(self, lines: Iterator[str]) -> None:
        """Take the source of the user's lines; its end means "exit"."""
        super().__init__()
        self.lines = lines

    def exec(self, prep_res: object) -> str:
        """Return the next line."""
        return next(self.lines, "exit").strip()

    def post(self, shared: dict[str, Any], prep_res: object, line: str) -> str:
        """Add the line to the conversation, unless it ends it."""
        if line.lower() == "exit":
            return "exit"
        shared["messages"].append({"role": "user", "content": line})
        return "reply"


class Reply(Node):
    """Let the model answer, with everything said so far in view."""

    def prep(self, shared: dict[str, Any]) -> list[dict[str, str]]:
        """Take the whole conversation."""
        return shared["messages"]

    def exec(self, messages: list[dict[str, str]]) -> str:
        """Ask the model."""
        return call_llm(messages)

    def post(self, shared: dict[str, Any], messages: object, reply: str) -> None:
        """Add the answer to the conversation."""
        print(f"Model: {reply}")
        shared["messages"].append({"role": "assistant", "content": reply})


class Goodbye(Node):
    """Say how long it was."""

    def prep(self, shared: dict[str, Any]) -> int:
        """Count the user's turns."""
        return sum(message["role"] == "user" for message in shared["messages"])

    def post(self, shared: dict[str, Any], turns: int, exec_res: object) -> None:
        """Print the number."""
        print(f"Goodbye, after {turns} turns.")


def typed_lines() -> Iterator[str]:
    """Yield what the user types, until the end of the input (Ctrl-D)."""
    with contextlib.suppress(EOFError):
        while True:
            yield input("You: ")


def scripted_lines(lines: list[str]) -> Iterator[str]:
    """Yield the lines and show each as if it had been typed."""
    for line in lines:
        print(f"You: {line}")
        yield line


def build_flow(lines: Iterator[str]) -> Flow:
    """Connect the nodes; the edge from Reply back to Listen makes the chat go on."""
    listen, reply = Listen(lines), Reply()
    listen - "reply" >> reply >> listen
    listen - "exit" >> Goodbye()
    return Flow(start=listen)


def main() -> None:
    """Chat with the arguments, with the keyboard, or with the script above."""
    turns = sys.argv[1:]
    typed = not turns and sys.stdin.isatty()
    lines = typed_lines() if typed else scripted_lines(turns or SCRIPT)
    shared: dict[str, Any] = {"messages": [{"role": "system", "content": SYSTEM_PROMPT}]}
    build_flow(lines).run(shared)


if __name__ == "__main__":
    main()
