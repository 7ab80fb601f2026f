"""Tracing of this process: set up, shown and kept, and out of the way of the program."""
