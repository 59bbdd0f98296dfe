"""The benchmarks: what is computed from series with known answers, what is printed, how it ends. One run with root."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fakes import free_port

import benchmarks
from benchmarks import (
    boot_time,
    child,
    database_remedies,
    datapath,
    deny_flood,
    footprint,
    https,
    loopback,
    pingpong,
    policy_install,
    port_scan,
    ratio,
    reverification,
    suite,
    table,
    web_remedies,
)
from benchmarks.__main__ import main
from benchmarks.boot_time import FirstWrite
from benchmarks.comparison import Benchmark, PairedSeries, Report, Size, Target, Tell
from benchmarks.first_visit import TOKEN
from benchmarks.footprint import Footprint
from services.deployment import host_services
from services.secrets import Secrets
from services.service import File
from testbed import preflight, state
from testbed.body import Body
from topo import wait
from topo.errors import FoobarError, MissingError, UsageError
from topo.plan import Plan
from topo.profile import Profile

PROJECT = Path(__file__).resolve().parent.parent
KEYS = [
    "benchmark", "measure", "unit", "ours", "reference", "reference_name", "ratio", "interval", "target", "met",
]  # fmt: skip


def series(ours: tuple[float, ...], reference: tuple[float, ...], target: Target | None = None) -> PairedSeries:
    return PairedSeries("speed", "1/s", ours, reference, "something", target or Target("ratio", ">=", 0.7))


# --- statistics ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "reference", "expected"),
    [
        ((2.0,), (4.0,), 0.5),
        ((1.0, 3.0, 100.0), (2.0, 2.0, 2.0), 1.5),  # medians, not means
        ((1.0, 3.0), (4.0, 4.0), 0.5),
        ((0, 0, 0), (5, 5, 5), 0.0),
        ((0, 0, 0), (0, 0, 0), 1.0),
        ((5, 5, 5), (0, 0, 0), None),
    ],
)
def test_the_ratio_is_that_of_the_medians(
    ours: tuple[float, ...], reference: tuple[float, ...], expected: float | None
) -> None:
    assert ratio.ratio(ours, reference) == expected


def test_series_without_noise_have_an_interval_without_width() -> None:
    assert ratio.interval((3.0,) * 5, (4.0,) * 5) == (0.75, 0.75)


def test_the_interval_holds_the_ratio_and_is_the_same_each_time() -> None:
    ours, reference = (8.0, 9.0, 10.0, 11.0, 12.0, 9.5, 10.5), (20.0, 19.0, 21.0, 18.0, 22.0, 20.5, 19.5)
    low, high = ratio.interval(ours, reference) or (0, 0)
    assert (low, high) == ratio.interval(ours, reference)
    assert 8 / 22 <= low < 0.5 < high <= 12 / 18


def test_more_noise_makes_a_wider_interval() -> None:
    quiet = ratio.interval((10.0, 10.1, 9.9, 10.0, 10.0), (10.0,) * 5)
    noisy = ratio.interval((10.0, 20.0, 5.0, 12.0, 8.0), (10.0,) * 5)
    assert quiet is not None
    assert noisy is not None
    assert noisy[1] - noisy[0] > quiet[1] - quiet[0]


def test_pairs_stay_pairs() -> None:
    """When each pair has the same ratio, no resample has another one, however much the machine's speed changes."""
    ours = (1.0, 20.0, 3.0, 40.0, 5.0)
    assert ratio.interval(ours, tuple(2 * value for value in ours)) == (0.5, 0.5)


def test_an_interval_that_touches_zero_division_is_none() -> None:
    assert ratio.interval((1, 1, 1, 1, 1), (0, 0, 0, 1, 1)) is None


def test_series_of_unequal_length_are_an_error() -> None:
    with pytest.raises(ValueError, match="argument"):
        ratio.interval((1.0, 2.0), (1.0,))


