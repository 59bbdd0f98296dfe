"""What became of every write: known answers, and each way in which a database can break its word."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from experiments.db_failover.accounting import Account, account
from experiments.db_failover.evidence import numbers, spans

WRITES = {
    "site": {"ok": "1-3", "failed": "", "unknown": ""},
    "srv2": {"ok": "1-4,7", "failed": "5", "unknown": "6,8"},
}
ROWS = {"site": "1-3", "srv2": "1-4,6-7"}
OWNERS = [["srv1", 4, 1.0, 2.0, 1.99], ["srv2", 4, 2.5, 3.0, 2.99]]


def node(rows: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    found = {
        "problem": None,
        "writable": False,
        "rows": rows or dict(ROWS),
        "twice": {},
        "checksum": 7,
        "state": "0-1-9",
    }
    return {**found, **changes}


def nodes(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"srv1": node(), "srv2": node(writable=True), "srv3": node(), **changes}


def accounted(**changes: Any) -> Account:
    given = {"writes": WRITES, "owners": OWNERS, "nodes": nodes(), "primary": "srv2", **changes}
    return account(**given)


def test_a_database_that_keeps_its_word() -> None:
    found = accounted()
    assert (found.acknowledged, found.failed, found.unknown_done, found.unknown_not_done) == (8, 1, 1, 1)
    assert not found.lost
    assert not found.duplicated
    assert not found.failed_but_there
    assert not found.invented
    assert (found.two_primaries, found.diverged, found.errant, found.unread) == ((), (), (), ())


def test_what_was_acknowledged_and_is_not_there_is_lost() -> None:
    found = accounted(nodes=nodes(srv2=node({"site": "1-3", "srv2": "1-4,6"}, writable=True)))
    assert found.lost == {("srv2", 7)}


def test_a_replica_that_lacks_a_row_has_diverged_and_nothing_is_lost() -> None:
    found = accounted(nodes=nodes(srv3=node({"site": "1-2", "srv2": "1-4,6-7"})))
    assert not found.lost
    assert found.diverged == ("srv3 lacks 1 rows that srv2 has, and has 0 of its own",)


def test_the_same_writes_in_other_rows_have_diverged() -> None:
    assert accounted(nodes=nodes(srv1=node(checksum=8))).diverged == ("srv1 has the same writes as srv2 in other rows",)


def test_a_row_that_is_there_twice_is_duplicated_wherever_it_is() -> None:
    assert accounted(nodes=nodes(srv3=node(twice={"site": "2"}))).duplicated == {("site", 2)}


def test_a_failed_write_must_not_be_there() -> None:
    rows = {"site": "1-3", "srv2": "1-7"}
    assert accounted(nodes={name: node(rows, writable=name == "srv2") for name in nodes()}).failed_but_there == {
        ("srv2", 5)
    }


def test_a_row_that_nobody_wrote_is_invented() -> None:
    rows = {"site": "1-3", "srv2": "1-4,6-7,99"}
    found = accounted(nodes={name: node(rows, writable=name == "srv2") for name in nodes()})
    assert found.invented == {("srv2", 99)}


def test_an_unknown_write_may_be_there_or_not() -> None:
    rows = {"site": "1-3", "srv2": "1-4,6-8"}
    found = accounted(nodes={name: node(rows, writable=name == "srv2") for name in nodes()})
    assert (found.unknown_done, found.unknown_not_done) == (2, 0)
    assert not found.invented


def test_who_acknowledges_after_a_successor_has_is_a_second_primary() -> None:
    owners = [*OWNERS, ["srv1", 1, 3.5, 3.5, 3.4]]
    assert accounted(owners=owners).two_primaries == ("srv1 acknowledged 0.900 s after srv2 had taken over",)


@pytest.mark.parametrize(
    ("late", "handed_over"),
    [
        (["srv1", 1, 3.5, 3.5, 2.1], ()),  # sent before the successor's first answer, answered late
        (["srv1", 1, 3.5, 3.5, 3.4], (("srv1", 3.2),)),  # promoted again in between
    ],
)
def test_a_late_answer_and_a_second_promotion_are_no_second_primary(late: list[Any], handed_over: Any) -> None:
    assert accounted(owners=[*OWNERS, late], handed_over=handed_over).two_primaries == ()


def test_a_late_answer_makes_no_second_primary_of_the_successor_who_goes_on() -> None:
    late, on = ["srv1", 1, 3.5, 3.5, 2.1], ["srv2", 5, 3.6, 4.0, 3.9]
    assert accounted(owners=[*OWNERS, late, on]).two_primaries == ()
    back = ["srv1", 1, 3.5, 3.5, 3.4]
    assert len(accounted(owners=[*OWNERS, back, on]).two_primaries) == 2, "both, once one has really come back"


def test_two_open_nodes_are_two_primaries_but_not_with_galera() -> None:
    both = nodes(srv1=node(writable=True))
    assert accounted(nodes=both).two_primaries == ("open for writes at once: srv1, srv2",)
    assert accounted(nodes=both, one_writer=False).two_primaries == ()


def test_transactions_that_the_primary_does_not_have_are_errant() -> None:
    found = accounted(nodes=nodes(srv1=node(state="0-1-9,0-3-12")))
    assert found.errant == ("srv1 has transactions 1 to 12 of 0-3",)


def test_a_node_that_cannot_be_read_is_said_and_a_primary_that_cannot_proves_nothing() -> None:
    assert accounted(nodes=nodes(srv3=node(problem="refused"))).unread == ("srv3: refused",)
    found = accounted(nodes=nodes(srv2=node(problem="refused")))
    assert found.unread == ("srv2: refused", "no primary to read: srv2")
    assert not found.lost


def test_one_byte_changes_the_account() -> None:
    evidence = copy.deepcopy(nodes())
    evidence["srv2"]["rows"]["srv2"] = "1-4,6-8"
    assert accounted(nodes=evidence) != accounted()


@pytest.mark.parametrize("text", ["", "1", "1-2", "3,5-9,11", "1-340,351"])
def test_spans_say_what_they_stand_for(text: str) -> None:
    assert spans(numbers(text)) == text


def test_spans_of_numbers_in_any_order() -> None:
    assert spans([5, 3, 4, 4, 9]) == "3-5,9"


@pytest.mark.parametrize("text", ["5-3", "1,2", "2,1", "1-", "x", "1,,2", "1-1"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no set of numbers|invalid literal"):
        numbers(text)
