"""Every name this package emits, once, each with its meaning.

The docstring under a constant reads ``spans: type. meaning``; the README's table is made from
it. Names that OpenTelemetry or OpenInference define say so with their source. The GenAI
conventions have moved out of the ``opentelemetry-semantic-conventions`` package and still
change, so they are written here and imported from nowhere.
"""

from __future__ import annotations

from typing import Final

SCOPE_NAME: Final = "opentelemetry.instrumentation.pocketflow"
"""The instrumentation scope of every span."""

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.37.0"
"""The version of the semantic conventions that the standard names below follow."""

# --- Standard names -------------------------------------------------------------------------

GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
"""flow: string. Always `invoke_workflow`; on a span that is itself a model call `chat`, `embeddings` or the like. Source: OpenTelemetry GenAI conventions."""

GEN_AI_WORKFLOW_NAME: Final = "gen_ai.workflow.name"
"""flow: string. The flow's class, or its configured name. Source: OpenTelemetry GenAI conventions."""

INVOKE_WORKFLOW: Final = "invoke_workflow"

CODE_FUNCTION_NAME: Final = "code.function.name"
"""flow, node: string. Module and qualified name of the class. Source: OpenTelemetry."""

CODE_FILE_PATH: Final = "code.file.path"
"""flow, node: string. The file that defines the class. Source: OpenTelemetry."""

CODE_LINE_NUMBER: Final = "code.line.number"
"""flow, node: int. The line where the class begins. Source: OpenTelemetry."""

ERROR_TYPE: Final = "error.type"
"""all: string. Class of the exception that left this span. Source: OpenTelemetry."""

OPENINFERENCE_SPAN_KIND: Final = "openinference.span.kind"
"""all: string. `CHAIN`, or `LLM` on a span that is itself a model call: lets Phoenix draw the span. Source: OpenInference."""

INPUT_VALUE: Final = "input.value"
"""flow, node, item: JSON string. What `prep` returned; of a root flow, the store at its start. Source: OpenInference."""

INPUT_MIME_TYPE: Final = "input.mime_type"
"""flow, node, item: string. Always `application/json`. Source: OpenInference."""

OUTPUT_VALUE: Final = "output.value"
"""flow, node, item: JSON string. What `exec` returned; of a root flow, the store at its end. Source: OpenInference."""

OUTPUT_MIME_TYPE: Final = "output.mime_type"
"""flow, node, item: string. Always `application/json`. Source: OpenInference."""

EXCEPTION_EVENT: Final = "exception"
"""The event that holds an exception, on the innermost span it left."""

EXCEPTION_TYPE: Final = "exception.type"
"""exception event: string. Class of the exception. Source: OpenTelemetry."""

EXCEPTION_MESSAGE: Final = "exception.message"
"""exception event: string. Its message, redacted; only at content level `values`. Source: OpenTelemetry."""

EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
"""exception event: string. Its traceback without the tracer's own frames, redacted. Source: OpenTelemetry."""

# --- What ran -------------------------------------------------------------------------------

SPAN_KIND: Final = "pocketflow.span.kind"
"""all: string. `flow`, `node`, `item`, `attempt` or `phase`."""

KIND_FLOW: Final = "flow"
KIND_NODE: Final = "node"
KIND_ITEM: Final = "item"
KIND_ATTEMPT: Final = "attempt"
KIND_PHASE: Final = "phase"

NODE_CLASS: Final = "pocketflow.node.class"
"""flow, node: string. Name of the class that ran."""

NODE_BASE: Final = "pocketflow.node.base"
"""flow, node: string. The nearest class of PocketFlow that it derives from, such as `BatchNode`."""

NODE_ID: Final = "pocketflow.node.id"
"""flow, node: string. Its place in the graph of the flow that ran it: the class, with `#2`, `#3` for further nodes of one class. The same in every run of the same graph."""

NODE_ITERATION: Final = "pocketflow.node.iteration"
"""flow, node: int. How often this place in the graph has run in this flow run, from 1."""

NODE_ACTION: Final = "pocketflow.node.action"
"""flow, node: string. The action that `post` returned; `default` where it returned None. Absent where it returned something other than a string; `_OTHER` where no node follows and the content level shows no values."""

NODE_NEXT: Final = "pocketflow.node.next"
"""flow, node: string. Id of the node that follows. Absent where the flow ends."""

NODE_DEAD_END: Final = "pocketflow.node.dead_end"
"""flow, node: bool. True where the node has successors but none for its action, so the flow ended."""