# --- targets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "ours", "value", "met"),
    [
        (Target("ratio", ">=", 0.7), 1, 0.7, True),
        (Target("ratio", ">=", 0.7), 1, 0.699, False),
        (Target("ratio", ">=", 0.7), 1, None, False),
        (Target("ours", "<=", 3), 3.0, 9, True),
        (Target("ours", "<=", 3), 3.01, 0.1, False),
        (Target("ours", "<=", 0), 0, None, True),
        (Target("ours", "<=", 0), 1, 1.0, False),
    ],
)
def test_a_target_is_met_or_not(target: Target, ours: float, value: float | None, met: bool) -> None:
    assert target.met(ours, value) is met


def test_a_target_says_what_it_bounds() -> None:
    assert str(Target("ratio", ">=", 0.7)) == "ratio >= 0.7"
    assert str(Target("ours", "<=", 900)) == "ours <= 900"


def test_a_measure_is_the_object_of_the_contract() -> None:
    found = series((7.0, 8.0, 9.0, 8.0, 8.0), (10.0,) * 5).judged("boot")
    assert list(found) == KEYS
    assert (found["ours"], found["reference"], found["ratio"], found["met"]) == (8.0, 10.0, 0.8, True)
    assert found["interval"][0] <= 0.8 <= found["interval"][1]
    assert json.loads(json.dumps(found)) == found


def test_a_measure_without_a_ratio_is_still_json() -> None:
    found = series((5,) * 5, (0,) * 5).judged("datapath")
    assert (found["ratio"], found["interval"], found["met"]) == (None, [None, None], False)
    assert "-" in table.number(found["ratio"])


# --- what each benchmark makes of what it found --------------------------------------------------------------------


def rows(testbed: float, bridge: float, mininet: float, pairs: int = 5) -> list[Mapping[str, float]]:
    one = {datapath.TESTBED: testbed, datapath.BRIDGE: bridge, datapath.MININET: mininet}
    return [one] * pairs


def test_the_datapath_is_compared_with_both_references() -> None:
    found = {
        "datapath": "user",
        "throughput": rows(8, 10, 0.5),
        "round trips": rows(5000, 10000, 5000),
        "bad checksums": rows(0, 0, 7),
    }
    report = datapath.report(found)
    judged = {each.measure: each.judged("datapath") for each in report.series}
    assert {name: (each["ratio"], each["met"]) for name, each in judged.items()} == {
        "throughput / bridge": (0.8, True),
        "throughput / mininet": (16.0, True),
        "round trips / bridge": (0.5, False),
        "round trips / mininet": (1.0, False),
        "bad checksums": (1.0, True),
    }
    assert any("testbed 0, linux bridge 0" in note and note.endswith(" 35") for note in report.notes)
    assert any("200 us" in note for note in report.notes)


def test_one_bad_checksum_in_one_pair_of_many_misses_the_target() -> None:
    """A median would hide it; the target is none at all."""
    bad = [*rows(0, 0, 0), *rows(1, 0, 0, pairs=1)]
    found = {"datapath": "user", "throughput": rows(1, 1, 1, 6), "round trips": rows(1, 1, 1, 6), "bad checksums": bad}
    last = datapath.report(found).series[-1].judged("datapath")
    assert (last["measure"], last["ours"], last["met"]) == ("bad checksums", 1, False)


def test_https_measures_files_pages_and_handshakes() -> None:
    found = {measure: [{https.TESTBED: 70.0, https.LOOPBACK: 100.0}] * 5 for measure in https.ASKED}
    judged = [each.judged("https") for each in https.report(found).series]
    assert [each["measure"] for each in judged] == ["static file", "dynamic page", "new handshakes"]
    assert all(each["met"] and each["ratio"] == 0.7 for each in judged)


