"""What is the same for every run of a class: its name, its place in the code, how it is traced."""

from __future__ import annotations

import linecache
import os
import re
import sys
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.instrumentation.pocketflow.capture import reading, redact
from opentelemetry.instrumentation.pocketflow.capture.preview import cut_text, encodable
from opentelemetry.instrumentation.pocketflow.record import Location

if TYPE_CHECKING:
    from opentelemetry.instrumentation.pocketflow.config import Config, Content

_HOOKED_RUNS: Final = ("_run", "_run_async")
_HOOKED_ROUTES: Final = ("_orch", "_orch_async")
_MAX_NAME_CHARS: Final = 120
_MAX_PATH_CHARS: Final = 250
_FALLBACKS: Final = ("exec_fallback", "exec_fallback_async")
_STEP: Final = frozenset(
    {
        *("__bool__", "__copy__", "__del__", "__getattr__", "__getattribute__", "__getstate__"),
        *("__len__", "__new__", "__reduce__", "__reduce_ex__", "__setattr__", "__setstate__"),
        *("get_next_node", "params", "set_params", "successors"),
        *_HOOKED_RUNS,
        *_HOOKED_ROUTES,
    }
)
"""By which a class of the user may take part in a flow's step from one node to the next: a flow
copies each node, sets its params, and asks what follows."""
_STEP_OF_OBJECT: Final = _STEP - {"params", "successors"}
"""By which an object may do so, beyond what its class does."""


@dataclass(frozen=True)
class Framework:
    """One module of PocketFlow: the installed one, or a file that was copied into a program."""

    name: str
    classes: frozenset[type]
    """Its node and flow classes."""
    base_node: type
    flow: type
    batch_flow: type | None

    @classmethod
    def of_module(cls, module: types.ModuleType) -> Framework | None:
        """Recognises the framework by what it defines; None where the module is something else."""
        namespace = vars(module)
        base, flow = namespace.get("BaseNode"), namespace.get("Flow")
        if not isinstance(base, type) or not isinstance(flow, type):
            return None
        classes = frozenset(
            value
            for value in namespace.values()
            if type(value) is type and reading.is_subclass(value, base)
        )
        batch_flow = namespace.get("BatchFlow")
        return cls(
            module.__name__,
            classes,
            base,
            flow,
            batch_flow if isinstance(batch_flow, type) else None,
        )

    def owns(self, cls: type) -> bool:
        """Is it one of the framework's own classes? A metaclass is not asked for a hash."""
        return any(own is cls for own in self.classes)

    def is_node(self, value: object) -> bool:
        """Is this an instance of a node or flow class?"""
        return reading.is_subclass(type(value), self.base_node)


@dataclass(frozen=True)
class ClassFacts:
    """Everything about a class that its runs need."""

    name: str
    base: str
    """The nearest class of the framework."""
    location: Location
    content: Content
    skipped: bool
    only_on_error: bool
    is_flow: bool
    is_batch_flow: bool
    is_plain: bool
    """Is it a class of the framework itself, such as `Flow`?"""
    own_run: bool
    """Does a user's `_run` or `_run_async` take the framework's place?"""
    own_orch: bool
    """Does a user's `_orch` or `_orch_async` take the framework's place?"""
    own_exec: bool
    """Does a user's `_exec` take the framework's place?"""
    own_step: bool
    """Does a user's class take part in a flow's step from one node to the next?"""
    own_fallback: bool
    """Does a user's class define what answers after the last attempt?"""


def facts_for(framework: Framework, config: Config) -> reading.PerClass[ClassFacts]:
    """A cache of the facts of each class that runs."""
    return reading.PerClass(lambda cls: _read(cls, framework, config))


def _read(cls: type, framework: Framework, config: Config) -> ClassFacts:
    name = reading.class_name(cls)
    level = config.level_of(name)
    namespaces = reading.namespaces(cls)
    base = next((c for c, _ in namespaces if framework.owns(c)), framework.base_node)

    def own(*names: str) -> bool:
        return any(_is_own(namespaces, framework, name) for name in names)

    content = config.content
    if level == "timing":
        content = "off"
    elif level == "keys" and content == "values":
        content = "keys"
    elif level == "full":
        content = "values"
    batch = framework.batch_flow
    return ClassFacts(
        name=cut_text(redact.in_use.text(name), _MAX_NAME_CHARS),
        base=reading.class_name(base),
        location=_bounded(locate(cls)),
        content=content,
        skipped=level == "skip",
        only_on_error=level == "on_error",
        is_flow=reading.is_subclass(cls, framework.flow),
        is_batch_flow=batch is not None and reading.is_subclass(cls, batch),
        is_plain=framework.owns(cls),
        own_run=own(*_HOOKED_RUNS),
        own_orch=own(*_HOOKED_ROUTES),
        own_exec=own("_exec"),
        own_step=_takes_part(namespaces, framework),
        own_fallback=own(*_FALLBACKS),
    )


