"""Programs that tracing once changed, as the test that found one prints it (`To keep it: ...`)."""

from __future__ import annotations

from support.random_programs import Program, Raise, Run, Step, Tracer, Warn

PROGRAMS: dict[str, tuple[Program, Tracer]] = {
    "a warning that names a frame beyond the framework's": (
        Program((Run(Step(acts=(Warn("exec", 6),))),)),
        Tracer(),
    ),
    "the same in an async node": (
        Program((Run(Step("AsyncNode", acts=(Warn("prep", 7),))),)),
        Tracer(),
    ),
    "a failed run whose values wait for the garbage collector": (
        Program((Run(Step("BaseNode", (Raise("exec"),), gives="token")),)),
        Tracer(),
    ),
    "a task that is cancelled before its first step": (
        Program((Run(Step("AsyncNode"), how="cancel"),)),
        Tracer(),
    ),
}
