"""Recognises what model providers return, by its shape: importing none of their libraries.

Pure: no OpenTelemetry. Values are read through `reading` alone, so that no code of their classes
runs, and nothing is iterated that is not a container: a stream stays as it is.
"""

from __future__ import annotations

import types
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from opentelemetry.instrumentation.pocketflow import guard
from opentelemetry.instrumentation.pocketflow.capture import reading
from opentelemetry.instrumentation.pocketflow.capture.reading import ATOM_TYPE_IDS, Kind
from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall, checked
from opentelemetry.instrumentation.pocketflow.capture.usage.providers import provider_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MOST_LEVELS: Final = 4
"""How far below a value its responses are looked for."""
MOST_OTHERS: Final = 32
"""How many containers that are no response are looked into."""
MOST_RESPONSES: Final = 10_000
"""How many responses are looked at."""
MOST_ITEMS: Final = 32
"""How many items of one sequence are looked at, and its last; all, where these are responses."""
MOST_FIELDS: Final = 100
"""How many items of one mapping or fields of one object are looked at."""
MOST_TEXT: Final = 200
"""Characters of a model's, provider's or response's name that are kept."""

Recogniser: TypeAlias = "Callable[[object], ModelCall | None]"
"""Tells the model call that a value stands for, if it does. A user's own."""


class Found(NamedTuple):
    """A model call and where its counts stand."""

    call: ModelCall
    usage: object
    """The very object that has the token counts: a shallow copy of a response shares it. The
    response itself, where counts are its own fields or a user's recogniser told the call."""


_Fields: TypeAlias = "dict[str, Any]"
"""Fields of an object, or items of a dict whose keys are of exactly the type str."""


