"""How much of ordinary text is taken for a credential, as a rate that is printed and bounded."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import sys
import sysconfig
import typing
import uuid
from pathlib import Path
from pydoc_data.topics import topics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor

if typing.TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
REDACTOR = Redactor()
MODELS = ("gpt-4o-2024-08-06", "claude-sonnet-4-5-20250929", "meta-llama/Llama-3.3-70B-Instruct")
PEOPLE = ("Ada", "Grace", "Alan", "Edsger", "Barbara")


@functools.cache
def source_lines() -> list[str]:
    """Return the lines of Python's own library."""
    library = Path(sysconfig.get_path("stdlib"))
    files = [
        path for pattern in ("*.py", "email/*.py", "http/*.py") for path in library.glob(pattern)
    ]
    return [line for path in files for line in lines_of(path)]


def documentation() -> list[str]:
    """Return the paragraphs of Python's reference, and the lines of this repository's pages."""
    reference = [part for text in topics.values() for part in text.split("\n\n")]
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
    return [*reference, *(line for page in pages for line in lines_of(page))]


def lines_of(path: Path) -> list[str]:
    """Return the lines that say something."""
    return [line for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if line]


def numbered(make: Callable[[int, str], str]) -> list[str]:
    """Return a thousand texts, each made of a number and a hash."""
    return [
        make(number, hashlib.sha256(str(number).encode()).hexdigest()) for number in range(1000)
    ]


def identifiers() -> list[str]:
    """Return ids, hashes and names of files, by themselves and in sentences."""
    return [
        *numbered(lambda n, digest: str(uuid.UUID(digest[:32]))),
        *numbered(lambda n, digest: digest),
        *numbered(lambda n, digest: f"commit {digest[:40]} of {PEOPLE[n % 5]}, {n} lines"),
        *numbered(
            lambda n, digest: f"sha256:{digest} saved as /srv/data/{digest[:12]}/part-{n}.gz"
        ),
        *numbered(lambda n, digest: f"request req_{digest[:24]} took {n} ms, trace {digest[:32]}"),
        *numbered(lambda n, digest: f"chatcmpl-{digest[:29]}"),
        *numbered(lambda n, digest: f"task-{digest[:32]}, span {digest[:16]}"),
    ]


def addresses() -> list[str]:
    """Return URLs, with queries and ports."""
    return [
        *numbered(
            lambda n, digest: f"https://h{n}.example/docs/{digest[:8]}/page?size={n}#top-{n}"
        ),
        *numbered(lambda n, digest: f"http://localhost:{n + 8000}/v1/items/{digest[:24]}?page={n}"),
        *numbered(lambda n, digest: f"s3://bucket-{n}/{digest[:2]}/{digest[2:40]}.parquet"),
        *numbered(
            lambda n, digest: f"{PEOPLE[n % 5].lower()}{n}@mail.example, or see @{digest[:6]}"
        ),
    ]


def logs() -> list[str]:
    """Return lines of logs, and JSON of model calls and chats."""
    return [
        *numbered(
            lambda n, digest: f"2026-01-02T03:04:{n % 60:02}Z INFO node={digest[:8]} took={n}ms"
        ),
        *numbered(answer),
        *numbered(
            lambda n, digest: json.dumps({"role": "user", "content": f"Compare {n} and {digest}"})
        ),
        *numbered(
            lambda n, digest: (
                f"prompt tokens: {n}, completion tokens: {n % 77}, model {MODELS[n % 3]}"
            )
        ),
        *numbered(picture),
    ]


def answer(number: int, digest: str) -> str:
    """Return what a provider answers."""
    return json.dumps(
        {
            "id": f"chatcmpl-{digest[:29]}",
            "model": MODELS[number % 3],
            "system_fingerprint": f"fp_{digest[:10]}",
            "usage": {"prompt_tokens": number, "total_tokens": number + 5, "max_tokens": 4096},
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "It is 42."}}],
        }
    )


def picture(number: int, digest: str) -> str:
    """Return an image as it is sent to a model."""
    data = b"".join(hashlib.sha256(f"{number}{part}".encode()).digest() for part in range(12))
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


KINDS: dict[str, tuple[Callable[[], list[str]], float]] = {
    "source code": (source_lines, 0.0005),
    "documentation": (documentation, 0.003),
    "identifiers": (identifiers, 0.0),
    "addresses": (addresses, 0.0),
    "logs": (logs, 0.0),
}
"""Texts of a kind, and how many of them may be taken for credentials at most."""


@pytest.mark.parametrize("kind", KINDS)
def test_rate(kind: str, record_property: Callable[[str, object], None]) -> None:
    """Nobody debugs with half of their data hidden."""
    make, most = KINDS[kind]
    texts = make()
    changed = [text for text in texts if REDACTOR.text(text) is not text]

    rate = len(changed) / len(texts)
    record_property("rate", rate)
    sys.stdout.write(f"{kind}: {len(changed)} of {len(texts)} ({rate:.4%})\n")
    assert rate <= most, [REDACTOR.text(text) for text in changed[:20]]


@given(st.text(max_size=400))
@settings(max_examples=500, deadline=None)
def test_random_text_stays(text: str) -> None:
    """What is made of no words at all is hardly ever taken for a credential."""
    assert REDACTOR.text(text) is text


def test_names_of_keys_stay() -> None:
    """Of the names in Python's own library, hardly any is taken for that of a secret."""
    names = {word for line in source_lines() for word in line.split() if word.isidentifier()}
    secret = {name for name in names if REDACTOR.secret_key(name)}

    sys.stdout.write(f"names: {len(secret)} of {len(names)}\n")
    assert len(secret) <= len(names) / 200, sorted(secret)
