"""Talking to Open vSwitch, and reading what it says."""
