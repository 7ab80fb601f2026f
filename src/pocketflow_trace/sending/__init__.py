"""Spans on their way to a collector, and what becomes of those that none takes."""
