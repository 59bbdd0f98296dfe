"""The alerts: each a value, made for a plan; one that a design cannot have is not among its rules.

Prometheus judges them (rules.py makes its file); ``promtool test rules`` proves each. Every series has the label
``host``: where it was measured. An alert's own ``host`` is where the trouble is.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.monitoring.alert import ALONE, BEYOND_S, LATE_LOOK_S, SILENT, WINDOW_S, Alert, fresh, grown
from topo.plan import APP, BALANCER, DATABASE, MONITOR, RESOLVER, WEB, Plan

#: Prometheus has judged for so long without a break: what it has never seen by then is not there (a client that found
#: it dead waits up to 16 s until it tries again)
CATCHING_UP_S = 20
#: for so long no host was heard, and not only because the machine was busy for a while
BLIND_S = 4
#: the sources that look at a daemon of the site; ``up`` is 0 when it does not answer
DAEMONS = "|".join((WEB, APP, DATABASE, RESOLVER, BALANCER))
HOST = "{{ $labels.host }}"


def alerts(plan: Plan) -> Iterator[Alert]:
    """Every alert of a plan."""
    yield from _monitoring(plan)
    yield from _hosts()
    yield from _site(plan)
    yield from _firewalls()
    yield from _databases()
    if not plan.profile.cluster and len(plan.hosts_of(DATABASE)) > 1:
        yield from _replication()
        yield from _primaries(plan)


def _answers(jobs: str) -> str:
    """The sources that do not answer, while the exporter that asks them does, and soon: in the same second, or later.

    Where that takes long, too, the host is late with everything (a busy machine), and no daemon to blame.
    """
    soon = f'(scrape_duration_seconds{{job="host"}} < {LATE_LOOK_S})'
    exporter = f'(timestamp(up{{job="host"}}) and on(host) (up{{job="host"}} == 1) and on(host) {soon})'
    later = f"timestamp(up{{{jobs}}}) - on(host) group_left() {exporter} < 0.5"
    return f"up{{{jobs}}} == 0 and on(host, job) ({later})"


def _at(host: str, vector: str) -> str:
    """The samples with another label's value as their host: where the trouble is, and not where it was measured."""
    return f'label_replace({vector}, "host", "$1", "{host}", "(.+)")'


def _monitoring(plan: Plan) -> Iterator[Alert]:
    never = '(monitoring_expected{job="host"} * scalar(time() - monitoring_began) unless on(host) monitoring_seen)'
    yield Alert(
        "HostSilent",
        f"({SILENT}) {ALONE} or max by (host) ({never}) > {CATCHING_UP_S}",
        f"a sample each second, late by {BEYOND_S - 1:.1f} s at most",
        f'{HOST}: no news for {{{{ printf "%.1f" $value }}}} s',
        f"fault list; status; exec {HOST} -- true (it answers: its monitoring client is dead)",
        hold=1,
    )
    yield Alert(
        "MonitoringBlind",
        f'label_replace(monitoring_late > {BEYOND_S}, "host", "{plan.host_of(MONITOR).name}", "", "")',
        f"some host is heard within {BEYOND_S + BLIND_S:.1f} s",
        f"{HOST}: hears of no other host: it is cut off, or the machine is too busy",
        f"fault list; status; exec {HOST} -- ip -br link",
        after=BLIND_S,
    )
    dead = 'up{job="host"} == 0'
    several = f"on() (count({dead}) > 1)"
    yield Alert(
        "MonitoringClientSilent",
        # of several at once a second look tells: the machine may have been late for one
        f"{dead} unless {several} or {dead} and on(host) (up{{job='host'}} offset 1s == 0)",
        "its exporter answers within 0.5 s",
        f"{HOST}: its exporter does not answer: nothing is measured there",
        f"status; logs {HOST} exporter",
    )
    yield Alert(
        "SourceDown",
        _answers(f'job!~"host|{DAEMONS}"'),
        "each source answers within 0.5 s",
        f"{HOST}: nothing is known of its {{{{ $labels.job }}}}",
        f"status; logs {HOST} exporter",
    )


