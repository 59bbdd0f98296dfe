"""Checks ``tls`` and ``certificates``: every listener that other hosts may reach, against Mozilla's profile."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import cache, partial
from http.client import HTTPConnection, HTTPException

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from testbed.audit import tlsoffer
from testbed.audit.auditor import Auditor, Places
from testbed.audit.finding import HIGH, LOW, MEDIUM, Finding, Unknown
from testbed.audit.hostprocesses import ListeningSocket
from testbed.audit.openports import reachable
from testbed.audit.tlsoffer import TlsOffer
from topo.plan import (
    BALANCER,
    DATABASE,
    GROUP,
    HTTP,
    INCREMENTAL,
    LOGS,
    METRICS,
    RESOLVER,
    RUNTIME,
    SITE,
    STATISTICS,
    TRANSFER,
    WEB,
    Host,
    Plan,
)
from topo.tls import means

REFERENCE = "Mozilla Server Side TLS 5.7, intermediate profile"
#: Mozilla's intermediate profile
VERSIONS = ("TLSv1.2", "TLSv1.3")
SUITES = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA8, 0xCCA9, 0xCCAA, 0x009E, 0x009F)
CURVES = ("X25519", "P-256", "P-384", "X25519MLKEM768")
LONGEST, SOON = timedelta(days=366), timedelta(days=1)
RSA_BITS, EC_BITS = 2048, 256
BROKEN = ("NULL", "EXP", "RC4", "RC2", "DES", "MD5", "ADH", "AECDH", "anon")
#: numbers of suites that are broken, and which the machine's library has no names for any more (RFC 2246, 4346, 4492)
BROKEN_SUITES = (
    *range(0x0001, 0x002C),
    *range(0xC001, 0xC004),
    0xC006,
    0xC007,
    0xC00B,
    0xC00C,
    0xC010,
    0xC011,
    *range(0xC015, 0xC01A),
)
#: what passes in plain text where a listener speaks no TLS, by its port
PLAIN = {
    WEB: (HIGH, "passwords, cookies and pages", "--tls reencrypt"),
    BALANCER: (HIGH, "passwords, cookies and pages", "--tls terminate"),
    DATABASE: (HIGH, "rows and log-ins", "--tls mutual"),
    RUNTIME: (HIGH, "commands of an administrator, for which no password is asked,", "--tls mutual"),
    GROUP: (HIGH, "every commit", "--db semisync --tls mutual"),
    TRANSFER: (HIGH, "a copy of the whole database", "--db semisync --tls mutual"),
    INCREMENTAL: (HIGH, "a copy of the whole database", "--db semisync --tls mutual"),
    STATISTICS: (MEDIUM, "the state of all servers, for which no password is asked,", "--monitoring on"),
    METRICS: (MEDIUM, "metrics, which anybody on the way could forge,", "--tls mutual"),
    LOGS: (MEDIUM, "log lines, with names and addresses of visitors,", "--tls mutual"),
}


@dataclass(frozen=True)
class Listener:
    """A TCP listener that others may reach. ``duty``: by the plan, its part of the site (a key of the plan's ports).

    ``silent``: why nothing is known of it.
    """

    host: str
    socket: ListeningSocket
    duty: str
    reached_from: tuple[str, ...]
    offer: TlsOffer
    redirects: bool = False
    silent: str = ""

    @property
    def where(self) -> str:
        return f"{self.host}:{self.socket}"


def places(auditor: Auditor) -> Places[tuple[Listener, ...]]:
    """The hosts, each with its listeners."""
    for host in auditor.plan.hosts:
        yield host.name, partial(_listeners, auditor, host)


def _listeners(auditor: Auditor, host: Host) -> tuple[Listener, ...]:
    """Ask each listener from its own host, where that can be: no firewall is on the way, and none counts anything."""
    by_port = {one.port: one for one in auditor.sockets(host) if one.proto == "tcp" and not one.local}
    return tuple(_listener(auditor, host, one) for one in by_port.values())


def _listener(auditor: Auditor, host: Host, one: ListeningSocket) -> Listener:
    testbed, plan = auditor.testbed, auditor.plan
    duty = _duty(plan, host, one.port)
    origins = tuple(reachable(testbed.rules, plan, host.name, one.proto, one.port))
    # a database says nothing of itself to a host that none of its accounts may come from
    origin = origins[0] if duty == DATABASE and origins else host.name
    connect = partial(testbed.inside(origin).connect, one.port, host.ip, tlsoffer.SECONDS)
    name, prelude = host.name, b""
    if duty in (WEB, BALANCER) and means(plan.profile).passthrough:
        name, prelude = SITE, b"PROXY UNKNOWN\r\n" if duty == WEB else b""
    known = Listener(host.name, one, duty, origins, TlsOffer())
    try:
        if duty in (HTTP, RESOLVER):
            return replace(known, redirects=duty == HTTP and _redirects(connect))
        return replace(known, offer=tlsoffer.offer(connect, name, prelude, database=duty == DATABASE))
    except OSError as error:
        return replace(known, silent=str(error) or type(error).__name__)


def _duty(plan: Plan, host: Host, port: int) -> str:
    """The part of the site that listens there: the balancer has the database's write endpoint, too."""
    own: tuple[str, ...] = (*host.roles, *((HTTP, STATISTICS, RUNTIME, DATABASE) if BALANCER in host.roles else ()))
    own = (*own, *((GROUP, TRANSFER, INCREMENTAL) if DATABASE in host.roles else ()), METRICS, LOGS)
    known: dict[int, str] = {
        plan.port(duty): duty for duty in reversed(own) if duty in PLAIN or duty in (HTTP, RESOLVER)
    }
    return known.get(port, "")


def _redirects(connect: tlsoffer.Connect) -> bool:
    """True if all that it does with a request is to send the visitor to HTTPS."""
    with closing(connect()) as connection:
        http = HTTPConnection(SITE)
        http.sock = connection
        try:
            http.request("GET", "/")
            answer = http.getresponse()
        except HTTPException:
            return False
        return answer.status in (301, 308) and str(answer.getheader("Location")).startswith("https://")


# --- what is found -------------------------------------------------------------------------------------------------


def judge(listeners: tuple[Listener, ...]) -> Iterator[Finding | Unknown]:
    """Versions, suites and groups outside of the profile; and plain text."""
    for one in listeners:
        if one.silent:
            yield Unknown("tls", one.where, one.silent)
        else:
            yield from _encrypted(one) if one.offer.versions else _plain(one)


def _plain(one: Listener) -> Iterator[Finding]:
    if one.duty == RESOLVER or (one.duty == HTTP and one.redirects):
        return  # what everybody may know; and a redirection to where TLS is
    severity, what, flag = PLAIN.get(one.duty, (MEDIUM, "whatever it says", "encrypt it, or bind it to 127.0.0.1"))
    if not one.reached_from:
        severity = LOW  # the firewalls would have to fail first
    origins = ", ".join(one.reached_from) or "no other host, as long as the firewalls hold"
    evidence = f"{one.socket.program} speaks no TLS: {what} can be read on the way; reached from {origins}"
    yield Finding("tls-plain", severity, one.where, evidence, flag, "OWASP ASVS 4.0.3, V9.2.2")


def _encrypted(one: Listener) -> Iterator[Finding]:
    remedy = "services/pki.py: CIPHERS, CURVES; the daemon's template"
    for version in one.offer.versions:
        if version not in VERSIONS:
            yield Finding("tls-old-version", HIGH, one.where, f"it takes {version}", remedy, REFERENCE)
    by_severity: dict[str, list[str]] = {}
    for suite in dict.fromkeys(one.offer.suites):
        if suite not in SUITES:
            by_severity.setdefault(_weakness(suite), []).append(_name(suite))
    for severity, names in by_severity.items():
        yield Finding("tls-suite", severity, one.where, f"it takes {', '.join(names)}", remedy, REFERENCE)
    if groups := [group for group in one.offer.groups if group not in CURVES]:
        evidence = f"it takes {', '.join(groups)}: not weak, and not in the profile"
        yield Finding("tls-group", LOW, one.where, evidence, remedy, REFERENCE)


def _weakness(suite: int) -> str:
    """Broken; without forward secrecy or authenticated encryption; or only not in the profile."""
    name = _name(suite)
    if suite in BROKEN_SUITES or any(word in name for word in BROKEN):
        return HIGH
    secret = name.startswith(("ECDHE", "DHE", "TLS_"))
    return LOW if secret and any(word in name for word in ("GCM", "CCM", "CHACHA")) else MEDIUM


@cache
def _names() -> dict[int, str]:
    """The names of suites, as far as the machine's library knows them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return {suite["id"] & 0xFFFF: str(suite["name"]) for suite in context.get_ciphers()}


def _name(suite: int) -> str:
    return _names().get(suite, f"suite {suite:#06x}")


# --- certificates --------------------------------------------------------------------------------------------------


def judge_certificates(listeners: tuple[Listener, ...], now: datetime | None = None) -> Iterator[Finding]:
    """Dates, key and signature of every certificate that is shown."""
    for one in listeners:
        if one.offer.certificate:
            certificate = x509.load_der_x509_certificate(one.offer.certificate)
            for kind, severity, evidence in _weak(certificate, now or datetime.now(timezone.utc)):
                yield Finding(kind, severity, one.where, evidence, "services/pki.py", REFERENCE)


def _weak(certificate: x509.Certificate, now: datetime) -> Iterator[tuple[str, str, str]]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= now <= end:
        yield "certificate-date", HIGH, f"valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d}, and not now"
    elif end - now < SOON:
        yield "certificate-date", MEDIUM, f"it ends in less than a day: {end:%Y-%m-%d %H:%M} UTC"
    if end - begin > LONGEST:
        yield "certificate-lifetime", LOW, f"valid for {(end - begin).days} days, more than {LONGEST.days}"
    if weak := _weak_key(certificate):
        yield "certificate-key", HIGH, weak
    signed = certificate.signature_hash_algorithm
    if signed is not None and signed.name in ("md5", "sha1"):
        yield "certificate-signature", HIGH, f"signed with {signed.name}"
    if certificate.issuer == certificate.subject:
        yield "certificate-self-signed", MEDIUM, f"{certificate.subject.rfc4514_string()} has signed itself"


def _weak_key(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"an RSA key of {key.key_size} bits" if key.key_size < RSA_BITS else ""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"an EC key of {key.key_size} bits" if key.key_size < EC_BITS else ""
    return "" if isinstance(key, ed25519.Ed25519PublicKey) else f"a key of the kind {type(key).__name__}"
