"""What the user can set: one frozen dataclass, from keyword arguments and the environment."""

from __future__ import annotations

import fnmatch
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, get_args

from opentelemetry.instrumentation.pocketflow import environment_variables as env

if TYPE_CHECKING:
    from decimal import Decimal

    from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall

Content = Literal["off", "keys", "values"]
Level = Literal["skip", "timing", "keys", "full", "on_error"]

Price: TypeAlias = "Callable[[ModelCall], Decimal | float | int | None]"
"""The price of a call in `Config.currency`; None where it does not know."""

Recogniser: TypeAlias = "Callable[[object], ModelCall | None]"
"""What a value tells of a model call; None where it is none."""

_logger = logging.getLogger(__name__)

_MIN_SPAN_BYTES: Final = 1024
_NO_SPAN_CONTENT: Final = frozenset({"false", "0", "no_content", "event_only"})


@dataclass(frozen=True)
class Config:
    """How PocketFlow programs are traced. Every option is checked when it is given.

    Raises:
        ValueError: an option has a value that is not allowed.
        TypeError: an option has a value of the wrong type.
    """

    content: Content = "values"
    """What of the program's data is shown.

    `off`: nothing of it, and the store is not compared. `keys`: paths, types and sizes, but no
    value. `values`: bounded and redacted values.
    """

    levels: Mapping[str, Level] = field(default_factory=lambda: MappingProxyType({}))
    """Trace level by class name or glob (`*`, `?`, `[...]`); the first match wins.

    `skip`: no span, children attach to its parent. `timing`: a span without content. `keys`: like
    content `keys`. `full`: like content `values`. `on_error`: content only where the run fails.
    """

    phase_spans: bool = False
    """Child spans for prep, exec and post. The durations are attributes in any case."""

    max_batch_items: int = 100
    """How many items of one batch get a span of their own; all are counted."""

    max_span_bytes: int = 6144
    """About how many bytes of attributes a span may carry, from 1024."""

    max_store_items: int = 10_000
    """How many items below the store's top level are watched for changes in place."""

    redact_keys: tuple[str, ...] = ()
    """Further names of keys whose values are never shown."""

    redact_patterns: tuple[str, ...] = ()
    """Further regular expressions; what they match is never shown."""

    flow_names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Names for flows that are plain `Flow` objects, by the class name of their start node."""

    module: tuple[str, ...] = ("pocketflow",)
    """Import names of the framework, for programs that copied its file."""

    openinference: bool = True
    """Emit `openinference.span.kind`, by which Phoenix and Langfuse tell what a span is."""

    resource: bool = True
    """Add git, process, OS and user to the resource of the provider in use."""

    currency: str = "USD"
    """What costs are in, as three letters.

    In another than USD, prices only come from `price` and `record_usage`.
    """

    price: Price | None = None
    """A function that prices a `ModelCall`, asked before genai-prices (the extra `cost`)."""

    usage_recognisers: tuple[Recogniser, ...] = ()
    """Functions from a value that `exec` returned or `post` wrote to a `ModelCall`, or to None.

    Those of the entry point group `opentelemetry_pocketflow_usage` are added.
    """

    baggage: bool = False
    """Take conversation, session and user from the W3C baggage that another process sent.

    It does so with `conversation(..., baggage=True)`; but whoever sends requests can.
    """

    self_report: bool = False
    """Tell on the outermost span how long this instrumentation itself took.

    It is `pocketflow.instrumentation.duration`; to measure it costs a little more.
    """

    strict: bool = False
    """For development: wrong values given to `record_usage` and `conversation` raise.

    Otherwise they are logged once and left out.
    """

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            object.__setattr__(self, option.name, _CHECKS[option.name](option.name, value))

    @classmethod
    def from_env(cls, **options: Any) -> Config:
        """The environment's options, and over them the given ones.

        A wrong value in the environment is logged, and the default stands.

        Raises:
            TypeError: an option does not exist, or has a value of the wrong type.
            ValueError: an option has a value that is not allowed.
        """
        known = [option.name for option in fields(cls)]
        for name in options:
            if name not in known:
                raise TypeError(f"unknown option {name!r}; the options are {', '.join(known)}")
        return cls(**{**_environment(), **options})

    def level_of(self, name: str) -> Level | None:
        """The trace level of a class by its name; None where no pattern matches."""
        for pattern, level in self.levels.items():
            if fnmatch.fnmatchcase(name, pattern):
                return level
        return None


def _choice(option: str, value: object, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{option}={value!r}: must be one of {', '.join(allowed)}")
    return value


def _content(option: str, value: object) -> str:
    return _choice(option, value, get_args(Content))


def _boolean(option: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{option}={value!r}: must be True or False")
    return value


def _at_least(minimum: int) -> Callable[[str, object], int]:
    def check(option: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{option}={value!r}: must be a whole number from {minimum}")
        if value < minimum:
            raise ValueError(f"{option}={value!r}: must be a whole number from {minimum}")
        return value

    return check


def _strings(option: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise TypeError(f"{option}={value!r}: must be a string or a sequence of strings")
    items = tuple(cast("list[object]", value))
    for item in items:
        if not isinstance(item, str) or not item:
            raise TypeError(f"{option}={value!r}: {item!r} is not a string with something in it")
    return cast("tuple[str, ...]", items)


def _keys(option: str, value: object) -> tuple[str, ...]:
    keys = _strings(option, value)
    for key in keys:
        if "," in key:
            raise ValueError(f"{option}={key!r}: must be one key; several are given as a list")
    return keys


def _patterns(option: str, value: object) -> tuple[str, ...]:
    patterns = _strings(option, value)
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as exc:
            raise ValueError(f"{option}={pattern!r}: not a regular expression: {exc}") from None
    return patterns


def _modules(option: str, value: object) -> tuple[str, ...]:
    modules = _strings(option, value)
    if not modules:
        raise ValueError(f"{option}={value!r}: must name at least one module")
    for module in modules:
        if not all(part.isidentifier() for part in module.split(".")):
            raise ValueError(f"{option}={module!r}: must be an import name such as 'pocketflow'")
    return modules


def _mapping(option: str, value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{option}={value!r}: must be a mapping from a name to a value")
    pairs = dict(cast("Mapping[object, object]", value))
    for key in pairs:
        if not isinstance(key, str) or not key:
            raise TypeError(f"{option}={value!r}: {key!r} is not a class name")
    return cast("dict[str, object]", pairs)


def _levels(option: str, value: object) -> Mapping[str, str]:
    pairs = _mapping(option, value)
    checked = {
        pattern: _choice(f"{option}[{pattern!r}]", level, get_args(Level))
        for pattern, level in pairs.items()
    }
    return MappingProxyType(checked)


def _flow_names(option: str, value: object) -> Mapping[str, str]:
    pairs = _mapping(option, value)
    for name in pairs.values():
        if not isinstance(name, str) or not name:
            raise TypeError(f"{option}={value!r}: {name!r} is not a name for a flow")
    return MappingProxyType(cast("dict[str, str]", pairs))


def _currency(option: str, value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch("[A-Za-z]{3}", value):
        raise ValueError(f"{option}={value!r}: must be the three letters of a currency, as in USD")
    return value.upper()


def _function(option: str, value: object) -> object:
    if value is not None and not callable(value):
        raise TypeError(f"{option}={value!r}: must be a function, or None")
    return value


def _functions(option: str, value: object) -> tuple[object, ...]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{option}={value!r}: must be a sequence of functions")
    functions = tuple(cast("list[object]", value))
    for function in functions:
        if not callable(function):
            raise TypeError(f"{option}={value!r}: {function!r} is not a function")
    return functions


_CHECKS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "content": _content,
    "levels": _levels,
    "phase_spans": _boolean,
    "max_batch_items": _at_least(0),
    "max_span_bytes": _at_least(_MIN_SPAN_BYTES),
    "max_store_items": _at_least(0),
    "redact_keys": _keys,
    "redact_patterns": _patterns,
    "flow_names": _flow_names,
    "module": _modules,
    "openinference": _boolean,
    "resource": _boolean,
    "currency": _currency,
    "price": _function,
    "usage_recognisers": _functions,
    "baggage": _boolean,
    "self_report": _boolean,
    "strict": _boolean,
}


def _parse_boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in {"true", "1", "on", "yes"}:
        return True
    if lowered in {"false", "0", "off", "no"}:
        return False
    raise ValueError("must be true or false")


def _parse_integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("must be a whole number") from None


def _parse_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parse_patterns(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _parse_pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in _parse_list(text):
        name, separator, value = part.partition("=")
        if not separator:
            raise ValueError(f"{part!r} is not of the form name=value")
        pairs[name.strip()] = value.strip()
    return pairs


_ENVIRONMENT: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "content": (env.OTEL_PYTHON_POCKETFLOW_CONTENT, str),
    "levels": (env.OTEL_PYTHON_POCKETFLOW_LEVELS, _parse_pairs),
    "phase_spans": (env.OTEL_PYTHON_POCKETFLOW_PHASE_SPANS, _parse_boolean),
    "max_batch_items": (env.OTEL_PYTHON_POCKETFLOW_MAX_BATCH_ITEMS, _parse_integer),
    "max_span_bytes": (env.OTEL_PYTHON_POCKETFLOW_MAX_SPAN_BYTES, _parse_integer),
    "max_store_items": (env.OTEL_PYTHON_POCKETFLOW_MAX_STORE_ITEMS, _parse_integer),
    "redact_keys": (env.OTEL_PYTHON_POCKETFLOW_REDACT_KEYS, _parse_list),
    "redact_patterns": (env.OTEL_PYTHON_POCKETFLOW_REDACT_PATTERNS, _parse_patterns),
    "flow_names": (env.OTEL_PYTHON_POCKETFLOW_FLOW_NAMES, _parse_pairs),
    "module": (env.OTEL_PYTHON_POCKETFLOW_MODULE, _parse_list),
    "openinference": (env.OTEL_PYTHON_POCKETFLOW_OPENINFERENCE, _parse_boolean),
    "resource": (env.OTEL_PYTHON_POCKETFLOW_RESOURCE, _parse_boolean),
    "currency": (env.OTEL_PYTHON_POCKETFLOW_CURRENCY, str),
    "baggage": (env.OTEL_PYTHON_POCKETFLOW_BAGGAGE, _parse_boolean),
    "self_report": (env.OTEL_PYTHON_POCKETFLOW_SELF_REPORT, _parse_boolean),
    "strict": (env.OTEL_PYTHON_POCKETFLOW_STRICT, _parse_boolean),
}


VARIABLES: Final[Mapping[str, str]] = {
    option: variable for option, (variable, _) in _ENVIRONMENT.items()
}
"""The environment variable of each option that is no function."""


def _environment() -> dict[str, Any]:
    """The options that the environment sets rightly."""
    options: dict[str, Any] = {}
    standard = os.environ.get(env.OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT, "")
    if standard.strip().lower() in _NO_SPAN_CONTENT:
        options["content"] = "keys"
    for option, (variable, parse) in _ENVIRONMENT.items():
        text = os.environ.get(variable, "").strip()
        if not text:
            continue
        try:
            options[option] = _CHECKS[option](option, parse(text))
        except (TypeError, ValueError) as exc:
            _logger.warning("Ignoring %s=%r, the default is used: %s", variable, text, exc)
    return options
