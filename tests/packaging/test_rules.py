"""Prometheus's rules: promtool proves what they compute, and that the proof can fail.

Without promtool (`scripts/stack_binaries.py` brings it) only their form is checked.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import typing
from pathlib import Path

import pytest
import yaml

from support.stack import required

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
RULES = ("recording.yml", "alerts.yml")
PROOFS = ("tests.yml", "tests-gaps.yml")
TIMEOUT = 60.0
"""Seconds that promtool may take; it takes about 2."""

Rule: typing.TypeAlias = dict[str, typing.Any]


def rules(name: str) -> list[Rule]:
    """Read all rules of a file, in order."""
    loaded = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return [rule for group in loaded["groups"] for rule in group["rules"]]


RECORDS = rules("recording.yml")
ALERTS = rules("alerts.yml")
INCREASES = [rule for rule in RECORDS if rule["record"].endswith(":increase")]


def promtool(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end."""
    command = [str(required("promtool")), *arguments]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def test_prometheus_takes_the_rules() -> None:
    """A rule that does not parse would keep Prometheus from starting."""
    done = promtool("check", "rules", *RULES, cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_compute_what_their_proof_expects() -> None:
    """Totals are true, and each alert is told when it should be and not otherwise."""
    done = promtool("test", "rules", *PROOFS, cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "wanted", "broken"),
    [
        pytest.param("recording.yml", r" - pocketflow:cost:seen >= 0", " - 0 >= 0", id="growth"),
        pytest.param(
            "recording.yml", r"cost_total and on .*", "cost_total > 1e9", id="first value"
        ),
        pytest.param("recording.yml", r" and on \(\) pocketflow:watching", "", id="had before"),
        pytest.param("recording.yml", r" and on \(\) up.*", " > 1e9", id="out of reach"),
        pytest.param("recording.yml", r" and on \(\) up.*", "", id="expired"),
        pytest.param("recording.yml", r"(?s)pocketflow:watching\n$", "vector(0) > 1", id="restart"),
        pytest.param("recording.yml", r"sum without \(instance, ", "sum without (", id="instance"),
        pytest.param("alerts.yml", r"> 0\.1\n", "> 0.01\n", id="error rate"),
        pytest.param("alerts.yml", r'pocketflow_outcome=""', 'job!=""', id="cancelled"),
        pytest.param("alerts.yml", r">= 3\n", ">= 1\n", id="too few failures"),
        pytest.param("alerts.yml", r">= 20\n", ">= 2\n", id="too few retries"),
        pytest.param("alerts.yml", r"\[1h\]\)\) > 10", "[1h])) > 8", id="cost"),
        pytest.param("alerts.yml", r"\[1h\]\)\) > 1\n", "[1h])) > 0\n", id="waste"),
        pytest.param("alerts.yml", r"for: 15m", "for: 3m", id="stuck"),
        pytest.param("alerts.yml", r"pocketflow:spans_calls:increase\[2m\]", "up[2m]", id="items"),
        pytest.param("alerts.yml", r'_dead_end="true"', '_id!=""', id="dead end"),
        pytest.param("alerts.yml", r"for: 5m", "for: 0m", id="queue"),
        pytest.param("alerts.yml", r"or\n +\(otelcol[^)]*\)", "", id="first loss"),
        pytest.param("alerts.yml", r"for: 1m", "for: 0m", id="restart of a target"),
    ],
)
def test_the_proof_finds_a_broken_rule(tmp_path: Path, file: str, wanted: str, broken: str) -> None:
    """Each part of a rule that is argued for is also tested for."""
    for path in FOLDER.glob("*.yml"):
        shutil.copy(path, tmp_path)
    text, count = re.subn(wanted, broken, (FOLDER / file).read_text(encoding="utf-8"))
    assert count
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert promtool("check", "rules", *RULES, cwd=tmp_path).returncode == 0
    assert promtool("test", "rules", *PROOFS, cwd=tmp_path).returncode != 0


def test_each_increase_is_followed_by_what_was_seen() -> None:
    """The other way round, an increase would be measured against itself, and be zero."""
    names = [rule["record"] for rule in RECORDS]
    for rule in INCREASES:
        at = names.index(rule["record"])
        seen = rule["record"].replace(":increase", ":seen")
        assert names[at + 1] == seen
        metric = RECORDS[at + 1]["expr"].split("\n")[0]
        assert f"{metric} - {seen} >= 0" in rule["expr"]
        assert f"{metric} and on () pocketflow:watching" in rule["expr"]
    assert len(names) == 2 * len(INCREASES) + 1


def test_a_record_is_named_after_its_metric() -> None:
    """So that who knows the metric finds the record."""
    for rule in INCREASES:
        metric = re.match(r"\s*(\w+)", rule["expr"].split("(\n")[1])
        assert metric
        short = metric[1].removeprefix("pocketflow_").removeprefix("gen_ai_").removesuffix("_total")
        assert rule["record"] == f"pocketflow:{short}:increase"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_and_where_to_look(alert: Rule) -> None:
    """At three in the night, a name is not enough."""
    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert set(alert["annotations"]) == {"summary", "description"}
    assert re.search(r"[Ll]ook at|Add the", alert["annotations"]["description"])
    # Of a target that is down, there is no number but how long.
    assert re.search(r"\{\{ \$value|for a minute", alert["annotations"]["description"])


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_the_proof_has_each_alert_told(alert: Rule) -> None:
    """An alert that no test has seen may never come."""
    proof = yaml.safe_load((FOLDER / PROOFS[0]).read_text(encoding="utf-8"))
    told = {
        case["alertname"]
        for test in proof["tests"]
        for case in test.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    assert alert["alert"] in told
