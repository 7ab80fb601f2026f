"""Clients beyond those of the loopback providers: Bedrock's, and LiteLLM where it is installed."""

from __future__ import annotations

import importlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from support.framework import Flow, Node
from support.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from support.providers import Providers

MODEL = "anthropic.claude-3-5-sonnet-20240620-v1:0"
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 30, "outputTokens": 7, "totalTokens": 37},
    "metrics": {"latencyMs": 5},
}


class _Bedrock(BaseHTTPRequestHandler):
    """Answers each `converse` alike."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("x-amzn-requestid", "r-1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Says nothing."""


@pytest.fixture
def bedrock(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that speaks Bedrock's `converse`."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Bedrock) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def roll_up(ask: Callable[[], Any], instrumentor: Any = None) -> Mapping[str, Any]:
    """What the flow says of one node that asks a model."""

    class Ask(Node):
        def exec(self, prep_res: Any) -> Any:
            return ask()

    with tracing() as running:
        if instrumentor is not None:
            instrumentor.instrument(tracer_provider=running.provider)
        try:
            Flow(start=Ask()).run({})
        finally:
            if instrumentor is not None:
                instrumentor.uninstrument()
    prefix = "pocketflow.usage."
    flow = running.trace().nodes[0].attributes
    return {n.removeprefix(prefix): v for n, v in flow.items() if n.startswith(prefix)}


def instrumentor_of(module: str, name: str) -> Any:
    """An instrumentation of a client."""
    return getattr(importlib.import_module(module), name)()


@pytest.mark.parametrize("keeps", [True, False], ids=["returns the answer", "returns text"])
@pytest.mark.parametrize("instrumented", [True, False], ids=["with spans", "without"])
def test_bedrock(bedrock: str, *, keeps: bool, instrumented: bool) -> None:
    """A call of `converse` counts once; only a span knows the model, and so the price."""
    boto3: Any = importlib.import_module("boto3")
    client = boto3.client("bedrock-runtime", endpoint_url=bedrock)

    def ask() -> Any:
        answer = client.converse(
            modelId=MODEL, messages=[{"role": "user", "content": [{"text": "hello"}]}]
        )
        return answer if keeps else answer["output"]["message"]["content"][0]["text"]

    instrumentor = (
        instrumentor_of("opentelemetry.instrumentation.botocore", "BotocoreInstrumentor")
        if instrumented
        else None
    )
    told = dict(roll_up(ask, instrumentor))
    client.close()
    if not (keeps or instrumented):
        assert told == {}
        return
    assert (told["calls"], told["input_tokens"], told["output_tokens"]) == (1, 30, 7)
    assert told.get("unpriced_models") == (None if instrumented else ("unknown",))
    assert ("cost" in told) is instrumented


@pytest.mark.parametrize("instrumented", [True, False], ids=["with spans", "without"])
def test_litellm(providers: Providers, *, instrumented: bool) -> None:
    """LiteLLM's answers and OpenInference's spans of it tell what was served."""
    litellm: Any = pytest.importorskip("litellm", reason="LiteLLM takes no openai 3, as we do here")

    def ask() -> Any:
        return litellm.completion(
            model="openai/gpt-4o-mini",
            api_base=f"{providers.url}/v1",
            api_key="test",
            messages=[{"role": "user", "content": "hello"}],
        )

    instrumentor = (
        instrumentor_of("openinference.instrumentation.litellm", "LiteLLMInstrumentor")
        if instrumented
        else None
    )
    told = roll_up(ask, instrumentor)
    (served,) = providers.served
    assert told["calls"] == 1
    assert (told["input_tokens"], told["output_tokens"]) == (
        served.input_tokens,
        served.output_tokens,
    )
    assert (told["cached_tokens"], told["reasoning_tokens"]) == (
        served.cached_tokens,
        served.reasoning_tokens,
    )
