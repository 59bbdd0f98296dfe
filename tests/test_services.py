"""The services as descriptions: every rendered file against its golden file, secrets unreadable, looks that tell."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from jinja2 import DictLoader, UndefinedError

from controllers.flow import Flow
from controllers.policy import Rule
from services import deployment, pki
from services import haproxy as haproxies
from services.controller import Controller
from services.detection.sentinel import Sentinel
from services.failover import manager as failover
from services.gunicorn import Gunicorn
from services.haproxy import HAProxy, Limits
from services.mariadb import datadir
from services.mariadb.galera import Galera
from services.mariadb.mariadb import DATA, SOCKET, MariaDB
from services.monitoring import detectionstatus
from services.nginx import Nginx
from services.openvswitch import Vswitchd
from services.secrets import Secrets, fresh
from services.service import TEMPLATES, File, Joins, Prepares, Service, render
from services.site import inputs
from topo.paths import BOX
from topo.plan import SITE, Plan
from topo.plan import plan as plan_of
from topo.profile import Profile

SERVICES = ["db", "app", "web"]
IDS = [f"srv{n}/{name}" for name in SERVICES for n in (1, 2, 3)] + ["lb/balancer", "dns/resolver"]
# each host's monitoring client, and on the monitoring host the tool
WATCHED, CLIENT = ["dns", "lb", "srv1", "srv2", "srv3", "mon"], ["exporter", "agent", "shipper"]
IDS += ["mon/metrics", "mon/logs"] + [f"{host}/{name}" for host in WATCHED for name in CLIENT]


@pytest.fixture(scope="module")
def services(plan: Plan, secrets: Secrets) -> dict[str, Service]:
    return {each.id: each for each in deployment.host_services(plan, Profile(), secrets)}


def haproxy(secrets: Secrets, **axes: object) -> str:
    profile = Profile(**axes)  # type: ignore[arg-type]
    return HAProxy("lb", plan_of(profile), profile, secrets).files()[0].text


def golden_name(service: Service, file: File) -> str:
    """``host/name``; Python's own files get another ending, so that nobody takes them for code of the project."""
    name = Path(file.path).name
    return f"{service.host}/{name}.txt" if name.endswith(".py") else f"{service.host}/{name}"


def test_what_runs_where(services: dict[str, Service]) -> None:
    assert list(services) == IDS


@pytest.mark.parametrize("service_id", IDS)
def test_every_rendered_file(services: dict[str, Service], service_id: str, golden: Callable[[str, str], None]) -> None:
    service = services[service_id]
    assert service.files()
    for file in service.files():
        golden(golden_name(service, file), file.text)


VARIANTS = [
    *(Profile(tls=tls) for tls in ("reencrypt", "passthrough", "mutual")),
    *(Profile(db=db) for db in ("async", "semisync", "galera")),
    Profile(waf="on"),
]


def variant(profile: Profile) -> str:
    if profile.shielded:
        return "waf-on"
    return f"db-{profile.db}" if profile.db != "single" else f"tls-{profile.tls}"


@pytest.mark.parametrize("profile", VARIANTS, ids=variant)
def test_what_each_value_changes(
    plan: Plan, secrets: Secrets, services: dict[str, Service], profile: Profile, golden: Callable[[str, str], None]
) -> None:
    """The files that are not the seed's; those of srv3 are like srv2's."""
    for name, text in changed_by(profile, plan, secrets, services).items():
        golden(f"{variant(profile)}/{name}", text)


def changed_by(profile: Profile, plan: Plan, secrets: Secrets, seed: dict[str, Service]) -> dict[str, str]:
    same = {(file.path, file.text) for service in seed.values() for file in service.files()}
    return {
        golden_name(service, file): file.text
        for service in deployment.host_services(plan_of(profile), profile, secrets)
        for file in service.files()
        if service.host != "srv3" and (file.path, file.text) not in same
    }


def test_no_golden_file_is_left_over(services: dict[str, Service], plan: Plan, secrets: Secrets) -> None:
    golden = Path(__file__).parent / "golden"
    made = {golden_name(s, file) for s in services.values() for file in s.files()}
    made |= {f"{variant(each)}/{name}" for each in VARIANTS for name in changed_by(each, plan, secrets, services)}
    made |= {f"flows/{switch.name}.txt" for switch in plan.switches}
    there = {str(path.relative_to(golden)) for path in golden.rglob("*") if path.is_file()}
    assert {
        name
        for name in there
        if name.split("/")[0].partition("-")[0] in {"flows", "tls", "db", "waf", *(h.name for h in plan.hosts)}
    } == made


