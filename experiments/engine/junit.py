"""Results as JUnit XML, which every CI server reads. Pure.

The convention: a claim that fails is a *failure*; unknown, refused and aborted are *errors*, because nothing was found
out. Numbers are properties of the suite, since the common schema gives test cases none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from experiments.engine.numbers import flat

SUITE = "experiments"
ILLEGAL = {number: "?" for number in (*range(32), 0x7F) if chr(number) not in "\t\n\r"}


def xml(results: Sequence[Mapping[str, Any]]) -> str:
    """One test suite with a test case for each result (result.json's content, and its ``folder``)."""
    holds = [result["verdict"]["holds"] for result in results]
    suite = Element(
        "testsuite",
        name=SUITE,
        timestamp=results[0]["started"][:19] if results else "1970-01-01T00:00:00",
        hostname="localhost",
        tests=str(len(results)),
        failures=str(holds.count(False)),
        errors=str(holds.count(None)),
        time=_seconds(sum(result["duration_s"] for result in results)),
    )
    properties = SubElement(suite, "properties")
    for result in results:
        for name, value in flat({result["experiment"]: result["verdict"]["numbers"]}):
            SubElement(properties, "property", name=_legal(name), value=_legal(str(value)))
    for result in results:
        _case(suite, result)
    SubElement(suite, "system-out").text = _legal("".join(f"{result['folder']}\n" for result in results))
    SubElement(suite, "system-err")
    indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(suite, encoding="unicode") + "\n"


def _case(suite: Element, result: Mapping[str, Any]) -> None:
    verdict, name = result["verdict"], result["experiment"]
    case = SubElement(suite, "testcase", name=name, classname=SUITE, time=_seconds(result["duration_s"]))
    if verdict["holds"]:
        return
    kind = "error" if verdict["holds"] is None else "failure"
    word = "fails" if kind == "failure" else "unknown" if result["status"] == "completed" else result["status"]
    found = SubElement(case, kind, type=word, message=_legal(verdict["because"]))
    found.text = _legal(f"claim: {result['claim']}\n{word}: {verdict['because']}\n{result['folder']}")


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _legal(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return text.translate(ILLEGAL)