def test_a_flood_is_compared_with_none_with_one_elsewhere_and_with_one_unsampled() -> None:
    row = {deny_flood.FLOODED: 80.0, deny_flood.QUIET: 200.0, deny_flood.ELSEWHERE: 100.0, deny_flood.UNSAMPLED: 80.0}
    found = {"requests": [row] * 5, "flood": [{"denied": 19_900.0, "sampled": 10.0, "controller": 0.004}] * 5}
    report = deny_flood.report(found)
    assert {each["measure"]: (each["ratio"], each["met"]) for each in (s.judged("x") for s in report.series)} == {
        "requests / no flood": (0.4, False),
        "requests / flood that no switch sees": (0.8, True),
        "requests / flood, not sampled": (1.0, True),
    }
    assert (
        "19900 packets/s were denied and counted, 10.0/s of them sampled; the controller took 0.4%" in report.notes[0]
    )


@pytest.mark.parametrize(
    ("variant", "denied", "sampled", "right"),
    [
        (deny_flood.FLOODED, 20_000, 10, True),
        (deny_flood.FLOODED, 900, 10, False),  # a flood that nobody meets
        (deny_flood.QUIET, 0, 0, True),
        (deny_flood.ELSEWHERE, 20_000, 10, False),  # not elsewhere
        (deny_flood.UNSAMPLED, 20_000, 0, True),
        (deny_flood.UNSAMPLED, 20_000, 10, False),  # sampled all the same
    ],
)
def test_a_flood_that_is_not_what_it_is_called_ends_the_benchmark(
    variant: str, denied: float, sampled: float, right: bool
) -> None:
    with nullcontext() if right else pytest.raises(FoobarError, match=re.escape(variant)):
        deny_flood._check(variant, {"denied": denied, "sampled": sampled})


@pytest.mark.parametrize(("ms", "met"), [(40.0, True), (140.0, False)])
def test_a_policy_must_be_in_force_soon_on_each_switch(ms: float, met: bool) -> None:
    row = {policy_install.CONTROLLER: ms, policy_install.BY_HAND: 20.0}
    found = {"rows": {"core": [row] * 5, "fw1": [row] * 5}, "flows": {"core": 90, "fw1": 70}}
    judged = [series.judged("policy_install") for series in policy_install.report(found).series]
    assert [(each["measure"], each["met"]) for each in judged] == [("core, 90 flows", met), ("fw1, 70 flows", met)]


WRK = """Running 1s test @ https://www.foobar.com/
  1 threads and 16 connections
  1234 requests in 1.00s, 1.00MB read
{complaint}Requests/sec:   1233.56
Transfer/sec:      1.00MB
"""


def test_wrk_is_read() -> None:
    assert https.parsed(WRK.format(complaint="")) == 1233.56


@pytest.mark.parametrize(
    "complaint",
    ["  Non-2xx or 3xx responses: 3\n", "  Socket errors: connect 0, read 7, write 0, timeout 0\n"],
)
def test_failed_requests_are_no_speed(complaint: str) -> None:
    with pytest.raises(FoobarError, match=complaint.strip()):
        https.parsed(WRK.format(complaint=complaint))


def test_silence_of_wrk_is_an_error() -> None:
    with pytest.raises(FoobarError, match="no rate"):
        https.parsed("", "unable to connect to www.foobar.com:443 Connection refused")


def test_a_policy_is_proved_again_and_from_nothing(plan: Plan) -> None:
    rules = reverification.drawn(plan, 12, Random(1))
    again, anew = reverification.compared(plan, rules, 3, Random(2))
    assert len(again) == len(anew) == 3
    assert all(each > 0 for each in (*again, *anew))
    assert sum(one != other for one, other in zip(rules, reverification.changed(rules, Random(3)), strict=True)) == 1


def test_a_proof_that_fails_is_no_time(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverification, "compile_flows", lambda *_: ())
    with pytest.raises(FoobarError, match="are not what the policy says"):
        reverification.compared(plan, reverification.drawn(plan, 3, Random(1)), 1, Random(2))


def first(seconds: float, hosts: float = 300, rest: float = 150, files: float = 90) -> FirstWrite:
    return FirstWrite(seconds, {"first write": {"ready": seconds}}, Footprint(hosts, rest, files))