def test_a_value_missing_in_a_template_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TEMPLATES, "loader", DictLoader({"x": "port {{ port }}", "y": "{{ plan.nothing }}"}))
    assert render("x", port=1) == "port 1"
    with pytest.raises(UndefinedError, match="'port' is undefined"):
        render("x")
    with pytest.raises(UndefinedError, match="no attribute 'nothing'"):
        render("y", plan=object())


@pytest.mark.parametrize(
    ("tls", "files"),
    [
        ("terminate", 7),  # accounts and site.json of three servers, the balancer's key
        ("reencrypt", 10),  # and nginx's keys
        ("passthrough", 9),  # the balancer has no key
        ("mutual", 31),  # and the proofs and keys of the balancer, applications, databases and the monitoring
    ],
)
def test_whatever_holds_a_secret_is_for_its_owner_only(plan: Plan, tls: str, files: int) -> None:
    secrets = fresh(plan, Profile(tls=tls))
    texts = [secrets.read_password, secrets.write_password, secrets.replication_password, secrets.session_key]
    keeping = 0
    for service in deployment.host_services(plan, Profile(tls=tls), secrets):
        for file in service.files():
            if any(text in file.text for text in (*texts, "PRIVATE KEY")):
                keeping += 1
                assert file.mode == 0o600, f"{service.id} {file.path}"
        argv = " ".join([*service.command(), *service.environment.values(), *map(str, service.checks())])
        assert not any(text in argv for text in texts), f"{service.id} shows a secret in its process list"
    assert keeping == files
    assert not any(text in repr(secrets) for text in (*texts, "PRIVATE KEY"))


def test_secrets_are_new_at_every_boot(plan: Plan) -> None:
    one, other = fresh(plan, Profile(tls="mutual")), fresh(plan, Profile(tls="mutual"))
    assert one.session_key != other.session_key
    keys = [pair.key for each in (one, other) for pair in key_pairs(each)]
    assert len(set(keys)) == len(keys) == 22
    assert len({one.read_password, one.write_password, one.replication_password, one.session_key}) == 4


def key_pairs(secrets: Secrets) -> list[pki.KeyPair]:
    by_server = (secrets.servers, secrets.applications, secrets.databases)
    return [secrets.site, secrets.balancer, *(pair for each in by_server for pair in each.values())]


@pytest.mark.parametrize("tls", ["reencrypt", "passthrough", "mutual"])
def test_a_certificate_proves_one_name_for_one_use(plan: Plan, tls: str) -> None:
    """Nobody's certificate is good for somebody else's place, and none is made that nobody shows."""
    secrets = fresh(plan, Profile(tls=tls))
    own = {"reencrypt": ["srv1"], "passthrough": [SITE, "srv1"], "mutual": ["srv1"]}[tls]
    assert names_and_uses(secrets.servers["srv1"]) == (own, [pki.SERVER])
    assert bool(secrets.site.key) == (tls != "passthrough")
    if tls != "mutual":
        assert (secrets.balancer.key, secrets.applications, secrets.databases) == ("", {}, {})
        return
    assert names_and_uses(secrets.balancer) == (["lb"], [pki.CLIENT])
    managed = fresh(plan, Profile(tls=tls, db="semisync"))
    assert names_and_uses(managed.runtime) == (["runtime.lb", "10.0.2.10"], [pki.SERVER])
    assert names_and_uses(managed.failover) == (["failover"], [pki.CLIENT])
    assert secrets.runtime.key == ""
    assert names_and_uses(secrets.applications["srv2"]) == (["app.srv2"], [pki.CLIENT])
    names = ["db.srv2", "10.0.3.12", "10.0.2.10"]
    assert names_and_uses(secrets.databases["srv2"]) == (names, [pki.SERVER, pki.CLIENT])


def names_and_uses(pair: pki.KeyPair) -> tuple[list[str], list[x509.ObjectIdentifier]]:
    extensions = x509.load_pem_x509_certificate(pair.certificate.encode()).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uses = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return [str(name.value) for name in names], list(uses)


def test_the_certificate_is_what_a_browser_accepts() -> None:
    authority = pki.Authority()
    pair = authority.issue(SITE)
    certificate = x509.load_pem_x509_certificate(pair.certificate.encode())
    root = x509.load_pem_x509_certificate(authority.certificate.encode())
    certificate.verify_directly_issued_by(root)
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [SITE]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert pair.bundle == pair.certificate + pair.key
    with pytest.raises(Exception, match=r".*"):
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(pki.Authority().certificate.encode()))


