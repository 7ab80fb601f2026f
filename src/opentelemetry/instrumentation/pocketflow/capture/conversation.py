"""Whose run it is: conversation, session, user, tags and metadata for all spans of a block.

They travel in OpenTelemetry's context: into tasks, and into threads that are given a copy of it.
On request the ids also travel as W3C baggage to other processes. What is given is checked here,
and made into attributes where a span starts, by the redactor of the instrumentation that starts it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry import baggage as baggage_api
from opentelemetry import context as context_api
from opentelemetry.instrumentation.pocketflow import guard, semconv
from opentelemetry.instrumentation.pocketflow.capture import calls, reading, redact
from opentelemetry.instrumentation.pocketflow.capture.preview import (
    dumps,
    preview,
    shortened,
    shown,
)
from opentelemetry.instrumentation.pocketflow.capture.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager
    from contextvars import Token

    from opentelemetry.context import Context

    from opentelemetry.instrumentation.pocketflow.capture.redact import Redactor
    from opentelemetry.instrumentation.pocketflow.emit.spans import Attributes

_MAX_ID_CHARS: Final = 128
_MAX_TAGS: Final = 10
_MAX_TAG_CHARS: Final = 60
_MAX_METADATA_BYTES: Final = 600
_MAX_ENTRIES: Final = 10_000
"""Of metadata in a mapping of the program's own: it may have no end."""
_MAX_INT_BITS: Final = 256
"""Of a number that is an id: writing larger ones is slow, and the interpreter may refuse to."""

_KEY: Final = context_api.create_key("pocketflow-conversation")
_LISTS: Final = frozenset({Kind.LIST, Kind.TUPLE, Kind.SET, Kind.DEQUE})
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})

_ID_RULE: Final = "must be a string with something in it, an int or a UUID"
_TAGS_RULE: Final = "must be a string or a list of strings with something in them"
_METADATA_RULE: Final = "must be a mapping with strings as keys"


@dataclass(frozen=True, eq=False)
class Conversation:
    """What applies inside a `conversation` block: its own values, and those of blocks around it.

    Compared by identity, since metadata holds values of the program.
    """

    id: str | None = None
    """Of the conversation."""
    user: str | None = None
    """Id of the user."""
    session: str | None = None
    """Id of the session, where it is another than the conversation's."""
    tags: tuple[str, ...] = ()
    """Without repetitions, in the order they were given, outer blocks first."""
    metadata: Mapping[str, object] = field(default_factory=lambda: _NOTHING, repr=False)
    """Values are the program's own objects."""
    baggage: bool = False
    """Do the ids go to other processes?"""

    _rendered: tuple[Redactor, Attributes] | None = field(default=None, init=False, repr=False)
    """The attributes, and for whom they were made."""

    def __bool__(self) -> bool:
        return any((self.id, self.user, self.session, self.tags, self.metadata))

    @property
    def ids(self) -> dict[str, str]:
        """The ids that are known, by the name of their attribute, as they were given."""
        ids = {
            semconv.GEN_AI_CONVERSATION_ID: self.id,
            semconv.SESSION_ID: self.session or self.id,
            semconv.USER_ID: self.user,
        }
        return {name: value for name, value in ids.items() if value}

    def inside(self, outer: Conversation | None) -> Conversation:
        """What applies where this one stands inside another: its own values win."""
        if outer is None:
            return self
        return Conversation(
            id=self.id or outer.id,
            user=self.user or outer.user,
            session=self.session or outer.session,
            tags=tuple(dict.fromkeys((*outer.tags, *self.tags))),
            metadata=MappingProxyType({**outer.metadata, **self.metadata}),
            # Once ids are sent, inner ones are as well: others must not be told outdated ones.
            baggage=self.baggage or outer.baggage,
        )

    def attributes(self, redactor: Redactor) -> Attributes:
        """What spans carry: bounded, redacted, and a dict of the caller's own.

        Metadata is read when this is first asked for.
        """
        rendered = self._rendered
        if rendered is None or rendered[0] is not redactor:
            rendered = (redactor, self._render(redactor))
            object.__setattr__(self, "_rendered", rendered)
        return rendered[1].copy()

    def _render(self, redactor: Redactor) -> Attributes:
        attributes: Attributes = {
            name: shortened(value, _MAX_ID_CHARS, redactor) for name, value in self.ids.items()
        }
        if self.tags:
            attributes[semconv.TAG_TAGS] = _render_tags(self.tags, redactor)
        if self.metadata:
            shown = preview(dict(self.metadata), redactor, _MAX_METADATA_BYTES)
            attributes[semconv.METADATA] = dumps(shown)
        return attributes