NODE_PARAMS: Final = "pocketflow.node.params"
"""flow, node, item: JSON string. The params it ran with, where there are any."""

OUTCOME: Final = "pocketflow.outcome"
"""all: string. `cancelled` where a BaseException such as CancelledError or KeyboardInterrupt ended it. Absent otherwise: the span's status tells success from error."""

OUTCOME_CANCELLED: Final = "cancelled"

# --- Time -----------------------------------------------------------------------------------

PREP_DURATION: Final = "pocketflow.node.prep.duration"
"""flow, node: double, seconds. Time in `prep`."""

EXEC_DURATION: Final = "pocketflow.node.exec.duration"
"""flow, node: double, seconds. Time in `exec` with all its attempts and waits; of a flow, in its nodes."""

POST_DURATION: Final = "pocketflow.node.post.duration"
"""flow, node: double, seconds. Time in `post`."""

WAIT_DURATION: Final = "pocketflow.node.wait.duration"
"""node: double, seconds. Time spent waiting between attempts, where there was any; over all items of a batch."""

INSTRUMENTATION_DURATION: Final = "pocketflow.instrumentation.duration"
"""flow, node: double, seconds. Only with `self_report`, on the outermost flow or node: time that this instrumentation took in the run, on all its threads added up. Not in it: sending, the end of this very span, and the call into each wrapper."""

# --- Attempts -------------------------------------------------------------------------------

NODE_ATTEMPTS: Final = "pocketflow.node.attempts"
"""node, item: int. Attempts made; over all items of a batch. Absent where `_exec` is overridden."""

NODE_MAX_RETRIES: Final = "pocketflow.node.max_retries"
"""node: int. Attempts allowed: the node's `max_retries`."""

NODE_FALLBACK: Final = "pocketflow.node.fallback"
"""node, item: bool. True where `exec_fallback` answered."""

ATTEMPT_NUMBER: Final = "pocketflow.attempt.number"
"""attempt: int. From 1."""

ATTEMPT_WAIT: Final = "pocketflow.attempt.wait"
"""attempt: double, seconds. The node's `wait` that follows this failed attempt, where one follows."""

# --- Batches --------------------------------------------------------------------------------

BATCH_SIZE: Final = "pocketflow.batch.size"
"""flow, node, item: int. Number of items in the batch; of a batch flow that an exception left, of those that began. On an item only where it is known when the item starts."""

BATCH_FAILED: Final = "pocketflow.batch.failed"
"""flow, node: int. Items that an exception left."""

BATCH_RETRIED: Final = "pocketflow.batch.retried"
"""node: int. Items that took more than one attempt."""

BATCH_FALLBACKS: Final = "pocketflow.batch.fallbacks"
"""node: int. Items that `exec_fallback` answered."""

BATCH_ITEMS_TRACED: Final = "pocketflow.batch.items_traced"
"""flow, node: int. Items that have a span of their own."""

ITEM_INDEX: Final = "pocketflow.item.index"
"""item: int. Position in the batch, from 0."""

# --- Phases (opt-in spans) ------------------------------------------------------------------

PHASE: Final = "pocketflow.phase"
"""phase: string. `prep`, `exec` or `post`."""

# --- The route ------------------------------------------------------------------------------

FLOW_PATH: Final = "pocketflow.flow.path"
"""flow, item: string[]. Ids of the nodes in the order they ran; cut in the middle with an element `… (N more)`."""

FLOW_NODE_RUNS: Final = "pocketflow.flow.node_runs"
"""flow, item: int. Node runs in this flow; over all items of a batch. Nested flows count as one."""

GRAPH: Final = "pocketflow.graph"
"""flow: JSON string. `{"start": id, "nodes": [id], "edges": [[from, action, to]]}`."""

GRAPH_HASH: Final = "pocketflow.graph.hash"
"""flow: string. First 16 hex digits of the SHA-256 of the uncut graph: the same for the same graph."""

# --- The shared store -----------------------------------------------------------------------

SHARED_ID: Final = "pocketflow.shared.id"
"""flow, node: int. Tells stores apart where one trace has several; counts from 1 in a process."""

SHARED_INITIAL: Final = "pocketflow.shared.initial"
"""flow, node: JSON string. The store when its outermost run began."""

SHARED_DIFF: Final = "pocketflow.shared.diff"
"""flow, node: JSON string. JSON Patch (RFC 6902) of the changes first seen here, where there are any, each with the extra members `was` (what stood there), `phase` (`prep`, `exec`, `post`; `run` where the node's own `_run` hides the borders; `elsewhere` for another branch or code between nodes) and `seq` (order among all changes of the store)."""