@pytest.mark.parametrize("balance", ["roundrobin", "leastconn", "source"])
def test_balance_reaches_haproxy(secrets: Secrets, balance: str) -> None:
    assert f"    balance {balance}\n" in haproxy(secrets, balance=balance)


def test_fast_health(secrets: Secrets, golden: Callable[[str, str], None]) -> None:
    profile = Profile(health="fast")
    text, release = (file.text for file in HAProxy("lb", plan_of(profile), profile, secrets).files()[:2])
    golden("fast/haproxy.cfg", text)
    golden("fast/release.lua", release)
    _, _, writes = text.partition("listen db-write")
    assert haproxy(secrets).endswith(writes), "the databases' endpoint is another axis's business"


def test_limits(secrets: Secrets, golden: Callable[[str, str], None]) -> None:
    golden("limits/haproxy.cfg", haproxy(secrets, limits="on", health="fast", tls="mutual", db="semisync"))
    passed_on = haproxy(secrets, limits="on", tls="passthrough")
    assert passed_on.count("tcp-request connection reject") == 2
    assert "backend passwords" not in passed_on, "no request is seen there"
    figures = Limits()
    assert figures.https + figures.http < 2000, "the write endpoint and the statistics need some, too"
    assert figures.connections < min(figures.https, figures.http), "one address alone fills nothing"
    assert figures.headers + figures.body < figures.buffer
    assert figures.body == inputs.LARGEST_REQUEST


@pytest.mark.parametrize("tls", ["terminate", "reencrypt", "mutual", "passthrough"])
def test_fast_health_with_every_tls(secrets: Secrets, tls: str) -> None:
    """Where TLS is passed on HAProxy sees no request, so that it can repeat none."""
    text, sees_requests = haproxy(secrets, tls=tls, health="fast"), tls != "passthrough"
    assert ("retry-on" in text, "observe layer7" in text) == (sees_requests, sees_requests)
    assert text.count(":443 verifyhost ") == (0 if tls == "terminate" else 6)


def test_fast_health_never_repeats_what_could_happen_twice(secrets: Secrets) -> None:
    lines = [line.strip() for line in haproxy(secrets, health="fast").splitlines()]
    assert "http-request disable-l7-retry unless repeatable" in lines
    repeatable = {line.removeprefix("acl repeatable ") for line in lines if line.startswith("acl repeatable ")}
    assert repeatable == {
        "method GET HEAD",
        "req.hdr(Idempotency-Key) -m found",
        "req.body_param(idempotency_key) -m found",
    }


def test_with_a_fixed_server_for_each_client_a_retry_still_goes_elsewhere(secrets: Secrets) -> None:
    assert "hash-type consistent" in haproxy(secrets, health="fast", balance="source")
    assert "hash-type" not in haproxy(secrets, health="fast")


@pytest.mark.parametrize("servers", [1, 5, 30])
def test_every_server_is_balanced_to_and_one_takes_the_writes(secrets: Secrets, servers: int) -> None:
    site, _, writes = haproxy(secrets, servers=servers).partition("listen db-write")
    assert [line.split()[1] for line in site.splitlines() if line.startswith("    server ")] == [
        f"srv{number}" for number in range(1, servers + 1)
    ]
    assert [line.split()[1] for line in writes.splitlines() if line.startswith("    server ")] == ["srv1"]


def test_one_primary_and_the_rest_read_only(services: dict[str, Service]) -> None:
    texts = {name: services[f"{name}/db"].files()[0].text for name in ("srv1", "srv2", "srv3")}
    assert [name for name, text in texts.items() if "read_only = OFF" in text] == ["srv1"]
    assert {text.partition("server_id = ")[2].split()[0] for text in texts.values()} == {"1", "2", "3"}


def test_the_site_config_is_json_that_names_its_server(services: dict[str, Service]) -> None:
    for name in ("srv1", "srv2", "srv3"):
        site = json.loads(services[f"{name}/app"].files()[1].text)
        assert site["server"] == name
        assert site["write"]["host"] == "10.0.2.10"


def test_every_service_has_its_own_files_and_logs(
    services: dict[str, Service], plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...]
) -> None:
    """Two services of one host never write the same file, and what they write lies in a private directory."""
    everything = [*services.values(), *deployment.network_services(plan, rules, flows)]
    for host in {service.host for service in everything}:
        here = [service for service in everything if service.host == host]
        paths = [file.path for service in here for file in service.files()]
        logs = [log for service in here for log in service.logs]
        assert len(paths) == len(set(paths))
        assert len(logs) == len(set(logs))
        assert all(path.startswith(("/run/", "/var/log/")) for path in (*paths, *logs))


