"""A directory for PYTHONPATH: holds the `sitecustomize` that starts tracing."""
