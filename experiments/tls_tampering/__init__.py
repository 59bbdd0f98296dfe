"""``tls_tampering``: who notices somebody between balancer and server."""