class _Counts(NamedTuple):
    """Token counts, with the meanings of `ModelCall`."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


class _Response(NamedTuple):
    """A response of a provider, as told by its shape. It may have no counts."""

    usage: object
    counts: _Counts = _Counts()
    provider: str | None = None
    model: str | None = None
    operation: str | None = None
    response_id: str | None = None


_NO_USAGE: Final = _Response(usage=None)


def find_calls(value: object, recognisers: Sequence[Recogniser] = ()) -> list[Found]:
    """The model calls whose responses a value is or contains.

    The search is breadth-first and bounded (`MOST_LEVELS`, `MOST_OTHERS`, `MOST_RESPONSES`,
    `MOST_ITEMS`, `MOST_FIELDS`): most results hold no response, and are not to be walked through
    for that. A response is not searched further. Responses with one id, such as the chunks of
    a stream that count up, are one call: the one with the most output. A container that another
    thread changes in that moment is passed over.

    Args:
        value: anything of the user's program.
        recognisers: asked first, for each container and each object that cannot be looked into.
            One that raises, or returns something else, is logged once and passed over.
    """
    if _is_atom(value):
        return []
    return _Search(recognisers).run(value)


class _Search:
    """One search: what it has seen and found."""

    __slots__ = ("_found", "_others", "_places", "_recognisers", "_responses", "_seen")

    def __init__(self, recognisers: Sequence[Recogniser]) -> None:
        self._recognisers = recognisers
        self._others = 0
        self._responses = 0
        self._seen: dict[int, object] = {}  # keeps what it has seen alive, so that ids stay theirs
        self._found: list[Found] = []
        self._places: dict[int | str, int] = {}  # in `_found`, by usage and by id of the response

    def run(self, value: object) -> list[Found]:
        queue = deque([(value, 0)])
        while queue and self._others < MOST_OTHERS and self._responses < MOST_RESPONSES:
            item, level = queue.popleft()
            inside = self._look_at(item)
            if inside and level < MOST_LEVELS:
                inside = self._look_at_sequence(item, inside)
                queue.extend([(i, level + 1) for i in inside if id(type(i)) not in ATOM_TYPE_IDS])
        return self._found

    def _look_at_sequence(self, value: object, head: list[object]) -> list[object]:
        """What is to be looked at of a container: all of a batch of responses."""
        kind = reading.kind_of(value)
        if kind not in _SEQUENCES or len(head) <= MOST_ITEMS or not self._is_call(head[1]):
            return head
        return _contents_of(value, kind, MOST_RESPONSES)[1]

    def _is_call(self, value: object) -> bool:
        return bool(_Search(self._recognisers).run(value)) if not _is_atom(value) else False

    def _look_at(self, value: object) -> list[object] | None:
        """What the value contains, if that is to be searched too."""
        kind = reading.kind_of(value)
        is_container = kind in reading.CONTAINERS
        if not (is_container or (self._recognisers and kind is Kind.OPAQUE)):
            return None
        if id(value) in self._seen:
            return None
        self._seen[id(value)] = value
        call = _ask(self._recognisers, value) if self._recognisers else None
        if call is not None:
            self._add(Found(call, value))
            return None
        if is_container:
            return self._look_into(value, kind)
        self._others += 1
        return None

    def _look_into(self, value: object, kind: Kind) -> list[object] | None:
        keys, items = _contents_of(value, kind, MOST_ITEMS if kind in _SEQUENCES else MOST_FIELDS)
        if keys is not None:
            response = _recognise(value, _fields(keys, items))
        else:
            response = _stream_of_anthropic(value, kind, items) if kind in _SEQUENCES else None
        if response is None:
            self._others += 1
            return items
        self._responses += 1
        call = _call_of(response)
        if call is not None:
            self._add(Found(call, response.usage))
        return None

    def _add(self, found: Found) -> None:
        usage, response_id = id(found.usage), found.call.response_id
        place = self._places.get(usage)
        if place is None and response_id is not None:
            place = self._places.get(response_id)
        if place is None:
            place = len(self._found)
            self._found.append(found)
        elif _rank(found) > _rank(self._found[place]):
            self._found[place] = found
        self._places[usage] = place
        if response_id is not None:
            self._places[response_id] = place


def _rank(found: Found) -> tuple[int, bool]:
    """Which of two that are one call tells more of it."""
    tokens = found.call.output_tokens
    return -1 if tokens is None else tokens, found.call.response_id is not None


def _is_atom(value: object) -> bool:
    return id(type(value)) in ATOM_TYPE_IDS


def _ask(recognisers: Iterable[Recogniser], value: object) -> ModelCall | None:
    for recogniser in recognisers:
        place = _place_of(recogniser)
        answer: object = guard.attempt(recogniser, value, place)
        if type(answer) is ModelCall:
            return checked(answer)  # its fields may be objects of any class
        if answer is not None:
            got = reading.class_name(type(answer))
            guard.report(f"the answer of {place}", TypeError(f"expected a ModelCall, got {got}"))
    return None


def _place_of(recogniser: Recogniser) -> str:
    if type(recogniser) is types.FunctionType:
        return f"the usage recogniser {recogniser.__module__}.{recogniser.__qualname__}"
    return f"the usage recogniser {reading.qualified_name(type(recogniser))}"


def _contents_of(value: object, kind: Kind, most: int) -> tuple[list[Any] | None, list[Any]]:
    """Keys and items, the last of a sequence first: the last chunk of a stream tells the usage."""
    try:
        keys, items = reading.first_contents(value, kind, most)
        if len(items) > 1 and kind in _SEQUENCES:
            items.insert(0, reading.last_of(value, kind))
    except (IndexError, RuntimeError):  # another thread changes it just now
        return None, []
    return keys, items


_SEQUENCES: Final = frozenset({Kind.LIST, Kind.TUPLE, Kind.DEQUE})


def _fields(keys: list[Any], items: list[Any]) -> _Fields:
    return {key: item for key, item in zip(keys, items, strict=True) if type(key) is str}


def _fields_of(value: object) -> _Fields:
    """Fields of an object or items of a dict; empty for anything else."""
    if _is_atom(value):
        return {}
    kind = reading.kind_of(value)
    if kind is not Kind.DICT and kind is not Kind.FIELDS:
        return {}
    keys, items = _contents_of(value, kind, MOST_FIELDS)
    return {} if keys is None else _fields(keys, items)


# What a response is told by.

_MARKS: Final = frozenset(
    {"usage", "usage_metadata", "usageMetadata", "prompt_eval_count", "eval_count"}
)
"""Every response has one of these fields."""


def _recognise(value: object, fields: _Fields) -> _Response | None:
    """The response that a value with these fields is."""
    if _is(fields, "type", _STREAM_BEGINS):
        return _NO_USAGE  # the message in it has only begun
    if _MARKS.isdisjoint(fields):
        return None
    for shape in _SHAPES:
        response = shape(value, fields)
        if response is not None:
            return response
    return None


_OPENAI_OPERATIONS: Final[dict[str, str]] = {
    "chat.completion": "chat",
    "chat.completion.chunk": "chat",
    "response": "chat",
    "text_completion": "text_completion",
}
"""The operation, by the field `object`."""


def _openai(value: object, fields: _Fields) -> _Response | None:
    """Chat and text completions, their chunks, and responses; LiteLLM's too."""
    kind = fields.get("object")
    operation = _OPENAI_OPERATIONS.get(kind) if type(kind) is str else None
    if operation is None:
        return None
    usage = fields.get("usage")
    counts = _counts(_fields_of(usage)) if usage is not None else None
    if counts is None or not _has_tokens(counts):
        return _NO_USAGE  # such as most chunks of a stream
    return _Response(
        usage=usage,
        counts=counts,
        provider=_litellm_provider(value, fields) or "openai",
        model=_text(fields, "model"),
        operation=operation,
        response_id=_text(fields, "id"),
    )


