"""Intrusion detection: pure detectors with bounds on false alarms, and a daemon on the monitoring host that acts."""
