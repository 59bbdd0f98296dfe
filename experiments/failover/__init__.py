"""The parts of ``web_failover``: faults chosen, the balancer watched, what each fault cost, the verdict, pictures."""
