"""MariaDB: as primary and replica, as a member of a Galera cluster, and its data directory."""
