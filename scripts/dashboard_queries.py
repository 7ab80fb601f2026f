"""What the dashboards ask: names of metrics and labels, selectors, and queries made of them.

All counts are sums of the increases that `deploy/prometheus/recording.yml` records; that file says
why increase() and rate() would show less than there was.
"""

from __future__ import annotations

# Metrics as recording.yml names them, without `pocketflow:` and `:increase`.
RUNS = "invoke_workflow_duration_seconds_count"
NODES = "node_duration_seconds_count"
NODE_SECONDS = "node_duration_seconds_sum"
NODE_BUCKETS = "node_duration_seconds_bucket"
FLOW_BUCKETS = "spans_duration_seconds_bucket"
RETRIES = "node_retries"
ITEMS = "batch_items"
TOKENS = "usage_tokens"
WASTED_TOKENS = "usage_wasted_tokens"
COST = "cost"
WASTED_COST = "wasted_cost"
ROUTES = "routes_calls"

FLOW = "gen_ai_workflow_name"
NODE = "pocketflow_node_class"
MODEL = "gen_ai_request_model"
TOKEN_TYPE = "gen_ai_token_type"  # noqa: S105 - a label's name
CURRENCY = "pocketflow_usage_currency"
COMMIT = "vcs_ref_head_revision"

# Selectors. A run that was cancelled has an error's class, too, and is none.
PROGRAMS = 'job=~"$job", vcs_ref_head_revision=~"$commit"'
FLOWS = f'{PROGRAMS}, gen_ai_workflow_name=~"$flow"'
FLOW_SPANS = f'{PROGRAMS}, pocketflow_span_kind="flow", span_name=~"invoke_workflow $flow"'
FAILED = 'error_type!="", pocketflow_outcome=""'
WELL = 'error_type="", pocketflow_outcome=""'
CANCELLED = 'pocketflow_outcome="cancelled"'

SHOWN = "$__range"
"""The time that the dashboard shows."""
STEP = "$__interval"
"""The stretch of time that a bar stands for."""
RECENT = "5m"
"""What a quantile is made of: fewer runs than in an hour, more than in one step."""


def total(metric: str, where: str, by: str = "", window: str = SHOWN) -> str:
    """What a metric grew by in a window, by labels that are separated by commas."""
    level = f" by ({by})" if by else ""
    return f"sum{level} (sum_over_time(pocketflow:{metric}:increase{{{where}}}[{window}]))"


def or_zero(expr: str) -> str:
    """Zero where there was none; no data where nobody has watched."""
    return f"{expr} or 0 * pocketflow:watching"


def else_zero(expr: str, others: str) -> str:
    """Zero for those of the others that the first has nothing for."""
    return f"{expr} or 0 * {others}"


def share(part: str, whole: str, by: str = "") -> str:
    """A part of a whole that is not nothing."""
    return (
        f"({else_zero(part, whole)}) / ({whole} > 0)"
        if by
        else f"({or_zero(part)}) / ({whole} > 0)"
    )


def quantile(of: float, metric: str, where: str, by: str = "", window: str = SHOWN) -> str:
    """How long it took at most for that part of all that ended in a window."""
    level = f"le, {by}" if by else "le"
    return f"histogram_quantile({of}, {total(metric, where, level, window)})"


def with_exemplars(expr: str, where: str) -> str:
    """A query of records that also names the series which have the exemplars, and leaves it as is.

    A record has no exemplars. No count is below zero, so that nothing is left out.
    """
    return f"{expr} unless on () (pocketflow_spans_duration_seconds_bucket{{{where}}} < 0)"


def named(*labels: str) -> str:
    """A legend of the labels' values."""
    return " ".join(f"{{{{{label}}}}}" for label in labels)