def _bounded(location: Location) -> Location:
    """The end of a path tells more than its beginning."""
    file = None if location.file is None else encodable(location.file)
    if file is not None and len(file) > _MAX_PATH_CHARS:
        file = f"…{file[1 - _MAX_PATH_CHARS :]}"
    function = redact.in_use.text(location.function)
    return Location(cut_text(function, _MAX_PATH_CHARS), file, location.line)


def _is_own(namespaces: list[tuple[type, dict[str, Any]]], framework: Framework, name: str) -> bool:
    """Does a class of the user come first in defining a method?"""
    owner = next((cls for cls, namespace in namespaces if name in namespace), None)
    return owner is not None and not framework.owns(owner)


def _takes_part(namespaces: list[tuple[type, dict[str, Any]]], framework: Framework) -> bool:
    """Does a class of the user define anything that a flow calls between two nodes?"""
    return any(
        not _STEP.isdisjoint(namespace)
        for cls, namespace in namespaces
        if cls is not object and not framework.owns(cls)
    )


def locate(cls: type) -> Location:
    """Where a class is defined; file and line are None where that can't be told."""
    name = reading.qualified_name(cls)
    namespace = dict(reading.namespaces(cls)[0][1])
    methods = [value for value in namespace.values() if _is_method_of(value, cls)]
    if methods:
        first = min(methods, key=lambda method: method.__code__.co_firstlineno).__code__
        line = _line_of_class(cls, first.co_filename, first.co_firstlineno)
        return Location(name, first.co_filename, line or first.co_firstlineno)
    # A class without methods of its own, as flows often are: its module's file is searched.
    file = _file_of_module(namespace.get("__module__"))
    if file is None:
        return Location(name, None, None)
    file = os.path.abspath(file)  # noqa: PTH100 - a name as text, not a path to walk
    return Location(name, file, _line_of_class(cls, file, None))


def _file_of_module(name: object) -> str | None:
    """The file of a module that is loaded; one that loads itself when it is used is let lie."""
    module = sys.modules.get(name) if type(name) is str else None
    own = reading.instance_dict(module) if reading.is_instance(module, types.ModuleType) else None
    file = (own or {}).get("__file__")
    return file if type(file) is str else None


def _is_method_of(value: object, cls: type) -> bool:
    """Was it written in the body of the class, rather than put there by a decorator?"""
    if type(value) is not types.FunctionType:
        return False
    module, name = value.__module__, value.__qualname__
    if type(module) is not str or type(name) is not str:
        return False
    return f"{module}.{name}".startswith(f"{reading.qualified_name(cls)}.")


def _line_of_class(cls: type, file: str, first_line: int | None) -> int | None:
    """The `class` statement above the first method, or the last one of that name in the file."""
    statement = re.compile(rf"\s*class\s+{re.escape(reading.class_name(cls))}\b")
    lines = linecache.getlines(file)[:first_line]
    numbers = (n for n in range(len(lines), 0, -1) if statement.match(lines[n - 1]))
    return next(numbers, None)


def successors_of(node: object) -> dict[str, Any] | None:
    """A node's own successors, by action. A copy of the node shares the very same dict."""
    own = reading.instance_dict(node)
    successors = own.get("successors") if own is not None else None
    return cast("dict[str, Any]", successors) if type(successors) is dict else None


def params_of(node: object) -> dict[str, Any] | None:
    """A node's params, where it has any."""
    own = reading.instance_dict(node)
    params = own.get("params") if own is not None else None
    return cast("dict[str, Any]", params) if type(params) is dict else None


def hides_its_run(node: object, facts: ClassFacts) -> bool:
    """Does a `_run` of the user's class, or of the object itself, take the framework's place?"""
    if facts.own_run:
        return True
    own = reading.instance_dict(node)
    return own is not None and ("_run" in own or "_run_async" in own)


def has_own_step(node: object, facts: ClassFacts) -> bool:
    """Does code of the user run where a flow steps to that node, from it, or from node to node?"""
    own = reading.instance_dict(node)
    return facts.own_step or own is None or not _STEP_OF_OBJECT.isdisjoint(own)


def max_retries_of(own: dict[str, Any] | None) -> int | None:
    """`max_retries` in a node's own dict; None where it is not a plain number there."""
    allowed = own.get("max_retries") if own is not None else None
    return allowed if type(allowed) is int else None


def start_of(flow: object, framework: Framework) -> object | None:
    """A flow's start node. PocketFlow 0.0.1 calls it `start`."""
    own = reading.instance_dict(flow) or {}
    for name in ("start_node", "start"):
        node = own.get(name)
        if node is not None and framework.is_node(node):
            return node
    return None


def flow_name(flow: object, facts: ClassFacts, framework: Framework, config: Config) -> str:
    """The class of a flow; of a plain `Flow`, the user's name for it or that of its start node."""
    if not facts.is_plain:
        return facts.name
    start = start_of(flow, framework)
    if start is None:
        return "EmptyFlow"
    name = reading.class_name(type(start))
    if framework.owns(type(start)) and reading.is_subclass(type(start), framework.flow):
        inner = start_of(start, framework)
        name = reading.class_name(type(inner)) if inner is not None else name
    given = config.flow_names.get(name)
    return cut_text(given or f"{redact.in_use.text(name)}Flow", _MAX_NAME_CHARS)
