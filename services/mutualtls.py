"""The end of a link that calls, where both ends prove who they are: TLS 1.3, by the testbed's own authority."""

import ssl
from pathlib import Path


def caller(authority: str | Path, proof: str | Path) -> ssl.SSLContext:
    """``proof``: the certificate that is shown; its key lies beside it (services.secrets.shown)."""
    context = ssl.create_default_context(cafile=str(authority))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(proof, f"{proof}.key")
    return context