def _hosts() -> Iterator[Alert]:
    yield Alert(
        "DiskFull",
        "host_filesystem_free_bytes / host_filesystem_size_bytes < 0.02",
        "2 % free",
        f"{HOST}: {{{{ $labels.mount }}}} has {{{{ humanizePercentage $value }}}} left",
        f"exec {HOST} -- df -h {{{{ $labels.mount }}}}; fault list",
    )
    yield Alert(
        "ClockApart",
        "abs(host_clock_seconds - timestamp(host_clock_seconds)) > 1",
        "1 s",
        f'{HOST}: its clock is {{{{ printf "%.1f" $value }}}} s apart',
        f"exec {HOST} -- date",
    )
    yield Alert(
        "CertificateNearExpiry",
        "host_certificate_not_after_seconds - time() < 86400",
        "one day",
        f"{HOST}: {{{{ $labels.file }}}} is valid for {{{{ humanizeDuration $value }}}}",
        f"exec {HOST} -- openssl x509 -enddate -noout -in {{{{ $labels.file }}}}",
    )


def _site(plan: Plan) -> Iterator[Alert]:
    answers = f'label_replace({_answers(f"job=~`{DAEMONS}`")}, "service", "$1", "job", "(.+)")'
    yield Alert(
        "ServerDown",
        f"min by (host, service) ({fresh('host_service_running')} or {answers}) == 0",
        "it runs, and answers within 0.5 s",
        f"{HOST}: its {{{{ $labels.service }}}} is down",
        f"status; logs {HOST} {{{{ $labels.service }}}}; fault list",
    )
    out = 'haproxy_server_status{proxy="servers",server!~".*-anyway",state=~"DOWN|MAINT|DRAIN|NOLB"} == 1'
    yield Alert(
        "ServerOut",
        _at("server", f"max by (server) ({fresh(out)})"),
        "the balancer's checks pass",
        f"{HOST}: the balancer sends nothing to it",
        f"status; logs {plan.host_of(BALANCER).name}; fault list",
    )
    answered = _share("web_requests_total", WEB, "", 'status=~"5.."')
    passed_on = _share("haproxy_frontend_http_responses_total", BALANCER, 'proxy=~"site-.*"', 'code="5xx"')
    yield Alert(
        "ErrorRate",
        f"{answered} > 0.05 or {passed_on} > 0.05",
        "5 % of the requests of 3 s",
        f"{HOST}: {{{{ humanizePercentage $value }}}} of its answers are errors (5xx)",
        f"logs {HOST}; fault list",
        hold=2,
    )
    yield Alert(
        "Latency",
        f"histogram_quantile(0.9, sum by (host, le) (rate(web_request_seconds_bucket[{WINDOW_S}s]))) > 2",
        "2 s for 90 % of the requests of 3 s",
        f'{HOST}: a tenth of its requests takes longer than {{{{ printf "%.2f" $value }}}} s',
        f"logs {HOST}; fault list",
        hold=2,
    )
    failed = grown('app_logins_total{result="failed"}', APP, 10)
    yield Alert(
        "LogInFailures",
        f"sum by (host) ({failed}) >= 5",
        "5 in 10 s at one server",
        f"{HOST}: {{{{ $value }}}} log-ins failed in 10 s",
        f"logs {HOST}; denied",
    )


def _share(counters: str, source: str, own: str, bad: str) -> str:
    """The share of some of a host's counters in all their growth."""
    some = f"{counters}{{{','.join(filter(None, (own, bad)))}}}"
    every = f"{counters}{{{own}}}"
    return f"sum by (host) ({grown(some, source)}) / sum by (host) ({grown(every, source)})"


