"""Options: defaults, the environment, and clear errors for wrong values."""

from __future__ import annotations

import logging
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from opentelemetry.instrumentation.pocketflow import Config
from opentelemetry.instrumentation.pocketflow.config import VARIABLES


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No option comes from outside."""
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", raising=False)


def test_it_is_frozen() -> None:
    """An option can't be changed after it was checked."""
    with pytest.raises(FrozenInstanceError):
        Config().content = "off"  # pyright: ignore[reportAttributeAccessIssue] - the point


@pytest.mark.parametrize(
    ("option", "value", "error", "parts"),
    [
        ("content", "all", ValueError, ["content='all'", "off, keys, values"]),
        ("content", None, ValueError, ["content=None", "off, keys, values"]),
        ("levels", {"A*": "none"}, ValueError, ["levels['A*']='none'", "skip, timing"]),
        ("levels", "A=skip", TypeError, ["levels='A=skip'", "mapping"]),
        ("levels", {"": "skip"}, TypeError, ["levels=", "''", "class name"]),
        ("phase_spans", "yes", TypeError, ["phase_spans='yes'", "True or False"]),
        ("max_batch_items", -1, ValueError, ["max_batch_items=-1", "from 0"]),
        ("max_batch_items", True, TypeError, ["max_batch_items=True", "whole number"]),
        ("max_span_bytes", 100, ValueError, ["max_span_bytes=100", "from 1024"]),
        ("max_span_bytes", 6e3, TypeError, ["max_span_bytes=6000.0", "whole number"]),
        ("max_store_items", -5, ValueError, ["max_store_items=-5", "from 0"]),
        ("redact_keys", [1], TypeError, ["redact_keys=[1]", "1 is not a string"]),
        ("redact_keys", "iban,ssn", ValueError, ["redact_keys='iban,ssn'", "as a list"]),
        ("redact_keys", 7, TypeError, ["redact_keys=7", "sequence of strings"]),
        ("redact_patterns", "(", ValueError, ["redact_patterns='('", "regular expression"]),
        ("flow_names", {"A": 1}, TypeError, ["flow_names=", "1 is not a name"]),
        ("module", "not a module", ValueError, ["module='not a module'", "import name"]),
        ("module", [], ValueError, ["module=[]", "at least one"]),
        ("openinference", 1, TypeError, ["openinference=1", "True or False"]),
        ("resource", "no", TypeError, ["resource='no'", "True or False"]),
        ("currency", "Euro", ValueError, ["currency='Euro'", "three letters"]),
        ("currency", None, ValueError, ["currency=None", "three letters"]),
        ("price", 0.5, TypeError, ["price=0.5", "function"]),
        ("usage_recognisers", len, TypeError, ["usage_recognisers=", "sequence of functions"]),
        ("usage_recognisers", [3], TypeError, ["usage_recognisers=[3]", "3 is not a function"]),
        ("baggage", "on", TypeError, ["baggage='on'", "True or False"]),
        ("self_report", 0, TypeError, ["self_report=0", "True or False"]),
        ("strict", None, TypeError, ["strict=None", "True or False"]),
    ],
)
def test_a_wrong_value_is_named_when_it_is_given(
    option: str, value: Any, error: type[Exception], parts: list[str]
) -> None:
    """The error names the option, the value and what is allowed."""
    with pytest.raises(error) as caught:
        Config.from_env(**{option: value})
    for part in parts:
        assert part in str(caught.value)


def test_an_unknown_option_is_an_error_that_lists_the_options() -> None:
    """A misspelt option is not ignored."""
    with pytest.raises(TypeError, match="unknown option 'contents'; the options are content, "):
        Config.from_env(contents="off")


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("content", "keys", "keys"),
        ("levels", "Secret*=skip, Chat=on_error", {"Secret*": "skip", "Chat": "on_error"}),
        ("phase_spans", "TRUE", True),
        ("max_batch_items", "7", 7),
        ("max_span_bytes", "2048", 2048),
        ("max_store_items", "0", 0),
        ("redact_keys", "iban, ssn", ("iban", "ssn")),
        ("redact_patterns", r"\d{16} DE\d+", (r"\d{16}", r"DE\d+")),
        ("flow_names", "GetQuestion=qa-agent", {"GetQuestion": "qa-agent"}),
        ("module", "myapp.flow100,pocketflow", ("myapp.flow100", "pocketflow")),
        ("openinference", "off", False),
        ("resource", "false", False),
        ("currency", "eur", "EUR"),
        ("baggage", "true", True),
        ("self_report", "yes", True),
        ("strict", "1", True),
    ],
)
def test_every_option_can_be_set_in_the_environment(
    option: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the variable is what the option becomes."""
    monkeypatch.setenv(VARIABLES[option], text)
    assert getattr(Config.from_env(), option) == value


def test_every_option_has_a_case_above() -> None:
    """A new option can't be forgotten here; only functions have no variable."""
    functions = {"price", "usage_recognisers"}
    assert set(VARIABLES) == {field.name for field in fields(Config)} - functions


@pytest.mark.parametrize(
    ("option", "text", "part"),
    [
        ("content", "everything", "off, keys, values"),
        ("max_span_bytes", "12", "from 1024"),
        ("max_batch_items", "many", "whole number"),
        ("levels", "Chat", "name=value"),
        ("redact_patterns", "(", "regular expression"),
        ("phase_spans", "perhaps", "true or false"),
    ],
)
def test_a_wrong_value_in_the_environment_is_logged_and_the_default_stands(
    option: str,
    text: str,
    part: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A program that nobody changed must not fail for it."""
    monkeypatch.setenv(VARIABLES[option], text)
    with caplog.at_level(logging.WARNING):
        assert getattr(Config.from_env(), option) == getattr(Config(), option)
    [record] = caplog.records
    for expected in (VARIABLES[option], text, part):
        assert expected in record.getMessage()


def test_code_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program says itself counts more."""
    monkeypatch.setenv(VARIABLES["content"], "off")
    assert Config.from_env(content="keys").content == "keys"


@pytest.mark.parametrize("text", ["false", "NO_CONTENT", "EVENT_ONLY", "False"])
def test_the_standard_switch_for_content_is_honoured(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it says that spans carry no content, no value is shown."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", text)
    assert Config.from_env().content == "keys"
    monkeypatch.setenv(VARIABLES["content"], "values")
    assert Config.from_env().content == "values"


def test_the_first_level_that_matches_wins() -> None:
    """Patterns are asked in the order in which they are given."""
    config = Config(levels={"Chat": "full", "Ch*": "skip", "?hat2": "keys"})
    assert config.level_of("Chat") == "full"
    assert config.level_of("Chart") == "skip"
    assert config.level_of("Chat2") == "skip"
    assert config.level_of("chat") is None
