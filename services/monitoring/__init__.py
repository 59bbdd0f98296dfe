"""Monitoring: clients on the hosts that measure and push, and the tool on the monitoring host that keeps and judges."""
