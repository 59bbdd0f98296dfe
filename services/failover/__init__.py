"""The failover manager: who may take the writes, decided by a pure function and done by a thin rim."""
