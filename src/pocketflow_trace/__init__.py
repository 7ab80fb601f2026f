"""Local tools for PocketFlow traces: the `pocketflow-trace` command."""
