"""The testbed: profile, plan, box, network and the command that boots them."""
