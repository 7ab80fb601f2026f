"""A small program whose runs differ as they are told to, traced by `pocketflow_trace.testing`."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import typing
from dataclasses import dataclass

from opentelemetry.instrumentation.pocketflow import record_usage
from pocketflow_trace.testing import tracing
from support.framework import BatchNode, Flow, Node

if typing.TYPE_CHECKING:
    from pocketflow_trace.record.model import Run

Store: typing.TypeAlias = dict[str, typing.Any]


@dataclass(frozen=True)
class Plan:
    """What a run of the program does.

    Attributes:
        route: Actions of `Decide`, one for each time it runs.
        attempts: Attempts that `Fetch` takes.
        tokens: Of its model call.
        answer: What the last node writes.
        error: What the last node raises instead; empty for nothing.
        cities: Items of the last node's batch.
    """

    route: tuple[str, ...] = ("fetch", "answer")
    attempts: int = 1
    tokens: int = 100
    answer: str = "sunny"
    error: str = ""
    cities: int = 2


class Decide(Node):
    """Takes the next action of the plan."""

    def post(self, shared: Store, prep_res: object, exec_res: object) -> str:
        """Tells the action."""
        shared["step"] = shared.get("step", 0) + 1
        action: str = shared["plan"].route[shared["step"] - 1]
        return action


class Fetch(Node):
    """Asks a model, as often as the plan says."""

    def prep(self, shared: Store) -> Plan:
        """Tells the plan."""
        plan: Plan = shared["plan"]
        return plan

    def exec(self, prep_res: Plan) -> str:
        """Fails until the last attempt."""
        if self.cur_retry < prep_res.attempts - 1:
            raise TimeoutError("read timed out")
        record_usage(model="gpt-5", input_tokens=prep_res.tokens, output_tokens=1, cost=0.01)
        return "page"

    def post(self, shared: Store, prep_res: object, exec_res: str) -> None:
        """Keeps the page."""
        shared["page"] = exec_res


class Answer(BatchNode):
    """Answers for each city."""

    def prep(self, shared: Store) -> list[Store]:
        """Tells the cities."""
        plan: Plan = shared["plan"]
        return [{"city": f"city {n}", "error": plan.error} for n in range(plan.cities)]

    def exec(self, prep_res: Store) -> str:
        """Fails where the plan says so."""
        if prep_res["error"]:
            raise ValueError(prep_res["error"])
        return f"weather of {prep_res['city']}"

    def post(self, shared: Store, prep_res: object, exec_res: object) -> str:
        """Writes the answer."""
        shared["answer"] = shared["plan"].answer
        return "done"


class Weather(Flow):
    """Decides, fetches, decides, answers."""


def weather(plan: Plan | None = None) -> Run:
    """Run the program once; an error that it raises ends only the run.

    Returns:
        The run, with steps for times.
    """
    plan = plan or Plan()
    decide, fetch, answer = Decide(), Fetch(max_retries=3), Answer()
    decide - "fetch" >> fetch >> decide  # pyright: ignore[reportUnusedExpression] - connects nodes
    decide - "answer" >> answer  # pyright: ignore[reportUnusedExpression] - connects nodes
    with tracing() as trace, contextlib.suppress(ValueError):
        Weather(start=decide).run({"plan": plan})
    return trace.run