@guard.public(cast("Callable[[], AbstractContextManager[Conversation | None]]", nullcontext))
def conversation(
    conversation_id: str | int | uuid.UUID | None = None,
    *,
    user: str | int | uuid.UUID | None = None,
    session: str | int | uuid.UUID | None = None,
    tags: Collection[str] | None = None,
    metadata: Mapping[str, object] | None = None,
    baggage: bool = False,
) -> AbstractContextManager[Conversation | None]:
    """Tells all spans of a block which conversation, session and user they belong to.

    For example::

        with conversation("c-42", user="u-7", tags=["beta"], metadata={"plan": "pro"}):
            flow.run(shared)

    It works the same in async code. What is not given is inherited from the block around it;
    tags are added to those of that block, metadata as well, key by key. Each call makes one block:
    the object that it returns can be entered once, by `with` or by hand.

    A wrong value is logged once and left out, and the block runs without it.

    Args:
        conversation_id: at most 128 characters are shown, as of the other ids.
        user: id of the user.
        session: id of the session, where it is another than the conversation's.
        tags: at most 10 of 60 characters are shown.
        metadata: anything by name; at most 600 bytes of JSON are shown.
        baggage: send the ids, and nothing else, as W3C baggage with every request that an
            instrumented client makes, to whomever it talks to. Inner blocks then do so too.

    Returns:
        A context manager; `as` gives what applies inside it, None where that is nothing.

    Raises:
        TypeError: a value is wrong, with the instrumentor's strict setting.
    """
    given = Conversation(
        id=_read_id("conversation_id", conversation_id),
        user=_read_id("user", user),
        session=_read_id("session", session),
        tags=_read_tags(tags),
        metadata=_read_metadata(metadata),
        baggage=_read_flag("baggage", baggage),
    )
    return _Block(given)


def current_conversation(context: Context | None = None) -> Conversation | None:
    """What the `conversation` blocks around the caller say.

    Args:
        context: where to look; the current context if None.
    """
    if context is None:
        context = context_api.get_current()
    found: Any = context.get(_KEY)
    return found


def with_received(context: Context) -> Context:
    """A context in which what another process sent applies, where nothing nearer says otherwise."""
    received = conversation_from_baggage(context)
    if received is None:
        return context
    own = current_conversation(context)
    merged = received if own is None else own.inside(received)
    return context_api.set_value(_KEY, merged, context)


def conversation_from_baggage(context: Context | None = None) -> Conversation | None:
    """What another process sent with `baggage=True`; None where there is nothing of it.

    Args:
        context: what a propagator extracted; the current context if None.
    """
    session = _received(semconv.SESSION_ID, context)
    conversation_id = _received(semconv.GEN_AI_CONVERSATION_ID, context)
    received = Conversation(
        id=conversation_id,
        user=_received(semconv.USER_ID, context),
        # The sender's session may be its conversation's id, and is then no session of its own.
        session=session if session != conversation_id else None,
        baggage=True,
    )
    return received or None


class _Block:
    """One `with conversation(...)`.

    Args:
        given: the arguments.
    """

    __slots__ = ("_entered", "_given", "_token")

    def __init__(self, given: Conversation) -> None:
        self._given = given
        self._entered = False
        self._token: Token[Context] | None = None

    def __enter__(self) -> Conversation | None:
        """Begins the block.

        Raises:
            RuntimeError: it was begun before.
        """
        if self._entered:
            raise RuntimeError("a conversation block is entered once; call conversation() again")
        self._entered = True
        return self._begin()

    def __exit__(self, *exc_info: object) -> None:
        """Ends the block: the context is the one before, unless this is another task or thread."""
        token, self._token = self._token, None
        calls.detach(token)

    @guard.guarded(cast("Conversation | None", None))
    def _begin(self) -> Conversation | None:
        around = current_conversation()
        if not (self._given or self._given.baggage):
            return around
        merged = self._given.inside(around)
        if merged:
            self._token = calls.attach(_context_with(merged))
        return current_conversation()


