"""BaseNode: prep, exec and post, each once."""

from __future__ import annotations

from typing import Any

from support.framework import BaseNode
from support.tracing import note, traced


def test_one_run_is_one_span() -> None:
    """The span tells the class, the action, and what went in and came out of each phase."""

    class Greet(BaseNode):
        def prep(self, shared: Any) -> Any:
            note("prep")
            return shared["name"]

        def exec(self, prep_res: Any) -> Any:
            note("exec", prep_res)
            return f"hello {prep_res}"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            note("post")
            shared["greeting"] = exec_res
            return "greeted"

    trace = traced(lambda stage: stage.run(Greet(), {"name": "Ada"}))

    assert trace.lines() == ["Greet"]
    span = trace.node("Greet")
    print(span.attributes)
