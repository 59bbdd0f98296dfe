"""``tls_tampering``: is a machine between balancer and server noticed?."""
