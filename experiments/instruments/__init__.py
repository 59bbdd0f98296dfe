"""Instruments of measurement: captures, loads, visits, searches."""
