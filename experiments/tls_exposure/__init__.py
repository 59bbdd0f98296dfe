"""``tls_exposure``: what can be read on which link."""
