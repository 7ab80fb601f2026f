"""`conversation`: what applies inside its blocks, how it is shown, and how it reaches others.

The planted credential is put together at run time, so that secret scanners find none in this file.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import uuid
from collections import ChainMap, OrderedDict
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from opentelemetry import baggage as baggage_api
from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow import guard
from opentelemetry.instrumentation.pocketflow.capture.conversation import (
    Conversation,
    conversation,
    conversation_from_baggage,
    current_conversation,
)
from opentelemetry.instrumentation.pocketflow.capture.redact import REDACTED, Redactor
from support.hostile import ALARM, trap

if TYPE_CHECKING:
    from collections.abc import Generator

    from opentelemetry.context import Context

SECRET = "sk" + "-proj-" + "aB3dE5gH7jK9mN1pQ2sT4vW6xY8zA0cD"
REDACTOR = Redactor()


@pytest.fixture(autouse=True)
def fresh_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has been logged yet, and a fault of the tracer fails the test."""
    monkeypatch.setattr(guard, "_reported", set[str]())
    monkeypatch.setattr(guard, "reraise", True)


@pytest.fixture(autouse=True)
def same_context() -> Generator[None]:
    """Whatever a test does, it leaves the context as it was."""
    before = context_api.get_current()
    yield
    assert context_api.get_current() is before


def shown() -> Any:
    """The attributes that a span would start with here."""
    current = current_conversation()
    return {} if current is None else current.attributes(REDACTOR)


def test_everything_that_can_be_given() -> None:
    """Each argument becomes its attribute on a span of the SDK."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")

    with conversation("c-42", user="u-7", session="s-1", tags=["beta"], metadata={"plan": "pro"}):
        tracer.start_span("inside", attributes=shown()).end()
    tracer.start_span("after", attributes=shown()).end()

    inside, after = exporter.get_finished_spans()
    assert dict(inside.attributes or {}) == {
        "gen_ai.conversation.id": "c-42",
        "session.id": "s-1",
        "user.id": "u-7",
        "tag.tags": ("beta",),
        "metadata": '{"plan":"pro"}',
    }
    assert not after.attributes


def test_the_session_is_the_conversation_unless_given() -> None:
    """Backends that group by session find every conversation."""
    with conversation("c-1"):
        assert shown() == {"gen_ai.conversation.id": "c-1", "session.id": "c-1"}
        with conversation("c-2"):
            assert shown()["session.id"] == "c-2"
        with conversation(session="s-1"):
            assert shown() == {"gen_ai.conversation.id": "c-1", "session.id": "s-1"}
    with conversation(session="s-1"):
        assert shown() == {"session.id": "s-1"}


def test_inner_values_win_and_others_are_inherited() -> None:
    """Tags are united in order, metadata key by key."""
    with conversation("c-1", user="u-1", tags=["a", "b"], metadata={"plan": "pro", "x": 1}):
        with conversation("c-2", tags=["c", "a", "c"], metadata={"x": 2, "y": 3}) as inner:
            assert inner is current_conversation()
            assert shown() == {
                "gen_ai.conversation.id": "c-2",
                "session.id": "c-2",
                "user.id": "u-1",
                "tag.tags": ("a", "b", "c"),
                "metadata": '{"plan":"pro","x":2,"y":3}',
            }
        assert shown()["gen_ai.conversation.id"] == "c-1"
        assert shown()["tag.tags"] == ("a", "b")
        assert shown()["metadata"] == '{"plan":"pro","x":1}'


def test_nothing_given_changes_nothing() -> None:
    """Not even the context is another one."""
    before = context_api.get_current()
    with conversation() as nothing:
        assert nothing is None
        assert context_api.get_current() is before
    with conversation(tags=[], metadata={}, baggage=True) as nothing:
        assert nothing is None
        assert context_api.get_current() is before
    with conversation("c") as outer, conversation() as inner:
        assert inner is outer


def test_the_context_is_restored_after_an_exception() -> None:
    """The exception itself goes on as it is."""
    before = context_api.get_current()
    error = KeyError("theirs")
    with pytest.raises(KeyError) as caught, conversation("c"):
        raise error
    assert caught.value is error
    assert error.__context__ is None
    assert context_api.get_current() is before


def test_by_hand() -> None:
    """Callbacks enter and leave a block without `with`; leaving it again does nothing."""
    block = conversation("c")
    block.__enter__()
    assert shown()["gen_ai.conversation.id"] == "c"
    block.__exit__(None, None, None)
    assert current_conversation() is None
    block.__exit__(None, None, None)
    assert current_conversation() is None


def test_a_block_is_entered_once() -> None:
    """A second time is an error that says what to do; the first is not disturbed."""
    block = conversation("c")
    with block:
        with pytest.raises(RuntimeError, match=r"call conversation\(\) again"):
            block.__enter__()
        assert shown()["gen_ai.conversation.id"] == "c"
    with pytest.raises(RuntimeError):
        block.__enter__()


def test_tasks_side_by_side_see_their_own() -> None:
    """A task inherits what was current where it was made, and keeps its own to itself."""

    async def turn(number: int, barrier: asyncio.Event, entered: list[int]) -> dict[str, Any]:
        with conversation(f"c-{number}"):
            entered.append(number)
            if len(entered) == 3:
                barrier.set()
            await barrier.wait()
            return await asyncio.create_task(report())

    async def report() -> dict[str, Any]:
        return shown()

    async def main() -> list[dict[str, Any]]:
        barrier, entered = asyncio.Event(), list[int]()
        with conversation(user="u"):
            seen = await asyncio.gather(*(turn(n, barrier, entered) for n in range(3)))
            assert shown() == {"user.id": "u"}
        return seen

    seen = asyncio.run(main())
    assert [one["gen_ai.conversation.id"] for one in seen] == ["c-0", "c-1", "c-2"]
    assert [one["user.id"] for one in seen] == ["u", "u", "u"]


def test_threads_see_what_they_are_given() -> None:
    """A thread with a copied context is inside the block, one without is not."""
    seen: dict[str, dict[str, Any]] = {}

    def work(name: str) -> None:
        seen[name] = shown()
        with conversation(name):
            seen[f"{name} inside"] = shown()

    with conversation("c", user="u"):
        copied = contextvars.copy_context()
        threads = [
            threading.Thread(target=copied.run, args=(work, "copied")),
            threading.Thread(target=contextvars.Context().run, args=(work, "bare")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert shown()["gen_ai.conversation.id"] == "c"

    assert seen["copied"]["gen_ai.conversation.id"] == "c"
    assert seen["copied inside"]["gen_ai.conversation.id"] == "copied"
    assert seen["copied inside"]["user.id"] == "u"
    assert seen["bare"] == {}
    assert "user.id" not in seen["bare inside"]


def test_a_generator_closed_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is raised or logged, and what is current where it is closed stays."""

    def stream() -> Generator[int]:
        with conversation("stream"):
            yield 1

    running = stream()
    contextvars.copy_context().run(next, running)
    with conversation("elsewhere"):
        running.close()
        assert shown()["gen_ai.conversation.id"] == "elsewhere"
    assert caplog.messages == []


