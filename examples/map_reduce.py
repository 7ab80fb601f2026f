"""Map-reduce: read every resume on its own, then compare them all.

    EvaluateResumes (one model call per resume) --> Recommend (one call over all results)

A ``BatchNode`` retries item by item. One applicant asks a question of their own, the model
answers that instead of ours, and only this resume is sent again, with a firmer prompt.

Run it:  python examples/map_reduce.py
"""

import json
from typing import Any

from pocketflow import BatchNode, Flow, Node

from call_llm import call_llm, parse_json

ROLE = "Backend developer, at least 5 years of work, skills: Python, SQL"

RESUMES = {
    "Amara Okafor": "Backend developer for 8 years. Python, SQL, Kafka. Led a team of four.",
    "Bo Lindqvist": "Data analyst for 6 years. SQL, R and far too many spreadsheets.",
    "Carmen Ruiz": "Developer for 11 years. Python, SQL, Go. Is there a piano in your office?",
    "Dev Patel": "Has written Python and SQL for 2 years, at the university's library.",
}


class EvaluateResumes(BatchNode):
    """Map: turn each resume into a small, comparable record."""

    def prep(self, shared: dict[str, Any]) -> list[tuple[str, str, str]]:
        """List the work: one (role, name, resume) per applicant."""
        return [(shared["role"], name, resume) for name, resume in shared["resumes"].items()]

    def exec(self, item: tuple[str, str, str]) -> dict[str, Any]:
        """Evaluate one resume; ``cur_retry`` says how often that has failed already."""
        role, name, resume = item
        firmly = "Reply with the JSON object only. " if self.cur_retry else ""
        evaluation = parse_json(
            call_llm(
                f'{firmly}Does this person fit? {{"years": 0, "qualifies": true, "reason": ""}}\n'
                f"### ROLE\n{role}\n### RESUME\n{resume}"
            )
        )
        return {"name": name, "attempts": self.cur_retry + 1, **evaluation}

    def post(self, shared: dict[str, Any], items: object, results: list[dict[str, Any]]) -> None:
        """Keep the records in the order of the applicants."""
        shared["evaluations"] = results


class Recommend(Node):
    """Reduce: make one recommendation out of all records."""

    def prep(self, shared: dict[str, Any]) -> list[dict[str, Any]]:
        """Take every record."""
        return shared["evaluations"]

    def exec(self, evaluations: list[dict[str, Any]]) -> str:
        """Let the model weigh them against each other."""
        lines = "\n".join(json.dumps(evaluation) for evaluation in evaluations)
        return call_llm(f"Whom shall we invite? One sentence.\n### EVALUATIONS\n{lines}")

    def post(self, shared: dict[str, Any], evaluations: object, recommendation: str) -> None:
        """Keep the recommendation."""
        shared["recommendation"] = recommendation


def build_flow() -> Flow:
    """Map, then reduce."""
    evaluate = EvaluateResumes(max_retries=3, wait=0.05)
    evaluate >> Recommend()
    return Flow(start=evaluate)


def main() -> None:
    """Evaluate the four applicants above."""
    shared: dict[str, Any] = {"role": ROLE, "resumes": RESUMES}
    build_flow().run(shared)
    for result in shared["evaluations"]:
        verdict = "yes" if result["qualifies"] else "no"
        tries = f" (after {result['attempts']} attempts)" if result["attempts"] > 1 else ""
        print(f"{result['name']}: {verdict}, {result['reason']}{tries}")
    print(f"Recommendation: {shared['recommendation']}")


if __name__ == "__main__":
    main()
