"""The security audit of a running testbed: facts are read from its hosts, and judged by pure checks."""
