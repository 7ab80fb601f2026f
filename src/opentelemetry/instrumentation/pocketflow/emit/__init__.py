"""Turns records into spans: names, attributes, events and status."""
