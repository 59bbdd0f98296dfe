"""Formats on the wire, made readable."""
