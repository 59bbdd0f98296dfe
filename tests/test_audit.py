"""audit: each check finds the flaw that is planted for it, and nothing in what is right; and what cannot be read."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

import pytest

from controllers.policy import Rule, policy
from experiments.audit.evidence import AuditEvidence
from experiments.audit.experiment import Audit
from experiments.engine.base import judged
from services.haproxy import HAProxy
from services.monitoring.exporter import Exporter
from services.pki import Authority
from testbed.audit import (
    dbaccounts,
    hostprocesses,
    listeners,
    openports,
    packageversions,
    privileges,
    rulesinuse,
    secretplaces,
    sitevisit,
    tlsoffer,
    webanswers,
)
from testbed.audit.auditchecks import CHECKS
from testbed.audit.auditor import AuditCheck, collected
from testbed.audit.auditpage import junit, shown
from testbed.audit.finding import HIGH, LOW, MEDIUM, AuditReport, Finding, Unknown, report
from testbed.audit.hostprocesses import AuditedProcess, ListeningSocket
from testbed.audit.secretvalue import SecretValue
from testbed.audit.tlsoffer import TlsOffer
from topo.plan import DATABASE, HTTP, RUNTIME
from topo.plan import plan as plan_of
from topo.profile import Profile

PLAN = plan_of(Profile())
SECRET = SecretValue("the write password", "tR0ub4dor&3")
CHECK_BY_NAME = {check.name: check for check in CHECKS}

# --- facts as they must be -------------------------------------------------------------------------------------------

PAIR = Authority().issue("srv1")
DER = ssl.PEM_cert_to_DER_cert(PAIR.certificate)
GOOD_TLS = TlsOffer(("TLSv1.2", "TLSv1.3"), (0x1301, 0xC02B), ("X25519", "P-256"), DER)
SOCKET = ListeningSocket("tcp", "0.0.0.0", 3306, "mariadbd", DATABASE)
LISTENER = listeners.Listener("srv1", SOCKET, DATABASE, ("lb",), GOOD_TLS)
SOCKETS = openports.HostSockets("srv1", (SOCKET,), frozenset({("tcp", 3306, 3306)}))
SERVICE = cast("HAProxy", SimpleNamespace(role="balancer", capabilities=(), as_root=("setuid",)))
PROCESS = AuditedProcess(7, "haproxy", 61001, 0, True, "haproxy -db", "/usr/sbin/haproxy", service=SERVICE)
PRIVILEGES = privileges.HostPrivileges("lb", (PROCESS,), (SECRET,))
FILES = secretplaces.HostFiles("srv1", (secretplaces.SecretFile("/run/app/site.json", 0o600, ("a secret",)),))
LOGS = secretplaces.HostFiles("srv1", ())
GUESSES = webanswers.GuessLimits("srv1", True)
MACHINE = packageversions.MachineSoftware(
    (packageversions.Package("haproxy", "2.6", "2.6", ("500 http://x bookworm-security/main",)),), 1.0, ()
)
PINNED = packageversions.PinnedSoftware({"flask": "3.1"}, {"flask": "3.1"})
RULES = (Rule("web", "lb", "srv1", "tcp", 80, "allow", ""), policy(PLAN)[-1])
IN_USE = rulesinuse.RulesInUse(
    PLAN, RULES, {"fw1": {"web": 3}}, {"srv1": [ListeningSocket("tcp", "0.0.0.0", 80, "nginx")]}
)


def account(user: str, host: str, **private: Any) -> dict[str, str]:
    import json

    proof = {"plugin": "mysql_native_password", "authentication_string": f"*{user}", "ssl_type": 2}
    return {"user": user, "host": host, "private": json.dumps({**proof, **private})}


ACCOUNTS = dbaccounts.DatabaseAccounts(
    "srv1",
    (
        account("app", "10.0.2.10"),
        account("root", "localhost", authentication_string="invalid", auth_or=[{}, {"plugin": "unix_socket"}]),
        account("mariadb.sys", "localhost", authentication_string="", account_locked=True),
    ),
    ({"account": "'app'@'10.0.2.10'", "scope": "*.*", "privilege": "USAGE"},),
    ("foobar",),
    "CREATE OR REPLACE USER app@'10.0.2.10' IDENTIFIED BY 'x' REQUIRE X509;\n",
)
HEADERS = (
    ("content-security-policy", "default-src 'self'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("strict-transport-security", "max-age=63072000"),
    ("cache-control", "no-store"),
    ("server", "nginx"),
)
COOKIE = ("set-cookie", "__Host-session=abc; Secure; HttpOnly; Path=/; SameSite=Lax")


def answer(what: str, status: int = 200, *headers: tuple[str, str], body: str = "") -> sitevisit.WebAnswer:
    return sitevisit.WebAnswer(what, status, (*HEADERS, *headers), body)


ANSWERS = {
    "plain HTTP": answer("plain HTTP", 301, ("location", "https://www.foobar.com/")),
    "page that is missing": answer("page that is missing", 404, body="There is no such page."),
    "log-in without a token": answer("log-in without a token", 400),
    "post without a token": answer("post without a token", 400),
    "log-in": answer("log-in", 303, COOKIE),
    **{
        what: answer(what)
        for what in (
            "home page",
            "log-in page",
            "static file",
            "page of one who is logged in",
            "cookie after the log-out",
        )
    },
}
VISIT = sitevisit.SiteVisit(ANSWERS, "before", "after", ())


def with_answer(what: str, status: int = 200, *headers: tuple[str, str], body: str = "") -> sitevisit.SiteVisit:
    return replace(VISIT, answers={**ANSWERS, what: sitevisit.WebAnswer(what, status, headers, body)})


def with_tls(**changes: Any) -> tuple[listeners.Listener, ...]:
    return (replace(LISTENER, offer=replace(GOOD_TLS, **changes)),)


def with_account(*rows: dict[str, str]) -> dbaccounts.DatabaseAccounts:
    return replace(ACCOUNTS, accounts=(*ACCOUNTS.accounts, *rows))


def with_process(**changes: Any) -> privileges.HostPrivileges:
    return replace(PRIVILEGES, processes=(replace(PROCESS, **changes),))


def with_package(**changes: Any) -> packageversions.MachineSoftware:
    return replace(MACHINE, packages=(replace(MACHINE.packages[0], **changes),))


def with_rule(*rules: Rule) -> rulesinuse.RulesInUse:
    return replace(IN_USE, rules=(*rules, RULES[-1]), counters={"fw1": {rule.name: 1 for rule in rules}})


def with_log(*holds: str) -> secretplaces.HostFiles:
    return replace(LOGS, files=(secretplaces.SecretFile("/var/log/app/access.log", 0o644, holds),))


RIGHT: dict[str, Any] = {
    "tls": (LISTENER,),
    "certificates": (LISTENER,),
    "sockets": SOCKETS,
    "database": ACCOUNTS,
    "files": FILES,
    "logs": LOGS,
    "processes": PRIVILEGES,
    "site": VISIT,
    "guesses": GUESSES,
    "software": MACHINE,
    "python": PINNED,
    "rules": IN_USE,
}
OTHER = cast("HAProxy", SimpleNamespace(role="exporter", capabilities=(), as_root=()))
ALL_RIGHTS = ({"account": "'app'@'10.0.2.10'", "scope": "*.*", "privilege": "SUPER"},)
#: check, the facts with a flaw, the finding that must follow
PLANTED: list[tuple[str, Any, str, str]] = [
    ("tls", with_tls(versions=("TLSv1.0", "TLSv1.2")), "tls-old-version", HIGH),
    ("tls", with_tls(suites=(0xC02B, 0x0005)), "tls-suite", HIGH),
    ("tls", with_tls(suites=(0xC02B, 0x009C)), "tls-suite", MEDIUM),
    ("tls", with_tls(suites=(0xC02B, 0xC00A)), "tls-suite", MEDIUM),
    ("tls", with_tls(groups=("X448",)), "tls-group", LOW),
    ("tls", with_tls(versions=()), "tls-plain", HIGH),
    ("tls", (replace(LISTENER, duty=RUNTIME, offer=TlsOffer()),), "tls-plain", HIGH),
    ("tls", (replace(LISTENER, duty="", offer=TlsOffer()),), "tls-plain", MEDIUM),
    ("tls", (replace(LISTENER, reached_from=(), offer=TlsOffer()),), "tls-plain", LOW),
    ("tls", (replace(LISTENER, duty=HTTP, offer=TlsOffer(), redirects=False),), "tls-plain", MEDIUM),
    ("sockets", replace(SOCKETS, wanted=frozenset()), "socket-stray", LOW),
    ("sockets", replace(SOCKETS, sockets=(ListeningSocket("tcp", "0.0.0.0", 4444, "nc"),)), "socket-stray", MEDIUM),
    ("sockets", replace(SOCKETS, sockets=(replace(SOCKET, address="::"),)), "socket-ipv6", LOW),
    ("database", with_account(account("x", "10.0.2.10", authentication_string="")), "db-empty-password", MEDIUM),
    ("database", with_account(account("", "localhost")), "db-anonymous", HIGH),
    ("database", with_account(account("x", "%")), "db-any-host", MEDIUM),
    ("database", with_account(account("x", "10.0.2.10", ssl_type=0)), "db-no-tls", MEDIUM),
    ("database", with_account(account("x", "localhost", authentication_string="*app")), "db-shared-password", MEDIUM),
    ("database", replace(ACCOUNTS, rights=ALL_RIGHTS), "db-grant", HIGH),
    ("database", replace(ACCOUNTS, rights=ALL_RIGHTS), "db-powerful", LOW),
    ("database", replace(ACCOUNTS, schemas=("test",)), "db-test-schema", LOW),
    ("files", replace(FILES, files=(replace(FILES.files[0], mode=0o644),)), "secret-file-mode", HIGH),
    ("logs", with_log("the password of a visitor"), "secret-in-log", HIGH),
    ("logs", with_log("the hash of a password"), "secret-in-log", MEDIUM),
    ("processes", with_process(capabilities=1 << 13), "process-capabilities", MEDIUM),
    ("processes", with_process(no_new_privileges=False), "process-new-privileges", LOW),
    ("processes", with_process(command=f"x --password {SECRET.text}"), "secret-command-line", HIGH),
    (
        "processes",
        replace(PRIVILEGES, processes=(PROCESS, replace(PROCESS, service=OTHER))),
        "process-shared-user",
        MEDIUM,
    ),
    ("processes", with_process(uid=0), "process-shared-user", MEDIUM),
    (
        "processes",
        replace(PRIVILEGES, processes=(PROCESS, replace(PROCESS, uid=0, service=OTHER))),
        "process-shared-user",
        MEDIUM,
    ),
    ("processes", with_process(capabilities=1 << 7), "process-capabilities", MEDIUM),
    ("site", with_answer("home page", 200, *HEADERS[1:]), "web-header", MEDIUM),
    ("site", with_answer("home page", 200, *HEADERS[:3]), "web-hsts", MEDIUM),
    ("site", with_answer("static file"), "web-header", LOW),
    ("site", with_answer("page of one who is logged in", 200, *HEADERS[:4]), "web-cache", MEDIUM),
    ("site", with_answer("home page", 200, *HEADERS[:5], ("server", "nginx/1.22.1")), "web-version", LOW),
    ("site", with_answer("page that is missing", 500, *HEADERS, body="Traceback (most"), "web-error-page", MEDIUM),
    ("site", with_answer("plain HTTP"), "web-plain", HIGH),
    (
        "site",
        with_answer("log-in", 303, ("set-cookie", "__Host-session=a; HttpOnly; SameSite=Lax")),
        "web-cookie",
        HIGH,
    ),
    (
        "site",
        with_answer("log-in", 303, ("set-cookie", "__Host-session=a; Secure; SameSite=Lax")),
        "web-cookie",
        MEDIUM,
    ),
    ("site", with_answer("log-in", 303, ("set-cookie", "s=a; Secure; HttpOnly; SameSite=Lax")), "web-cookie", LOW),
    ("site", with_answer("post without a token", 201), "web-csrf", HIGH),
    ("site", replace(VISIT, after="before"), "web-session", HIGH),
    ("site", with_answer("cookie after the log-out", body=sitevisit.LOGGED_IN), "web-session", MEDIUM),
    ("guesses", replace(GUESSES, limited=False), "login-unlimited", MEDIUM),
    ("software", with_package(newest="2.7"), "software-old", MEDIUM),
    ("software", with_package(newest="2.7", sources=("500 http://x bookworm/main",)), "software-old", LOW),
    ("software", replace(MACHINE, replaced=("libssl.so.3 (deleted)",)), "software-replaced", MEDIUM),
    ("python", replace(PINNED, installed={"flask": "2.0"}), "software-pin", LOW),
    ("rules", with_rule(Rule("any", "any", "any", "any", None, "allow", "")), "rule-wide", HIGH),
    ("rules", with_rule(Rule("wide", "lb", "srv1", "tcp", None, "allow", "")), "rule-wide", MEDIUM),
    ("rules", with_rule(Rule("web", "lb", "srv1", "tcp", ((80, 90),), "allow", "")), "rule-idle", LOW),
    ("rules", with_rule(Rule("web", "lb", "srv1", "tcp", 81, "allow", "")), "rule-idle", LOW),
    ("rules", replace(IN_USE, counters={"fw1": {}}), "rule-unused", LOW),
    ("rules", with_rule(RULES[0], replace(RULES[0], name="again")), "rule-redundant", LOW),
]


def found(check: str, facts: Any) -> list[Finding | Unknown]:
    return CHECK_BY_NAME[check].on("a place", lambda: facts)


@pytest.mark.parametrize(
    ("check", "facts", "kind", "severity"), PLANTED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_planted_flaw_is_found(check: str, facts: Any, kind: str, severity: str) -> None:
    findings = [finding for finding in found(check, facts) if isinstance(finding, Finding)]
    assert (kind, severity) in {(finding.id, finding.severity) for finding in findings}
    for finding in findings:
        assert all((finding.where, finding.evidence, finding.remedy, finding.reference))
        assert finding.check == check


@pytest.mark.parametrize("check", RIGHT)
def test_nothing_is_found_in_what_is_right(check: str) -> None:
    assert found(check, RIGHT[check]) == []


def test_each_check_has_its_planted_flaw_and_its_facts_without_one() -> None:
    late = {"certificates"}  # its flaws are in test_weak_certificates
    assert {check for check, *_ in PLANTED} | late == set(RIGHT) == set(CHECK_BY_NAME)


@pytest.mark.parametrize(
    ("days", "kind"), [(-1, "certificate-date"), (6.5, "certificate-date"), (8, "certificate-date"), (3, None)]
)
def test_weak_certificates(days: float, kind: str | None) -> None:
    now = datetime.now(timezone.utc) + timedelta(days=days)
    assert [finding.id for finding in listeners.judge_certificates((LISTENER,), now)] == ([kind] if kind else [])


def test_a_certificate_that_signed_itself_with_a_short_key_for_years(tmp_path: Path) -> None:
    der = selfsigned(bits=1024, days=4000)
    kinds = {finding.id for finding in listeners.judge_certificates(with_tls(certificate=der))}
    assert kinds == {"certificate-key", "certificate-lifetime", "certificate-self-signed"}


def selfsigned(bits: int, days: int) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key, name = rsa.generate_private_key(65537, bits), x509.Name([])
    begin = datetime.now(timezone.utc) - timedelta(hours=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=days))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


# --- what is not known -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", [replace(MACHINE, age_days=30.0), with_package(sources=())])
def test_software_without_news_of_it_is_unknown(facts: packageversions.MachineSoftware) -> None:
    assert [type(result) for result in found("software", facts)] == [Unknown]


def test_a_listener_that_says_nothing_hides_no_other() -> None:
    silent = replace(LISTENER, offer=TlsOffer(), silent="timed out")
    assert found("tls", (silent,)) == [Unknown("tls", "srv1:tcp/3306", "timed out")]
    assert len(found("tls", (silent, *with_tls(versions=())))) == 2


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_place_that_cannot_be_read_is_unknown_never_passed(check: AuditCheck[Any]) -> None:
    def broken() -> Any:
        raise PermissionError("not for you")

    results = check.on("srv1", broken)
    assert results == [Unknown(check.name, "srv1", "PermissionError: not for you")]
    assert collected(CHECKS[:1], [(CHECKS[0], results)]).holds is None


def test_a_check_without_a_place_is_unknown() -> None:
    empty = collected(CHECKS, [])
    assert empty.holds is None
    assert {place.check for place in empty.unknown} == set(CHECK_BY_NAME)


def test_facts_that_make_no_sense_are_unknown() -> None:
    assert isinstance(found("site", replace(VISIT, answers={}))[0], Unknown)


# --- the report ------------------------------------------------------------------------------------------------------

SERIOUS = Finding("tls-plain", HIGH, "lb:tcp/9999", "no TLS", "--tls mutual", "ASVS", "tls")
SLIGHT = replace(SERIOUS, severity=LOW, evidence="P-521")
UNKNOWN = Unknown("tls", "srv1", "gone")
LOOKED = {check.name: 1 for check in CHECKS}


@pytest.mark.parametrize(
    ("findings", "unknown", "holds"),
    [
        ([], [], True),
        ([SLIGHT], [], True),
        ([SLIGHT], [UNKNOWN], None),
        ([replace(SERIOUS, severity=MEDIUM)], [UNKNOWN], False),
        ([SERIOUS, SLIGHT], [], False),
    ],
)
def test_the_verdict_of_command_and_experiment(
    findings: list[Finding], unknown: list[Unknown], holds: bool | None
) -> None:
    audit = AuditReport(findings, unknown, LOOKED)
    assert report(audit.as_dict()) == audit
    assert audit.holds is holds
    rows = {name: value for name, value in audit.as_dict().items() if name in ("findings", "unknown", "looked")}
    raw = {"schema": 1, **rows, "took_s": 2.0}
    assert judged(Audit(), raw).holds is holds
    evidence = AuditEvidence.parse(raw)
    page = str(Audit().show(evidence, judged(Audit(), raw))) + Audit().page(evidence)
    for finding in findings:
        assert page.count(finding.evidence) == 2
    assert page.count("gone") == 2 * len(unknown)
    assert shown(audit).splitlines()[-1].startswith({True: "holds", False: "fails", None: "unknown"}[holds])


def test_junit_tells_failures_and_unknown_places_apart() -> None:
    unknown = Unknown("rules", "the policy", "gone \x00")
    suite = ElementTree.fromstring(junit(AuditReport([SERIOUS], [unknown], LOOKED)))
    cases = {case.get("name"): [part.tag for part in case] for case in suite.iter("testcase")}
    assert set(cases) == set(CHECK_BY_NAME)
    assert (cases["tls"], cases["rules"], cases["logs"]) == (["failure"], ["error"], [])


# --- reading ---------------------------------------------------------------------------------------------------------


def test_sockets_of_this_process_are_read() -> None:
    """The kernel's own tables, as they are here: an address of each kind, and none that only sends."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("0.0.0.0", 0))
        own = hostprocesses.process(Path(f"/proc/{os.getpid()}"), None)
        listening = hostprocesses.listening("self", [own])
        ports = {one.port: one for one in listening}
        assert ports[server.getsockname()[1]].local
        assert not ports[datagrams.getsockname()[1]].local
        assert ports[server.getsockname()[1]].program == own.name
        assert own.uid == os.getuid()
        assert any("libc" in library for library in own.libraries)


