"""Puts a text wherever a value of a program can stand, and in each form that it may have there."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUntypedBaseClass=false, reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import json
import sys
import urllib.parse
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import attrs
import pydantic

from opentelemetry.instrumentation.pocketflow import conversation, record_usage
from support.framework import AsyncFlow, AsyncNode, BatchFlow, BatchNode, Flow, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORMS: Mapping[str, Callable[[str], str]] = {
    "plain": str,
    "in a sentence": "It said {} and went on.".format,
    "in quotes": "the key is '{}'".format,
    "in several lines": "line one\n  {}\nline three\n".format,
    "in a list": "a,{},b".format,
    "JSON": lambda text: json.dumps({"note": text}),
    "JSON in JSON": lambda text: json.dumps(json.dumps({"note": text})),
    "JSON in JSON in JSON": lambda text: json.dumps(json.dumps(json.dumps({"note": text}))),
    "repr": lambda text: repr({"note": text}),
    "in a URL": lambda text: f"https://h.example/?x={urllib.parse.quote(text, safe='')}&y=1",
    "in a URL in a URL": lambda text: "https://h.example/?x=" + _twice_in_a_url(text),
}
"""How a text may stand in another one."""

NAMED_FORMS: Mapping[str, str] = {
    "environment": "{name}={value}",
    "YAML": "{name}: {value}",
    "TOML": '{name} = "{value}"',
    "JSON": '{{"{name}": "{value}"}}',
    "JSON in JSON": r"{{\"{name}\": \"{value}\"}}",
    "JSON in JSON in JSON": r"{{\\\"{name}\\\": \\\"{value}\\\"}}",
    "repr": "{{'{name}': '{value}'}}",
    "keyword": "f({name}='{value}')",
    "wrapped": "{name}=SecretStr('{value}')",
    "flag": "--{name} {value}",
    "flag with =": "--{name}={value}",
    "query": "https://h.example/?{name}={value}&x=1",
    "query in a URL": "https://h.example/?q={name}%3D{value}%26x",
    "JSON in a URL": "https://h.example/?q=%7B%22{name}%22%3A%22{value}%22%7D",
    "tuple": "('{name}', '{value}')",
    "list": '["{name}", "{value}"]',
    "pair of bytes": "(b'{name}', b'{value}')",
    "record": '{{"name": "{name}", "value": "{value}"}}',
    "nested": '{{"{name}": {{"value": "{value}"}}}}',
    "list below": '{{"{name}": ["{value}"]}}',
    "XML": "<{name}>{value}</{name}>",
    "XML attributes": '<add key="{name}" value="{value}"/>',
    "sentence": "the {name} is {value}",
    "table": "| {name} | {value} |",
    "next line": "{name}:\n  {value}\n",
    "block of YAML": "{name}: |\n  {value}\n",
}
"""How a name and its value may stand in a text."""


def _twice_in_a_url(text: str) -> str:
    return urllib.parse.quote(urllib.parse.quote(text, safe=""), safe="")


# --- values ---------------------------------------------------------------------------------


@dataclass
class Data:
    """A dataclass."""

    note: str


@attrs.define
class Attrs:
    """A class of attrs."""

    note: str


class Model(pydantic.BaseModel):
    """A model of pydantic."""

    note: str


class Text(str):
    """A string of a class of the program's own."""

    __slots__ = ()


def values_with(text: str) -> list[Any]:
    """Return values that hold a text, each in another way."""
    return [
        text,
        Text(text),
        [text],
        (1, (2, [text])),
        {"note": text, "n": 1},
        {"a": {"b": {"c": [text]}}},
        {text: 1},
        {(text, 1): 2},
        {text},
        Data(text),
        Attrs(text),
        Model(note=text),
        text.encode(),
        bytearray(text.encode()),
        ValueError(text),
    ]


