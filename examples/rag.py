"""Retrieval: answer from the passages that fit the question, not from all documents.

    indexing   ChunkDocuments --> EmbedChunks        (once)
    answering  EmbedQuestion --> Retrieve --> Answer (for each question)

The embedding counts groups of three letters: no library, no model, and good enough to find
"returned" with "return".

Run it:  python examples/rag.py
Or ask:  python examples/rag.py "Are helmets free?"
"""

import math
import re
import sys
import zlib
from typing import Any

from pocketflow import BatchNode, Flow, Node

from call_llm import call_llm

QUESTION = "What does a late return cost?"
DIMENSIONS = 256
SENTENCES_PER_CHUNK = 2
BEST = 2

DOCUMENTS = {
    "prices": (
        "A bicycle costs 18 euros a day or 90 euros a week. Helmets and locks are free. "
        "Children under ten ride for half the price. You can pay in cash or by card."
    ),
    "returns": (
        "Bring the bicycle back before seven in the evening. A late return costs 5 euros an hour. "
        "Another shop of ours takes it back as well. Please lock it if nobody is there."
    ),
    "repairs": (
        "Call us when you have a flat tyre. We bring another bicycle within the hour. "
        "Repairs are free, also when it was your mistake. Stolen bicycles go to our insurance."
    ),
}


class ChunkDocuments(BatchNode):
    """Cut each document into passages of two sentences."""

    def prep(self, shared: dict[str, Any]) -> list[tuple[str, str]]:
        """List the documents with their names."""
        return list(shared["documents"].items())

    def exec(self, document: tuple[str, str]) -> list[dict[str, Any]]:
        """Cut one document."""
        name, text = document
        sentences = re.findall(r"[^.]+\.", text)
        starts = range(0, len(sentences), SENTENCES_PER_CHUNK)
        passages = ("".join(sentences[at : at + SENTENCES_PER_CHUNK]).strip() for at in starts)
        return [{"source": name, "text": passage} for passage in passages]

    def post(self, shared: dict[str, Any], items: object, parts: list[list[Any]]) -> None:
        """Put the passages of all documents into one list."""
        shared["chunks"] = [chunk for chunks in parts for chunk in chunks]


class EmbedChunks(BatchNode):
    """Give each passage its place in space."""

    def prep(self, shared: dict[str, Any]) -> list[str]:
        """List the texts."""
        return [chunk["text"] for chunk in shared["chunks"]]

    def exec(self, text: str) -> list[float]:
        """Embed one passage."""
        return embed(text)

    def post(self, shared: dict[str, Any], texts: object, vectors: list[list[float]]) -> None:
        """Keep each vector beside its passage."""
        for chunk, vector in zip(shared["chunks"], vectors, strict=True):
            chunk["vector"] = vector
        print(f"Indexed {len(vectors)} passages of {len(shared['documents'])} documents")


class EmbedQuestion(Node):
    """Give the question its place in the same space."""

    def prep(self, shared: dict[str, Any]) -> str:
        """Take the question."""
        return shared["question"]

    def exec(self, question: str) -> list[float]:
        """Embed it."""
        return embed(question)

    def post(self, shared: dict[str, Any], question: object, vector: list[float]) -> None:
        """Keep the vector."""
        shared["question_vector"] = vector


class Retrieve(Node):
    """Find the passages nearest to the question."""

    def prep(self, shared: dict[str, Any]) -> tuple[list[float], list[dict[str, Any]]]:
        """Take the question's vector and all passages."""
        return shared["question_vector"], shared["chunks"]

    def exec(self, inputs: tuple[list[float], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Return the best passages with their scores, best first."""
        vector, chunks = inputs
        scored = [
            {"source": c["source"], "text": c["text"], "score": similarity(vector, c["vector"])}
            for c in chunks
        ]
        return sorted(scored, key=lambda hit: hit["score"], reverse=True)[:BEST]

    def post(self, shared: dict[str, Any], inputs: object, hits: list[dict[str, Any]]) -> None:
        """Keep what was found."""
        shared["hits"] = hits
        for hit in hits:
            print(f"Found in {hit['source']} ({hit['score']:.2f}): {hit['text']}")


class Answer(Node):
    """Answer from what was found."""

    def prep(self, shared: dict[str, Any]) -> tuple[str, list[str]]:
        """Take the question and the passages."""
        return shared["question"], [hit["text"] for hit in shared["hits"]]

    def exec(self, inputs: tuple[str, list[str]]) -> str:
        """Let the model write the answer."""
        question, passages = inputs
        notes = "\n".join(passages)
        return call_llm(
            "Answer the question in one sentence, from the notes alone.\n"
            f"### QUESTION\n{question}\n### NOTES\n{notes}"
        )

    def post(self, shared: dict[str, Any], inputs: object, answer: str) -> None:
        """Keep the answer."""
        shared["answer"] = answer


def embed(text: str) -> list[float]:
    """Return a vector of length 1 that counts the text's groups of three letters."""
    vector = [0.0] * DIMENSIONS
    for word in re.findall(r"\w+", text.lower()):
        padded = f" {word} "
        for at in range(len(padded) - 2):
            # crc32, because Python's own hash of a string differs from run to run.
            vector[zlib.crc32(padded[at : at + 3].encode()) % DIMENSIONS] += 1
    length = math.hypot(*vector) or 1.0
    return [round(value / length, 4) for value in vector]


def similarity(left: list[float], right: list[float]) -> float:
    """Return the cosine of two vectors of length 1."""
    return sum(a * b for a, b in zip(left, right, strict=True))


def build_indexing() -> Flow:
    """Connect what happens once."""
    chunk = ChunkDocuments()
    chunk >> EmbedChunks()
    return Flow(start=chunk)


def build_answering() -> Flow:
    """Connect what happens for each question."""
    embed_question = EmbedQuestion()
    embed_question >> Retrieve() >> Answer()
    return Flow(start=embed_question)


def main() -> None:
    """Index the documents above, then answer the question on the command line."""
    question = " ".join(sys.argv[1:]) or QUESTION
    shared: dict[str, Any] = {"documents": DOCUMENTS, "question": question}
    build_indexing().run(shared)
    print(f"Question: {question}")
    build_answering().run(shared)
    print(f"Answer: {shared['answer']}")


if __name__ == "__main__":
    main()
