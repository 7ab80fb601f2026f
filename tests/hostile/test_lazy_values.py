"""Values that do something when they are looked at: query, connect, compute, or fail to."""

# The framework's classes are Any here, and the libraries come without types, or are not there.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingImports=false
# pyright: reportUntypedBaseClass=false, reportUnknownParameterType=false

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

import pytest
import wrapt

from support.everywhere import as_results, everywhere
from support.honest import assert_honest, shown_values
from support.tracing import compared, note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NO_ACTION = frozenset({"action"})
LEVELS = ("values", "keys", "off")


# --- Faithful stand-ins -------------------------------------------------------------------------


class QuerySet:
    """As in Django: whatever is asked of it runs the query, and keeps what came."""

    def __init__(self) -> None:
        self._result_cache: list[Any] | None = None

    def _fetch_all(self) -> list[Any]:
        note("queried")
        self._result_cache = self._result_cache or ["row"]
        return self._result_cache

    def __iter__(self) -> Iterator[Any]:
        return iter(self._fetch_all())

    def __len__(self) -> int:
        return len(self._fetch_all())

    def __bool__(self) -> bool:
        return bool(self._fetch_all())

    def __getitem__(self, index: Any) -> Any:
        return self._fetch_all()[index]

    def __repr__(self) -> str:
        return repr(self._fetch_all())

    def __eq__(self, other: object) -> bool:
        return self._fetch_all() == other

    __hash__ = None  # pyright: ignore[reportAssignmentType]


class Deferred:
    """A descriptor that loads a column of a row when it is read for the first time."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        note("loaded", self.name)
        if instance is None:
            return self
        return vars(instance).setdefault(self.name, "loaded")


class Row:
    """A row of a table, detached from its session: reading what is not loaded fails."""

    text = Deferred()
    author = Deferred()

    def __getattr__(self, name: str) -> Any:
        note("asked for", name)
        raise RuntimeError("the row is not bound to a session")


class LocalProxy:
    """As in Werkzeug: stands for an object of the context, and fails where there is none."""

    __slots__ = ("_local",)

    def __init__(self, local: Any) -> None:
        object.__setattr__(self, "_local", local)

    def _current(self) -> Any:
        note("asked for the current object")
        return object.__getattribute__(self, "_local").get()

    def __getattribute__(self, name: str) -> Any:
        if name == "_current":
            return object.__getattribute__(self, name)
        return getattr(self._current(), name)

    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self._current())

    @property
    def __dict__(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return vars(self._current())

    def __repr__(self) -> str:
        return repr(self._current())

    def __bool__(self) -> bool:
        return bool(self._current())

    def __iter__(self) -> Any:
        return iter(self._current())


def _made() -> Any:
    note("made what it stands for")
    return {"a": 1}


UNBOUND: contextvars.ContextVar[Any] = contextvars.ContextVar("unbound")
STAND_INS: dict[str, Callable[[], Any]] = {
    "query set": QuerySet,
    "row": Row,
    "unbound proxy": lambda: LocalProxy(UNBOUND),
    "lazy proxy": lambda: wrapt.LazyObjectProxy(_made),
}


@pytest.mark.parametrize("content", LEVELS)
@pytest.mark.parametrize("kind", STAND_INS)
def test_nothing_is_loaded(kind: str, content: str) -> None:
    """Not by being stored, handed on, compared, shown, or raised."""
    value = STAND_INS[kind]()
    trace = compared(everywhere(value, but=NO_ACTION), content=content)
    assert_honest(trace)
    said = {entry if isinstance(entry, str) else entry[0] for entry in trace.result.log}
    assert said <= {"in exec", "in post", "stored", "kept", "raised"}


@pytest.mark.parametrize("kind", STAND_INS)
def test_what_is_lazy_is_shown_as_its_type(kind: str) -> None:
    """And is marked as not looked into."""
    shown = shown_values(compared(as_results(STAND_INS[kind]())).nodes[1])
    assert [list(value) for value in shown.values()] == [["$opaque"], ["$opaque"]]


# --- The libraries themselves ---------------------------------------------------------------------


def _queried(*_: object) -> None:
    note("queried")


def test_relationships_of_sqlalchemy_are_not_loaded() -> None:
    """Every statement that the engine runs is counted."""
    sql: Any = pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    orm: Any = pytest.importorskip("sqlalchemy.orm", reason="SQLAlchemy is not installed")
    base: Any = orm.declarative_base()

    class Author(base):
        __tablename__ = "author"
        id = sql.Column(sql.Integer, primary_key=True)
        name = orm.deferred(sql.Column(sql.String))
        books = orm.relationship("Book")

    class Book(base):
        __tablename__ = "book"
        id = sql.Column(sql.Integer, primary_key=True)
        author_id = sql.Column(sql.ForeignKey("author.id"))

    engine = sql.create_engine("sqlite://")
    base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add(Author(id=1, name="A", books=[Book(id=2)]))
        session.commit()
    with orm.Session(engine) as session:
        author = session.get(Author, 1)
        query = session.query(Book)
        sql.event.listen(engine, "before_cursor_execute", _queried)
        for value in (author, query, sql.select(Author), Author.id == 1, session, engine):
            assert_honest(compared(everywhere(value, but=NO_ACTION)))
        session.expire(author)
        trace = compared(everywhere(author, but=NO_ACTION))
        assert "queried" not in trace.result.log
        session.expunge(author)  # from here, loading would fail
        assert_honest(compared(everywhere(author, but=NO_ACTION)))
    engine.dispose()


def test_query_sets_of_django_are_not_run() -> None:
    """No database is configured: running one would fail."""
    conf: Any = pytest.importorskip("django.conf", reason="Django is not installed")
    if not conf.settings.configured:
        conf.settings.configure(USE_I18N=True)
    models: Any = pytest.importorskip("django.db.models", reason="Django is not installed")
    functional: Any = pytest.importorskip("django.utils.functional", reason="Django is missing")
    values = [
        models.QuerySet(),
        models.Q(a=1),
        functional.SimpleLazyObject(_made),
        functional.lazystr("text"),
        functional.lazy(_made, dict)(),
        conf.settings,
    ]
    for value in values:
        trace = compared(everywhere(value, but=NO_ACTION))
        assert_honest(trace)
        assert "made what it stands for" not in trace.result.log


def test_local_proxies_of_werkzeug_are_not_resolved() -> None:
    """Outside of a request, asking one is an error."""
    local: Any = pytest.importorskip("werkzeug.local", reason="Werkzeug is not installed")
    for value in (local.LocalProxy(UNBOUND), local.LocalProxy(_made), local.LocalStack()()):
        trace = compared(everywhere(value, but=NO_ACTION))
        assert_honest(trace)
        assert "made what it stands for" not in trace.result.log