def test_boots_are_judged_by_seconds_and_memory_by_megabytes() -> None:
    warm, cold = [first(each) for each in (2.0, 9.0, 2.5, 2.0, 2.6)], [first(each) for each in (8.5, 9, 9, 9, 7)]
    report = boot_time.report(warm, cold, dropped=True)
    judged = {each.measure: each.judged("boot") for each in report.series}
    assert (judged["warm"]["ours"], judged["warm"]["met"]) == (2.5, True)
    assert (judged["cold"]["ours"], judged["cold"]["met"]) == (9, False)
    assert (judged["memory"]["ours"], judged["memory"]["reference"], judged["memory"]["met"]) == (540, 390, True)
    assert report.waterfall == {"first write": {"ready": 2.5}}


@pytest.mark.parametrize(("dropped", "says"), [(True, "emptied"), (False, "kept, because")])
def test_it_says_whether_the_page_cache_was_emptied(dropped: bool, says: str) -> None:
    assert any(says in note for note in boot_time.report([first(2)] * 5, [first(4)] * 5, dropped=dropped).notes)


def test_the_page_cache_that_may_not_be_emptied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(boot_time, "DROP_CACHES", tmp_path / "missing" / "drop_caches")
    assert boot_time.drop_page_cache() is False


def test_the_clock_starts_with_the_command() -> None:
    found = {"began": 100.5, "steady": 102.0, "written": 102.5, "services": {"lb/balancer": {"ready": 1.0}}}
    write = boot_time.first_write(found, 100.0, Footprint(1, 2, 3))
    assert write.seconds == 2.5
    assert write.waterfall == {
        "in the box": {"ready": 0.5},
        "lb/balancer": {"ready": 1.5},
        "steady": {"ready": 2.0},
        "first write": {"ready": 2.5},
    }


def test_memory_of_a_process_and_of_one_that_has_gone() -> None:
    assert footprint.pss(os.getpid()) > 1_000_000
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert footprint.pss(gone.pid) == 0


def test_descendants_are_found_at_any_depth() -> None:
    with subprocess.Popen(["sh", "-c", "sh -c 'sleep 30; :'; :"]) as top:
        deadline, names = time.monotonic() + 5, [""]
        while names[-1] != "sleep" and time.monotonic() < deadline:  # a child is a shell until it executes sleep
            time.sleep(0.01)
            found = footprint.descendants(top.pid)
            names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in found]
        for pid in found:
            os.kill(pid, signal.SIGKILL)
    assert names == ["sh", "sh", "sleep"]


def test_the_sites_forms_have_the_token_where_the_visitor_looks() -> None:
    template = PROJECT / "services" / "site" / "templates"
    forms = [path.read_text() for path in template.glob("*.html") if "csrf_token" in path.read_text()]
    assert forms
    rendered = [re.sub(r"{{\s*csrf_token\(\)\s*}}", "abc.def", text) for text in forms]
    assert any(found[1] == "abc.def" for text in rendered if (found := TOKEN.search(text)))


# --- the loopback reference ----------------------------------------------------------------------------------------


def test_every_service_of_the_site_can_be_pinned_and_every_pin_fits(plan: Plan, secrets: Secrets) -> None:
    """Fails when a template changes so that the reference would no longer be the same site on loopback."""
    services = host_services(plan, Profile(), secrets)
    assert set(loopback.PINS) <= {service.product for service in services}
    for service in services:
        host = plan.host(service.host)
        text = "".join(file.text for file in loopback.Pinned(service, host).files())
        if service.product in loopback.PINS:
            assert loopback.own(host) in text or host.ip in text
        assert not re.search(r"listen 80;|bind :|0\.0\.0\.0|127\.0\.0\.1:8000", text), service.id


def test_a_service_without_pins_is_started_as_it_is(plan: Plan, secrets: Secrets) -> None:
    services = [service for service in host_services(plan, Profile(), secrets) if service.product not in loopback.PINS]
    assert services
    for service in services:
        assert loopback.Pinned(service, plan.host(service.host)).files() == service.files()


