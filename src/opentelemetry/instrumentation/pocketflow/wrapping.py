"""A wrapped method that can be copied and pickled like a plain one.

wrapt's own wrappers refuse both, but programs do it: `executor.submit(flow.run, shared)` pickles a
bound method, and `copy.deepcopy` of a node may meet one among its attributes.
"""

from __future__ import annotations

import copy
from typing import Any

import wrapt

# In wrapt's stubs these are generic in types that a wrapper around any method does not have.
_Bound: Any = wrapt.BoundFunctionWrapper
_Unbound: Any = wrapt.FunctionWrapper


class _BoundMethod(_Bound):
    """A wrapped method of an instance, or as it is read from the class."""

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        owner, name = self._self_parent.place()
        instance = self._self_instance
        return getattr, (owner if instance is None else instance, name)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if self._self_instance is None:
            return self
        return getattr(copy.deepcopy(self._self_instance, memo), self._self_parent.place()[1])


class MethodWrapper(_Unbound):
    """Stands for a method in its class.

    Args:
        owner: the class that defines the method.
        name: its name there.
        wrapper: called in place of the method, as wrapt says.
    """

    __bound_function_wrapper__ = _BoundMethod

    def __init__(self, owner: type, name: str, wrapper: Any) -> None:
        _Unbound.__init__(self, vars(owner)[name], wrapper)
        self._self_place = (owner, name)  # wrapt keeps what begins so for itself

    def place(self) -> tuple[type, str]:
        """The class that defines the method, and its name there."""
        return self._self_place

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return getattr, self._self_place

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self
