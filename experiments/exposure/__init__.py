"""Parts of ``tls_exposure``: what is planted, how TLS is opened, what the evidence holds and means, how it is shown."""