SHARED_DIFF_OMITTED: Final = "pocketflow.shared.diff.omitted"
"""flow, node: int. Changes that did not fit into the diff's budget."""

SHARED_ADDED: Final = "pocketflow.shared.added"
"""flow, node: string[]. Top-level keys whose addition was first seen here."""

SHARED_CHANGED: Final = "pocketflow.shared.changed"
"""flow, node: string[]. Top-level keys whose change, in place or by assignment, was first seen here. What the nodes of a flow change stands on the nodes."""

SHARED_REMOVED: Final = "pocketflow.shared.removed"
"""flow, node: string[]. Top-level keys whose removal was first seen here."""

SHARED_CONCURRENT: Final = "pocketflow.shared.concurrent"
"""flow, node: bool. True where another branch ran on the same store at the same time, so that a change may be the other's."""

SHARED_CONFLICTS: Final = "pocketflow.shared.conflicts"
"""flow, node: string[]. Paths that two branches wrote while both were running."""

SHARED_UNWATCHED: Final = "pocketflow.shared.unwatched"
"""flow, node: int. Containers beyond the limits, of which only identity and length are compared."""

# --- Model calls: roll-ups ------------------------------------------------------------------

# What a span's own work and all below it used. Absent where nobody told; absent is not zero.

USAGE_CALLS: Final = "pocketflow.usage.calls"
"""flow, node, item, attempt: int. Model calls made here and below, each once."""

USAGE_UNMETERED_CALLS: Final = "pocketflow.usage.unmetered_calls"
"""flow, node, item, attempt: int. Those of them whose tokens nobody told; the sums are without them. Absent where there are none."""

USAGE_INPUT_TOKENS: Final = "pocketflow.usage.input_tokens"
"""flow, node, item, attempt: int. Input tokens, cached ones included."""

USAGE_OUTPUT_TOKENS: Final = "pocketflow.usage.output_tokens"
"""flow, node, item, attempt: int. Output tokens, reasoning included."""

USAGE_CACHED_TOKENS: Final = "pocketflow.usage.cached_tokens"
"""flow, node, item, attempt: int. Input tokens read from a cache."""

USAGE_CACHE_WRITE_TOKENS: Final = "pocketflow.usage.cache_write_tokens"
"""flow, node, item, attempt: int. Input tokens written to a cache."""

USAGE_REASONING_TOKENS: Final = "pocketflow.usage.reasoning_tokens"
"""flow, node, item, attempt: int. Output tokens that were reasoning."""

USAGE_TOTAL_TOKENS: Final = "pocketflow.usage.total_tokens"
"""flow, node, item, attempt: int. Input and output tokens."""

USAGE_COST: Final = "pocketflow.usage.cost"
"""flow, node, item, attempt: double. Price of the calls whose price is known, added up in decimals."""

USAGE_CURRENCY: Final = "pocketflow.usage.currency"
"""flow, node, item, attempt: string. What the cost is in: `USD`, unless the option `currency` says otherwise."""

USAGE_UNPRICED_MODELS: Final = "pocketflow.usage.unpriced_models"
"""flow, node, item, attempt: string[]. Models of calls whose price is not known (`unknown` where the model is not either): the cost is only a part."""

USAGE_BY_MODEL: Final = "pocketflow.usage.by_model"
"""flow, node, item, attempt: JSON string. The same by model, where there are several: `{model: {"calls", "input_tokens", "output_tokens", "total_tokens", "cost", ...}}`."""

USAGE_WASTED_CALLS: Final = "pocketflow.usage.wasted.calls"
"""flow, node, item, attempt: int. Model calls made in attempts that failed; they are in the sums as well, like all that follows."""

USAGE_WASTED_INPUT_TOKENS: Final = "pocketflow.usage.wasted.input_tokens"
"""flow, node, item, attempt: int. Their input tokens."""

USAGE_WASTED_OUTPUT_TOKENS: Final = "pocketflow.usage.wasted.output_tokens"
"""flow, node, item, attempt: int. Their output tokens."""

USAGE_WASTED_TOTAL_TOKENS: Final = "pocketflow.usage.wasted.total_tokens"
"""flow, node, item, attempt: int. Their input and output tokens."""

USAGE_WASTED_COST: Final = "pocketflow.usage.wasted.cost"
"""flow, node, item, attempt: double. Their price, as far as it is known."""

# --- Model calls: a span that is itself the call --------------------------------------------

# Where no instrumentation of the client made a span for a call. Backends add these up over all
# spans, so they stand on no other span.

GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
"""flow, node, item, attempt: string. Who served the model calls that have no span of their own. Source: OpenTelemetry GenAI conventions."""

GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
"""flow, node, item, attempt: string. Their model; absent where there are several. Source: OpenTelemetry GenAI conventions."""

GEN_AI_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
"""flow, node, item, attempt: int. Their input tokens. Source: OpenTelemetry GenAI conventions."""

GEN_AI_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
"""flow, node, item, attempt: int. Their output tokens. Source: OpenTelemetry GenAI conventions."""

GEN_AI_CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
"""flow, node, item, attempt: int. Their input tokens read from a cache. Source: OpenTelemetry GenAI conventions."""

GEN_AI_CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
"""flow, node, item, attempt: int. Their input tokens written to a cache. Source: OpenTelemetry GenAI conventions."""

GEN_AI_REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
"""flow, node, item, attempt: int. Their reasoning tokens. Source: OpenTelemetry GenAI conventions."""

LLM_MODEL_NAME: Final = "llm.model_name"
"""flow, node, item, attempt: string. Their model, for backends that read OpenInference. Source: OpenInference."""

LLM_TOKEN_COUNT_PROMPT: Final = "llm.token_count.prompt"
"""flow, node, item, attempt: int. Their input tokens. Source: OpenInference."""

LLM_TOKEN_COUNT_COMPLETION: Final = "llm.token_count.completion"
"""flow, node, item, attempt: int. Their output tokens. Source: OpenInference."""

LLM_TOKEN_COUNT_CACHE_READ: Final = "llm.token_count.prompt_details.cache_read"
"""flow, node, item, attempt: int. Their input tokens read from a cache. Source: OpenInference."""

LLM_TOKEN_COUNT_CACHE_WRITE: Final = "llm.token_count.prompt_details.cache_write"
"""flow, node, item, attempt: int. Their input tokens written to a cache. Source: OpenInference."""

LLM_TOKEN_COUNT_REASONING: Final = "llm.token_count.completion_details.reasoning"
"""flow, node, item, attempt: int. Their reasoning tokens. Source: OpenInference."""

# --- Metrics --------------------------------------------------------------------------------

FLOW_DURATION: Final = "gen_ai.invoke_workflow.duration"
"""metric: histogram, s. Time of each flow run, nested ones too. Attributes: `gen_ai.workflow.name`, `error.type`, `pocketflow.outcome`. Source: OpenTelemetry GenAI conventions."""

NODE_DURATION: Final = "pocketflow.node.duration"
"""metric: histogram, s. Time of each node run. Attributes: `pocketflow.node.class`, `gen_ai.workflow.name` (the flow that ran it), `pocketflow.node.action` (`_OTHER` where no successor has it), `error.type`, `pocketflow.outcome`."""

NODE_RETRIES: Final = "pocketflow.node.retries"
"""metric: counter, {retry}. Attempts beyond the first, of nodes and items. Attributes: `pocketflow.node.class`, `gen_ai.workflow.name`."""

BATCH_ITEMS: Final = "pocketflow.batch.items"
"""metric: counter, {item}. Batch items by outcome. Attributes: `pocketflow.node.class`, `gen_ai.workflow.name`, `pocketflow.outcome` (`success`, `error` or `cancelled`)."""

ACTIVE_RUNS: Final = "pocketflow.active_runs"
"""metric: updowncounter, {run}. Outermost flow runs in progress. Attributes: `gen_ai.workflow.name`."""

TOKEN_USAGE: Final = "gen_ai.client.token.usage"
"""metric: histogram, {token}. Tokens of each model call, where no instrumentation of the client records them. Attributes: `gen_ai.token.type` (`input` or `output`), `gen_ai.operation.name`, `gen_ai.provider.name`, `gen_ai.request.model`. Source: OpenTelemetry GenAI conventions."""

USAGE_TOKENS: Final = "pocketflow.usage.tokens"
"""metric: counter, {token}. Tokens of all model calls, by node. Attributes: `gen_ai.token.type`, `gen_ai.provider.name`, `gen_ai.request.model`, `pocketflow.node.class`, `gen_ai.workflow.name`."""

WASTED_TOKENS: Final = "pocketflow.usage.wasted_tokens"
"""metric: counter, {token}. Those of them that were spent in attempts that failed. Attributes: as above."""

COST: Final = "pocketflow.cost"
"""metric: counter, {currency}. Price of model calls. Attributes: `pocketflow.usage.currency`, `gen_ai.provider.name`, `gen_ai.request.model`, `pocketflow.node.class`, `gen_ai.workflow.name`."""