def test_every_daemon_with_a_configuration_checks_it(services: dict[str, Service]) -> None:
    assert [service.id for service in services.values() if not service.checks()] == []


def test_few_need_more_than_text_files_and_only_databases_join(
    services: dict[str, Service], plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...]
) -> None:
    everything = [*services.values(), *deployment.network_services(plan, rules, flows)]
    assert {service.role for service in everything if isinstance(service, Joins)} == {"db"}
    assert {service.role for service in everything if isinstance(service, Prepares)} == {
        "db",
        "web",
        "ovsdb-server",
        "controller",
    }
    assert {service.role for service in everything if service.restarts} == {"controller", "exporter", "agent"}
    assert {service.role for service in everything if service.last} == {"balancer"}


# --- looks --------------------------------------------------------------------------------------------------------


class FakeLook:
    """A host whose private paths lie below ``root`` and whose ports are this machine's, as far as ``ports`` says."""

    def __init__(self, root: Path, ports: dict[int, int] | None = None) -> None:
        self.root = root
        self.ports = ports or {}

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def connect(self, port: int, address: str = "127.0.0.1", seconds: float = 1) -> socket.socket:
        if port not in self.ports:
            raise ConnectionRefusedError(111, "Connection refused")
        return socket.create_connection((address, self.ports[port]), seconds)


@contextmanager
def listening(path: Path, greeting: bytes) -> Iterator[None]:
    """Somebody who greets once on a UNIX socket."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def greet() -> None:
            connection, _ = server.accept()
            with connection, suppress(ConnectionError):
                connection.sendall(greeting)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(100)

        thread = threading.Thread(target=greet)
        thread.start()
        yield
        thread.join()


def test_a_tcp_daemon_is_ready_when_it_accepts(tmp_path: Path, plan: Plan, secrets: Secrets) -> None:
    nginx = Nginx("srv1", plan, Profile(), secrets)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert nginx.ready(FakeLook(tmp_path, {80: server.getsockname()[1]})) is None
        assert nginx.ready(FakeLook(tmp_path, {443: server.getsockname()[1]})) is not None
    assert nginx.ready(FakeLook(tmp_path)) == "port 80: [Errno 111] Connection refused"


def test_mariadb_is_ready_when_it_greets(
    tmp_path: Path, plan: Plan, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    look, service = FakeLook(Path()), MariaDB("srv1", plan, Profile(), secrets)
    assert "No such file" in str(service.ready(look))
    with listening(look.path(SOCKET), b"\x4a\x00\x00\x00\x0a5.5.5-10.11"):
        assert service.ready(look) is None
    look.path(SOCKET).unlink()
    with listening(look.path(SOCKET), b"\x4a\x00\x00\x00\xff\x10\x04Too many"):
        assert "greeting" in str(service.ready(look))
    look.path(SOCKET).unlink()
    with listening(look.path(SOCKET), b""):
        assert "greeting b''" in str(service.ready(look))


def test_the_primary_follows_nobody(tmp_path: Path, plan: Plan, secrets: Secrets) -> None:
    primary = MariaDB("srv1", plan, Profile(), secrets)
    primary.join(FakeLook(tmp_path))  # asks nothing: there is no database here
    assert primary.joined(FakeLook(tmp_path)) is None


# --- a cluster ----------------------------------------------------------------------------------------------------


@pytest.fixture
def member(plan: Plan, secrets: Secrets) -> Galera:
    return Galera("srv2", plan, Profile(db="galera"), secrets)


@pytest.mark.parametrize(
    ("state", "size", "said"),
    [
        ("Synced", "3", None),
        ("Synced", "2", "Synced, 2 of 3 in the cluster (Primary)"),
        ("Joined", "3", "Joined, 3 of 3 in the cluster (Primary)"),
    ],
)
def test_a_member_is_in_its_place_when_it_has_everything_and_all_are_there(
    member: Galera, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str, size: str, said: str | None
) -> None:
    status = {
        "wsrep_local_state_comment": state,
        "wsrep_cluster_size": size,
        "wsrep_cluster_status": "Primary",
    }
    rows = [{"Variable_name": name, "Value": value} for name, value in status.items()]
    monkeypatch.setattr("services.mariadb.galera.query", lambda *_: rows)
    assert member.joined(FakeLook(tmp_path)) == said


def test_all_members_start_from_one_state_and_one_group(
    plan: Plan, secrets: Secrets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datadir, "copy", lambda target: target.mkdir(parents=True))
    states, groups = set(), set()
    for server in ("srv1", "srv2", "srv3"):
        look = FakeLook(tmp_path / server)
        Galera(server, plan, Profile(db="galera"), secrets).prepare(look)
        states.add((look.path(DATA) / "grastate.dat").read_text())
        own, _, group = (look.path(DATA) / "gvwstate.dat").read_text().partition("\n")
        groups.add(group)
        assert f"member: {own.removeprefix('my_uuid: ')} 0\n" in group
    assert len(states) == len(groups) == 1
    assert groups.pop().count("member: ") == 3


@pytest.mark.parametrize(
    ("chosen", "up", "named"),
    [
        ("srv2", "srv1 srv2 srv3", "srv2"),
        ("srv2", "srv1 srv3", "srv1"),
        ("srv1", "srv2 srv3", "srv2"),
        (None, "srv1 srv2 srv3", "srv1"),
        (None, "srv3", "srv3"),
        ("srv2", "", None),
        (None, "", None),
    ],
)
def test_the_writer_of_a_cluster_is_the_server_that_the_endpoint_uses(
    chosen: str | None, up: str, named: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    look = FakeLook(Path())
    table = b"# table: db-write, type: integer, size:1, used:1\n"
    place = look.path(haproxies.SOCKET)
    entry = f"0x55: key=1 use=0 exp=0 shard=0 server_id=2 server_key={chosen}\n" if chosen else ""
    rows = [
        f"db-write,{name},0,{'UP' if name in up else 'DOWN 1/2'},{int(name != 'srv1')},"
        for name in ("srv1", "srv2", "srv3")
    ]
    servers = "\n".join(["# pxname,svname,qcur,status,bck,", *rows, "", ""])
    with listening(place, table + f"{entry}\n{servers}".encode()):
        assert haproxies.writer(look) == named


def test_a_clusters_check_is_a_login_without_a_password_and_a_question() -> None:
    login = haproxies.packet(1, haproxies.LOGIN)
    assert login[:4] == bytes([len(login) - 4, 0, 0, 1])
    assert login.endswith(b"haproxy_check\0\0")
    assert haproxies.packet(0, haproxies.ASK)[4:5] == b"\x03"  # COM_QUERY


def test_what_a_process_before_it_has_left_makes_nobody_ready(
    tmp_path: Path, plan: Plan, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detector that was started anew counted as watching a tenth of a second before it did, by its old log."""
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    look, sentinel = FakeLook(Path()), Sentinel("mon", plan)
    manager = failover.Failover("mon", plan, Profile(db="semisync"), secrets)
    for path, text in ((sentinel.logs[1], '{"event": "started"}\n'), (failover.STATE, '{"primary": "srv1"}')):
        look.path(path).parent.mkdir(parents=True, exist_ok=True)
        look.path(path).write_text(text)
    for service, path in ((sentinel, detectionstatus.ASK), (manager, failover.ASK)):
        place = look.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))
            server.listen()
            assert service.ready(look) is None
        assert "refused" in str(service.ready(look)), "its socket is there, and nobody listens"
        place.unlink()
        assert "No such file" in str(service.ready(look))


