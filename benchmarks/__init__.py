"""What tracing costs: ``python -m benchmarks`` (or ``make bench``) measures it and writes it down.

The unit is the *floor*: what one bare OpenTelemetry span with ten attributes and a batch processor,
whose exporter discards, adds to a node. It is measured beside everything that is given in it, so
that the machine and its other load matter little. `laps` says how.
"""
