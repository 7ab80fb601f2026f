"""Writes Grafana's dashboards, `deploy/grafana/dashboards/*.json`.

``python scripts/dashboards.py`` writes them; with ``--check`` it only tells, by its exit code,
whether they are as described here. Change them here, or in Grafana and then here.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dashboard_queries import (
    CANCELLED,
    COMMIT,
    COST,
    CURRENCY,
    FAILED,
    FLOW,
    FLOW_BUCKETS,
    FLOW_SPANS,
    FLOWS,
    ITEMS,
    MODEL,
    NODE,
    NODE_BUCKETS,
    NODE_SECONDS,
    NODES,
    RECENT,
    RETRIES,
    ROUTES,
    RUNS,
    STEP,
    TOKEN_TYPE,
    TOKENS,
    WASTED_COST,
    WASTED_TOKENS,
    WELL,
    else_zero,
    named,
    or_zero,
    quantile,
    share,
    total,
    with_exemplars,
)
from grafana_panels import (
    Ask,
    Bars,
    Choice,
    Dashboard,
    Graph,
    Panel,
    Stack,
    Stat,
    Steps,
    Table,
    Traces,
    jaeger_link,
    link,
)

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "grafana" / "dashboards"

# As in alerts.yml, so that what is red here is an alert.
ERROR_STEPS: Steps = ((0.05, "orange"), (0.1, "red"))
WASTE_STEPS: Steps = ((0.1, "orange"), (0.2, "red"))
ANY_STEPS: Steps = ((0.5, "orange"),)


def outcomes(where: str) -> tuple[Ask, ...]:
    """Runs by how they ended."""
    return tuple(
        Ask(or_zero(total(RUNS, f"{where}, {ending}", window=STEP)), name, color=color)
        for name, ending, color in (
            ("ended well", WELL, "green"),
            ("failed", FAILED, "red"),
            ("cancelled", CANCELLED, "blue"),
        )
    )


def run_quantiles(where: str) -> tuple[Ask, ...]:
    """Quantiles of the durations of runs, the first with the traces behind them."""
    median, *others = (
        (f"{of:g} of 100 took at most", quantile(of / 100, FLOW_BUCKETS, where, window=RECENT))
        for of in (50, 95, 99)
    )
    name, expr = median
    return (
        Ask(with_exemplars(expr, where), name, exemplars=True),
        *(Ask(expr, name) for name, expr in others),
    )


TO_FLOW = link(
    "This flow",
    "/d/pocketflow-flow?${__url_time_range}"
    "&var-job=${__data.fields.Program}&var-flow=${__data.fields.Flow}",
)
RUNS_IN_JAEGER = jaeger_link(
    "Its traces", "${__data.fields.Program}", "invoke_workflow ${__data.fields.Flow}"
)
NODES_IN_JAEGER = jaeger_link("Its traces", "${job}", "${__data.fields.Node}")

PROGRAM = Choice("job", "Program", f"pocketflow:{RUNS}:increase", "job")
COMMITS = Choice("commit", "Commit", f'pocketflow:{RUNS}:increase{{job=~"$job"}}', COMMIT)


def runs() -> Dashboard:
    """All programs: does it work, what does it cost, where to look next."""
    return Dashboard(
        "pocketflow-runs",
        "PocketFlow: runs",
        "All PocketFlow programs: what runs, what fails, how long it takes and what it costs.",
        (
            PROGRAM,
            Choice("flow", "Flow", f'pocketflow:{RUNS}:increase{{job=~"$job"}}', FLOW),
            COMMITS,
            Choice("service", "Traces of", f"pocketflow:{RUNS}:increase", "job", several=False),
        ),
        {
            "At a glance": (*run_stats(FLOWS), *spending_stats()),
            "Runs": (
                runs_over_time(),
                run_durations(FLOW_SPANS),
                slowest_flows(f"job, {FLOW}"),
                alerts(),
                traces_with_errors(),
                retries_by_node(),
            ),
            "Models": (cost_of_an_hour(), tokens_by_type()),
            "Is this all? The collector": collector(),
        },
    )


def run_stats(where: str) -> tuple[Panel, ...]:
    """Numbers of runs."""
    return (
        Stat(
            "Flow runs",
            "Flow runs that ended in the time shown. A flow inside another one counts as well.",
            4,
            "short",
            (Ask(or_zero(total(RUNS, where))),),
            height=4,
        ),
        Stat(
            "Running now",
            "Outermost flow runs in progress, as the programs last said: about once a minute, or "
            "when they end. One that was killed is counted for 5 minutes more.",
            4,
            "short",
            (Ask(or_zero(f"sum (pocketflow_active_runs{{{where}}})")),),
            height=4,
        ),
        Stat(
            "Failed",
            "The part of the flow runs in the time shown that an exception left. Cancelled runs "
            "are no failures.",
            4,
            "percentunit",
            (Ask(share(total(RUNS, f"{where}, {FAILED}"), total(RUNS, where))),),
            height=4,
            steps=ERROR_STEPS,
            nothing="No run",
        ),
    )


def spending_stats() -> tuple[Panel, ...]:
    """Numbers of retries and of the last hour's model calls."""
    return (
        retry_stat(),
        Stat(
            "Cost of the last hour",
            "What model calls cost in the last hour, whatever time is shown. Calls of models "
            "without a known price are not in it.",
            4,
            "none",
            (Ask(total(COST, FLOWS, CURRENCY, "1h"), named(CURRENCY)),),
            height=4,
            steps=((5, "orange"), (10, "red")),
            nothing="No priced call",
        ),
        Stat(
            "Tokens of the last hour",
            "Input and output tokens of model calls in the last hour, whatever time is shown.",
            4,
            "short",
            (Ask(or_zero(total(TOKENS, FLOWS, window="1h"))),),
            height=4,
        ),
    )