def test_ovs_vswitchd_is_not_ready_without_its_pidfile(tmp_path: Path) -> None:
    assert "ovs-vswitchd.pid" in str(Vswitchd(BOX).ready(FakeLook(tmp_path)))


def test_the_controller_tells_which_switch_has_not_confirmed(
    tmp_path: Path, plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...]
) -> None:
    controller, look = Controller(BOX, plan, rules, flows), FakeLook(tmp_path)
    installed = look.path("/run/foobar/controller/installed.json")
    assert controller.installed(look) == "no barrier reply from core, fw1, fw2, fw3"
    installed.parent.mkdir(parents=True)
    has = {"flows": 10, "meters": True}
    installed.write_text(json.dumps({"1": has, "3": has}))
    assert controller.installed(look) == "no barrier reply from fw1, fw3"
    assert controller.unmetered(look) == [], "nobody has said so yet"
    lacks = {"flows": 10, "meters": False}
    installed.write_text(
        json.dumps({str(switch.dpid): lacks if switch.number == 2 else has for switch in plan.switches})
    )
    assert controller.installed(look) is None
    assert controller.unmetered(look) == ["fw1"]


def test_gunicorns_check_reads_what_every_server_has_alike(plan: Plan, secrets: Secrets) -> None:
    one, other = (Gunicorn(name, plan, Profile(), secrets, SOCKET) for name in ("srv1", "srv2"))
    assert one.configuration() == other.configuration()
    assert one.files() != other.files()
