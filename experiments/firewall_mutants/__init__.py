"""``firewall_mutants``: is each wrong rule and flow noticed."""