def test_no_two_servers_share_an_inner_address(plan: Plan) -> None:
    assert loopback.own(plan.host("srv1")) == "127.0.3.11"
    assert len({loopback.own(host) for host in plan.hosts}) == len(plan.hosts)


def test_a_pin_that_fits_nothing_is_an_error() -> None:
    with pytest.raises(FoobarError, match="no longer fits: no listen 81 in /etc/x"):
        loopback.pinned((File("/etc/x", "listen 80;"),), (("listen 81", "listen {ip}:81"),), {"ip": "10.0.0.1"})


# --- round trips ---------------------------------------------------------------------------------------------------


def test_pingpong_counts_real_round_trips() -> None:
    port = free_port()
    with subprocess.Popen([sys.executable, pingpong.__file__, "answer", "127.0.0.1", str(port)]) as server:
        try:
            assert _retried(lambda: pingpong.ask("127.0.0.1", port, 0.05)) > 100
            assert server.wait(timeout=5) == 0
        finally:
            server.kill()


def _retried(ask: Any) -> float:
    deadline = time.monotonic() + 5
    while True:
        try:
            return float(ask())
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


# --- the list ------------------------------------------------------------------------------------------------------


def test_the_catalog_lists_every_benchmark() -> None:
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name != "__main__":
            importlib.import_module(f"benchmarks.{module.name}")
    there = {each for each in Benchmark.__subclasses__() if each.__module__.startswith("benchmarks.")}
    assert {type(each) for each in suite.BENCHMARKS} == there
    names = [
        "boot",
        "datapath",
        "https",
        "capture",
        "db_failover",
        "web_failover",
        "monitoring_overhead",
        "waf",
        "detection_overhead",
        "firewall_matrix",
        "deny_flood",
        "verify",
        "policy_install",
    ]
    assert [each.name for each in suite.BENCHMARKS] == names


def test_every_benchmark_is_in_the_documentation() -> None:
    text = (PROJECT / "docs" / "benchmarks.md").read_text()
    assert all(f"`{each.name}`" in text for each in suite.BENCHMARKS)


@pytest.mark.parametrize("pid", [7, 4194304])
def test_a_box_has_a_name_that_is_allowed_and_its_own(pid: int) -> None:
    variants = [("web_failover", ("--health", "fast")), ("web_failover", ("--health", "default")), ("boot", ())]
    variants += [("db_failover", ("--db", design)) for design in ("semisync", "async", "galera")]
    names = [child.box_name(benchmark, flags, pid) for benchmark, flags in variants]
    assert all(state.NAME.fullmatch(name) for name in names), names
    assert len(set(names)) == len(names)
    assert names[2] == f"bench-boot-{pid}"


def test_unknown_names_are_told_the_possible_ones() -> None:
    names = ", ".join(each.name for each in suite.BENCHMARKS)
    with pytest.raises(UsageError, match=re.escape(f"{names} (did you mean https?)")):
        suite.wanted(["htps"])


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https.Https, "programs", {"wrk-that-is-not-there": "wrk"})
    with pytest.raises(MissingError, match=r"missing: wrk-that-is-not-there \(packages: wrk\)"):
        suite.check_programs(suite.BENCHMARKS)


def test_scans_by_both_are_compared() -> None:
    rows = [{"sweep": ours, port_scan.NMAP: nmap} for ours, nmap in ((1.0, 10.0), (2.0, 8.0), (1.0, 9.0))]
    report = port_scan.report({"rows": rows, "plain": [106.4]})
    assert report.notes == ("firewall_matrix: nmap -sS -p- left to itself took 106 s, once",)
    seconds, rate = (series.judged("firewall_matrix") for series in report.series)
    assert (seconds["ours"], seconds["reference"], seconds["met"]) == (1.0, 9.0, True)
    assert (rate["ours"], rate["ratio"], rate["met"]) == (65535.0, 9.0, True)
    slow = port_scan.report({"rows": [{**row, "sweep": 4.0} for row in rows], "plain": []})
    assert [series.judged("x")["met"] for series in slow.series] == [False, False]


