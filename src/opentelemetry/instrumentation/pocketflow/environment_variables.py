"""The environment variables this package reads, each for one option of `Config`.

Lists are separated by commas; levels and flow names are ``name=value`` pairs. In the environment a
wrong value is logged as a warning and the default is used.
"""

from __future__ import annotations

from typing import Final

OTEL_PYTHON_POCKETFLOW_CONTENT: Final = "OTEL_PYTHON_POCKETFLOW_CONTENT"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_CONTENT

What of the program's data is shown: ``off``, ``keys`` or ``values``. Default: ``values``.
"""

OTEL_PYTHON_POCKETFLOW_LEVELS: Final = "OTEL_PYTHON_POCKETFLOW_LEVELS"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_LEVELS

Trace level by class name or glob, the first match wins: ``Secret*=skip,Chat=keys``.
Levels: ``skip``, ``timing``, ``keys``, ``full``, ``on_error``. Default: none, every class is traced
as the content option says.
"""

OTEL_PYTHON_POCKETFLOW_PHASE_SPANS: Final = "OTEL_PYTHON_POCKETFLOW_PHASE_SPANS"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_PHASE_SPANS

Child spans for prep, exec and post: ``true`` or ``false``. Default: ``false``.
"""

OTEL_PYTHON_POCKETFLOW_MAX_BATCH_ITEMS: Final = "OTEL_PYTHON_POCKETFLOW_MAX_BATCH_ITEMS"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_MAX_BATCH_ITEMS

How many items of one batch get a span of their own, from 0. Default: ``100``.
"""

OTEL_PYTHON_POCKETFLOW_MAX_SPAN_BYTES: Final = "OTEL_PYTHON_POCKETFLOW_MAX_SPAN_BYTES"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_MAX_SPAN_BYTES

About how many bytes of attributes a span may carry, from 1024. Default: ``6144``.
"""

OTEL_PYTHON_POCKETFLOW_MAX_STORE_ITEMS: Final = "OTEL_PYTHON_POCKETFLOW_MAX_STORE_ITEMS"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_MAX_STORE_ITEMS

How many items below the store's top level are watched for changes in place, from 0.
Default: ``10000``.
"""

OTEL_PYTHON_POCKETFLOW_REDACT_KEYS: Final = "OTEL_PYTHON_POCKETFLOW_REDACT_KEYS"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_REDACT_KEYS

Further names of keys whose values are never shown. Default: none beyond the built-in ones.
"""

OTEL_PYTHON_POCKETFLOW_REDACT_PATTERNS: Final = "OTEL_PYTHON_POCKETFLOW_REDACT_PATTERNS"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_REDACT_PATTERNS

Further regular expressions; what they match is never shown. Separated by blanks, so a pattern
has none (write ``\\s``). Default: none beyond the built-in ones.
"""

OTEL_PYTHON_POCKETFLOW_FLOW_NAMES: Final = "OTEL_PYTHON_POCKETFLOW_FLOW_NAMES"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_FLOW_NAMES

Names for flows that are plain ``Flow`` objects, by the class of their start node:
``GetQuestion=qa-agent``. Default: the start node's class followed by ``Flow``.
"""

OTEL_PYTHON_POCKETFLOW_MODULE: Final = "OTEL_PYTHON_POCKETFLOW_MODULE"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_MODULE

Import names of the framework, for programs that copied its file: ``myapp.flow100``.
Default: ``pocketflow``.
"""

OTEL_PYTHON_POCKETFLOW_OPENINFERENCE: Final = "OTEL_PYTHON_POCKETFLOW_OPENINFERENCE"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_OPENINFERENCE

Emits ``openinference.span.kind``: ``true`` or ``false``. Default: ``true``.
"""

OTEL_PYTHON_POCKETFLOW_RESOURCE: Final = "OTEL_PYTHON_POCKETFLOW_RESOURCE"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_RESOURCE

Adds git, process, OS and user to the resource: ``true`` or ``false``. Default: ``true``.
"""

OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: Final = (
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
)
"""
.. envvar:: OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT

The standard switch of the GenAI instrumentations. Where it says that spans carry no content
(``false``, ``NO_CONTENT``, ``EVENT_ONLY``), and ``OTEL_PYTHON_POCKETFLOW_CONTENT`` says nothing,
the content level is ``keys``.
"""

OTEL_PYTHON_POCKETFLOW_CURRENCY: Final = "OTEL_PYTHON_POCKETFLOW_CURRENCY"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_CURRENCY

What costs are in, as three letters. Default: ``USD``.
"""

OTEL_PYTHON_POCKETFLOW_BAGGAGE: Final = "OTEL_PYTHON_POCKETFLOW_BAGGAGE"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_BAGGAGE

Take conversation, session and user from the W3C baggage of another process: ``true`` or ``false``.
Default: ``false``.
"""

OTEL_PYTHON_POCKETFLOW_SELF_REPORT: Final = "OTEL_PYTHON_POCKETFLOW_SELF_REPORT"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_SELF_REPORT

Tells on the outermost span how long this instrumentation itself took: ``true`` or ``false``.
Default: ``false``.
"""

OTEL_PYTHON_POCKETFLOW_STRICT: Final = "OTEL_PYTHON_POCKETFLOW_STRICT"
"""
.. envvar:: OTEL_PYTHON_POCKETFLOW_STRICT

For development: wrong values given to ``record_usage`` and ``conversation`` raise: ``true`` or
``false``. Default: ``false``.
"""