def _context_with(merged: Conversation) -> Context:
    context = context_api.set_value(_KEY, merged)
    if merged.baggage:
        for name, value in merged.ids.items():
            text = shortened(value, _MAX_ID_CHARS, redact.in_use)
            context = baggage_api.set_baggage(name, text, context)
    return context


def _received(name: str, context: Context | None) -> str | None:
    value = baggage_api.get_baggage(name, context)
    return shortened(value, _MAX_ID_CHARS, redact.in_use) if type(value) is str and value else None


# --- Rendering ------------------------------------------------------------------------------


def _render_tags(tags: tuple[str, ...], redactor: Redactor) -> tuple[str, ...]:
    keep = len(tags) if len(tags) <= _MAX_TAGS else _MAX_TAGS - 1
    shown = tuple(shortened(tag, _MAX_TAG_CHARS, redactor) for tag in tags[:keep])
    return shown if keep == len(tags) else (*shown, f"… ({len(tags) - keep} more)")


# --- Arguments ------------------------------------------------------------------------------


def _refuse(option: str, value: object, rule: str) -> None:
    place = f"conversation: {option}"
    guard.refuse(place, TypeError(f"{place}={shown(value)}: {rule}"))


def _read_id(option: str, value: object) -> str | None:
    if value is None:
        return None
    text = _text_of_id(value)
    if not text:
        _refuse(option, value, _ID_RULE)
    return text or None


def _text_of_id(value: Any) -> str | None:
    if reading.is_instance(value, str):
        return str.__str__(value)  # a subclass's own method is passed over
    if reading.is_instance(value, uuid.UUID):
        # Drivers of databases have subclasses of their own, which keep the number elsewhere.
        return str.__str__(guard.of_user(str, value, ""))
    if reading.is_instance(value, int) and type(value) is not bool:
        number = int.__int__(value)
        return str(number) if number.bit_length() <= _MAX_INT_BITS else None
    return None


def _read_tags(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if reading.is_instance(value, str):
        value = [value]
    items = guard.of_user(_items_of, value, None)
    if items is None:
        _refuse("tags", value, _TAGS_RULE)
        return ()
    return tuple(dict.fromkeys(_valid_tags(items)))


def _items_of(value: Any) -> list[Any] | None:
    kind = reading.kind_of(value)
    return reading.contents_of(value, kind)[1] if kind in _LISTS else None


def _valid_tags(items: list[Any]) -> Iterator[str]:
    for item in items:
        if reading.is_instance(item, str) and str.__len__(item):
            yield str.__str__(item)
        else:
            _refuse("tags", item, _TAGS_RULE)


def _read_metadata(value: Any) -> Mapping[str, object]:
    if value is None:
        return _NOTHING
    pairs = guard.of_user(_pairs_of, value, None)
    if pairs is None:
        _refuse("metadata", value, _METADATA_RULE)
        return _NOTHING
    return MappingProxyType(dict(_valid_pairs(pairs)))


def _pairs_of(value: Any) -> list[tuple[Any, Any]] | None:
    """The items of a mapping; None where it is none."""
    if reading.is_instance(value, dict):
        keys, items = reading.contents_of(value, Kind.DICT)
        return list(zip(keys or (), items, strict=True))
    if type(value) is not MappingProxyType and not reading.is_instance(value, Mapping):
        return None
    # A mapping of the program's own has to be asked by its own methods.
    mapping = cast("Mapping[Any, Any]", value)
    return [(key, mapping[key]) for key in islice(mapping, _MAX_ENTRIES)]


def _valid_pairs(pairs: list[tuple[Any, Any]]) -> Iterator[tuple[str, object]]:
    for key, item in pairs:
        if reading.is_instance(key, str):
            yield str.__str__(key), item
        else:
            _refuse("metadata", key, _METADATA_RULE)


def _read_flag(option: str, value: object) -> bool:
    if type(value) is not bool:
        _refuse(option, value, "must be True or False")
    return value is True