def test_scans_that_do_not_agree_end_the_benchmark() -> None:
    scans = {port_scan.OURS: lambda: {80, 443}, port_scan.NMAP: lambda: {80}}
    with pytest.raises(FoobarError, match=r"sweep reaches \[80, 443\], but nmap -sS -p- -T5 \[80\]"):
        port_scan._timed(scans)
    said = "PORT    STATE  SERVICE\n80/tcp  open   http\n443/tcp closed https\n8404/tcp filtered x\n"
    assert port_scan.REACHED.findall(said) == ["80", "443"]


# --- the command ---------------------------------------------------------------------------------------------------


class Fake(Benchmark):
    """Takes one measure without a box, or breaks."""

    name = "fake"

    def __init__(self, taken: PairedSeries, error: BaseException | None = None) -> None:
        self.taken = taken
        self.error = error
        self.sizes: list[Size] = []

    def measure(self, size: Size, tell: Tell) -> Report:
        tell("half-way")
        self.sizes.append(size)
        if self.error:
            raise self.error
        return Report((self.taken,), ("fake: a note",), {"lb/balancer": {"started": 0.5, "ready": 1.0}})

    def body(self, size: Size) -> Body:
        raise NotImplementedError


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(series((9.0,) * 5, (10.0,) * 5))
    monkeypatch.setattr(suite, "BENCHMARKS", (made,))
    monkeypatch.setattr(preflight, "check", lambda: None)
    return made


