"""Results as JUnit XML, which every CI server reads. Pure.

The convention: a claim that fails is a *failure*; unknown, refused and aborted are *errors*, because nothing was found
out. Numbers are properties of the suite, since the common schema gives test cases none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from junitparser import Error, Failure
from junitparser.xunit2 import TestCase, TestSuite

from experiments.engine.numbers import flat

SUITE = "experiments"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
ILLEGAL = {number: "?" for number in (*range(32), 0x7F) if chr(number) not in "\t\n\r"}


def xml(results: Sequence[Mapping[str, Any]]) -> str:
    """One test suite with a test case for each result (result.json's content, and its ``folder``)."""
    suite = TestSuite(SUITE)  # type: ignore[no-untyped-call]
    suite.timestamp = results[0]["started"][:19] if results else "1970-01-01T00:00:00"
    suite.hostname = "localhost"
    for result in results:
        for name, value in flat({result["experiment"]: result["verdict"]["numbers"]}):
            suite.add_property(_legal(name), _legal(str(value)))
    suite.add_testcases([_case(result) for result in results])
    suite.system_out = _legal("".join(f"{result['folder']}\n" for result in results))
    suite.system_err = ""
    text: bytes = suite.tostring()  # type: ignore[no-untyped-call]
    return DECLARATION + text.decode()


def _case(result: Mapping[str, Any]) -> TestCase:
    verdict = result["verdict"]
    case = TestCase(result["experiment"], SUITE, result["duration_s"])
    if not verdict["holds"]:
        kind = Error if verdict["holds"] is None else Failure
        word = "fails" if kind is Failure else "unknown" if result["status"] == "completed" else result["status"]
        case.result = [kind(_legal(verdict["because"]), word)]
        case.result[0].text = _legal(f"claim: {result['claim']}\n{word}: {verdict['because']}\n{result['folder']}")
    return case


def _legal(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return text.translate(ILLEGAL)
