"""The one door between the examples and a language model.

Without any setting, the answers come from ``scripted_model.py``, offline. Set
``POCKETFLOW_EXAMPLES_MODEL`` to the name of a model and they come from an OpenAI-compatible
server instead:

    POCKETFLOW_EXAMPLES_MODEL    name of the model; this is the switch
    OPENAI_BASE_URL              the server, default https://api.openai.com/v1
    OPENAI_API_KEY               its key; none is sent where this is not set
    POCKETFLOW_EXAMPLES_TIMEOUT  seconds to wait for the server, default 60
"""

import asyncio
import http.client
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import scripted_model

Message = dict[str, str]


class ModelError(RuntimeError):
    """No answer from the model's server; the message says which server and why."""


@dataclass(frozen=True)
class Server:
    """Where an OpenAI-compatible server is, and how to ask it."""

    base_url: str
    model: str
    key: str | None = field(repr=False)
    timeout: float

    @property
    def url(self) -> str:
        """The address that chats are posted to."""
        return f"{self.base_url.rstrip('/')}/chat/completions"


def call_llm(prompt: str | list[Message]) -> str:
    """Ask the model and return the text of its answer.

    Args:
        prompt: One question, or a whole conversation of ``{"role": ..., "content": ...}``.

    Raises:
        ModelError: If a server is configured and does not answer.
    """
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    server = _server_from_env()
    return scripted_model.answer(messages) if server is None else _ask(server, messages)


async def call_llm_async(prompt: str | list[Message]) -> str:
    """Do the same without blocking the event loop."""
    return await asyncio.to_thread(call_llm, prompt)


def parse_json(answer: str) -> dict[str, Any]:
    """Return the JSON object in an answer, whatever the model wrote around it.

    Raises:
        ValueError: If there is no such object. A node with ``max_retries`` then asks again.
    """
    start, end = answer.find("{"), answer.rfind("}")
    if start == -1 or end < start:
        raise ValueError(f"No JSON object in the answer: {answer[:80]!r}")
    return json.loads(answer[start : end + 1])


def _server_from_env() -> Server | None:
    model = os.environ.get("POCKETFLOW_EXAMPLES_MODEL")
    if not model:
        return None
    base_url = os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    if not base_url.startswith(("http://", "https://")):
        raise ModelError(f"OPENAI_BASE_URL must begin with http:// or https://, not {base_url!r}")
    return Server(base_url, model, os.environ.get("OPENAI_API_KEY"), _timeout_from_env())


def _timeout_from_env() -> float:
    text = os.environ.get("POCKETFLOW_EXAMPLES_TIMEOUT") or "60"
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    # The comparison also turns away "nan" and "inf", which a socket cannot wait for.
    if not 0 < seconds < float("inf"):
        raise ModelError(f"POCKETFLOW_EXAMPLES_TIMEOUT must be seconds above 0, not {text!r}")
    return seconds


def _ask(server: Server, messages: list[Message]) -> str:
    body = _post(server, json.dumps({"model": server.model, "messages": messages}).encode())
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        content = None
    if not isinstance(content, str):
        raise ModelError(f"{server.url} sent something that is no chat completion: {body[:200]!r}")
    return content


def _post(server: Server, body: bytes) -> bytes:
    headers = {"Content-Type": "application/json"}
    if server.key:
        headers["Authorization"] = f"Bearer {server.key}"
    request = urllib.request.Request(server.url, body, headers)  # noqa: S310 - scheme is checked
    try:
        with urllib.request.urlopen(request, timeout=server.timeout) as response:  # noqa: S310 - same
            return response.read()
    except urllib.error.HTTPError as error:
        with error:
            excerpt = error.read(200).decode(errors="replace")
        raise ModelError(f"{server.url} answered {error.code}: {excerpt}") from None
    except (OSError, http.client.HTTPException) as error:
        raise ModelError(f"{server.url} {_why(error, server.timeout)}") from None


def _why(error: Exception, timeout: float) -> str:
    # urllib wraps what happens while connecting, and lets through what happens while reading.
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"did not answer within {timeout:g} s"
    return f"could not be asked: {cause}"