WASTED_COST: Final = "pocketflow.wasted_cost"
"""metric: counter, {currency}. That part of it that was spent in attempts that failed. Attributes: as above."""

GEN_AI_TOKEN_TYPE: Final = "gen_ai.token.type"
"""token metrics: string. `input` or `output`. Source: OpenTelemetry GenAI conventions."""

TOKEN_INPUT: Final = "input"
TOKEN_OUTPUT: Final = "output"
OUTCOME_SUCCESS: Final = "success"
OUTCOME_ERROR: Final = "error"
OTHER: Final = "_OTHER"
"""What stands for a value outside the known ones, as in the standard conventions."""

# --- Conversation ---------------------------------------------------------------------------

GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
"""all: string. The conversation that the run belongs to, as given to `conversation`. Source: OpenTelemetry GenAI conventions."""

SESSION_ID: Final = "session.id"
"""all: string. The session, as given to `conversation`; else the conversation's id. Source: OpenTelemetry, OpenInference."""

USER_ID: Final = "user.id"
"""all: string. The user, as given to `conversation`. Source: OpenTelemetry, OpenInference."""

TAG_TAGS: Final = "tag.tags"
"""all: string[]. The tags given to `conversation`, redacted; cut with an element `… (N more)`. Source: OpenInference."""

METADATA: Final = "metadata"
"""all: JSON string. The metadata given to `conversation`, cut and redacted. Source: OpenInference."""

# --- Resource -------------------------------------------------------------------------------

VCS_REF_HEAD_NAME: Final = "vcs.ref.head.name"
"""resource: string. Branch or tag; absent on a detached commit without a tag. Source: OpenTelemetry."""

VCS_REF_HEAD_REVISION: Final = "vcs.ref.head.revision"
"""resource: string. Commit. Source: OpenTelemetry."""

VCS_REF_HEAD_TYPE: Final = "vcs.ref.head.type"
"""resource: string. `branch` or `tag`. Source: OpenTelemetry."""

VCS_REPOSITORY_NAME: Final = "vcs.repository.name"
"""resource: string. Name of the repository. Source: OpenTelemetry."""

VCS_REPOSITORY_URL_FULL: Final = "vcs.repository.url.full"
"""resource: string. URL of the remote without credentials. Source: OpenTelemetry."""

VCS_DIRTY: Final = "pocketflow.vcs.dirty"
"""resource: bool. True where tracked files differ from the commit, or files are not tracked."""

PROCESS_PID: Final = "process.pid"
"""resource: int. Source: OpenTelemetry."""

PROCESS_OWNER: Final = "process.owner"
"""resource: string. Name of the user who runs the program. Source: OpenTelemetry."""

PROCESS_WORKING_DIRECTORY: Final = "process.working_directory"
"""resource: string. Source: OpenTelemetry."""

PROCESS_EXECUTABLE_NAME: Final = "process.executable.name"
"""resource: string. Source: OpenTelemetry."""

PROCESS_EXECUTABLE_PATH: Final = "process.executable.path"
"""resource: string. Source: OpenTelemetry."""

PROCESS_COMMAND: Final = "process.command"
"""resource: string. The program, as it was called. Source: OpenTelemetry."""

PROCESS_COMMAND_ARGS: Final = "process.command_args"
"""resource: string[]. The command line, redacted. Source: OpenTelemetry."""

PROCESS_RUNTIME_NAME: Final = "process.runtime.name"
"""resource: string. Such as `cpython`. Source: OpenTelemetry."""

PROCESS_RUNTIME_VERSION: Final = "process.runtime.version"
"""resource: string. Source: OpenTelemetry."""

PROCESS_RUNTIME_DESCRIPTION: Final = "process.runtime.description"
"""resource: string. Source: OpenTelemetry."""

OS_TYPE: Final = "os.type"
"""resource: string. Such as `linux`. Source: OpenTelemetry."""

OS_NAME: Final = "os.name"
"""resource: string. Such as `Debian GNU/Linux`. Source: OpenTelemetry."""

OS_VERSION: Final = "os.version"
"""resource: string. Source: OpenTelemetry."""

OS_DESCRIPTION: Final = "os.description"
"""resource: string. Source: OpenTelemetry."""

POCKETFLOW_VERSION: Final = "pocketflow.version"
"""resource: string. Version of the installed PocketFlow distribution; absent for a copied file."""

INSTRUMENTATION_VERSION: Final = "pocketflow.instrumentation.version"
"""resource: string. Version of this package."""
