"""The meaning of ``--tls``: which connections are encrypted, and which ends must show a certificate.

    terminate    visitor ==TLS== balancer ------- nginx          databases in plain text
    reencrypt    visitor ==TLS== balancer ==TLS== nginx          databases in plain text
    passthrough  visitor =========TLS============ nginx          databases in plain text
    mutual       as reencrypt; every client inside shows a certificate too, and so do the databases and their clients

Rules, certificates, configurations and experiments all ask here, so that they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

from topo.profile import Profile


@dataclass(frozen=True)
class Tls:
    """``backend_tls``: nginx speaks TLS. ``passthrough``: it is the visitor's own, which the balancer only passes on.

    ``mutual``: a client of nginx or of a database shows a certificate as well, and the databases speak TLS only.
    """

    backend_tls: bool = True
    passthrough: bool = False
    mutual: bool = False


MEANINGS = {
    "terminate": Tls(backend_tls=False),
    "reencrypt": Tls(),
    "passthrough": Tls(passthrough=True),
    "mutual": Tls(mutual=True),
}


def means(profile: Profile) -> Tls:
    """The meaning of a profile's ``--tls``."""
    return MEANINGS[profile.tls]