def _openai_embeddings(value: object, fields: _Fields) -> _Response | None:
    if not _is(fields, "object", "list"):
        return None
    usage = fields.get("usage")
    tokens = _count(_fields_of(usage), "prompt_tokens")
    if tokens is None:
        return None
    return _Response(
        usage=usage,
        counts=_Counts(input=tokens),  # LiteLLM's usage has an output of 0
        provider=_litellm_provider(value, fields) or "openai",
        model=_text(fields, "model"),
        operation="embeddings",
    )


def _litellm_provider(value: object, fields: _Fields) -> str | None:
    """Who served a response of LiteLLM, which has the shape of OpenAI's."""
    hidden = fields.get("_hidden_params")
    if hidden is None:
        hidden = _fields_of(reading.private_fields(value)).get("_hidden_params")
    name = _text(_fields_of(hidden), "custom_llm_provider")
    return None if name is None else provider_name(name)


def _anthropic(_: object, fields: _Fields) -> _Response | None:
    if not _is(fields, "type", "message"):
        return None
    usage = fields.get("usage")
    counts = _counts(_fields_of(usage))
    if not _has_tokens(counts):
        return None
    return _Response(
        usage=usage,
        counts=counts,
        provider="anthropic",
        model=_text(fields, "model"),
        operation="chat",
        response_id=_text(fields, "id"),
    )


_STREAM_BEGINS: Final = "message_start"
_STREAM_ENDS: Final = "message_delta"


def _stream_of_anthropic(value: object, kind: Kind, items: list[object]) -> _Response | None:
    """The events of a stream as they came: the first tells of the input, a late one of the rest."""
    start = _fields_of(items[min(1, len(items) - 1)]) if items else {}
    if not _is(start, "type", _STREAM_BEGINS):
        return None
    message = _fields_of(start.get("message"))
    for back in range(1, min(len(items), _LATE_EVENTS) + 1):
        event = _fields_of(reading.last_of(value, kind, back))
        if not _is(event, "type", _STREAM_ENDS):
            continue
        usage = event.get("usage")
        told = {name: count for name, count in _fields_of(usage).items() if count is not None}
        return _Response(
            usage=usage,
            counts=_counts({**_fields_of(message.get("usage")), **told}),
            provider="anthropic",
            model=_text(message, "model"),
            operation="chat",
            response_id=_text(message, "id"),
        )
    return _NO_USAGE


_LATE_EVENTS: Final = 4
"""Among how many of the last events of a stream the one with the usage is."""

_GEMINI_MARKS: Final = frozenset(
    {
        *("candidates", "embeddings", "response_id", "responseId"),
        *("model_version", "modelVersion", "prompt_feedback", "promptFeedback"),
    }
)


def _gemini(_: object, fields: _Fields) -> _Response | None:
    """google-genai's objects, and the JSON of the REST interface."""
    usage = fields.get("usage_metadata")
    if usage is None:
        usage = fields.get("usageMetadata")
    if usage is None or _GEMINI_MARKS.isdisjoint(fields):
        return None
    counts = _gemini_counts(_fields_of(usage))
    if not _has_tokens(counts):
        return None
    return _Response(
        usage=usage,
        counts=counts,
        provider="gcp.gemini",
        model=_text(fields, "model_version", "modelVersion"),
        operation="embeddings" if "embeddings" in fields else "generate_content",
        response_id=_text(fields, "response_id", "responseId"),
    )


_BEDROCK_MARKS: Final = frozenset({"stopReason", "output", "ResponseMetadata"})


def _bedrock(_: object, fields: _Fields) -> _Response | None:
    """What `converse` returns, and `converse_stream` at its end. Neither tells the model."""
    usage = fields.get("usage")
    inner = _fields_of(usage)
    is_told = "inputTokens" in inner or "outputTokens" in inner
    if not is_told or not _is_of_bedrock(fields):
        return None
    return _Response(
        usage=usage,
        counts=_counts(inner),
        provider="aws.bedrock",
        operation="chat",
        response_id=_text(_fields_of(fields.get("ResponseMetadata")), "RequestId"),
    )


def _is_of_bedrock(fields: _Fields) -> bool:
    if not _BEDROCK_MARKS.isdisjoint(fields):
        return _text(fields, "model") is None
    # the event `metadata` at the end of `converse_stream`
    return "latencyMs" in _fields_of(fields.get("metrics"))


def _ollama(value: object, fields: _Fields) -> _Response | None:
    counts = _Counts(input=_count(fields, "prompt_eval_count"), output=_count(fields, "eval_count"))
    model = _text(fields, "model")
    is_complete = fields.get("done") is True or "embeddings" in fields
    if model is None or not is_complete or not _has_tokens(counts):
        return None
    return _Response(
        usage=value,
        counts=counts,
        provider="ollama",
        model=model,
        operation=_ollama_operation(fields),
    )


