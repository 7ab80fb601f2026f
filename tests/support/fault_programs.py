"""Programs that lead through every part of the tracer, in a few milliseconds each."""

# The framework's classes are Any here (see support.framework), and `a >> b` connects nodes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnusedExpression=false

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.pocketflow import conversation, record_usage
from support.framework import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
)
from support.tracing import Stage, note

ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o",
    "choices": [{"message": {"role": "assistant", "content": "because"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}
"""What a client of OpenAI's answers."""

_CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 5,
    "gen_ai.usage.output_tokens": 2,
}


class Client:
    """A client of a model's provider, with an instrumentation that makes spans."""

    tracer: trace.Tracer = trace.NoOpTracer()


@dataclass
class Notes:
    """A store may hold objects."""

    title: str = "notes"
    lines: list[str] = field(default_factory=list[str])


def retries(stage: Stage) -> Any:
    """Attempts, waits, a fallback, calls of models, a flow in a flow, a loop and a dead end."""

    class Ask(Node):
        def prep(self, shared: Any) -> Any:
            note("prep")
            return shared["question"]

        def exec(self, prep_res: Any) -> Any:
            note("exec", self.cur_retry)
            record_usage(provider="openai", model="gpt-4o", input_tokens=1, cost=0.1)
            if self.cur_retry == 0:
                raise OSError("once")
            with Client.tracer.start_as_current_span("chat gpt-4o") as span:
                span.set_attributes(_CALL)
            return ANSWER

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            note("post")
            shared["notes"].lines.append("asked")
            shared["answers"].append(exec_res)
            shared["api_key"] = "sk-abcdefghijklmnopqrstuvwxyz0123456789"
            return "again" if len(shared["answers"]) < 2 else "done"

    class Give(Node):
        def exec(self, prep_res: Any) -> Any:
            raise TimeoutError("never")

        def exec_fallback(self, prep_res: Any, exc: Any) -> Any:
            note("fallback", type(exc).__name__)
            return (1, {2.5}, b"x")

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["given"] = exec_res
            del shared["question"]
            return "nowhere"

    ask, give = Ask(max_retries=2, wait=0.0001), Give(max_retries=2)
    ask - "again" >> ask
    ask - "done" >> Flow(start=give)
    store = {"question": "why?", "answers": [], "notes": Notes()}
    with conversation("c-1", user="u", tags=["t"], metadata={"plan": "pro"}, baggage=True):
        return stage.run(Flow(start=ask), store)


def batches(stage: Stage) -> Any:
    """Batches of items and of flows, with params, one that fails, and an exception at the end."""

    class Items(BatchNode):
        def prep(self, shared: Any) -> Any:
            return [1, 2, 3]

        def exec(self, prep_res: Any) -> Any:
            note("item", prep_res)
            if prep_res == 2 and self.cur_retry == 0:
                raise KeyError(prep_res)
            return prep_res * 2

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared[f"items of {self.params['file']}"] = exec_res

    class Breaks(Node):
        def exec(self, prep_res: Any) -> Any:
            note("breaks")
            try:
                return prep_res["key"]
            except TypeError as exc:
                raise ValueError("broken") from exc

    class Each(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"file": "a"}, {"file": "b"}]

    each, breaks = Each(start=Items(max_retries=2)), Breaks(max_retries=2)
    each >> breaks
    return stage.run(Flow(start=each))


def overriding(stage: Stage) -> Any:
    """Classes that take the framework's place, and a node that is run by itself."""

    class Hidden(Node):
        def _run(self, shared: Any) -> Any:
            note("hidden")
            shared["hidden"] = shared.get("hidden", 0) + 1

    class Works(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            note("works")
            shared["works"] = True

    class Walks(Flow):
        def _orch(self, shared: Any, params: Any = None) -> Any:
            node = self.start_node
            while node:
                node = self.get_next_node(node, node._run(shared))

    works = Works()
    works >> Hidden() >> Works()
    hidden = Hidden()
    hidden >> Walks(start=works) >> Hidden()
    store: dict[str, Any] = {}
    stage.run(Flow(start=hidden), store)
    stage.run(Hidden(), store)
    return Works().run(store)


def asynchronous(stage: Stage) -> Any:
    """Async nodes, parallel items and flows, a cancelled task, and an exception in one of them."""

    class Wait(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            note("wait")
            await asyncio.sleep(0)
            if self.params.get("fail"):
                raise ValueError("broken")
            return "waited"

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["waited"] = exec_res
            return "default"

    class Parallel(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return ["a", "b"]

        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.sleep(0)
            return prep_res.upper()

    class Both(AsyncParallelBatchFlow):
        async def prep_async(self, shared: Any) -> Any:
            return [{"n": 1}, {"n": 2, "fail": True}]

    class Endless(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            await asyncio.Event().wait()

    async def main() -> Any:
        store: dict[str, Any] = {"list": [1]}
        task = asyncio.ensure_future(stage.run_async(AsyncFlow(start=Endless()), store))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        assert [type(end) for end in await asyncio.gather(task, return_exceptions=True)] == [
            asyncio.CancelledError
        ]
        parallel = Parallel(max_retries=2)
        parallel >> Wait() >> Both(start=Wait(max_retries=1))
        return await stage.run_async(AsyncFlow(start=parallel), store)

    return main()


PROGRAMS = (retries, batches, overriding, asynchronous)
