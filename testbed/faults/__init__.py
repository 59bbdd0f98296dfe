"""Faults: what can be broken on purpose, how, and what is broken now."""
