"""The failover manager: which server takes the writes, decided by a pure function and done by a thin rim."""
