"""What ``--tls`` means: who encrypts to whom, and who must prove who it is.

    terminate    visitor ==TLS== balancer ------- nginx          databases in plain text
    reencrypt    visitor ==TLS== balancer ==TLS== nginx          databases in plain text
    passthrough  visitor =========TLS============ nginx          databases in plain text
    mutual       as reencrypt; every client inside shows a certificate too, and so do the databases and theirs

Rules, certificates, configurations and experiments all ask here, so that they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

from topo.profile import Profile


@dataclass(frozen=True)
class Tls:
    """``inside``: nginx speaks TLS. ``through``: it is the visitor's own, which the balancer only passes on.

    ``both``: who connects to nginx or to a database proves itself as well, and the databases speak TLS only.
    """

    inside: bool = True
    through: bool = False
    both: bool = False


MEANINGS = {
    "terminate": Tls(inside=False),
    "reencrypt": Tls(),
    "passthrough": Tls(through=True),
    "mutual": Tls(both=True),
}


def means(profile: Profile) -> Tls:
    """What a profile's ``--tls`` asks for."""
    return MEANINGS[profile.tls]