def _firewalls() -> Iterator[Alert]:
    yield Alert(
        "ControllerDown",
        "firewall_controller_up == 0",
        "the firewalls' controller runs",
        "the firewalls' controller is down: they decide on, and nothing can be changed",
        "status; logs box controller",
    )
    yield Alert(
        "FenceInForce",
        _at("target", "firewall_fence == 1"),
        "no fence",
        f"{HOST}: its database is fenced off",
        "status; verify",
    )
    denied = grown('firewall_denied_total{src!="other"}', "firewall")
    yield Alert(
        "DeniedBurst",
        _at("src", f"sum by (src) ({denied}) >= 10"),
        "10 samples in 3 s",
        f"{HOST}: {{{{ $value }}}} samples of its packets were denied in 3 s: does it scan?",
        "denied; flows",
        hold=2,
    )
    spoofed = grown("firewall_spoofed_total", "firewall")
    yield Alert(
        "SpoofedPackets",
        _at("behind", f"sum by (switch, in_port) ({spoofed}) * on(switch, in_port) group_left(behind) monitoring_port")
        + " >= 3",
        "3 in 3 s",
        f"{HOST}: {{{{ $value }}}} packets under a false address in 3 s, by port {{{{ $labels.in_port }}}} "
        "of {{ $labels.switch }}",
        "denied; flows {{ $labels.switch }}",
        hold=2,
    )
    refused = grown('firewall_packets_total{action="deny"}', "firewall")
    yield Alert(
        "Flood",
        _at("switch", f"(sum by (switch) ({refused}) / {WINDOW_S}) > 500"),
        "500 packets/s",
        f'{HOST}: refuses {{{{ printf "%.0f" $value }}}} packets/s',
        f"denied; flows {HOST}",
        hold=2,
    )


def _databases() -> Iterator[Alert]:
    yield Alert(
        "WritesWait",
        "max by (host) (db_lock_wait_seconds) > 0.3",
        "0.3 s for a lock on tables, or on all",
        f'{HOST}: a statement waits for a lock for {{{{ printf "%.1f" $value }}}} s',
        f"exec {HOST} -- mariadb -S /run/mysqld/mysqld.sock -e 'SHOW PROCESSLIST'; fault list",
        hold=2,
    )


def _replication() -> Iterator[Alert]:
    threads = 'min by (host) ({__name__=~"db_replication_(receiving|applying)"}) == 0'
    none = "max by (host) (db_writable) == 0 unless on(host) db_replication_receiving"
    yield Alert(
        "ReplicationStopped",
        f"{threads} or {none}",
        "both replication threads run",
        f"{HOST}: does not follow the primary",
        f"status; logs {HOST} db; fault list",
    )
    primary = "scalar(max(db_gtid_sequence offset 2s and on(host) (db_writable offset 2s == 1)))"
    behind = f"({primary} - {fresh('db_gtid_sequence')} unless on(host) (db_writable == 1)) > 0"
    yield Alert(
        "ReplicationLagging",
        f"max by (host) (db_replication_lag_seconds) > 2 or max by (host) ({behind})",
        "all that the primary had 2 s before",
        f"{HOST}: is behind the primary by {{{{ $value }}}} (seconds, or transactions)",
        f"status; logs {HOST} db",
    )
    yield Alert(
        "ReplicationDiverged",
        "db_gtid_diverged == 1",
        "no transaction that the primary lacks",
        f"{HOST}: has transactions that the primary lacks",
        f"status; logs {HOST} db",
    )


def _primaries(plan: Plan) -> Iterator[Alert]:
    """Those of a design with one primary. A change of roles must not look like two: each is asked at another moment."""
    databases = plan.hosts_of(DATABASE)
    writable = fresh("db_writable == 1")
    known = f'up{{job="host",host=~"{"|".join(host.name for host in databases)}"}} == 1 and on(host) up{{job="db"}}'
    none = f"(count({writable}) or vector(0)) == 0 and on() (count({fresh(known)}) == {len(databases)})"
    managed = " or max(failover_primary) == 0" if plan.profile.managed else ""
    yield Alert(
        "NoPrimary",
        f'label_replace({none}{managed}, "host", "{plan.host_of(BALANCER).name}", "", "")',
        "one database takes writes",
        f"{HOST}: no database takes the writes that it passes on",
        "status; fault list" + (f"; logs {plan.host_of(MONITOR).name} failover" if plan.profile.managed else ""),
    )
    yield Alert(
        "TwoPrimaries",
        f"{writable} and on() (count({writable}) > 1)",
        "one database takes writes",
        f"{HOST}: takes writes, and so does another",
        f"status; logs {HOST} db",
        after=1.5,
    )