def retry_stat() -> Panel:
    """How often anything was tried again."""
    return Stat(
        "Retries",
        "Attempts beyond the first, of nodes and of items of batches, in the time shown.",
        4,
        "short",
        (Ask(or_zero(total(RETRIES, FLOWS))),),
        height=4,
        steps=ANY_STEPS,
    )


def runs_over_time() -> Panel:
    """How many, and how they ended."""
    return Stack(
        "Flow runs by how they ended",
        "Flow runs that ended in each stretch of time.",
        12,
        "short",
        outcomes(FLOWS),
    )


def run_durations(where: str) -> Panel:
    """Quantiles, and a way to the traces."""
    return Graph(
        "Duration of flow runs",
        "How long flow runs took that ended in the 5 minutes before each moment; there is no line "
        "where none ended. Each diamond is a trace: click it to open it. Made of the spans that "
        "reached the collector, so that a program which samples its traces shows only these.",
        12,
        "s",
        run_quantiles(where),
        nothing="No run ended.",
    )


def slowest_flows(key: str) -> Panel:
    """One row a flow, the slowest first."""
    all_runs = total(RUNS, FLOWS, key)
    flow_name = f'"{FLOW}", "$1", "span_name", "invoke_workflow (.*)"'
    named = (
        f"label_replace({quantile(0.95, FLOW_BUCKETS, FLOW_SPANS, 'job, span_name')}, {flow_name})"
    )
    return Table(
        "Flows, the slowest first",
        "Every flow that ran in the time shown: how often, how many runs failed, and how long 95 "
        "of 100 of them took at most. A flow's name leads to its own dashboard and to its traces.",
        14,
        "short",
        (
            Ask(all_runs, "Runs"),
            Ask(
                else_zero(total(RUNS, f"{FLOWS}, {FAILED}", key), all_runs),
                "Failed",
                steps=((0.5, "red"),),
            ),
            Ask(f"max by ({key}) ({named})", "95 of 100 within", unit="s", bar=True),
        ),
        labels={"job": "Program", FLOW: "Flow"},
        label_links={"Flow": (TO_FLOW, RUNS_IN_JAEGER)},
        sort="95 of 100 within",
        nothing="No run ended in this time.",
    )


def alerts() -> Panel:
    """What fires now."""
    by = "alertname, alertstate, severity, job"
    return Table(
        "Alerts now",
        "What deploy/prometheus/alerts.yml says at the end of the time shown, of all programs; "
        "`pending` has yet to last as long as its rule says. Prometheus shows more at /alerts.",
        10,
        "short",
        (
            Ask(
                f'count by ({by}) (ALERTS{{alertname=~"PocketFlow.*"}})',
                "Of them",
            ),
        ),
        labels={"alertname": "Alert", "job": "Of", "severity": "Severity", "alertstate": "State"},
        nothing="No alert.",
    )


def traces_with_errors() -> Panel:
    """Where to look first."""
    return Traces(
        "Latest traces with an error",
        "The latest traces of one program, chosen above, that have an error in them, "
        "be it one that a retry has mended. Asked of Jaeger; a row leads to the trace.",
        14,
        "",
        nothing="No trace with an error in this time.",
        service="$service",
        tags="error=true",
    )


