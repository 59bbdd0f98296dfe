"""The design space: every axis declared, every wrong value named with the possible ones, none silently ignored."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace

import pytest

from topo.errors import UsageError
from topo.profile import HARDENED, NAMED, SEED, Profile, add_flags, from_flags, refuse_later

AXES = {
    "layout": ("stacked", "tiered"),
    "tls": ("terminate", "reencrypt", "passthrough", "mutual"),
    "db": ("single", "async", "semisync", "galera"),
    "stack": ("uniform", "diverse"),
    "monitoring": ("on", "off"),
    "waf": ("off", "on"),
    "ids": ("off", "on"),
    "firewall": ("on", "off"),
    "balance": ("roundrobin", "leastconn", "source"),
    "health": ("default", "fast"),
    "limits": ("off", "on"),
    "servers": tuple(range(1, 31)),
}


def parse(*words: str) -> Profile:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser)
    return from_flags(parser.parse_args(words))


def test_every_axis_of_the_design_is_declared_with_its_values() -> None:
    assert {each.name: each.metadata["values"] for each in fields(Profile)} == AXES
    assert all(each.metadata["why"] for each in fields(Profile))
    assert list(Profile().as_dict()) == list(AXES)


def test_every_value_is_either_built_or_refused_with_a_line() -> None:
    for axis, values in AXES.items():
        later = next(each.metadata["later"] for each in fields(Profile) if each.name == axis)
        assert later < set(values), "a value to come is one of the axis, and not all are to come"
        for value in values:
            wanted = replace(SEED, **{axis: value})
            if value in later:
                with pytest.raises(UsageError, match=rf"^--{axis} {value}: not built yet; available today: --{axis} "):
                    refuse_later(wanted)
            else:
                refuse_later(wanted)


def test_seed_is_the_default_and_boots() -> None:
    assert parse() == SEED == Profile() == NAMED["seed"]
    refuse_later(SEED)


def test_hardened_is_every_remedy_that_is_built_and_its_help_names_the_others() -> None:
    assert parse("--profile", "hardened") == HARDENED
    refuse_later(HARDENED)
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser)
    told = " ".join(parser.format_help().split())
    remedies = {each.name: each.metadata for each in fields(Profile) if each.metadata["hardened"] != each.default}
    assert {"tls", "db", "stack", "waf"} <= set(remedies)
    for axis, declared in remedies.items():
        built = declared["hardened"] not in declared["later"]
        assert getattr(HARDENED, axis) == (declared["hardened"] if built else getattr(SEED, axis))
        assert (f"--{axis} {declared['hardened']}, " not in told) == built


def test_single_axes_change_the_named_point() -> None:
    assert parse("--profile", "hardened", "--waf", "off") == replace(HARDENED, waf="off")
    assert parse("--servers", "5", "--balance", "source") == Profile(servers=5, balance="source")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--balance random", "--balance random: unknown; possible values: roundrobin, leastconn, source"),
        (
            "--balance lastconn",
            "--balance lastconn: unknown; possible values: roundrobin, leastconn, source (did you mean leastconn?)",
        ),
        ("--firewall maybe", "--firewall maybe: unknown; possible values: on, off"),
        ("--profile best", "--profile best: unknown; possible values: seed, hardened"),
        ("--servers 0", "--servers 0: must be a whole number from 1 to 30"),
        ("--servers 31", "--servers 31: must be a whole number from 1 to 30"),
        ("--servers -1", "--servers -1: must be a whole number from 1 to 30"),
        ("--servers many", "--servers many: must be a whole number"),
        ("--servers 2.5", "--servers 2.5: must be a whole number"),
    ],
)
def test_wrong_values_are_refused_with_the_possible_ones(words: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*words.split())
    assert str(caught.value) == line


def test_detection_needs_the_monitoring() -> None:
    line = r"^--ids on --monitoring off: detection reads what monitoring collects; use --monitoring on or --ids off$"
    for words in (("--ids", "on", "--monitoring", "off"), ("--profile", "hardened", "--monitoring", "off")):
        with pytest.raises(UsageError, match=line):
            parse(*words)
    assert parse("--profile", "hardened", "--monitoring", "off", "--ids", "off") == replace(
        HARDENED, monitoring="off", ids="off"
    )


def test_a_profile_cannot_be_made_wrong_in_code_either() -> None:
    with pytest.raises(UsageError, match="--waf perhaps: unknown"):
        Profile(waf="perhaps")
