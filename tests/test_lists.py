"""Guards for every list that is kept by hand: what exists is in it, and what is in it exists."""

from __future__ import annotations

import argparse
import importlib
import io
import pkgutil
import re
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from controllers.compile import OWN_COOKIES, TABLE_NAMES
from controllers.flow import Flow
from controllers.policy import Rule, policy
from services import deployment, service
from services.secrets import Secrets
from services.service import Service
from testbed import hostroot, preflight, render
from testbed.namespaces import CAPABILITIES, REDUCED
from topo.errors import FoobarError
from topo.paths import PRIVATE
from topo.plan import Plan
from topo.plan import plan as plan_of
from topo.profile import NAMED, Profile, add_flags

PROFILES = (*NAMED.values(), Profile(firewall="off"), Profile(db="semisync"), Profile(db="galera"))
PROJECT = Path(__file__).resolve().parent.parent
TEMPLATES = PROJECT / "services" / "templates"


def service_classes() -> set[type[Service]]:
    """Every concrete Service of the services package."""
    return {each for each in subclasses("services", Service) if each is not Service}


def test_the_catalog_lists_every_service(
    plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...], secrets: Secrets
) -> None:
    found = set()
    for profile in (Profile(ids="on"), Profile(db="semisync"), Profile(db="galera")):
        listed = (*deployment.network_services(plan, rules, flows), *deployment.host_services(plan, profile, secrets))
        found |= {type(service) for service in listed}
        ids = [service.id for service in listed]
        assert len(ids) == len(set(ids))
    assert found == service_classes()


def test_every_service_has_a_role_and_says_what_it_is() -> None:
    for each in service_classes():
        assert re.fullmatch(r"[a-z-]+", each.role), each
        assert re.fullmatch(r"[a-z-]*", each.product), each
        assert each.__doc__, each


def test_every_template_is_used_and_every_used_one_exists() -> None:
    used = set()
    for path in (PROJECT / "services").rglob("*.py"):
        used |= set(re.findall(r'"([\w.-]+\.j2)"', path.read_text()))
    for path in TEMPLATES.iterdir():
        used |= set(re.findall(r'(?:include|extends|import) "([\w.-]+\.j2)"', path.read_text()))
    assert used == {path.name for path in TEMPLATES.iterdir()}


def test_every_template_can_be_parsed() -> None:
    for path in TEMPLATES.iterdir():
        service.TEMPLATES.get_template(path.name)


def test_every_axis_has_a_flag_and_every_flag_an_axis() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    add_flags(parser)
    assert set(vars(parser.parse_args([]))) == {each.name for each in fields(Profile)} | {"profile"}
    assert "seed" in NAMED


def test_every_host_is_explained_on_the_map(plan: Plan) -> None:
    console = Console(width=120, file=io.StringIO())
    console.print(render.topology(plan, Profile()))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(host.duty and host.duty in shown for host in plan.hosts)


def test_every_rule_has_a_reason_and_a_name_of_its_own() -> None:
    for rules in map(policy, map(plan_of, PROFILES)):
        names = [rule.name for rule in rules]
        assert len(names) == len(set(names))
        assert all(isinstance(rule, Rule) and rule.why for rule in rules)


def test_cookies_and_tables_are_told_apart() -> None:
    assert len(set(OWN_COOKIES.values())) == len(OWN_COOKIES)
    assert min(OWN_COOKIES.values()) > max(len(policy(plan_of(profile))) for profile in PROFILES)
    assert len(set(TABLE_NAMES)) == len(TABLE_NAMES) == 5


def test_the_error_tree_is_drawn_whole() -> None:
    import topo.errors

    assert topo.errors.__doc__
    frontier = [FoobarError]
    while frontier:
        each = frontier.pop()
        frontier += each.__subclasses__()
        if each.__module__ == "topo.errors":
            assert re.search(rf"{each.__name__}\s+{each.exit_code}\b|{each.__name__}\s+a ", topo.errors.__doc__), each


def test_every_program_that_a_service_starts_is_asked_for_first(
    plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...], secrets: Secrets
) -> None:
    listed = (*deployment.network_services(plan, rules, flows), *deployment.host_services(plan, Profile(), secrets))
    asked = {*preflight.PACKAGES, *preflight.MONITORING}
    commands = [service.command() for service in listed]
    # a shell, which every system has, becomes one of its words
    started = {next((word for word in words if word in asked), words[0]) for words in commands if "/" not in words[0]}
    assert started <= asked


def test_every_package_that_is_asked_for_is_installed_by_the_set_up() -> None:
    listed = (PROJECT / "vagrant" / "provision.sh").read_text()
    comes_along = {"hostname", "net-tools"}  # every Debian has the first, Mininet's package brings the second
    absent = sorted(
        package
        for package in {*preflight.PACKAGES.values(), *preflight.SHIELD.values()} - comes_along
        if package not in listed
    )
    assert absent == []


def subclasses(package: str, kind: type) -> set[type]:
    """Every concrete class of a package and of those below it that is a ``kind``."""
    found = importlib.import_module(package)
    for each in pkgutil.walk_packages(found.__path__, f"{package}."):
        if not each.name.endswith(("__main__", ".wsgi")):  # those run when they are imported
            importlib.import_module(each.name)
    frontier, classes = [kind], set()
    while frontier:
        each = frontier.pop()
        frontier += each.__subclasses__()
        if each.__module__.startswith(f"{package}.") and not getattr(each, "__abstractmethods__", None):
            classes.add(each)
    return classes


def test_each_of_a_hosts_own_folders_has_a_size_and_a_place_and_is_mounted() -> None:
    assert set(hostroot.SIZES) == set(PRIVATE.values())
    made = {f"/{place}" for place in (*hostroot.PLACES, *hostroot.LINKS)}
    assert set(PRIVATE) <= made
    mounted = [line.split()[:2] for line in hostroot.fstab(Path("/home")).splitlines()]
    for place, folder in PRIVATE.items():
        assert ([f"/home/{folder}", f"/home/top/host{place}"] in mounted) == (place.lstrip("/") not in hostroot.LINKS)


def test_a_host_has_no_capability_that_reaches_beyond_it() -> None:
    """With any of these a host mounts, traces, loads modules, sets the clock, or opens files past their mounts."""
    beyond = {"sys_admin", "sys_ptrace", "sys_module", "sys_rawio", "sys_boot", "sys_time", "sys_chroot", "mknod"}
    beyond |= {
        "dac_read_search",
        "syslog",
        "bpf",
        "perfmon",
        "mac_admin",
        "mac_override",
        "linux_immutable",
        "sys_nice",
    }
    assert not beyond & set(CAPABILITIES)
    assert "-all" in REDUCED[-1].split("=")[1].split(",")


def test_every_experiment_is_listed() -> None:
    from experiments.catalog import EXPERIMENTS
    from experiments.engine.base import Experiment

    assert {type(each) for each in EXPERIMENTS} == subclasses("experiments", Experiment)
    names = [each.name for each in EXPERIMENTS]
    assert len(names) == len(set(names))
    assert all(each.claim for each in EXPERIMENTS)
    assert all((PROJECT / "experiments" / name / "__main__.py").exists() for name in names), (
        "python -m experiments.NAME"
    )