def retries_by_node() -> Panel:
    """Who is tried again."""
    return Bars(
        "Retries by node",
        "Attempts beyond the first, of nodes and of items of batches, in the time shown.",
        10,
        "short",
        (
            Ask(
                f"topk(10, {total(RETRIES, FLOWS, f'job, {NODE}')} > 0)",
                named("job", NODE),
            ),
        ),
        nothing="No node was retried.",
        steps=ANY_STEPS,
    )


def cost_of_an_hour() -> Panel:
    """What it comes to."""
    return Graph(
        "Cost of the hour before",
        "What model calls cost in the hour before each moment, by program. Calls of "
        "models without a known price are not in it.",
        12,
        "none",
        (
            Ask(
                total(COST, FLOWS, f"job, {CURRENCY}", "1h"),
                named("job", CURRENCY),
            ),
        ),
        nothing="No call with a known price.",
    )


def tokens_by_type() -> Panel:
    """What it is paid for."""
    return Stack(
        "Tokens",
        "Tokens of model calls in each stretch of time, those of failed attempts included.",
        12,
        "short",
        (Ask(total(TOKENS, FLOWS, TOKEN_TYPE, STEP), named(TOKEN_TYPE)),),
        nothing="No call whose tokens are known.",
    )


def a_second(counter: str) -> str:
    """What one of the collector's own counters, there from its start, grows by in a second."""
    return f'sum (rate({counter}{{job="collector"}}[$__rate_interval]))'


def lost(what: str) -> str:
    """One of its counters as it is: it may appear with the first loss, which a rate can't see."""
    return f'sum (otelcol_{what}_spans_total{{job="collector"}}) or 0 * sum (up{{job="collector"}})'


def collector() -> tuple[Panel, ...]:
    """Whether what is shown is all there was."""
    return (
        Graph(
            "Spans on their way",
            "Spans a second that came to the collector, and that it has delivered to Jaeger. They "
            "come apart while Jaeger is away, and the queue fills.",
            8,
            "short",
            (
                Ask(a_second("otelcol_receiver_accepted_spans_total"), "received"),
                Ask(a_second("otelcol_exporter_sent_spans_total"), "delivered"),
            ),
        ),
        Graph(
            "Spans lost",
            "Spans that the collector has refused or dropped since it was started. Any is too "
            "many: the traces of that time may not be whole. A program tries again what was "
            "refused, and each try counts, here and in the numbers made of spans.",
            8,
            "short",
            (
                Ask(lost("receiver_refused"), "refused"),
                Ask(lost("exporter_send_failed"), "given up"),
                Ask(lost("exporter_enqueue_failed"), "no room in the queue"),
            ),
        ),
        Graph(
            "Queue on disk",
            "How full the collector's queue for Jaeger is. When it is full, programs are refused.",
            8,
            "percentunit",
            (
                Ask(
                    'otelcol_exporter_queue_size{job="collector"}'
                    ' / otelcol_exporter_queue_capacity{job="collector"}',
                    "{{exporter}}",
                ),
            ),
            steps=((0.5, "red"),),
        ),
    )


def flow() -> Dashboard:
    """One flow: its nodes, its time, its routes."""
    return Dashboard(
        "pocketflow-flow",
        "PocketFlow: one flow",
        "One flow of one program: its nodes, where its time goes, the routes it takes and what "
        "fails.",
        (
            Choice("job", "Program", f"pocketflow:{RUNS}:increase", "job", several=False),
            Choice(
                "flow", "Flow", f'pocketflow:{RUNS}:increase{{job=~"$job"}}', FLOW, several=False
            ),
            COMMITS,
        ),
        {
            "At a glance": (*run_stats(FLOWS), retry_stat(), *flow_stats()),
            "Nodes": (node_table(), time_by_node(), node_durations()),
            "Routes": (routes(), dead_ends(), batch_items()),
            "Runs": (run_durations(FLOW_SPANS), runs_over_time(), errors(), failed_traces()),
        },
    )


