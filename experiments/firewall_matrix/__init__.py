"""``firewall_matrix``: who reaches whom, by four oracles."""
