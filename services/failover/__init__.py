"""The failover manager: chooses the server that takes the writes by a pure function; a thin layer acts on it."""
