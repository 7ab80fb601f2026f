"""Helpers for the tests of PocketFlow programs: run a flow, then assert what it did.

    from pocketflow_trace.testing import tracing

    def test_agent_searches_once() -> None:
        with tracing() as trace:
            agent_flow.run({"question": "Do cats purr?"})
        assert trace.path == ["Decide", "Search", "Decide", "Answer"]
        assert trace.node("Decide", 1).action == "search"
        assert trace.node("Search").retries == 1
        assert trace.node("Answer").writes == {"answer": "They do."}
        assert trace.usage.total_tokens == 1521
        assert not trace.errors

With pytest, the fixture `pocketflow_trace` does the same around a whole test, and a test that fails
shows the tree of what ran.

Nothing outside is touched: the spans go to a provider of their own, options come from the arguments
and not from the environment, and afterwards PocketFlow is as it was. Ids, times and the order of
entries are the same in every run of the same program, so that a whole `trace.run` can be compared.
"""

from __future__ import annotations

from pocketflow_trace.testing.trace import Trace, TracingError, tracing
from pocketflow_trace.testing.traced import Failed, FlowTrace, NodeTrace, Usage

__all__ = ["Failed", "FlowTrace", "NodeTrace", "Trace", "TracingError", "Usage", "tracing"]