def flow_stats() -> tuple[Panel, ...]:
    """How long it takes, and where it ends too early."""
    return (
        Stat(
            "95 of 100 within",
            "How long 95 of 100 of its runs in the time shown took at most. Made of spans.",
            4,
            "s",
            (Ask(quantile(0.95, FLOW_BUCKETS, FLOW_SPANS)),),
            height=4,
            nothing="No run",
        ),
        Stat(
            "Dead ends",
            "How often, in the time shown, a node of this program had successors but none for its "
            "action, so that the flow ended there. Of all flows of the program, and of all "
            "commits.",
            4,
            "short",
            (Ask(or_zero(total(ROUTES, 'job=~"$job", pocketflow_node_dead_end="true"'))),),
            height=4,
            steps=((0.5, "red"),),
        ),
    )


def node_table() -> Panel:
    """One row a node."""
    all_runs = total(NODES, FLOWS, NODE)
    seconds = total(NODE_SECONDS, FLOWS, NODE)
    return Table(
        "Nodes",
        "Every node that the flow itself ran in the time shown; those of a flow inside it are on "
        "that flow's page. A node's time includes its retries and the waits between them. "
        "Durations are estimated from buckets. A node's name leads to its traces.",
        24,
        "short",
        (
            Ask(all_runs, "Runs"),
            Ask(
                else_zero(total(NODES, f"{FLOWS}, {FAILED}", NODE), all_runs),
                "Failed",
                steps=((0.5, "red"),),
            ),
            Ask(else_zero(total(RETRIES, FLOWS, NODE), all_runs), "Retries", steps=ANY_STEPS),
            Ask(quantile(0.5, NODE_BUCKETS, FLOWS, NODE), "50 of 100 within", unit="s"),
            Ask(quantile(0.95, NODE_BUCKETS, FLOWS, NODE), "95 of 100 within", unit="s"),
            Ask(seconds, "Time in all", unit="s"),
            Ask(
                f"{seconds} / on () group_left () {total(NODE_SECONDS, FLOWS)}",
                "Part of the time",
                unit="percentunit",
                bar=True,
            ),
        ),
        labels={NODE: "Node"},
        label_links={"Node": (NODES_IN_JAEGER,)},
        sort="Part of the time",
        nothing="No node ran in this time.",
    )


def time_by_node() -> Panel:
    """Where the time goes, over time."""
    return Stack(
        "Where the time goes",
        "Time that its nodes took, in each stretch of time in which they ended. Of nodes that run "
        "side by side the times add up, so that it can be more than has passed.",
        12,
        "s",
        (Ask(total(NODE_SECONDS, FLOWS, NODE, STEP), named(NODE)),),
        nothing="No node ran in this time.",
    )


def node_durations() -> Panel:
    """Which node became slower, and traces of it."""
    spans = 'job=~"$job", pocketflow_span_kind="node", vcs_ref_head_revision=~"$commit"'
    slowest = quantile(0.95, NODE_BUCKETS, FLOWS, NODE, RECENT)
    return Graph(
        "Duration by node",
        "How long 95 of 100 runs of each node took at most that ended in the 5 minutes before. "
        "Each diamond is the trace of a node's run, of any flow of this program.",
        12,
        "s",
        (Ask(with_exemplars(slowest, spans), named(NODE), exemplars=True),),
        nothing="No node ran in this time.",
    )


def routes() -> Panel:
    """Node, action, next node."""
    return Table(
        "Routes taken",
        "Which node followed which, by what action, in the time shown; a route without a next "
        "node ended its flow. Of all flows of the program and all commits, as a span of a node "
        "does not name its flow. `#2` is the second node of a class in its flow.",
        12,
        "short",
        (
            Ask(
                total(
                    ROUTES,
                    'job=~"$job"',
                    "pocketflow_node_id, pocketflow_node_action, pocketflow_node_next",
                )
                + " > 0",
                "Times",
                bar=True,
            ),
        ),
        labels={
            "pocketflow_node_id": "Node",
            "pocketflow_node_action": "Action",
            "pocketflow_node_next": "Next node",
        },
        sort="Times",
        nothing="No node ran in this time.",
    )


def dead_ends() -> Panel:
    """Where a successor is missing."""
    where = 'job=~"$job", pocketflow_node_dead_end="true"'
    return Table(
        "Dead ends",
        "Actions that no node follows on, though the node has successors for others. Of all flows "
        "of the program.",
        6,
        "short",
        (
            Ask(
                total(ROUTES, where, "pocketflow_node_id, pocketflow_node_action") + " > 0", "Times"
            ),
        ),
        labels={"pocketflow_node_id": "Node", "pocketflow_node_action": "Action"},
        nothing="No dead end in this time.",
        steps=((0.5, "red"),),
    )


