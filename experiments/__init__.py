"""Experiments: each measures one claim about the infrastructure, saves the evidence and judges it."""
