"""Without an SDK there is nobody to tell anything, until the program sets one up."""

from __future__ import annotations

import subprocess
import sys
import textwrap

PROGRAM = """
    from opentelemetry import context, trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from opentelemetry.instrumentation.pocketflow import PocketFlowInstrumentor

    PocketFlowInstrumentor().instrument(resource=False)
    from pocketflow import Flow, Node

    exporter = InMemorySpanExporter()


    class Before(Node):
        def exec(self, prep_res):
            assert not trace.get_current_span().is_recording()


    class SetsUp(Node):
        def exec(self, prep_res):
            provider = TracerProvider()
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            trace.set_tracer_provider(provider)


    class After(Node):
        def exec(self, prep_res):
            assert trace.get_current_span().is_recording()


    class Hidden(Node):
        def _run(self, shared):
            self.exec(None)


    before = Before()
    before >> SetsUp() >> After()
    around = context.get_current()
    Flow(start=before).run({})
    Hidden().run({})
    Flow(start=After()).run({})
    assert context.get_current() is around
    print(*[span.name for span in exporter.get_finished_spans()], sep=",")
"""


def test_an_sdk_that_is_set_up_while_a_flow_runs() -> None:
    """The nodes that run from then on are told of, and whole flows after that."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stderr == ""
    assert done.stdout.strip() == "After,Hidden,After,invoke_workflow AfterFlow"
