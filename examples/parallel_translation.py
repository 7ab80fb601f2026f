"""Four languages at once, and all sentences of each language at once.

    LoadText --> TranslateAll --> Publish
                    |
                    +-- per language:  Translate --> Proofread --done
                                           ^             |
                                           +---revise----+

``TranslateAll`` is an ``AsyncParallelBatchFlow``: the inner flow runs once per language, each
run with its own ``params``, all on one shared store. ``Translate`` is an
``AsyncParallelBatchNode``: its sentences run together too. Some languages need a second round,
because the model translates a name it should have left alone.

Run it:  python examples/parallel_translation.py
"""

import asyncio
from typing import Any

from pocketflow import AsyncFlow, AsyncNode, AsyncParallelBatchFlow, AsyncParallelBatchNode, Node

from call_llm import call_llm_async

SENTENCES = [
    "PocketFlow is a framework of one hundred lines.",
    "A flow is a graph of small steps.",
    "All steps share one store.",
]
LANGUAGES = ["Spanish", "French", "German", "Italian"]
PRODUCT_NAMES = ["PocketFlow"]
MAX_ROUNDS = 3


class LoadText(Node):
    """Put the text and an empty page per language into the store."""

    def post(self, shared: dict[str, Any], prep_res: object, exec_res: object) -> None:
        """Create the pages now: the branches finish in any order, the pages keep this one."""
        shared["sentences"] = list(SENTENCES)
        shared["pages"] = {language: {"rounds": 0, "keep": []} for language in LANGUAGES}


class Translate(AsyncParallelBatchNode):
    """Translate all sentences into the language of this branch."""

    async def prep_async(self, shared: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
        """List the work: one (sentence, language, names to keep) per sentence."""
        language = str(self.params["language"])
        keep = shared["pages"][language]["keep"]
        return [(sentence, language, keep) for sentence in shared["sentences"]]

    async def exec_async(self, item: tuple[str, str, list[str]]) -> str:
        """Translate one sentence."""
        sentence, language, keep = item
        reminder = f"### KEEP UNCHANGED\n{', '.join(keep)}\n" if keep else ""
        return await call_llm_async(
            "Translate the text. Reply with the translation only.\n"
            f"{reminder}### LANGUAGE\n{language}\n### TEXT\n{sentence}"
        )

    async def post_async(self, shared: dict[str, Any], items: object, lines: list[str]) -> None:
        """Write to this branch's own page and to no other."""
        page = shared["pages"][self.params["language"]]
        page["lines"] = lines
        page["rounds"] += 1


class Proofread(AsyncNode):
    """Check that no product name was lost."""

    async def prep_async(self, shared: dict[str, Any]) -> tuple[str, str]:
        """Take the original and this branch's translation of it."""
        page = shared["pages"][self.params["language"]]
        return " ".join(shared["sentences"]), " ".join(page["lines"])

    async def exec_async(self, texts: tuple[str, str]) -> list[str]:
        """Return the names that stand in the original only."""
        original, translation = texts
        return [name for name in PRODUCT_NAMES if name in original and name not in translation]

    async def post_async(self, shared: dict[str, Any], texts: object, lost: list[str]) -> str:
        """Send the page back with a note, or let it pass."""
        page = shared["pages"][self.params["language"]]
        if lost and page["rounds"] < MAX_ROUNDS:
            page["keep"].extend(lost)
            return "revise"
        return "done"


class Accept(Node):
    """The end of a branch."""


class TranslateAll(AsyncParallelBatchFlow):
    """Run the inner flow once per language, all at the same time."""

    async def prep_async(self, shared: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the params of each branch."""
        return [{"language": language} for language in shared["pages"]]


class Publish(Node):
    """Print every page."""

    def prep(self, shared: dict[str, Any]) -> dict[str, Any]:
        """Take the finished pages."""
        return shared["pages"]

    def exec(self, pages: dict[str, Any]) -> str:
        """Set them as text."""
        return "\n".join(
            f"{language} (rounds: {page['rounds']})\n  " + "\n  ".join(page["lines"])
            for language, page in pages.items()
        )

    def post(self, shared: dict[str, Any], pages: object, text: str) -> None:
        """Print the text."""
        print(text)


def build_flow() -> AsyncFlow:
    """Build the flow of one branch, and the flow around all branches."""
    translate, proofread = Translate(max_retries=2), Proofread()
    translate >> proofread
    proofread - "revise" >> translate
    proofread - "done" >> Accept()

    load = LoadText()
    load >> TranslateAll(start=translate) >> Publish()
    return AsyncFlow(start=load)


def main() -> None:
    """Translate the three sentences above."""
    shared: dict[str, Any] = {}
    asyncio.run(build_flow().run_async(shared))


if __name__ == "__main__":
    main()
