"""At the levels `keys` and `off`, no value of the program comes out: names, types, sizes do."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUntypedBaseClass=false

from __future__ import annotations

import typing

import pytest

from opentelemetry.instrumentation.pocketflow import conversation, record_usage
from support.framework import Flow, Node
from support.places import Attrs, Data, Model, Say, Text, Write, fail_with, run_with_value
from support.planted import Planted, made, seen

if typing.TYPE_CHECKING:
    from conftest import Output

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def marker(name: str) -> Planted:
    """Return a word that stands nowhere else, for one place."""
    word = made(name, LETTERS, 16)
    return Planted(name, word, word)


VALUES = {
    name: marker(name)
    for name in (
        *("text", "list", "deep", "key's value", "dataclass", "attrs", "pydantic", "own text"),
        *(
            "bytes",
            "set",
            "exception",
            "message",
            "answer",
            "response id",
            "refused",
            "lost action",
        ),
    )
}
KEYS = {name: marker(name) for name in ("store key", "nested key")}
NAMES = {
    name: marker(name) for name in ("action", "conversation", "user", "tag", "metadata", "model")
}
VALUES["number"] = Planted("number", (digits := made("number", "0123456789", 18)), digits)


def value_of(name: str) -> str:
    """The word for a place."""
    return VALUES[name].text


class Answer(Node):
    """Returns what a provider answered."""

    def exec(self, prep_res: object) -> object:
        """Tell of one call more, and answer."""
        record_usage(provider="openai", model=NAMES["model"].text, input_tokens=3)
        wrong: typing.Any = [value_of("refused")]
        record_usage(provider=wrong, input_tokens=wrong)
        return {
            "id": value_of("response id"),
            "model": NAMES["model"].text,
            "choices": [{"message": {"role": "assistant", "content": value_of("answer")}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        }

    def post(self, shared: typing.Any, prep_res: object, exec_res: object) -> None:
        """Keep it."""
        shared[KEYS["store key"].text] = {KEYS["nested key"].text: exec_res}


def run_all() -> None:
    """Run flows with another word in every place."""
    values = [
        value_of("text"),
        [[value_of("list")]],
        {"a": {"b": {"c": value_of("deep")}}, "key": value_of("key's value")},
        Data(value_of("dataclass")),
        Attrs(value_of("attrs")),
        Model(note=value_of("pydantic")),
        Text(value_of("own text")),
        value_of("bytes").encode(),
        {value_of("set")},
        ValueError(value_of("exception")),
        int(value_of("number")),
    ]
    metadata = {"plan": NAMES["metadata"].text}
    user, tags = NAMES["user"].text, [NAMES["tag"].text]
    with conversation(NAMES["conversation"].text, user=user, tags=tags, metadata=metadata):
        run_with_value(values)
        for value in values:
            run_with_value(value)
        Flow(Answer()).run({})
        fail_with(value_of("message"))
    wrong: typing.Any = [value_of("refused")]
    conversation(user=wrong)
    Flow(Say()).run({"action": value_of("lost action")})
    say = Say()
    say.next(Write(), NAMES["action"].text)
    Flow(say).run({"action": NAMES["action"].text, "given": value_of("text")})


def found(planted: dict[str, Planted], output: Output) -> set[str]:
    """Return those of the words that came out anywhere."""
    return set(seen(planted.values(), b"\n".join(output.parts.values())))


@pytest.mark.parametrize("level", ["keys", "off"])
def test_no_value_comes_out(level: str, traced_output: typing.Any) -> None:
    """Not in spans, metrics, files or log lines; nor in what exceptions say."""
    with traced_output(content=level, max_span_bytes=100_000) as output:
        run_all()
    assert found(VALUES, output) == set()
    assert b"pocketflow.node.class" in output.parts["sent"]
    assert b"RuntimeError" in output.parts["sent"]
    assert b"left out of the trace" in output.parts["logged"]


@pytest.mark.parametrize("level", ["keys", "timing"])
def test_no_value_comes_out_at_the_level_of_a_class(level: str, traced_output: typing.Any) -> None:
    """`levels` does the same for the spans of some classes."""
    with traced_output(levels={"*": level}) as output:
        run_all()
    shown = set(seen(VALUES.values(), output.parts["sent"] + output.parts["kept"]))
    assert shown == set()


def test_every_place_is_seen_at_level_values(traced_output: typing.Any) -> None:
    """The words do get into the output where they may: what holds none of them is shown by type."""
    with traced_output(max_span_bytes=100_000) as output:
        run_all()
    assert set(VALUES) - found(VALUES, output) == {"bytes", "exception"}


def test_keys_come_out_at_level_keys(traced_output: typing.Any) -> None:
    """Keys of the store are what this level shows; below `off`, they are not read."""
    with traced_output(content="keys") as output:
        run_all()
    assert found(KEYS, output) == {"store key"}


def test_no_key_comes_out_at_level_off(traced_output: typing.Any) -> None:
    """Nothing of the store is shown."""
    with traced_output(content="off") as output:
        run_all()
    assert found(KEYS, output) == set()


@pytest.mark.parametrize("level", ["keys", "off"])
def test_what_a_program_tells_the_trace_comes_out(level: str, traced_output: typing.Any) -> None:
    """Routes, models, and what is given to `conversation` are names, and shown at all levels."""
    with traced_output(content=level) as output:
        run_all()
    assert found(NAMES, output) == set(NAMES)