def test_ids_that_are_numbers_or_uuids() -> None:
    """Keys of databases become text, also those of a driver's own class."""

    class DriversUuid(uuid.UUID):
        def __str__(self) -> str:
            return "of the driver"

    class Name(str, Enum):
        BOB = "bob"

    number = uuid.UUID(int=7)
    with conversation(number, user=42, session=Name.BOB):
        assert shown() == {
            "gen_ai.conversation.id": "00000000-0000-0000-0000-000000000007",
            "session.id": "bob",
            "user.id": "42",
        }
        assert type(shown()["session.id"]) is str
    with conversation(DriversUuid(int=7)):
        assert shown()["gen_ai.conversation.id"] == "of the driver"


@pytest.mark.parametrize(
    "tags", ["beta", ("beta",), {"beta"}, ["beta", "beta"]], ids=["str", "tuple", "set", "twice"]
)
def test_forms_of_tags(tags: Any) -> None:
    """One string is one tag, not its letters."""
    with conversation(tags=tags):
        assert shown() == {"tag.tags": ("beta",)}


@pytest.mark.parametrize(
    "metadata",
    [{"a": 1}, OrderedDict({"a": 1}), MappingProxyType({"a": 1}), ChainMap({"a": 1})],
    ids=["dict", "OrderedDict", "MappingProxyType", "ChainMap"],
)
def test_forms_of_metadata(metadata: Any) -> None:
    """Any mapping will do."""
    with conversation(metadata=metadata):
        assert shown() == {"metadata": '{"a":1}'}


def test_arguments_are_copied() -> None:
    """What is put into them later is not seen."""
    tags, metadata = ["a"], {"a": 1}
    with conversation(tags=tags, metadata=metadata):
        tags.append("b")
        metadata["b"] = 2
        assert shown() == {"tag.tags": ("a",), "metadata": '{"a":1}'}


# --- Wrong values ---------------------------------------------------------------------------