def batch_items() -> Panel:
    """Items by how they ended."""
    by = f"{NODE}, pocketflow_outcome"
    return Bars(
        "Items of batches",
        "Items by how they ended, in the time shown. One that a fallback answered counts as a "
        "success; they are counted when their batch ends.",
        6,
        "short",
        (Ask(f"{total(ITEMS, FLOWS, by)} > 0", named(NODE, "pocketflow_outcome")),),
        nothing="This flow has run no batch.",
    )


def errors() -> Panel:
    """What goes wrong, where."""
    return Table(
        "Errors by node",
        "Exceptions that left a node of this flow, after its last attempt and its fallback, in "
        "the time shown. Those that a retry has mended are among the retries.",
        10,
        "short",
        (Ask(total(NODES, f"{FLOWS}, {FAILED}", f"{NODE}, error_type") + " > 0", "Times"),),
        labels={NODE: "Node", "error_type": "Exception"},
        sort="Times",
        nothing="No exception left a node in this time.",
        steps=((0.5, "red"),),
    )


def failed_traces() -> Panel:
    """Traces of its failed runs."""
    return Traces(
        "Latest traces of this flow with an error",
        "The latest traces of runs of this flow that have an error anywhere, be it one that a "
        "retry has mended. Asked of Jaeger; a row leads to the trace.",
        14,
        "",
        nothing="No trace with an error in this time.",
        service="$job",
        operation="invoke_workflow $flow",
        tags="error=true",
    )


def models() -> Dashboard:
    """What models are asked for, what it costs, and how much of it for nothing."""
    return Dashboard(
        "pocketflow-models",
        "PocketFlow: models",
        "Tokens, cost and waste of model calls, by model, node and commit.",
        (
            PROGRAM,
            Choice("flow", "Flow", f'pocketflow:{RUNS}:increase{{job=~"$job"}}', FLOW),
            COMMITS,
        ),
        {
            "At a glance": model_stats(),
            "By model": (*model_graphs(), model_table()),
            "By node": (spender_table(),),
            "By commit and flow": (commit_table(), flow_table()),
        },
    )


def model_stats() -> tuple[Panel, ...]:
    """What was spent, and what of it for nothing."""
    cost, wasted = total(COST, FLOWS, CURRENCY), total(WASTED_COST, FLOWS, CURRENCY)
    tokens, lost = total(TOKENS, FLOWS), total(WASTED_TOKENS, FLOWS)
    return (
        Stat(
            "Cost",
            "What model calls cost in the time shown. Calls of models without a known price are "
            "not in it.",
            6,
            "none",
            (Ask(cost, named(CURRENCY)),),
            height=4,
            nothing="No priced call",
        ),
        Stat(
            "Wasted cost",
            "The part of the cost that was spent in attempts that failed.",
            6,
            "percentunit",
            (Ask(share(wasted, cost, CURRENCY), named(CURRENCY)),),
            height=4,
            steps=WASTE_STEPS,
            nothing="No priced call",
        ),
        Stat(
            "Tokens",
            "Input and output tokens of model calls in the time shown.",
            6,
            "short",
            (Ask(or_zero(tokens)),),
            height=4,
        ),
        Stat(
            "Wasted tokens",
            "The part of the tokens that was spent in attempts that failed.",
            6,
            "percentunit",
            (Ask(share(lost, tokens)),),
            height=4,
            steps=WASTE_STEPS,
            nothing="No call",
        ),
    )


def model_graphs() -> tuple[Panel, ...]:
    """Tokens and cost over time."""
    return (
        Stack(
            "Tokens by model and type",
            "Tokens of model calls in each stretch of time. Input tokens include those that came "
            "from a cache, output tokens those of reasoning.",
            12,
            "short",
            (
                Ask(
                    total(TOKENS, FLOWS, f"{MODEL}, {TOKEN_TYPE}", STEP),
                    named(MODEL, TOKEN_TYPE),
                ),
            ),
            nothing="No call whose tokens are known.",
        ),
        Stack(
            "Cost by model",
            "What model calls cost in each stretch of time. A model without a known price is not "
            "here; it is in the table below, without a cost.",
            12,
            "none",
            (
                Ask(
                    total(COST, FLOWS, f"{MODEL}, {CURRENCY}", STEP),
                    named(MODEL, CURRENCY),
                ),
            ),
            nothing="No call with a known price.",
        ),
    )