def _ollama_operation(fields: _Fields) -> str:
    if "embeddings" in fields:
        return "embeddings"
    return "chat" if "message" in fields else "text_completion"


def _plain(_: object, fields: _Fields) -> _Response | None:
    """`{"model": ..., "usage": {...}}`. Without a model it may as well be a running total."""
    model = _text(fields, "model")
    if model is None:
        return None
    usage = fields.get("usage")
    inner = _fields_of(usage)
    counts = _counts(inner)
    if not _has_tokens(counts):
        counts = _gemini_counts(inner)
    if not _has_tokens(counts):
        return None
    provider = _text(fields, "provider")
    return _Response(
        usage=usage,
        counts=counts,
        provider=None if provider is None else provider_name(provider),
        model=model,
        response_id=_text(fields, "response_id"),
    )


_SHAPES: Final[tuple[Callable[[object, _Fields], _Response | None], ...]] = (
    _openai,
    _openai_embeddings,
    _anthropic,
    _gemini,
    _bedrock,
    _ollama,
    _plain,
)


# How many tokens a usage tells of.

_INPUT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS: Final = ("completion_tokens_details", "output_tokens_details")


def _counts(usage: _Fields) -> _Counts:
    """The counts of a usage of OpenAI, Anthropic or Bedrock, or of one made after these."""
    into, out = _first_fields(usage, _INPUT_DETAILS), _first_fields(usage, _OUTPUT_DETAILS)
    read = _count(usage, "cache_read_input_tokens", "cacheReadInputTokens")
    written = _count(usage, "cache_creation_input_tokens", "cacheWriteInputTokens")
    cached, cache_write = read, written
    if cached is None:
        cached = _first(_count(into, "cached_tokens"), _count(usage, "cached_tokens"))
    if cache_write is None:
        cache_write = _first(
            _count(into, "cache_write_tokens"), _count(usage, "cache_write_tokens")
        )
    # Anthropic and Bedrock tell the cached input beside the other input, so that the whole is the
    # sum. LiteLLM keeps these names beside `prompt_tokens`, which is the whole already.
    whole = _count(usage, "prompt_tokens")
    if whole is None:
        whole = _sum(_count(usage, "input_tokens", "inputTokens"), read, written)
    return _Counts(
        input=whole,
        output=_count(usage, "completion_tokens", "output_tokens", "outputTokens"),
        cached=cached,
        cache_write=cache_write,
        reasoning=_first(
            _count(out, "reasoning_tokens", "thinking_tokens"), _count(usage, "reasoning_tokens")
        ),
    )


def _gemini_counts(usage: _Fields) -> _Counts:
    """The counts of a usage of Gemini, where input and output are told in two parts each."""
    thoughts = _count(usage, "thoughts_token_count", "thoughtsTokenCount")
    return _Counts(
        input=_sum(
            _count(usage, "prompt_token_count", "promptTokenCount"),
            _count(usage, "tool_use_prompt_token_count", "toolUsePromptTokenCount"),
        ),
        output=_sum(_count(usage, "candidates_token_count", "candidatesTokenCount"), thoughts),
        cached=_count(usage, "cached_content_token_count", "cachedContentTokenCount"),
        reasoning=thoughts,
    )


def _call_of(response: _Response) -> ModelCall | None:
    counts = response.counts
    if not _has_tokens(counts):
        return None
    return ModelCall(
        provider=response.provider,
        model=response.model,
        operation=response.operation,
        input_tokens=counts.input,
        output_tokens=counts.output,
        cached_tokens=counts.cached,
        cache_write_tokens=counts.cache_write,
        reasoning_tokens=counts.reasoning,
        response_id=response.response_id,
    )


def _has_tokens(counts: _Counts) -> bool:
    return counts.input is not None or counts.output is not None


def _first_fields(fields: _Fields, names: Iterable[str]) -> _Fields:
    for name in names:
        inner = _fields_of(fields.get(name))
        if inner:
            return inner
    return {}


def _count(fields: _Fields, *names: str) -> int | None:
    """The first of these fields that is a number of tokens."""
    for name in names:
        value = fields.get(name)
        if type(value) is int and value >= 0:
            return value
    return None


def _text(fields: _Fields, *names: str) -> str | None:
    """The first of these fields that is a text, cut."""
    for name in names:
        value = fields.get(name)
        if type(value) is str and value:
            return value[:MOST_TEXT]
    return None


def _is(fields: _Fields, name: str, text: str) -> bool:
    value = fields.get(name)
    return type(value) is str and value == text


def _first(one: int | None, other: int | None) -> int | None:
    return other if one is None else one


def _sum(*parts: int | None) -> int | None:
    told = [part for part in parts if part is not None]
    return sum(told) if told else None