class RaisingMapping(ChainMap[str, int]):
    """A mapping that cannot be read."""

    def __iter__(self) -> Any:
        raise ZeroDivisionError


class RaisingUuid(uuid.UUID):
    """An id that cannot be written."""

    def __str__(self) -> str:
        raise ZeroDivisionError


GOOD_TAG: dict[str, Any] = {"tag.tags": ("good",)}
GOOD_METADATA: dict[str, Any] = {"metadata": '{"good":1}'}
WRONG: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("conversation_id", True, "true", {}),
    ("conversation_id", "", '""', {}),
    ("conversation_id", 10**5000, '{"$cut":"int","bits":16610}', {}),
    ("user", 1.5, "1.5", {}),
    ("user", b"u", '{"$opaque":"bytes","length":1}', {}),
    ("user", {"api_key": SECRET}, '{"api_key":"[REDACTED]"}', {}),
    ("user", RaisingUuid(int=1), "RaisingUuid", {}),
    ("session", trap(object)(), "Trapobject", {}),
    ("tags", 7, "7", {}),
    ("tags", {"a": 1}, '{"a":1}', {}),
    ("tags", ["", "good"], '""', GOOD_TAG),
    ("tags", [trap(object)(), "good"], "Trapobject", GOOD_TAG),
    ("tags", trap(object)(), "Trapobject", {}),
    ("metadata", "plan=pro", '"plan=pro"', {}),
    ("metadata", [("plan", "pro")], '[["plan","pro"]]', {}),
    ("metadata", {7: "x", "good": 1}, "7", GOOD_METADATA),
    ("metadata", {(): "x", "good": 1}, "[]", GOOD_METADATA),
    ("metadata", trap(object)(), "Trapobject", {}),
    ("metadata", RaisingMapping(), "RaisingMapping", {}),
    ("baggage", "yes", '"yes"', {}),
    ("baggage", None, "null", {}),
]
"""Option, wrong value, what the message shows of it, and the attributes that are left."""

WRONG_IDS = [f"{option}-{number}" for number, (option, *_) in enumerate(WRONG)]


