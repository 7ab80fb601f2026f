"""Helpers that several test folders share: a real collector, faulty ones, programs to run."""