def spending(by: str) -> tuple[Ask, ...]:
    """Columns of tokens and cost."""
    tokens, cost = total(TOKENS, FLOWS, by), total(COST, FLOWS, by)
    return (
        Ask(total(TOKENS, f'{FLOWS}, {TOKEN_TYPE}="input"', by), "Input tokens"),
        Ask(total(TOKENS, f'{FLOWS}, {TOKEN_TYPE}="output"', by), "Output tokens"),
        Ask(
            share(total(WASTED_TOKENS, FLOWS, by), tokens, by),
            "Wasted tokens",
            unit="percentunit",
            steps=WASTE_STEPS,
        ),
        Ask(cost, "Cost", unit="none", bar=True),
        Ask(else_zero(total(WASTED_COST, FLOWS, by), cost), "Wasted cost", unit="none"),
    )


def model_table() -> Panel:
    """One row a model."""
    return Table(
        "Models",
        "Every model that was called in the time shown. An empty cost means that its price is not "
        "known. Wasted is what attempts used that failed; costs are in the currency shown above.",
        24,
        "short",
        spending(f"gen_ai_provider_name, {MODEL}"),
        height=6,
        labels={"gen_ai_provider_name": "Provider", MODEL: "Model"},
        sort="Cost",
        nothing="No call whose tokens are known.",
    )


def spender_table() -> Panel:
    """One row a node and model."""
    return Table(
        "Nodes that call models",
        "Every node that called a model in the time shown, by model: the place to look for a "
        "cost, and for waste. A node that is tried again for a reply it can't read wastes its "
        "first one.",
        24,
        "short",
        spending(f"job, {FLOW}, {NODE}, {MODEL}"),
        labels={"job": "Program", FLOW: "Flow", NODE: "Node", MODEL: "Model"},
        label_links={"Flow": (TO_FLOW,)},
        sort="Cost",
        nothing="No call whose tokens are known.",
    )


def per_run(by: str) -> tuple[tuple[str, str, bool], ...]:
    """Queries of what one run used, of those that called a model: column, query, bar or not."""
    tokens, cost = (f"({total(metric, FLOWS, by)} > 0)" for metric in (TOKENS, COST))
    all_runs = f"({total(RUNS, FLOWS, by)} > 0)"
    return (
        ("Flow runs", f"{all_runs} and {tokens}", False),
        ("Tokens per run", f"{tokens} / {all_runs}", False),
        ("Cost per run", f"{cost} / {all_runs}", True),
        ("Cost", cost, False),
        ("Wasted", else_zero(total(WASTED_COST, FLOWS, by), cost), False),
    )


def commit_table() -> Panel:
    """What a change did to the cost."""
    # The digits that tell commits apart, as a whole one leaves no room for what it cost.
    digits = f'"commit", "$1", "{COMMIT}", "(.{{12}}).*"'
    return Table(
        "Cost by commit",
        "What a change of the program did to its cost, and to what failed attempts threw away: of "
        "each commit in the time shown. A flow inside another counts as a run of its own. Choose "
        "one flow to compare like with like; all it takes is that programs run in a git "
        "repository.",
        12,
        "short",
        tuple(
            Ask(f"sum by (job, commit) (label_replace({expr}, {digits}))", name, bar=bar)
            for name, expr, bar in per_run(f"job, {COMMIT}")
        ),
        labels={"job": "Program", "commit": "Commit"},
        sort="Cost",
        nothing="No call whose tokens are known.",
    )


def flow_table() -> Panel:
    """What a run of a flow uses."""
    return Table(
        "Cost by flow",
        "What one run of each flow used in the time shown, and what its failed attempts threw "
        "away: the calls of its own nodes. Those of a flow inside it are in that flow's row.",
        12,
        "short",
        tuple(Ask(expr, name, bar=bar) for name, expr, bar in per_run(f"job, {FLOW}")),
        labels={"job": "Program", FLOW: "Flow"},
        label_links={"Flow": (TO_FLOW,)},
        sort="Cost",
        nothing="No call whose tokens are known.",
    )


DASHBOARDS = {"runs": runs, "flow": flow, "models": models}


def main() -> int:
    """Writes or checks the dashboards."""
    stale = False
    for name, describe in DASHBOARDS.items():
        file, wanted = FOLDER / f"{name}.json", describe().text()
        if "--check" not in sys.argv:
            FOLDER.mkdir(parents=True, exist_ok=True)
            file.write_text(wanted, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != wanted:
            print(f"{file.name} is not as described; run `python scripts/dashboards.py`")
            stale = True
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