@pytest.mark.parametrize(("option", "value", "text", "left"), WRONG, ids=WRONG_IDS)
def test_wrong_values_are_logged_once_and_left_out(
    option: str, value: Any, text: str, left: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The block runs with what is right, and the log names option, value and rule."""
    given: dict[str, Any] = {option: value}
    with ALARM.armed():
        for _ in range(3):
            with conversation(**given):
                assert shown() == left

    assert ALARM.calls == []
    (message,) = caplog.messages
    assert message.startswith(f"conversation: {option}=")
    assert text in message
    assert "must be" in message
    assert SECRET not in message
    assert len(message) < 400


@pytest.mark.parametrize(("option", "value", "text", "left"), WRONG, ids=WRONG_IDS)
def test_wrong_values_raise_where_strict(
    option: str, value: Any, text: str, left: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call itself raises, before anything is entered."""
    monkeypatch.setattr(guard, "strict", True)
    given: dict[str, Any] = {option: value}
    with pytest.raises(TypeError, match=f"^conversation: {option}=.*must be") as caught:
        conversation(**given)
    assert text in str(caught.value)


def test_each_option_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """One kind of mistake does not hide another, and right values stay."""
    wrong: Any = 1.5
    with conversation("c", user=wrong, session=wrong, tags=wrong):
        assert shown() == {"gen_ai.conversation.id": "c", "session.id": "c"}
    assert [text.split("=")[0] for text in caplog.messages] == [
        "conversation: user",
        "conversation: session",
        "conversation: tags",
    ]


# --- Bounds and redaction -------------------------------------------------------------------


def test_secrets_are_not_shown() -> None:
    """Neither by their name nor by their shape, wherever they are given."""
    with conversation(
        SECRET,
        user=f"u {SECRET}",
        tags=[f"key {SECRET}"],
        metadata={"api_key": "hush", "note": f"use {SECRET}", "plan": "pro"},
    ):
        assert SECRET not in str(shown())
        assert shown()["user.id"] == f"u {REDACTED}"
        assert shown()["tag.tags"] == (f"key {REDACTED}",)
        assert json.loads(shown()["metadata"]) == {
            "api_key": REDACTED,
            "note": f"use {REDACTED}",
            "plan": "pro",
        }


def test_a_secret_across_the_cut_is_not_shown() -> None:
    """What would be cut in its middle is recognised before."""
    with conversation("x " * 120 + SECRET):
        text = shown()["gen_ai.conversation.id"]
    assert SECRET[:8] not in text
    assert len(text) <= 128


def test_the_users_own_redaction() -> None:
    """The redactor that asks decides; what it was given before does not matter."""
    own = Redactor(keys=["plan"], patterns=["u-[0-9]+"])
    with conversation(user="u-7", metadata={"plan": "pro"}) as current:
        assert current is not None
        for _ in range(2):
            assert current.attributes(REDACTOR) == {
                "user.id": "u-7",
                "metadata": '{"plan":"pro"}',
            }
            assert current.attributes(own) == {
                "user.id": REDACTED,
                "metadata": '{"plan":"[REDACTED]"}',
            }


def test_attributes_are_the_callers_own() -> None:
    """Every span gets a dict that it can add to; metadata is not read again for it."""
    values = [1]
    with conversation("c", metadata={"values": values}):
        first = shown()
        first["more"] = 1
        values.append(2)
        assert shown() == {
            "gen_ai.conversation.id": "c",
            "session.id": "c",
            "metadata": '{"values":[1]}',
        }


def test_sizes_are_bounded() -> None:
    """What is cut says so."""
    with conversation(
        "c" * 1000,
        user="ü" * 257,
        tags=[f"{number} {'t' * 200}" for number in range(25)],
        metadata={"text": "m" * 100_000, "plan": "pro"},
    ):
        attributes = shown()
    assert attributes["gen_ai.conversation.id"] == "c" * 127 + "…"
    assert attributes["user.id"] == "ü" * 127 + "…"
    assert len(attributes["tag.tags"]) == 10
    assert attributes["tag.tags"][0] == "0 " + "t" * 57 + "…"
    assert attributes["tag.tags"][-1] == "… (16 more)"
    assert len(attributes["metadata"].encode()) <= 600
    metadata = json.loads(attributes["metadata"])
    assert metadata["plan"] == "pro"
    assert metadata["text"]["$cut"] == "str"


def test_what_fits_is_not_cut() -> None:
    """The limits themselves are allowed."""
    tags = [f"{number:060}" for number in range(10)]
    with conversation("c" * 128, tags=tags):
        assert shown()["gen_ai.conversation.id"] == "c" * 128
        assert shown()["tag.tags"] == tuple(tags)


def test_no_code_of_the_program_runs() -> None:
    """Subclasses of builtins are read past their own methods, other objects shown as a class."""
    metadata = trap(dict)({trap(str)("object"): trap(object)()})
    tags = trap(list)([trap(str)("beta")])
    with (
        ALARM.armed(),
        conversation(trap(str)("c"), user=trap(int)(7), tags=tags, metadata=metadata) as current,
    ):
        assert shown() == {
            "gen_ai.conversation.id": "c",
            "session.id": "c",
            "user.id": "7",
            "tag.tags": ("beta",),
            "metadata": '{"object":{"$opaque":"types.Trapobject"}}',
        }
        assert "Trap" not in repr(current)
    assert ALARM.calls == []


# --- Baggage --------------------------------------------------------------------------------


def sent() -> dict[str, str]:
    """The headers that a client would send here."""
    carrier: dict[str, str] = {}
    W3CBaggagePropagator().inject(carrier)
    return carrier


def received(carrier: dict[str, str]) -> Conversation | None:
    """What another process makes of them."""
    return conversation_from_baggage(W3CBaggagePropagator().extract(carrier, context_api.Context()))


def test_baggage_is_opt_in() -> None:
    """Without it, or with something that is no clear yes, no header leaves the process."""
    unclear: Any = "yes"
    for baggage in (False, unclear):
        with conversation("c", user="u", session="s", baggage=baggage):
            assert sent() == {}


def test_ids_reach_another_process() -> None:
    """Ids do, tags and metadata do not, and what else is in the baggage stays."""
    outer = baggage_api.set_baggage("theirs", "1", context_api.Context())
    token = context_api.attach(outer)
    try:
        with conversation(
            "c 42;=,ü\ud800", user="u", tags=["t"], metadata={"plan": "pro"}, baggage=True
        ):
            assert set(baggage_api.get_all()) == {
                "theirs",
                "gen_ai.conversation.id",
                "session.id",
                "user.id",
            }
            here, carrier = shown(), sent()
        assert dict(baggage_api.get_all()) == {"theirs": "1"}
    finally:
        context_api.detach(token)

    there = received(carrier)
    assert there is not None
    del here["tag.tags"], here["metadata"]
    assert there.attributes(REDACTOR) == here
    assert (there.session, there.tags, dict(there.metadata)) == (None, (), {})


def test_inner_blocks_keep_the_baggage_up_to_date() -> None:
    """Other processes are never told an id that is no longer right."""
    with conversation("c-1", user="u", baggage=True):
        with conversation("c-2"):
            inner = received(sent())
        outer = received(sent())
    assert inner is not None
    assert outer is not None
    assert (inner.id, inner.user, outer.id) == ("c-2", "u", "c-1")
    assert inner.attributes(REDACTOR)["session.id"] == "c-2"


def test_an_inner_block_may_begin_to_send() -> None:
    """What it inherited is sent as well."""
    with conversation("c", session="s"):
        with conversation(baggage=True):
            there = received(sent())
        assert sent() == {}
    assert there is not None
    assert (there.id, there.session, there.user) == ("c", "s", None)


def test_what_is_sent_is_bounded_and_redacted() -> None:
    """A header is no way out for a credential, or for a megabyte."""
    with conversation("ü" * 1_000_000, user=SECRET, baggage=True):
        header, there = sent()["baggage"], received(sent())
    assert there is not None
    assert there.id == "ü" * 127 + "…"
    assert there.user == REDACTED
    assert len(header) < 8192
    assert SECRET not in header


@pytest.mark.parametrize(
    "entries",
    [{}, {"user.id": 7}, {"user.id": ""}, {"user.id": None, "session.id": ["s"]}, {"other": "x"}],
    ids=str,
)
def test_baggage_without_anything_of_ours(entries: dict[str, object]) -> None:
    """Only strings with something in them count."""
    context = context_api.Context()
    for name, value in entries.items():
        context = baggage_api.set_baggage(name, value, context)
    assert conversation_from_baggage(context) is None


def test_received_and_given_go_together() -> None:
    """A receiving process adds its own, which win; received text is bounded."""
    context = baggage_api.set_baggage("session.id", "s" * 5000, context_api.Context())
    context = baggage_api.set_baggage("user.id", "theirs", context)
    there = conversation_from_baggage(context)
    assert there is not None
    assert there.session is not None
    assert len(there.session) == 128
    with conversation("c", user="ours") as own:
        assert own is not None
        merged = own.inside(there)
    assert (merged.id, merged.user, merged.session) == ("c", "ours", there.session)


# --- Any nesting ----------------------------------------------------------------------------

ids = st.none() | st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1)
blocks = st.fixed_dictionaries(
    {
        "conversation_id": ids,
        "user": ids,
        "session": ids,
        "tags": st.none() | st.lists(st.sampled_from("abcdef")),
        "metadata": st.none() | st.dictionaries(st.sampled_from("xyz"), st.integers()),
        "baggage": st.booleans(),
    }
)