def test_json_is_all_there_is_on_standard_output(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    said = capsys.readouterr()
    (found,) = json.loads(said.out)
    assert list(found) == KEYS
    assert found["benchmark"] == "fake"
    assert "fake: a note" in said.err


def test_the_table_shows_measures_notes_and_the_waterfall(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    for part in ("speed", "9 1/s", "0.9", "ratio >= 0.7", "yes", "something", "fake: a note", "lb/balancer"):
        assert part in said
    assert all(len(line) <= 80 for line in table_lines(fake))


def table_lines(fake: Fake) -> list[str]:
    from rich.console import Console

    narrow = Console(width=80, record=True, quiet=True)
    narrow.print(table.measures([replace(fake.taken, measure="round trips / mininet").judged("datapath")]))
    return narrow.export_text().splitlines()


def test_a_target_that_is_missed_is_no_failure(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.taken = series((1.0,) * 5, (10.0,) * 5)
    assert main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["met"] is False


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (FoobarError("the network is gone"), 3, "foobar: the network is gone"),
        (MissingError("missing: wrk"), 3, "foobar: missing: wrk"),
        (ZeroDivisionError("oh"), 3, "foobar: unexpected ZeroDivisionError: oh"),
        (KeyboardInterrupt(), 130, "interrupted; nothing is left behind"),
    ],
)
def test_what_breaks_prints_no_numbers(
    fake: Fake, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, says: str
) -> None:
    fake.error = error
    assert main(["--json"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fkae"], "fkae: no such benchmark; benchmarks: fake (did you mean fake?)"),
        (["--pairs", "4"], "--pairs 4: must be a whole number from 5 to 100"),
        (["--pairs", "many"], "--pairs many: must be a whole number from 5 to 100"),
        (["--pairs", "-5"], "--pairs"),
        (["--jsno"], "--jsno"),
    ],
)
def test_bad_usage_is_one_line(fake: Fake, capsys: pytest.CaptureFixture[str], words: list[str], says: str) -> None:
    assert main(words) == 64
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err
    assert said.err.count("\n") == 1
    assert fake.sizes == []


def test_pairs_and_rehearsal_reach_the_benchmark(fake: Fake) -> None:
    main([])
    main(["--pairs", "9"])
    main(["--rehearse"])
    assert [size.pairs for size in fake.sizes] == [7, 9, 1]


# --- the process in its box ----------------------------------------------------------------------------------------


class Spoken(child.Child):
    """A child that says these lines and ends."""

    def __init__(self, tmp_path: Path, out: str, err: str = "", code: int = 0) -> None:
        script = f"import sys; sys.stdout.write({out!r}); sys.exit({code})"
        (tmp_path / "errors").write_text(err)
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        super().__init__("fake", process, (tmp_path / "errors").open())

    def close(self) -> None:
        self.end()
        self._errors.close()


def test_progress_is_told_and_the_result_returned(tmp_path: Path) -> None:
    told: list[str] = []
    lines = ({"report": "progress", "content": "pair 1"}, {"report": "result", "content": {"a": [1, 2]}})
    spoken = Spoken(tmp_path, "".join(json.dumps(line) + "\n" for line in lines))
    assert spoken.result(told.append) == {"a": [1, 2]}
    assert told == ["pair 1"]
    spoken.close()


@pytest.mark.parametrize(
    ("err", "message", "detail"),
    [
        ("foobar: lb/balancer died\n--- log\nline\n", "benchmark fake: lb/balancer died", "--- log\nline"),
        ("", "benchmark fake: ended with exit code 7 and no result", ""),
    ],
)
def test_a_child_that_breaks_is_quoted(tmp_path: Path, err: str, message: str, detail: str) -> None:
    spoken = Spoken(tmp_path, "", err, code=7)
    with pytest.raises(FoobarError) as raised:
        spoken.result(print)
    assert (str(raised.value), raised.value.detail) == (message, detail)
    spoken.close()


# --- with root -----------------------------------------------------------------------------------------------------


def command(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=PROJECT,
        env={**os.environ, "FOOBAR_STATE": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.root
def test_a_rehearsal_takes_every_measure_of_a_real_boot(tmp_path: Path) -> None:
    """Shape only: how quick this machine is at this moment proves nothing."""
    with command(tmp_path, "boot", "--json", "--rehearse") as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found = json.loads(out)
    assert [each["measure"] for each in found] == ["warm", "cold", "memory"]
    for each in found:
        assert list(each) == KEYS
        assert each["ours"] > 0
        assert each["ratio"] == pytest.approx(each["ours"] / each["reference"])
    assert "first write" in err
    assert list(tmp_path.glob("*.json")) == []


def _not_yet_booting(state: Path, pid: int) -> str | None:
    """None once the box is claimed and its first daemons run."""
    claimed, below = list(state.glob("bench-boot-*.json")), footprint.descendants(pid)
    return None if claimed and len(below) > 8 else f"{len(claimed)} claimed, {len(below)} processes"


@pytest.mark.root
def test_interrupted_it_leaves_nothing(tmp_path: Path) -> None:
    with command(tmp_path, "boot", "--rehearse") as process:
        wait.until(lambda: _not_yet_booting(tmp_path, process.pid), what="a testbed that boots", seconds=60)
        below = footprint.descendants(process.pid)
        assert len(below) > 3
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err == "foobar: interrupted; nothing is left behind\n"
    assert [pid for pid in below if Path(f"/proc/{pid}").exists()] == []
    assert list(tmp_path.glob("*.json")) == []


@pytest.mark.parametrize(("stopped", "in_force"), [(None, False), (None, None), ("cut srv2: not back", True)])
def test_a_web_fault_that_proves_nothing_is_no_measure(stopped: str | None, in_force: bool | None) -> None:
    with pytest.raises(FoobarError, match="web_failover: cut: "):
        web_remedies.believe("cut", stopped, in_force)


def test_a_web_fault_that_was_seen_is_one() -> None:
    web_remedies.believe("cut", None, True)


def test_a_dead_primary_that_proves_nothing_is_no_measure() -> None:
    with pytest.raises(FoobarError, match="db_failover: crash: the fault was not seen to be in force"):
        database_remedies.believe("crash", "the fault was not seen to be in force")
    database_remedies.believe("crash", None)
