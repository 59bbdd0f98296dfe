"""The failover manager's decisions: a pure function of what is seen, with every bad moment as a value."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.failover.decide import Demote, Join, Route, Stay, Succeed, decide, incumbent, unsafe
from services.failover.observation import SILENT_S, Server, View, sequence, writer

SILENT = SILENT_S * 2
PRIMARY = Server("srv1", 1, writable=True, written="0-1-9")
REPLICA = Server(
    "srv2", 2, written="0-1-9", received="0-1-9", follows="srv1", receiving=True, applying=True, starved=0.0
)
OTHER = replace(REPLICA, name="srv3", number=3)
STEADY = View((PRIMARY, REPLICA, OTHER), lossless=True, noted="srv1", routed="srv1")
#: what the replicas of a primary that has gone look like
LOST = {"receiving": False, "starved": SILENT}


def seen(before: View = STEADY, **changes: dict[str, object]) -> View:
    """A view in which some servers are otherwise; the View's own fields under ``view``."""
    servers = tuple(replace(each, **changes.get(each.name, {})) for each in before.servers)  # type: ignore[arg-type]
    return replace(before, servers=servers, **changes.get("view", {}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("position", "reached", "by"), [("", 0, 0), ("0-1-9", 9, 1), ("0-3-12", 12, 3), ("nonsense", 0, 0)]
)
def test_positions(position: str, reached: int, by: int) -> None:
    assert (sequence(position), writer(position)) == (reached, by)


def test_a_steady_state_stays_and_says_so() -> None:
    action = decide(STEADY)
    assert isinstance(action, Stay)
    assert action.settled
    assert not action.blocked


@pytest.mark.parametrize("lossless", [True, False])
def test_a_refused_connection_is_death_at_once(lossless: bool) -> None:
    view = seen(srv1={"dead": True, "writable": False}, srv3={"received": "0-1-12"}, view={"lossless": lossless})
    action = decide(view)
    assert isinstance(action, Succeed)
    assert (action.candidate, action.old) == ("srv3", "srv1"), "who has received most, applied or not"
    assert action.why == "srv1 refuses connections"
    assert dict(action.positions) == {"srv2": "0-1-9", "srv3": "0-1-12"}


def test_of_equals_the_one_that_has_applied_more() -> None:
    view = seen(srv1={"dead": True}, srv2={"written": "0-1-5"})
    assert decide(view) == decide(seen(srv1={"dead": True}, srv2={"written": "0-1-5"}))
    action = decide(view)
    assert isinstance(action, Succeed)
    assert action.candidate == "srv3"


def test_silence_alone_is_not_yet_death() -> None:
    action = decide(seen(srv1={"silent": SILENT_S * 0.5}, srv2={"silent": 0.01}))
    assert isinstance(action, Stay)


def test_silence_that_the_replicas_confirm_is_death() -> None:
    action = decide(seen(srv1={"silent": SILENT}, srv2={"starved": SILENT}, srv3={"starved": SILENT}))
    assert isinstance(action, Succeed)
    assert action.why == "srv1 is silent here and to srv2, srv3"


@pytest.mark.parametrize("fed", ["srv2", "srv3"])
def test_a_primary_that_still_feeds_somebody_lives(fed: str) -> None:
    """The manager's own way to it is cut, or the balancer's: no second primary for that."""
    starved = {"srv2": {"starved": SILENT}, "srv3": {"starved": SILENT}, fed: {"starved": 0.0}}
    action = decide(seen(srv1={"silent": SILENT}, **starved))
    assert isinstance(action, Stay)
    assert action.blocked
    assert fed in action.why


def test_an_isolated_manager_does_nothing() -> None:
    action = decide(seen(srv1={"silent": SILENT}, srv2={"silent": SILENT}, srv3={"silent": SILENT}))
    assert isinstance(action, Stay)
    assert "cut off" in action.why


def test_nobody_confirms() -> None:
    view = seen(srv1={"silent": SILENT}, srv2={"follows": ""}, srv3={"follows": "", "starved": None})
    assert isinstance(decide(view), Stay)


@pytest.mark.parametrize("gone", [{"silent": SILENT}, {"dead": True}])
def test_a_dead_replica_changes_nothing_but_is_not_settled(gone: dict[str, object]) -> None:
    action = decide(seen(srv2=gone))
    assert isinstance(action, Stay)
    assert (action.settled, action.blocked) == (False, False)


@pytest.mark.parametrize("gone", [{"silent": SILENT}, {"dead": True}])
def test_without_a_majority_semisync_waits_and_async_does_not(gone: dict[str, object]) -> None:
    view = seen(srv1={"dead": True}, srv2=gone, srv3=LOST)
    action = decide(view)
    assert isinstance(action, Stay)
    assert "only copy" in action.why
    bold = decide(replace(view, lossless=False))
    assert isinstance(bold, Succeed)
    assert bold.candidate == "srv3"


def test_semisync_waits_for_a_replica_that_may_have_forgotten() -> None:
    """srv3 was restarted after srv1 died: its relay log may have held what srv1 had acknowledged."""
    view = seen(srv1={"dead": True}, srv3={**LOST, "applying": False})
    assert isinstance(decide(view), Stay)
    assert "srv3 has been restarted" in str(unsafe(view))


def test_the_last_writer_knows_everything_that_was_acknowledged() -> None:
    """The same, but srv1 is back: what clients were told is on its disk."""
    view = seen(srv1={"writable": False}, srv2={"dead": True}, srv3={**LOST, "applying": False})
    assert unsafe(view) is None
    action = decide(view)
    assert isinstance(action, Succeed)
    assert action.candidate == "srv1"


def test_a_restarted_primary_that_lost_its_tail_is_not_chosen() -> None:
    """Recovery took back what no replica had acknowledged to it; a replica has more."""
    action = decide(seen(srv1={"writable": False, "written": "0-1-8"}))
    assert isinstance(action, Succeed)
    assert action.candidate == "srv2"
    assert action.why == "srv1 is read-only"


def test_a_restarted_primary_with_everything_is_opened_again() -> None:
    action = decide(seen(srv1={"writable": False}))
    assert isinstance(action, Succeed)
    assert (action.candidate, action.old) == ("srv1", "srv1")


# --- boot, and the manager's own death ------------------------------------------------------------------------------

FRESH = View((Server("srv1", 1), Server("srv2", 2), Server("srv3", 3)), lossless=True, routed="?", held=True)


def test_at_boot_the_first_server_when_all_are_there() -> None:
    action = decide(FRESH)
    assert isinstance(action, Succeed)
    assert (action.candidate, action.old) == ("srv1", "")


@pytest.mark.parametrize("late", ["srv1", "srv3"])
def test_at_boot_everybody_is_waited_for(late: str) -> None:
    action = decide(seen(FRESH, **{late: {"dead": True}}))
    assert isinstance(action, Stay)
    assert late in action.why


def test_after_a_restart_the_manager_first_tells_the_balancer_what_it_finds() -> None:
    """Connections may be held back since its predecessor died."""
    assert decide(replace(STEADY, held=True)) == Route("srv1", "was srv1")


def test_a_primary_that_was_given_up_and_is_needed_after_all_is_not_fenced_any_more() -> None:
    """It came back while its successor had died: the replicas must reach it, or no commit is ever acknowledged."""
    assert decide(seen(srv1={"fenced": True})) == Route("srv1", "it is fenced")


@pytest.mark.parametrize(("noted", "routed"), [("", "srv1"), ("srv1", None), ("", None), ("srv1", "?"), ("", "?")])
def test_the_primary_is_found_again(noted: str, routed: str | None) -> None:
    assert incumbent(replace(STEADY, noted=noted, routed=routed)) == "srv1"


def test_died_after_noting_the_candidate_and_before_opening_it() -> None:
    action = decide(seen(srv1={"dead": True}, view={"noted": "srv2", "routed": None}))
    assert isinstance(action, Succeed)
    assert action.candidate == "srv2"


def test_died_after_opening_the_candidate_and_before_routing() -> None:
    view = seen(srv1={"dead": True}, srv2={"writable": True}, view={"noted": "srv2", "routed": None})
    assert decide(view) == Route("srv2", "was nobody")


def test_an_opened_candidate_is_finished_even_without_the_note() -> None:
    """mon was switched off and on: the balancer still names the old primary, which is dead."""
    view = seen(srv1={"dead": True}, srv2={"writable": True}, view={"noted": "", "routed": "srv1"})
    action = decide(view)
    assert isinstance(action, Succeed)
    assert action.candidate == "srv2"


def test_the_candidate_dies_during_its_promotion() -> None:
    view = seen(srv1={"dead": True}, srv2={"dead": True}, srv3=LOST, view={"noted": "srv2", "routed": None})
    assert isinstance(decide(view), Stay), "semisync: either may have the only copy"
    back = seen(view, srv1={"dead": False, "writable": False})
    action = decide(back)
    assert isinstance(action, Succeed)
    assert action.candidate == "srv1"


# --- keeping it -----------------------------------------------------------------------------------------------------


def test_a_second_writer_is_closed_before_anything_else() -> None:
    view = seen(srv3={"writable": True}, view={"routed": None})
    assert decide(view) == Demote("srv3", "srv1", "srv1 is the primary")


def test_a_writer_with_less_than_others_is_closed_before_a_successor_is_opened() -> None:
    view = seen(srv1={"dead": True}, srv2={"writable": True, "written": "0-1-3", "received": ""})
    action = decide(replace(view, lossless=False))
    assert action == Demote("srv2", "srv3", "srv3 has more")


@pytest.mark.parametrize("routed", [None, "srv2"])
def test_the_balancer_is_told(routed: str | None) -> None:
    assert isinstance(decide(replace(STEADY, routed=routed)), Route)


def test_a_balancer_that_cannot_be_asked_is_left_alone() -> None:
    assert isinstance(decide(replace(STEADY, routed="?")), Stay)


@pytest.mark.parametrize("state", [{"follows": ""}, {"follows": "srv3"}, {"applying": False}, {"stopped": True}])
def test_who_does_not_follow_joins(state: dict[str, object]) -> None:
    action = decide(seen(srv2=state))
    assert isinstance(action, Join)
    assert (action.server, action.primary) == ("srv2", "srv1")


def test_a_fenced_server_joins() -> None:
    assert decide(seen(srv2={"fenced": True})) == Join("srv2", "srv1", "fenced")


def test_who_has_diverged_is_left_alone_and_nothing_is_settled() -> None:
    action = decide(seen(srv2={"stopped": True, "receiving": False, "error": "1236"}))
    assert isinstance(action, Stay)
    assert not action.settled


@pytest.mark.parametrize("view", [seen(srv2={"follows": ""}), seen(srv1={"dead": True})])
def test_nothing_is_done_twice_for_one_look(view: View) -> None:
    assert isinstance(decide(replace(view, stale=True)), Stay)


# --- whatever may be seen -------------------------------------------------------------------------------------------

NAMES = ("srv1", "srv2", "srv3")


@st.composite
def views(draw: st.DrawFn) -> View:
    servers = tuple(
        Server(
            name,
            number,
            silent=draw(st.sampled_from([0.0, SILENT_S / 2, SILENT])),
            dead=draw(st.booleans()),
            writable=draw(st.booleans()),
            written=draw(st.sampled_from(["", "0-1-5", "0-2-6"])),
            received=draw(st.sampled_from(["", "0-1-5", "0-1-7"])),
            follows=draw(st.sampled_from(["", *NAMES])),
            receiving=draw(st.booleans()),
            stopped=draw(st.booleans()),
            applying=draw(st.booleans()),
            starved=draw(st.sampled_from([None, 0.0, SILENT])),
            error=draw(st.sampled_from(["", "1236"])),
            fenced=draw(st.booleans()),
        )
        for number, name in enumerate(NAMES, start=1)
    )
    noted, routed = draw(st.sampled_from(["", *NAMES])), draw(st.sampled_from([None, "?", *NAMES]))
    return View(servers, draw(st.booleans()), noted, routed, draw(st.booleans()), draw(st.booleans()))


@given(views())
def test_whatever_is_seen_a_successor_is_heard_has_most_and_takes_nobodys_place_who_lives(view: View) -> None:
    action = decide(view)
    if not isinstance(action, Succeed):
        return
    chosen = view[action.candidate]
    assert chosen.heard
    assert sequence(chosen.position) == max(sequence(each.position) for each in view.heard)
    if action.old:
        old = view[action.old]
        assert not (old.heard and old.writable)
        assert old.heard or old.dead or old.silent >= SILENT_S
        fed = [e for e in view.heard if e.follows == old.name and e.receiving and e.starved is not None]
        assert old.heard or old.dead or all((each.starved or 0.0) >= SILENT_S for each in fed)
    if view.lossless:
        assert len(view.heard) >= len(view.servers) - 1


@given(views())
def test_whatever_is_seen_only_the_primary_is_routed_to_or_followed(view: View) -> None:
    action = decide(view)
    if isinstance(action, Route | Join):
        primary = view[action.primary]
        assert primary.heard
        assert primary.writable
        assert [each.name for each in view.heard if each.writable] == [primary.name], "a second writer is closed first"
    if isinstance(action, Join):
        assert action.server != action.primary
    if isinstance(action, Demote):
        assert view[action.server].writable
        assert action.server != action.primary
