"""Model providers on a loopback port, with the real clients that talk to them.

The server speaks the wire formats of OpenAI, Anthropic, Gemini and Ollama and knows what it
served, so a test can hold what was counted against it::

    with Providers() as providers:
        providers.script(Tokens(input=10, output=5))
        providers.openai().chat.completions.create(model="gpt-4o-mini", messages=[...])
        assert providers.served[0].input_tokens == 10
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import anthropic
import ollama
import openai
from google import genai

from support.providers.server import Hold, Server
from support.providers.wire import TEXT, Served, Tokens

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TEXT", "Hold", "Providers", "Served", "Tokens"]

KEY = "test"


class Providers(Server):
    """The server, and clients for it that never try a request twice.

    It closes the sync clients that it made when its `with` block ends. An async client is to be
    closed in the event loop that uses it: `async with providers.async_openai() as client`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clients = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._clients.close()

    def openai(self) -> openai.OpenAI:
        """Return a client for chat completions, responses and embeddings."""
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=KEY, max_retries=0)
        return self._clients.enter_context(client)

    def async_openai(self) -> openai.AsyncOpenAI:
        """Return the same, for coroutines."""
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=KEY, max_retries=0)

    def anthropic(self) -> anthropic.Anthropic:
        """Return a client for messages."""
        client = anthropic.Anthropic(base_url=self.url, api_key=KEY, max_retries=0)
        return self._clients.enter_context(client)

    def async_anthropic(self) -> anthropic.AsyncAnthropic:
        """Return the same, for coroutines."""
        return anthropic.AsyncAnthropic(base_url=self.url, api_key=KEY, max_retries=0)

    def genai(self) -> genai.Client:
        """Return a client for Gemini; `async with client.aio` is the one for coroutines."""
        options = genai.types.HttpOptions(base_url=self.url)
        client = genai.Client(api_key=KEY, vertexai=False, http_options=options)
        return self._clients.enter_context(client)

    def ollama(self) -> ollama.Client:
        """Return a client for chat and embeddings."""
        client = ollama.Client(self.url)
        self._clients.callback(client.close)
        return client

    def async_ollama(self) -> ollama.AsyncClient:
        """Return the same, for coroutines."""
        return ollama.AsyncClient(self.url)