def test_secrets_in_files_are_found_with_their_modes(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for path, mode in ((tmp_path / "open", 0o644), (tmp_path / "own", 0o600), (closed / "inner", 0o644)):
        path.write_bytes(b"x" * (secretplaces.PIECE - 5) + SECRET.text.encode())
        path.chmod(mode)
    (tmp_path / "link").symlink_to("/etc/shadow")
    seen = {
        path.name: (mode, secretplaces.held(path, [SECRET], logs=False))
        for path, mode in secretplaces.plain_files(tmp_path)
    }
    assert seen == {"open": (0o644, (SECRET.what,)), "own": (0o600, (SECRET.what,)), "inner": (0o600, (SECRET.what,))}


@pytest.mark.parametrize(("text", "holds"), [("scrypt:32768:8:1$abc", True), ("a scrypt: no", False)])
def test_hashes_in_logs(tmp_path: Path, text: str, holds: bool) -> None:
    log = tmp_path / "log"
    log.write_text(text)
    assert bool(secretplaces.held(log, [], logs=True)) is holds


POLICY_OF_APT = """\
haproxy:
  Installed: 2.6.12-1+deb12u3
  Candidate: 2.6.12-1+deb12u4
  Version table:
     2.6.12-1+deb12u4 500
        500 http://mirror.example/debian-security bookworm-security/main amd64 Packages
 *** 2.6.12-1+deb12u3 500
        500 http://mirror.example/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
own:
  Installed: 1
  Candidate: 1
  Version table:
 *** 1 100
        100 /var/lib/dpkg/status
"""


def test_versions_are_read_from_apt_and_dpkg() -> None:
    haproxy, own = packageversions.packages(POLICY_OF_APT)
    assert (haproxy.installed, haproxy.newest) == ("2.6.12-1+deb12u3", "2.6.12-1+deb12u4")
    assert "security" in haproxy.sources[0]
    assert own.sources == ()
    assert packageversions.owners("libssl3:amd64: /usr/lib/x.so\na, b:amd64: /y\n") == ["a", "b", "libssl3"]
    assert packageversions.pins("Flask-WTF==1.3.0\nx==1  # only\n# y==2\n") == {"flask-wtf": "1.3.0", "x": "1"}


def test_exporters_may_look_into_processes_and_only_the_resolver_s_sees_packets() -> None:
    from services.secrets import Secrets

    profile = Profile()
    by_host = {host: Exporter(host, PLAN, profile, Secrets(), ()).capabilities for host in ("dns", "srv1")}
    assert by_host == {"dns": ("sys_ptrace", "net_raw"), "srv1": ("sys_ptrace",)}


# --- TLS, as real servers speak it -----------------------------------------------------------------------------------

Answer = Callable[[socket.socket], None]


@contextmanager
def serving(answer: Answer) -> Iterator[Callable[[], socket.socket]]:
    """A listener on loopback, each of whose connections is answered so."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def accept() -> None:
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                threading.Thread(target=closed_after, args=(answer, connection), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield partial(socket.create_connection, server.getsockname(), 2)
        server.shutdown(socket.SHUT_RDWR)


def closed_after(answer: Answer, connection: socket.socket) -> None:
    with closing(connection), suppress(OSError):
        answer(connection)


@pytest.fixture
def encrypted(tmp_path: Path) -> Callable[..., Answer]:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(PAIR.bundle)

    def answer(ciphers: str, newest: ssl.TLSVersion) -> Answer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(bundle)
        context.set_ciphers(ciphers)
        context.maximum_version = newest
        return lambda connection: context.wrap_socket(connection, server_side=True).close()

    return answer


def test_what_a_server_takes_is_found(encrypted: Callable[..., Answer]) -> None:
    suites = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-SHA"
    with serving(encrypted(suites, ssl.TLSVersion.TLSv1_3)) as connect:
        offer = tlsoffer.offer(connect, "srv1")
    assert offer.versions == ("TLSv1.2", "TLSv1.3")
    assert {0x1301, 0x1302, 0xC02B, 0xC00A} <= set(offer.suites) <= {0x1301, 0x1302, 0x1303, 0x1304, 0xC02B, 0xC00A}
    assert {"X25519", "P-256"} <= set(offer.groups)
    assert offer.certificate == DER
    with serving(encrypted(suites, ssl.TLSVersion.TLSv1_2)) as connect:
        assert tlsoffer.offer(connect, "srv1").versions == ("TLSv1.2",)


GREETING = b"\x5a\0\0\0\x0a5.5.5-10.11\0" + b"\1\0\0\0" + b"x" * 8 + b"\0" + b"%s" + b"\x21\2\0" + b"\0" * 20


@pytest.mark.parametrize("tls", [True, False])
def test_a_database_is_asked_to_switch_to_tls(encrypted: Callable[..., Answer], tls: bool) -> None:
    inner = encrypted("ECDHE-ECDSA-AES128-GCM-SHA256", ssl.TLSVersion.TLSv1_3)

    def database(connection: socket.socket) -> None:
        connection.sendall(GREETING % (b"\xff\xff" if tls else b"\xff\xf7"))
        asked = connection.recv(36, socket.MSG_WAITALL)
        if asked[:4] == b"\x20\0\0\1":
            inner(connection)

    with serving(database) as connect:
        assert tlsoffer.offer(connect, "srv1", database=True).versions == (("TLSv1.2", "TLSv1.3") if tls else ())


def test_plain_text_is_told_from_tls_and_from_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tlsoffer, "SECONDS", 0.05)

    def lines(connection: socket.socket) -> None:
        data = b""
        while not data.endswith(b"\r\n"):
            data += connection.recv(4096)
        connection.sendall(b"Unknown command\n")

    def silence(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    with serving(lines) as connect:
        assert tlsoffer.offer(connect, "lb") == TlsOffer()
    with serving(silence) as connect, pytest.raises(TimeoutError):
        tlsoffer.offer(connect, "lb")
