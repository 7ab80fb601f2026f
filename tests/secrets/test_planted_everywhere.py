"""A program full of credentials is traced, and nothing of them is found in all that comes out."""

# The framework's classes are Any here (see support.framework).
# pyright: reportUntypedBaseClass=false

from __future__ import annotations

import io
import typing

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status, StatusCode

from opentelemetry import trace
from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor, guard, record_usage
from pocketflow_trace.record.collector import RunCollector
from pocketflow_trace.views.console import print_run
from support.framework import Flow, Node
from support.places import FORMS, NAMED_FORMS, named_values, run_with, run_with_value, values_with
from support.planted import SENTENCES, SHAPED, made, named, seen

if typing.TYPE_CHECKING:
    from conftest import Output

ALL = SHAPED + SENTENCES
WIDE = 200_000
"""Bytes of a span in which nothing is cut: what is not there was hidden."""


def found(output: Output) -> dict[str, list[str]]:
    """Return which credentials can be seen where; and check that the places hold something."""
    parts = output.parts
    assert parts["sent"]
    assert parts["kept"]
    return {place: seen((*ALL, *named()), data) for place, data in parts.items()}


NOWHERE: dict[str, list[str]] = {"sent": [], "kept": [], "logged": []}


def test_texts_at_every_place(traced_output: typing.Any) -> None:
    """Store, params, items, inputs, outputs, actions, errors, names of classes, conversations."""
    with traced_output(max_span_bytes=WIDE) as output:
        for planted in ALL:
            run_with(planted.text)
    assert found(output) == NOWHERE
    assert b"[REDACTED]" in output.parts["logged"]


def test_texts_at_every_place_with_usual_limits(traced_output: typing.Any) -> None:
    """What is cut at the usual size shows no half of a key either."""
    with traced_output() as output:
        for planted in ALL[::2]:
            run_with(f"{'It was as follows. ' * 40}{planted.text}")
    assert found(output) == NOWHERE


def test_forms_and_values(traced_output: typing.Any) -> None:
    """Encoded in other texts, and held by all kinds of values."""
    with traced_output(max_span_bytes=WIDE) as output:
        for planted in ALL[::4]:
            run_with_value([form(planted.text) for form in FORMS.values()])
            run_with_value(values_with(planted.text))
    assert found(output) == NOWHERE


def test_what_names_make_secret(traced_output: typing.Any) -> None:
    """Under and beside their names, in values and in texts."""
    with traced_output(max_span_bytes=WIDE) as output:
        for planted in named():
            run_with_value(named_values(planted.name, planted.secret))
            texts = [
                form.format(name=planted.name, value=planted.secret)
                for form in NAMED_FORMS.values()
            ]
            run_with_value(texts)
            run_with(texts[0])
    assert found(output) == NOWHERE


class Grow(Node):
    """Changes records and pairs in place."""

    def prep(self, shared: typing.Any) -> None:
        """Put the names there."""
        shared |= {
            "pair": ["X-Api-Key"],
            "record": {"name": "DB_PASSWORD"},
            "headers": [["Cookie"]],
        }

    def post(self, shared: typing.Any, prep_res: typing.Any, exec_res: typing.Any) -> None:
        """Put the values beside them."""
        secret = self.params["secret"]
        shared["pair"].append(secret)
        shared["record"]["value"] = secret
        shared["headers"][0].append(secret)


class Shrink(Node):
    """Takes them away again."""

    def post(self, shared: typing.Any, prep_res: typing.Any, exec_res: typing.Any) -> None:
        """Leave the names."""
        shared["pair"].pop()
        del shared["record"]["value"]
        shared["headers"][0][1] = None


def test_values_put_beside_their_names_later(traced_output: typing.Any) -> None:
    """A change in place shows no more than the whole would."""
    flow = Flow(grow := Grow())
    grow.next(Shrink())
    flow.set_params({"secret": named()[0].secret})
    with traced_output(max_span_bytes=WIDE) as output:
        flow.run({})
    assert found(output) == NOWHERE
    assert b"/record/value" in output.parts["sent"]


class Call(Node):
    """Makes a span of its own, as an instrumented client does, and notes things on ours."""

    def exec(self, prep_res: typing.Any) -> None:
        """Plant a credential wherever a span has words."""
        planted = self.params["planted"]
        trace.get_current_span().set_attributes({"note": planted.text, "api_key": "correct horse"})
        span = self.params["tracer"].start_span(f"GET {planted.text}")
        span.set_attributes({"http.url": planted.text, "many": [planted.text], "password": "horse"})
        span.record_exception(ValueError(planted.text))
        span.set_status(Status(StatusCode.ERROR, planted.text))
        span.end()


def test_what_others_put_on_spans_is_neither_shown_nor_kept() -> None:
    """What is sent of it is what they do; what the tools keep and show is redacted."""
    collector, tracers = RunCollector(), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(collector)
    instrumentor = PocketFlowInstrumentor()
    instrumentor.instrument(tracer_provider=tracers, resource=False)
    try:
        for planted in ALL:
            flow = Flow(Call())
            flow.set_params({"planted": planted, "tracer": tracers.get_tracer("client")})
            flow.run({})
    finally:
        instrumentor.uninstrument()
    run = collector.snapshot()
    page = io.StringIO()
    print_run(run, page, width=200)
    kept = f"{page.getvalue()}{run}".encode()
    assert seen(ALL, kept) == []
    assert b"horse" not in kept
    assert b"GET [REDACTED]" in kept


class Ask(Node):
    """Tells of a model call."""

    def exec(self, prep_res: typing.Any) -> typing.Any:
        """Return something to be looked at."""
        record_usage(provider="openai", model="m-1", input_tokens=1)
        return {"note": prep_res}


def test_faults_are_logged_without_what_they_say(traced_output: typing.Any) -> None:
    """Our own log lines, with their tracebacks, hide what the message of a fault holds."""
    text = ALL[0].text

    def fail(value: object) -> None:
        raise LookupError(f"cannot tell of {value!r}: {text}") from ValueError(text)

    with traced_output(price=fail, usage_recognisers=[fail]) as output:
        Flow(Ask()).run({})
    log = output.parts["logged"].decode()
    assert log.count("PocketFlow tracing lost something in ") == 2
    assert log.count("LookupError: cannot tell of") == 2
    assert 'raise LookupError(f"cannot tell' in log
    assert found(output) == NOWHERE


def test_a_fault_at_level_keys_is_logged_without_its_message(traced_output: typing.Any) -> None:
    """No value of the program gets into the log by our doing."""
    marker = made("marker", "abcdefgh", 20)

    def fail(value: object) -> None:
        raise LookupError(marker)

    with traced_output(content="keys", price=fail) as output:
        Flow(Ask()).run({})
    log = output.parts["logged"].decode()
    assert "LookupError\n" in log
    assert marker not in log
    assert guard.reraise is False
