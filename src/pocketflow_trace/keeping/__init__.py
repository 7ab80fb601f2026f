"""Runs on disk: written while a program runs, found, read and pruned later."""
