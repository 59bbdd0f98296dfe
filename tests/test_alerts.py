"""Every alert fires on its trouble and is silent otherwise: Prometheus' own ``promtool`` judges series made by hand."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.monitoring import query, rules
from services.monitoring.alerts import CATCHING_UP_S, HOST, alerts
from testbed.commands import commandlist
from testbed.namespaces import Inside
from topo.errors import RefusedError
from topo.plan import APP, BALANCER, DATABASE, RESOLVER, WEB, Plan, plan
from topo.profile import HARDENED, SEED, Profile

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
PLANS = {"seed": plan(SEED), "semisync": plan(HARDENED), "galera": plan(Profile(db="galera"))}
#: the time at which the trouble begins, and the one at which the alerts are looked at; a sample each second
BEGUN, LOOKED = 14, 24
STEADY = BEGUN - 1
DAEMONS = (WEB, APP, DATABASE, RESOLVER, BALANCER)
LABELS = {
    "host": "srv1",
    "job": "web",
    "service": "web",
    "mount": "/run",
    "file": "/run/x.pem",
    "switch": "core",
    "in_port": "2",
}
Fired = dict[str, list[dict[str, str]]]


def level(before: float, then: float | None = None) -> str:
    """A gauge that has one value, and from the beginning of the trouble on another one, or is there no more."""
    return f"{before:g}x{STEADY} " + (f"{then:g}x{LOOKED}" if then is not None else f"stale _x{LOOKED}")


def counter(before: float, then: float, start: float = 0) -> str:
    """A counter that grows by so much each second, and from the beginning of the trouble on by another number."""
    return f"{start}+{before}x{STEADY} {start + before * BEGUN}+{then}x{LOOKED}"


def born(then: float) -> str:
    """A counter that is there only from the beginning of the trouble on, and begins with what it has counted."""
    return f"_x{BEGUN} {then}+{then}x{LOOKED}"


@dataclass(frozen=True)
class Case:
    """Series beside the healthy ones, or instead of them (None: without it); and all the alerts that must fire then.

    ``apart``: it says something about all hosts, or about all of one; else it may be judged together with others.
    """

    name: str
    series: dict[str, str | None]
    fired: Fired = field(default_factory=dict)
    of: str = "seed"
    at: int = LOOKED
    apart: bool = False

    def goes_with(self, other: Case) -> bool:
        together = not (self.apart or other.apart) and (self.of, self.at) == (other.of, other.at)
        return together and not self.series.keys() & other.series.keys() and not self.fired.keys() & other.fired.keys()

    def together(self, other: Case) -> Case:
        names = f"{self.name}; {other.name}"
        return Case(names, {**self.series, **other.series}, {**self.fired, **other.fired}, self.of, self.at)


def packed(cases: Iterable[Case]) -> list[Case]:
    """As few cases as possible: ``promtool`` takes 0.2 s of a processor for each."""
    packs: list[Case] = []
    for case in cases:
        number = next((number for number, pack in enumerate(packs) if pack.goes_with(case)), None)
        if number is None:
            packs.append(case)
        else:
            packs[number] = packs[number].together(case)
    return packs


def up(host: str, job: str) -> str:
    return f'up{{host="{host}",job="{job}"}}'


def sources(made: Plan) -> Iterable[tuple[str, str]]:
    """Those that are expected, and one for each role of a host."""
    roles = ((host.name, role) for host in made.watched for role in host.roles if role in DAEMONS)
    mon = (("mon", source) for source in ("firewall", "failover", "testbed"))
    return dict.fromkeys((*rules.expected(made), *roles, *mon))


def healthy(made: Plan) -> dict[str, str]:
    """A testbed in which all is well, as series."""
    series = {up(host, job): level(1, 1) for host, job in sources(made)}
    for host in made.watched:
        name = f'host="{host.name}",job="host"'
        for role in host.roles:
            series[f'host_service_running{{{name},service="{role}"}}'] = level(1, 1)
        series[f"scrape_duration_seconds{{{name}}}"] = level(0.01, 0.01)
        series[f"host_clock_seconds{{{name}}}"] = f"0+1x{2 * LOOKED}"
        series[f'host_filesystem_size_bytes{{{name},mount="/var/log"}}'] = level(1e6, 1e6)
        series[f'host_filesystem_free_bytes{{{name},mount="/var/log"}}'] = level(9e5, 9e5)
        series[f'host_certificate_not_after_seconds{{{name},file="/run/x.pem"}}'] = level(604800, 604800)
    for number, host in enumerate(made.hosts_of(DATABASE)):
        name = f'host="{host.name}",job="db"'
        takes = made.profile.cluster or not number
        series[f"db_writable{{{name}}}"] = level(takes, takes)
        series[f"db_gtid_sequence{{{name}}}"] = f"0+50x{2 * LOOKED}"
        if not takes:
            for what, value in (("receiving", 1), ("applying", 1), ("lag_seconds", 0)):
                series[f"db_replication_{what}{{{name}}}"] = level(value, value)
            series[f"db_gtid_diverged{{{name}}}"] = level(0, 0)
        series[f'web_requests_total{{host="{host.name}",job="web",path="/",status="200"}}'] = counter(50, 50)
        series[f'app_logins_total{{host="{host.name}",job="app",result="failed"}}'] = counter(0.2, 0.2)
        series[f'haproxy_server_status{{host="lb",proxy="servers",server="{host.name}",state="DOWN"}}'] = level(0, 0)
        for edge in ("0.1", "1", "2.5", "+Inf"):
            series[f'web_request_seconds_bucket{{host="{host.name}",job="web",path="/",le="{edge}"}}'] = counter(50, 50)
    series['firewall_packets_total{host="mon",switch="core",rule="deny-rest",action="deny"}'] = counter(1, 1)
    series['firewall_packets_total{host="mon",switch="core",rule="web",action="allow"}'] = counter(9000, 9000)
    series['firewall_controller_up{host="mon"}'] = level(1, 1)
    series['haproxy_frontend_http_responses_total{host="lb",proxy="site-https",code="2xx"}'] = counter(150, 150)
    series['haproxy_frontend_http_responses_total{host="lb",proxy="site-https",code="5xx"}'] = counter(0, 0)
    if made.profile.managed:
        for number, host in enumerate(made.hosts_of(DATABASE)):
            series[f'failover_primary{{host="mon",server="{host.name}"}}'] = level(not number, not number)
    return series


def all_of(host: str, values: str | None = level(1)) -> dict[str, str | None]:
    """Every series of a host ends: nothing is pushed any more; or is as told."""
    own = f'host="{host}"'
    return {name: values for name in healthy(PLANS["seed"]) if own in name}


def jobs_of(host: str, but: str = "") -> dict[str, str | None]:
    """Each source of a host but for one answers no more."""
    return {up(*source): level(1, 0) for source in sources(PLANS["seed"]) if source[0] == host and source[1] != but}


def others_than(monitor: str, values: str) -> dict[str, str | None]:
    """Every series of all hosts but one is as told."""
    return {
        name: values
        for host in PLANS["seed"].watched
        if host.name != monitor
        for name in all_of(host.name)
        if name.startswith("up{")
    }


NEWS = 'web_requests_total{host="srv2",job="web",path="/",status="500"}'
DENIED = 'firewall_denied_total{host="mon",switch="fw1",rule="deny-rest",src="attacker"}'
RUNS = 'host_service_running{host="srv1",job="host",service="web"}'
SPOOFED = 'firewall_spoofed_total{host="mon",switch="core",in_port="2"}'
FIRST = f"{BEGUN}x{STEADY}"

FIRES = (
    Case("a host is cut off", all_of("srv2"), {"HostSilent": [{"host": "srv2"}]}, apart=True),
    Case("mon is cut off", others_than("mon", f"1x{STEADY} stale"), {"MonitoringBlind": [{"host": "mon"}]}, apart=True),
    Case("one is never seen", all_of("dns", None), {"HostSilent": [{"host": "dns"}]}, at=CATCHING_UP_S + 4),
    Case(
        "an exporter dies", jobs_of("srv1"), {"MonitoringClientSilent": [{"host": "srv1", "job": "host"}]}, apart=True
    ),
    Case("a source fails", {up("mon", "testbed"): level(1, 0)}, {"SourceDown": [{"host": "mon", "job": "testbed"}]}),
    Case("nginx is killed", {RUNS: level(1, 0)}, {"ServerDown": [{"host": "srv1", "service": "web"}]}),
    Case(
        "the balancer takes a server out",
        {'haproxy_server_status{host="lb",proxy="servers",server="srv3",state="DOWN"}': level(0, 1)},
        {"ServerOut": [{"host": "srv3", "server": "srv3"}]},
    ),
    Case("the application fails", {NEWS: born(10)}, {"ErrorRate": [{"host": "srv2"}]}),
    Case(
        "no server is left",
        {'haproxy_frontend_http_responses_total{host="lb",proxy="site-https",code="5xx"}': counter(0, 100)},
        {"ErrorRate": [{"host": "lb"}]},
    ),
    Case(
        "requests take long",
        {
            f'web_request_seconds_bucket{{host="srv1",job="web",path="/",le="{edge}"}}': counter(50, 5)
            for edge in ("0.1", "1")
        },
        {"Latency": [{"host": "srv1"}]},
    ),
    Case(
        "somebody guesses passwords",
        {'app_logins_total{host="srv1",job="app",result="failed"}': counter(0, 2)},
        {"LogInFailures": [{"host": "srv1"}]},
    ),
    Case(
        "the controller dies",
        {'firewall_controller_up{host="mon"}': level(1, 0)},
        {"ControllerDown": [{"host": "mon"}]},
    ),
    Case(
        "a database is fenced off",
        {'firewall_fence{host="mon",target="srv1"}': f"_x{BEGUN} 1x{LOOKED}"},
        {"FenceInForce": [{"host": "srv1", "target": "srv1"}]},
    ),
    Case("a scan", {DENIED: born(10)}, {"DeniedBurst": [{"host": "attacker", "src": "attacker"}]}),
    Case(
        "a forger",
        {SPOOFED: born(10)},
        {"SpoofedPackets": [{"host": "attacker", "behind": "attacker", "in_port": "2", "switch": "core"}]},
    ),
    Case(
        "a flood",
        {'firewall_packets_total{host="mon",switch="core",rule="deny-rest",action="deny"}': counter(1, 5000)},
        {"Flood": [{"host": "core", "switch": "core"}]},
    ),
    Case(
        "a disk is full",
        {'host_filesystem_free_bytes{host="srv3",job="host",mount="/var/log"}': level(9e5, 0)},
        {"DiskFull": [{"host": "srv3", "job": "host", "mount": "/var/log"}]},
    ),
    Case(
        "a clock is an hour ahead",
        {'host_clock_seconds{host="srv1",job="host"}': f"0+1x{STEADY} {BEGUN + 3600}+1x{LOOKED}"},
        {"ClockApart": [{"host": "srv1", "job": "host"}]},
    ),
    Case(
        "a certificate ends today",
        {'host_certificate_not_after_seconds{host="lb",job="host",file="/run/x.pem"}': level(80000, 80000)},
        {"CertificateNearExpiry": [{"host": "lb", "job": "host", "file": "/run/x.pem"}]},
    ),
    Case(
        "no write ends",
        {'db_lock_wait_seconds{host="srv1",job="db"}': level(0, 2)},
        {"WritesWait": [{"host": "srv1"}]},
    ),
    Case(
        "a replica's thread stops",
        {
            'db_replication_applying{host="srv2",job="db"}': level(1, 0),
            'db_replication_lag_seconds{host="srv2",job="db"}': level(0),
        },
        {"ReplicationStopped": [{"host": "srv2"}]},
    ),
    Case(
        "a replica forgets its primary",
        {
            f'db_replication_{what}{{host="srv2",job="db"}}': level(1)
            for what in ("receiving", "applying", "lag_seconds")
        },
        {"ReplicationStopped": [{"host": "srv2"}]},
    ),
    Case(
        "a replica stands still",
        {'db_gtid_sequence{host="srv3",job="db"}': counter(50, 0)},
        {"ReplicationLagging": [{"host": "srv3"}]},
    ),
    Case(
        "a replica says it is behind",
        {'db_replication_lag_seconds{host="srv3",job="db"}': level(0, 9)},
        {"ReplicationLagging": [{"host": "srv3"}]},
    ),
    Case(
        "a replica is written to",
        {'db_gtid_diverged{host="srv2",job="db"}': level(0, 1)},
        {"ReplicationDiverged": [{"host": "srv2", "job": "db"}]},
    ),
    Case(
        "the primary is closed",
        {
            'db_writable{host="srv1",job="db"}': level(1, 0),
            'db_replication_receiving{host="srv1",job="db"}': level(1, 1),
            'db_replication_applying{host="srv1",job="db"}': level(1, 1),
        },
        {"NoPrimary": [{"host": "lb"}]},
        apart=True,
    ),
    Case(
        "the primary dies",
        {name: level(1) for name in healthy(PLANS["seed"]) if name.startswith("db_") and "srv1" in name}
        | {up("srv1", DATABASE): level(1, 0)},
        {"NoPrimary": [{"host": "lb"}], "ServerDown": [{"host": "srv1", "service": "db"}]},
        apart=True,
    ),
    Case(
        "the manager knows of none",
        {'failover_primary{host="mon",server="srv1"}': level(1, 0)},
        {"NoPrimary": [{"host": "lb"}]},
        of="semisync",
    ),
    Case(
        "a replica takes writes too",
        {'db_writable{host="srv2",job="db"}': level(0, 1)},
        {"TwoPrimaries": [{"host": "srv1", "job": "db"}, {"host": "srv2", "job": "db"}]},
        apart=True,
    ),
)

SILENT = (
    Case("all is well", {}),
    Case("all is well with a manager", {}, of="semisync"),
    Case("all is well in a cluster", {}, of="galera"),
    Case("nothing is known of anybody yet", dict.fromkeys(healthy(PLANS["seed"])), at=16),
    Case(
        "a host comes back",
        {up("srv2", job): f"1x9 _x9 1x{LOOKED}" for job in ("host", WEB, APP, DATABASE)},
        apart=True,
    ),
    Case("the machine is late, and so are all hosts", others_than("mon", f"1x{LOOKED - 4} _x9"), apart=True),
    Case(
        "one catches up before the others",
        others_than("mon", f"1x{LOOKED - 4} _x9") | {up("srv1", "host"): f"1x{LOOKED - 4} _x3 1x9"},
        apart=True,
    ),
    Case(
        "a host is late with everything",
        {up("srv2", DATABASE): level(1, 0), 'scrape_duration_seconds{host="srv2",job="host"}': level(0.01, 0.4)},
        apart=True,
    ),
    Case(
        "several exporters miss one look",
        {up(host, job): f"1x{LOOKED - 1} 0x9" for host in ("srv1", "srv2") for job in ("host", WEB, APP, DATABASE)},
        apart=True,
    ),
    Case("one error in many answers", {NEWS: counter(1, 1)}),
    Case(
        "a source comes back with an old total",
        {NEWS: f"1x9 _x{LOOKED - 15} 5000x9", up("srv2", WEB): f"1x9 stale _x{LOOKED - 16} 1x9"},
    ),
    Case("a counter begins anew", {NEWS: f"9000x{LOOKED - 6} 0x9"}),
    Case("some forget their password", {'app_logins_total{host="srv1",job="app",result="failed"}': counter(0.3, 0.3)}),
    Case("a packet now and then is denied", {DENIED: counter(1, 1)}),
    Case("a frame now and then is forged", {SPOOFED: counter(0.2, 0.2)}),
    Case("strangers are denied", {DENIED.replace("attacker", "other"): born(10)}),
    Case("much is allowed", {'firewall_packets_total{host="mon",switch="fw1",rule="web",action="allow"}': born(50000)}),
    Case(
        "a disk is nearly full",
        {'host_filesystem_free_bytes{host="srv3",job="host",mount="/var/log"}': level(9e5, 3e4)},
    ),
    Case("a statement waits for a moment", {'db_lock_wait_seconds{host="srv1",job="db"}': level(0, 0.1)}),
    Case("a clock is a little off", {'host_clock_seconds{host="srv1",job="host"}': f"0.4+1x{2 * LOOKED}"}),
    Case("a fence has been lifted", {'firewall_fence{host="mon",target="srv1"}': level(1, 0)}),
    Case("a replica is a second behind", {'db_gtid_sequence{host="srv3",job="db"}': f"-50+50x{2 * LOOKED}"}),
    Case(
        "one primary hands over",
        {
            'db_writable{host="srv1",job="db"}': f"1x{LOOKED - 1} 0x9",
            'db_writable{host="srv2",job="db"}': f"0x{LOOKED - 2} 1x9",
            'db_replication_receiving{host="srv1",job="db"}': f"_x{LOOKED - 1} 1x9",
            'failover_primary{host="mon",server="srv1"}': f"1x{LOOKED - 1} 0x9",
            'failover_primary{host="mon",server="srv2"}': f"0x{LOOKED - 1} 1x9",
        },
        of="semisync",
    ),
    Case(
        "a server is slow now and then",
        {'web_request_seconds_bucket{host="srv1",job="web",path="/",le="1"}': counter(50, 48)},
    ),
)


def written(case: Case, texts: dict[str, dict[str, str]]) -> dict[str, Any]:
    """A case as ``promtool`` reads it: each alert of the plan fires as expected, or not at all."""
    series = {**healthy(PLANS[case.of]), **case.series}
    looks = [
        {
            "eval_time": f"{case.at}s",
            "alertname": name,
            "exp_alerts": [_expected(labels, text) for labels in case.fired.get(name, [])],
        }
        for name, text in texts.items()
    ]
    given = [{"series": name, "values": values} for name, values in series.items() if values is not None]
    return {"name": case.name, "interval": "1s", "input_series": given, "alert_rule_test": looks}


def _expected(labels: dict[str, str], text: dict[str, str]) -> dict[str, Any]:
    return {"exp_labels": labels, "exp_annotations": text}


def for_tests(file: str) -> str:
    """The rules, all judged at the same moments, and without what is said to people: that has the values in it."""
    content = json.loads(file)
    for group in content["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule.pop("annotations", None)
    return json.dumps(content)


def judged(cases: Iterable[Case], folder: Path, change: tuple[str, str] = ("", "")) -> list[str]:
    """The cases in which other alerts fired than expected; ``change``: a text in the rules, and another for it."""
    listed, files = packed(cases), []
    for name, made in PLANS.items():
        (folder / f"{name}-facts.yml").write_text(for_tests(rules.facts_file(made)))
        (folder / f"{name}-alerts.yml").write_text(for_tests(rules.alerts_file(made)).replace(*change))
        texts = {alert.name: {} for alert in alerts(made)}
        content = {
            "rule_files": [f"{name}-facts.yml", f"{name}-alerts.yml"],
            "evaluation_interval": "2s",
            "group_eval_order": ["expected", "seen", "silence", "alerts"],
            "tests": [written(case, texts) for case in listed if case.of == name],
        }
        (folder / f"{name}.yml").write_text(json.dumps(content))
        files.append(str(folder / f"{name}.yml"))
    done = subprocess.run(["promtool", "test", "rules", *files], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    wrong = re.findall(r"^ +name: (.*),$\n +alertname: (\w+)", said, re.MULTILINE)
    assert bool(wrong) == bool(done.returncode), said
    assert "parse error" not in said, said
    return [f"{case}: {alert}" for case, alert in wrong]


@needs_promtool
def test_every_alert_fires_on_its_trouble_and_no_other_does(tmp_path: Path) -> None:
    assert judged((*FIRES, *SILENT), tmp_path) == []


@needs_promtool
@pytest.mark.parametrize(
    ("change", "seen"),
    [
        pytest.param(("5xx", "6xx"), "no server is left: ErrorRate", id="looks at the wrong counter"),
        pytest.param((">= 10", ">= 1000"), "a scan: DeniedBurst", id="a threshold too high"),
        pytest.param((">= 10", ">= 1"), "a packet now and then is denied: DeniedBurst", id="a threshold too low"),
    ],
)
def test_a_wrong_rule_is_caught(tmp_path: Path, change: tuple[str, str], seen: str) -> None:
    name, _, _ = seen.partition(": ")
    (case,) = (case for case in (*FIRES, *SILENT) if case.name == name)
    assert judged([case], tmp_path, change) == [seen]


def test_there_is_trouble_for_each_alert_of_each_plan() -> None:
    fired = {name for case in FIRES for name in case.fired}
    assert {alert.name for made in PLANS.values() for alert in alerts(made)} == fired


def test_a_design_has_no_alerts_that_it_cannot_have() -> None:
    names = {name: {alert.name for alert in alerts(made)} for name, made in PLANS.items()}
    assert names["seed"] - names["galera"] == {
        "ReplicationStopped",
        "ReplicationLagging",
        "ReplicationDiverged",
        "NoPrimary",
        "TwoPrimaries",
    }
    assert "failover_primary" in rules.alerts_file(PLANS["semisync"])
    assert "failover_" not in rules.alerts_file(PLANS["seed"])


def test_each_alert_says_where_it_is_and_what_to_look_at() -> None:
    for made in PLANS.values():
        for alert in alerts(made):
            assert HOST in alert.summary or alert.name == "ControllerDown", alert.name
            assert alert.threshold
            for command in alert.hint.partition(" (")[0].split("; "):
                filled = re.sub(r"{{ \$labels\.(\w+) }}", lambda found: LABELS[found[1]], command)
                commandlist.read(filled.split(), at_prompt=False)  # raises UsageError for what is no command


def test_the_page_names_every_alert() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "monitoring.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `") and line.count("|") == 4]
    named = {name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row)}
    assert named == {alert.name for made in PLANS.values() for alert in alerts(made)}


def test_where_nothing_is_monitored_there_is_nobody_to_ask() -> None:
    place = Inside("mon", None, Path("/nowhere"))
    with pytest.raises(RefusedError, match=r"^--monitoring off: nothing is monitored; boot with --monitoring on$"):
        query.ask(place, plan(Profile(monitoring="off")), "alerts")


def test_one_that_accepts_and_says_nothing_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = SimpleNamespace(connect=lambda *_: socket.create_connection(silent.getsockname()))
        with pytest.raises(RefusedError, match=r"^mon's Prometheus does not answer: timed out; try: status$"):
            query.ask(place, PLANS["seed"], "alerts", seconds=0.05)  # type: ignore[arg-type]