def named_values(name: str, value: str) -> list[Any]:
    """Return values that hold a value under a name, each in another way."""
    return [
        {name: value},
        {name: [value]},
        {name: {"value": value}},
        {"headers": [(name, value), ("Accept", "*/*")]},
        {"headers": [[name, value]]},
        {"env": [{"name": name, "value": value}, {"name": "HOME", "value": "/root"}]},
        {"Tags": [{"Key": name, "Value": value}]},
        (name, value),
        {(name.encode(), value.encode())},
        _model_with(name.replace("-", "_"), value),
    ]


def _model_with(name: str, value: str) -> Any:
    fields: dict[str, Any] = {name: (str, value)}
    return pydantic.create_model("Named", **fields)()


# --- programs -------------------------------------------------------------------------------


class Write(Node):
    """Puts what it is given into the store, and changes it there."""

    def prep(self, shared: Any) -> Any:
        """Return it."""
        return shared["given"]

    def exec(self, prep_res: Any) -> Any:
        """Return it once more."""
        return {"result": prep_res}

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        """Add it, put it in another's place, and take it away again."""
        shared["added"] = prep_res
        shared["list"] = [1]
        shared["list"].append(prep_res)
        shared["replaced"] = exec_res
        shared["replaced"] = "something else"
        shared.pop("added")


class Say(Node):
    """Returns what it is given as its action."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Return it."""
        return shared["action"]


class Fail(Node):
    """Fails twice with a text in its message; with another exception behind it."""

    def exec(self, prep_res: Any) -> None:
        """Raise."""
        text = self.params["text"]
        try:
            {}[text]
        except KeyError as cause:
            error: Any = RuntimeError(f"refused: {text}")
            if sys.version_info >= (3, 11):
                error.add_note(text)
            raise error from cause


class Items(BatchNode):
    """A batch of texts."""

    def prep(self, shared: Any) -> list[Any]:
        """Return the items."""
        return [shared["given"], "ordinary"]

    def exec(self, prep_res: Any) -> Any:
        """Warn, and return the item."""
        warnings.warn(f"odd item: {prep_res}", stacklevel=1)
        return prep_res


class Each(BatchFlow):
    """A flow that is run with params."""

    def prep(self, shared: Any) -> list[dict[str, Any]]:
        """Return the params."""
        return [{"note": shared["given"]}]


class Later(AsyncNode):
    """Fails in a task."""

    async def exec_async(self, prep_res: Any) -> None:
        """Raise what asyncio knows."""
        raise ValueError(self.params["text"])


def run_with(text: str) -> None:
    """Run flows that hold a text at every place where the program has a say."""
    metadata = {"note": text, text: 1}
    with conversation(text, user=text, session=text, tags=[text], metadata=metadata):
        run_with_value(text)
    wrong: Any = {"x": [text]}
    conversation(user=wrong, tags=wrong, metadata=wrong["x"])
    say = Say()
    say.next(Write(), text)
    Flow(say).run({"action": text, "given": text})
    Say().run({"action": text})
    _run_failing(Flow(_class_named(text)()), text)
    fail_with(text)


def fail_with(text: str) -> None:
    """Run flows that fail with a text in their message, at once and after another attempt."""
    _run_failing(Flow(Fail(max_retries=2)), text)
    flow = AsyncFlow(Later())
    flow.set_params({"text": text})
    _ignoring_errors(lambda: asyncio.run(flow.run_async({})))


def run_with_value(value: Any) -> None:
    """Run flows that hold a value in store, params, items, inputs and outputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write = Write()
        write.next(Items())
        Flow(write).run({"given": value})
        Each(Write()).run({"given": value})
    record_usage(provider=value, model=value)


def _run_failing(flow: Any, text: str) -> None:
    flow.set_params({"text": text})
    _ignoring_errors(lambda: flow.run({}))


def _ignoring_errors(run: Callable[[], Any]) -> None:
    try:
        run()
    except (RuntimeError, ValueError):
        return


def _class_named(text: str) -> Any:
    """A class whose name holds the text, as far as a name may."""
    return type(f"Node_{text}", (Fail,), {"__doc__": text})
