"""``db_failover``: what becomes of writes when the primary database dies."""