def innermost(around: list[dict[str, Any]], name: str) -> str | None:
    """The last value that was given."""
    values = [block[name] for block in around if block[name] is not None]
    return values[-1] if values else None


def check_nesting(around: list[dict[str, Any]], rest: list[dict[str, Any]]) -> None:
    """Enters the rest, one in another, and compares at every depth, inside and after."""
    current = current_conversation() or Conversation()
    assert current.id == innermost(around, "conversation_id")
    assert current.user == innermost(around, "user")
    assert current.session == innermost(around, "session")
    assert set(current.tags) == {tag for block in around for tag in block["tags"] or ()}
    assert len(set(current.tags)) == len(current.tags)
    metadata: dict[str, int] = {}
    for block in around:
        metadata |= block["metadata"] or {}
    assert dict(current.metadata) == metadata
    if not rest:
        return
    before: Context = context_api.get_current()
    with conversation(**rest[0]):
        check_nesting([*around, rest[0]], rest[1:])
    assert context_api.get_current() is before


@given(st.lists(blocks, max_size=5))
def test_any_nesting(nested: list[dict[str, Any]]) -> None:
    """The innermost value wins, and after each block the context is the very one before it."""
    check_nesting([], nested)


@given(st.text(), st.text(), st.lists(st.text()), st.dictionaries(st.text(), st.text(max_size=400)))
def test_any_text_is_shown_within_bounds(
    conversation_id: str, user: str, tags: list[str], metadata: dict[str, str]
) -> None:
    """Every attribute can be encoded and keeps to its size; what was sent is what arrives."""
    with conversation(conversation_id, user=user, tags=tags, metadata=metadata, baggage=True):
        attributes, carrier = shown(), sent()
    for name, value in attributes.items():
        for text in [value] if isinstance(value, str) else value:
            assert len(text.encode()) <= 1024, name
    if "metadata" in attributes:
        assert isinstance(json.loads(attributes["metadata"]), dict)
    there = received(carrier)
    if user.strip():
        assert there is not None
        assert there.user == attributes["user.id"].strip()
