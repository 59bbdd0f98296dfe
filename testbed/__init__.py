"""The running thing: box, network, boot, steady state, recovery, faults and the commands."""
