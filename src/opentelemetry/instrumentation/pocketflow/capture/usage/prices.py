"""What a model call costs: what was told, else what the user's function or genai-prices says."""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.util
import os
import threading
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.instrumentation.pocketflow.capture import reading
from opentelemetry.instrumentation.pocketflow.capture.preview import shown
from opentelemetry.instrumentation.pocketflow.capture.usage.call import MAX_PRICE
from opentelemetry.instrumentation.pocketflow.capture.usage.totals import ARITHMETIC
from opentelemetry.instrumentation.pocketflow.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from opentelemetry.instrumentation.pocketflow.capture.usage.call import ModelCall
    from opentelemetry.instrumentation.pocketflow.config import Price

USD: Final = "USD"
"""What genai-prices reckons in."""

_LIBRARY: Final = "genai_prices"
_MOST_SECONDS: Final = 5.0
"""How long a fork or the interpreter's end waits for the library."""
_PROVIDERS: Final = {
    "anthropic": "anthropic",
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "groq": "groq",
    "mistral_ai": "mistral",
    "openai": "openai",
    "perplexity": "perplexity",
    "x_ai": "x-ai",
}
"""`gen_ai.provider.name` to the ids of genai-prices. What is not here, such as a model served on
one's own machine, has no list price."""


class Pricer:
    """Prices model calls.

    Args:
        function: the user's, asked first; None leaves the call to genai-prices.
        currency: what prices are in. genai-prices is only asked where that is USD.
    """

    def __init__(self, function: Price | None, currency: str) -> None:
        self._function = function
        self._list = _list_prices() if currency == USD else None

    @property
    def has_source(self) -> bool:
        """Is there anything that knows prices?"""
        return self._function is not None or (self._list is not None and self._list.is_installed)

    def __call__(self, call: ModelCall) -> Decimal | None:
        """The price of a call; None where it is not known."""
        if call.cost is not None:
            return call.cost
        price = None if self._function is None else _asked(self._function, call)
        if price is None and self._list is not None:
            price = self._list.price(call)
        return price


@guarded(cast("Decimal | None", None))
def _asked(function: Price, call: ModelCall) -> Decimal | None:
    """What the user's function says.

    Raises:
        TypeError: it says something other than a number or None.
        ValueError: the number is no price.
    """
    return None if (said := function(call)) is None else as_price("price(...)", said)


def as_price(name: str, value: object) -> Decimal:
    """A price that somebody told.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, not finite, or more than anything costs.
    """
    if reading.is_instance(value, float):  # that of NumPy is one
        number = float.__float__(cast("float", value))
        price = Decimal(str(number))  # as it is written: 0.1 and not what is nearest in binary
    elif type(value) is int or type(value) is Decimal:
        price = Decimal(value)
    else:
        raise TypeError(f"{name}={shown(value)}: must be a number, best a Decimal")
    if not price.is_finite() or price.is_signed() or price > MAX_PRICE:
        raise ValueError(f"{name}={shown(value)}: must be a number from 0 to {MAX_PRICE}")
    return price


class _ListPrices:
    """The list prices of genai-prices, where that is installed. It is never asked to update them.

    Importing it takes the better part of a second. That is done aside, so that it does not add to
    the time of the first node that calls a model. Forks and the interpreter's end wait for it: a
    child, or a finalizer of the program, would find the locks of the modules that were being
    imported, with nobody to release them.
    """

    def __init__(self) -> None:
        self._library: ModuleType | None = None
        self._import: threading.Thread | None = None
        self.is_installed = importlib.util.find_spec(_LIBRARY) is not None
        if self.is_installed:
            self._import = self._begin()
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(before=self._let_it_end)
            atexit.register(self._let_it_end)

    @guarded(cast("threading.Thread | None", None))
    def _begin(self) -> threading.Thread | None:
        thread = threading.Thread(target=self._load, name="pocketflow-prices", daemon=True)
        thread.start()  # raises where the process may have no further threads
        return thread

    @guarded(None)
    def _let_it_end(self) -> None:
        if (loading := self._import) is not None:
            # Not for ever: who forks may be importing what the thread waits for.
            loading.join(_MOST_SECONDS)

    @guarded(None)
    def _load(self) -> None:
        with localcontext(ARITHMETIC):
            try:
                library: Any = importlib.import_module(_LIBRARY)
            except ImportError:  # as where the program has meanwhile emptied its import path
                return
            # The first call builds what all further calls look up.
            library.calc_price(library.Usage(input_tokens=0), "gpt-4o", provider_id="openai")
        self._library = library

    @guarded(cast("Decimal | None", None))
    def price(self, call: ModelCall) -> Decimal | None:
        """The list price of a call; None where there is none."""
        loading = self._import  # another thread may be here, too
        if loading is not None:
            loading.join()
            self._import = None
        if self._library is None or call.model is None:
            return None
        if call.input_tokens is None and call.output_tokens is None:
            return None
        for provider in _providers_of(call):
            price = _look_up(self._library.calc_price, self._usage(call), call.model, provider)
            if price is not None:
                return price
        return None

    def _usage(self, call: ModelCall) -> Any:
        library: Any = self._library
        return library.Usage(
            input_tokens=call.input_tokens,
            output_tokens=call.output_tokens,
            cache_read_tokens=call.cached_tokens,
            cache_write_tokens=call.cache_write_tokens,
        )


@functools.cache
def _list_prices() -> _ListPrices:
    """One for the whole process."""
    return _ListPrices()


def _look_up(
    calc_price: Callable[..., Any], usage: Any, model: str, provider: str | None
) -> Decimal | None:
    try:
        with localcontext(ARITHMETIC):  # not the program's, which may trap what is inexact
            price: object = calc_price(usage, model, provider_id=provider).total_price
    except (LookupError, ValueError):
        # No such model; or counts that contradict each other, such as more cached than input.
        return None
    return price if isinstance(price, Decimal) else None


def _providers_of(call: ModelCall) -> tuple[str | None, ...]:
    """Whose prices to look up; None finds the provider by the model's name.

    Many services are used by the client of OpenAI, so that its name says little.
    """
    if call.provider is None:
        return (None,)
    provider = _PROVIDERS.get(call.provider)
    if provider is None:
        return ()
    return (provider, None) if provider == "openai" else (provider,)
