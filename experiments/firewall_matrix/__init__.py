"""``firewall_matrix``: which host reaches which, by four oracles."""
