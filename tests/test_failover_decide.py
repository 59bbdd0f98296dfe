"""The failover manager's decisions: a pure function of what is seen, with every bad moment as a value."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.failover.actions import (
    Action,
    Correct,
    Demote,
    HandOver,
    NoAction,
    Promote,
    Reconnect,
    Rejoin,
    Restart,
    Route,
)
from services.failover.decide import current_primary, decide, unsafe
from services.failover.observation import SILENT_S, Observation, ServerState, last_writer, sequence
from services.failover.stall import FRESH_S, HAND_OVER_S, RECONNECT_S, RESTART_S, STALL_S
from services.failover.writeprogress import WriteProgress

SILENT = SILENT_S * 2
PRIMARY = ServerState("srv1", 1, writable=True, written="0-1-9")
REPLICA = ServerState(
    "srv2", 2, written="0-1-9", received="0-1-9", follows="srv1", receiving=True, applying=True, heartbeat_age=0.0
)
OTHER = replace(REPLICA, name="srv3", number=3)
STEADY = Observation((PRIMARY, REPLICA, OTHER), lossless=True, noted="srv1", routed="srv1")
#: what the replicas of a primary that has gone look like
LOST = {"receiving": False, "heartbeat_age": SILENT}


def seen(before: Observation = STEADY, **changes: dict[str, object]) -> Observation:
    """An observation in which some servers are otherwise; its own fields under ``observation``."""
    servers = tuple(replace(server, **changes.get(server.name, {})) for server in before.servers)  # type: ignore[arg-type]
    return replace(before, servers=servers, **changes.get("observation", {}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("position", "reached", "by"), [("", 0, 0), ("0-1-9", 9, 1), ("0-3-12", 12, 3), ("nonsense", 0, 0)]
)
def test_positions(position: str, reached: int, by: int) -> None:
    assert (sequence(position), last_writer(position)) == (reached, by)


def test_a_steady_state_stays_and_says_so() -> None:
    action = decide(STEADY)
    assert isinstance(action, NoAction)
    assert action.settled
    assert not action.blocked


@pytest.mark.parametrize("lossless", [True, False])
def test_a_refused_connection_is_death_at_once(lossless: bool) -> None:
    observation = seen(
        srv1={"dead": True, "writable": False}, srv3={"received": "0-1-12"}, observation={"lossless": lossless}
    )
    action = decide(observation)
    assert isinstance(action, Promote)
    assert (action.candidate, action.old) == ("srv3", "srv1"), "who has received most, applied or not"
    assert action.why == "srv1 refuses connections"
    assert dict(action.positions) == {"srv2": "0-1-9", "srv3": "0-1-12"}


def test_of_equals_the_one_that_has_applied_more() -> None:
    equal = (("srv2", "0-1-9"), ("srv3", "0-1-9"))
    assert decide(seen(srv1={"dead": True})) == Promote("srv2", "srv1", "srv1 refuses connections", equal)
    lagging = seen(srv1={"dead": True}, srv2={"written": "0-1-5"})
    assert decide(lagging) == Promote("srv3", "srv1", "srv1 refuses connections", equal)


@pytest.mark.parametrize("gone", [{"silent": SILENT}, {"dead": True, "writable": False}])
def test_a_slow_boot_does_not_change_the_primary(gone: dict[str, object]) -> None:
    lost = {"srv1": gone, "srv2": {"heartbeat_age": SILENT}, "srv3": {"heartbeat_age": SILENT}}
    assert isinstance(decide(seen(**lost)), Promote)
    action = decide(seen(**lost, observation={"booting": True}))
    assert action == NoAction("no answer from srv1, and the boot has not ended", blocked=True)
    # what belongs to a boot goes on
    assert decide(seen(observation={"booting": True})) == decide(STEADY)
    closed = seen(srv1={"writable": False}, observation={"booting": True})
    assert isinstance(opened := decide(closed), Promote)
    assert opened.candidate == "srv1"


def test_silence_alone_is_not_yet_death() -> None:
    action = decide(seen(srv1={"silent": SILENT_S * 0.5}, srv2={"silent": 0.01}))
    assert isinstance(action, NoAction)


def test_silence_that_the_replicas_confirm_is_death() -> None:
    action = decide(seen(srv1={"silent": SILENT}, srv2={"heartbeat_age": SILENT}, srv3={"heartbeat_age": SILENT}))
    assert isinstance(action, Promote)
    assert action.why == "srv1 is silent here and to srv2, srv3"


@pytest.mark.parametrize("alive", ["srv2", "srv3"])
def test_a_primary_that_still_sends_heartbeats_to_a_replica_lives(alive: str) -> None:
    """The manager's own way to it is cut, or the balancer's: no second primary for that."""
    missed = {"srv2": {"heartbeat_age": SILENT}, "srv3": {"heartbeat_age": SILENT}, alive: {"heartbeat_age": 0.0}}
    action = decide(seen(srv1={"silent": SILENT}, **missed))
    assert isinstance(action, NoAction)
    assert action.blocked
    assert alive in action.why


def test_an_isolated_manager_does_nothing() -> None:
    action = decide(seen(srv1={"silent": SILENT}, srv2={"silent": SILENT}, srv3={"silent": SILENT}))
    assert isinstance(action, NoAction)
    assert "cut off" in action.why


def test_nobody_confirms() -> None:
    observation = seen(srv1={"silent": SILENT}, srv2={"follows": ""}, srv3={"follows": "", "heartbeat_age": None})
    assert isinstance(decide(observation), NoAction)


@pytest.mark.parametrize("gone", [{"silent": SILENT}, {"dead": True}])
def test_a_dead_replica_changes_nothing_but_is_not_settled(gone: dict[str, object]) -> None:
    action = decide(seen(srv2=gone))
    assert isinstance(action, NoAction)
    assert (action.settled, action.blocked) == (False, False)


@pytest.mark.parametrize("gone", [{"silent": SILENT}, {"dead": True}])
def test_without_a_majority_semisync_waits_and_async_does_not(gone: dict[str, object]) -> None:
    observation = seen(srv1={"dead": True}, srv2=gone, srv3=LOST)
    action = decide(observation)
    assert isinstance(action, NoAction)
    assert "only copy" in action.why
    bold = decide(replace(observation, lossless=False))
    assert isinstance(bold, Promote)
    assert bold.candidate == "srv3"


def test_semisync_waits_for_a_replica_that_may_have_forgotten() -> None:
    """srv3 was restarted after srv1 died: its relay log may have held what srv1 had acknowledged."""
    observation = seen(srv1={"dead": True}, srv3={**LOST, "applying": False})
    assert isinstance(decide(observation), NoAction)
    assert "srv3 has been restarted" in str(unsafe(observation))


def test_the_last_writer_knows_everything_that_was_acknowledged() -> None:
    """The same, but srv1 is back: what clients were told is on its disk."""
    observation = seen(srv1={"writable": False}, srv2={"dead": True}, srv3={**LOST, "applying": False})
    assert unsafe(observation) is None
    action = decide(observation)
    assert isinstance(action, Promote)
    assert action.candidate == "srv1"


def test_a_restarted_primary_that_lost_its_tail_is_not_chosen() -> None:
    """Recovery took back what no replica had acknowledged to it; a replica has more."""
    action = decide(seen(srv1={"writable": False, "written": "0-1-8"}))
    assert isinstance(action, Promote)
    assert action.candidate == "srv2"
    assert action.why == "srv1 is read-only"


def test_a_restarted_primary_with_everything_is_opened_again() -> None:
    action = decide(seen(srv1={"writable": False}))
    assert isinstance(action, Promote)
    assert (action.candidate, action.old) == ("srv1", "srv1")


# --- boot, and the manager's own death ------------------------------------------------------------------------------

FRESH = Observation(
    (ServerState("srv1", 1), ServerState("srv2", 2), ServerState("srv3", 3)), lossless=True, routed="?", held=True
)


def test_at_boot_the_first_server_when_all_are_there() -> None:
    action = decide(FRESH)
    assert isinstance(action, Promote)
    assert (action.candidate, action.old) == ("srv1", "")


@pytest.mark.parametrize("late", ["srv1", "srv3"])
def test_at_boot_everybody_is_waited_for(late: str) -> None:
    action = decide(seen(FRESH, **{late: {"dead": True}}))
    assert isinstance(action, NoAction)
    assert late in action.why


def test_after_a_restart_the_manager_first_tells_the_balancer_what_it_finds() -> None:
    """Connections may be held back since its predecessor died."""
    assert decide(replace(STEADY, held=True)) == Route("srv1", "was srv1")


def test_a_primary_that_was_given_up_and_is_needed_after_all_is_not_fenced_any_more() -> None:
    """It came back while its successor had died: the replicas must reach it, or no commit is ever acknowledged."""
    assert decide(seen(srv1={"fenced": True})) == Route("srv1", "it is fenced")


@pytest.mark.parametrize(("noted", "routed"), [("", "srv1"), ("srv1", None), ("", None), ("srv1", "?"), ("", "?")])
def test_the_primary_is_found_again(noted: str, routed: str | None) -> None:
    assert current_primary(replace(STEADY, noted=noted, routed=routed)) == "srv1"


def test_died_after_noting_the_candidate_and_before_opening_it() -> None:
    action = decide(seen(srv1={"dead": True}, observation={"noted": "srv2", "routed": None}))
    assert isinstance(action, Promote)
    assert action.candidate == "srv2"


def test_died_after_opening_the_candidate_and_before_routing() -> None:
    observation = seen(srv1={"dead": True}, srv2={"writable": True}, observation={"noted": "srv2", "routed": None})
    assert decide(observation) == Route("srv2", "was none")


def test_an_opened_candidate_is_finished_even_without_the_note() -> None:
    """mon was switched off and on: the balancer still names the old primary, which is dead."""
    observation = seen(srv1={"dead": True}, srv2={"writable": True}, observation={"noted": "", "routed": "srv1"})
    action = decide(observation)
    assert isinstance(action, Promote)
    assert action.candidate == "srv2"


def test_the_candidate_dies_during_its_promotion() -> None:
    observation = seen(
        srv1={"dead": True}, srv2={"dead": True}, srv3=LOST, observation={"noted": "srv2", "routed": None}
    )
    assert isinstance(decide(observation), NoAction), "semisync: either may have the only copy"
    back = seen(observation, srv1={"dead": False, "writable": False})
    action = decide(back)
    assert isinstance(action, Promote)
    assert action.candidate == "srv1"


# --- keeping it -----------------------------------------------------------------------------------------------------


def test_a_second_writer_is_closed_before_anything_else() -> None:
    observation = seen(srv3={"writable": True}, observation={"routed": None})
    assert decide(observation) == Demote("srv3", "srv1", "srv1 is the primary")


def test_a_writer_with_less_than_others_is_closed_before_a_successor_is_opened() -> None:
    observation = seen(srv1={"dead": True}, srv2={"writable": True, "written": "0-1-3", "received": ""})
    action = decide(replace(observation, lossless=False))
    assert action == Demote("srv2", "srv3", "srv3 has more")


@pytest.mark.parametrize("routed", [None, "srv2"])
def test_the_balancer_is_told(routed: str | None) -> None:
    assert isinstance(decide(replace(STEADY, routed=routed)), Route)


def test_a_balancer_that_cannot_be_asked_is_left_alone() -> None:
    assert isinstance(decide(replace(STEADY, routed="?")), NoAction)


@pytest.mark.parametrize("state", [{"follows": ""}, {"follows": "srv3"}, {"applying": False}, {"stopped": True}])
def test_who_does_not_follow_joins(state: dict[str, object]) -> None:
    action = decide(seen(srv2=state))
    assert isinstance(action, Rejoin)
    assert (action.server, action.primary) == ("srv2", "srv1")


def test_a_fenced_server_joins() -> None:
    assert decide(seen(srv2={"fenced": True})) == Rejoin("srv2", "srv1", "fenced")


def test_who_has_diverged_is_left_alone_and_nothing_is_settled() -> None:
    action = decide(seen(srv2={"stopped": True, "receiving": False, "error": "1236"}))
    assert isinstance(action, NoAction)
    assert not action.settled


@pytest.mark.parametrize("observation", [seen(srv2={"follows": ""}), seen(srv1={"dead": True})])
def test_nothing_is_done_twice_for_one_look(observation: Observation) -> None:
    assert isinstance(decide(replace(observation, stale=True)), NoAction)


# --- writes that do not end ------------------------------------------------------------------------------------------

#: for how long writes have waited when each remedy is due
SOON, LATER, LONG = RECONNECT_S + 0.1, HAND_OVER_S + 0.1, RESTART_S + 0.1
LEAVING = {"stalled": SOON, "unacknowledged": True, "leaving": ("srv3",)}
UNHEARD = {"stalled": LONG, "unacknowledged": True}


def kind(observation: Observation) -> type[Action]:
    return type(decide(observation))


def test_a_replica_whose_old_connection_does_not_end_connects_anew() -> None:
    """The other one is dead, its link came and went: MariaDB's own threads wait for each other."""
    action = decide(seen(srv1=LEAVING, srv2={"dead": True}))
    assert isinstance(action, Reconnect)
    assert (action.server, action.primary) == ("srv3", "srv1")
    assert "1.6 s" in action.why


@pytest.mark.parametrize(
    "calm",
    [
        {"stalled": RECONNECT_S - 0.1, "unacknowledged": True, "leaving": ("srv3",)},
        {"leaving": ("srv3",)},
    ],
)
def test_without_an_old_connection_or_a_wait_nothing_connects_anew(calm: dict[str, object]) -> None:
    assert kind(seen(srv1=calm, srv2={"dead": True})) is NoAction


def test_what_a_replica_has_and_did_not_say_is_not_waited_for() -> None:
    """Its link went down between receiving and acknowledging: MariaDB never asks again for what it has sent."""
    has_all = seen(srv1={"stalled": SOON, "unacknowledged": True})
    assert kind(has_all) is Restart
    lacks = {"received": "0-1-8", "written": "0-1-8"}
    assert kind(seen(has_all, srv2=lacks, srv3=lacks)) is NoAction


def test_a_primary_that_lets_no_connection_in_is_restarted() -> None:
    """No replica can come to acknowledge, and it is not dead: those that are in are answered."""
    away = {"receiving": False, "received": "0-1-8", "written": "0-1-8"}
    hung = seen(srv1={"stalled": SOON, "unacknowledged": True, "closed": True}, srv2={"dead": True}, srv3=away)
    assert kind(hung) is Restart
    assert kind(seen(hung, srv1={"closed": False})) is NoAction


def test_writes_that_wait_are_never_settled() -> None:
    action = decide(seen(srv1={"stalled": STALL_S + 0.1, "unacknowledged": True}))
    assert isinstance(action, NoAction)
    assert (action.settled, action.blocked) == (False, True)


def test_a_primary_that_nobody_acknowledges_is_restarted_and_semisync_is_kept() -> None:
    action = decide(seen(srv1=UNHEARD))
    assert isinstance(action, Restart)
    assert action.server == "srv1"


@pytest.mark.parametrize("replica", [{"silent": SILENT}, {"dead": True}, {"fenced": True}])
def test_while_no_replica_could_acknowledge_nothing_is_restarted(replica: dict[str, object]) -> None:
    assert kind(seen(srv1=UNHEARD, srv2=replica, srv3=replica)) in (NoAction, Rejoin)


def test_a_replica_that_was_away_has_the_time_to_connect() -> None:
    back = {"answering": 0.5}
    assert kind(seen(srv1=UNHEARD, srv2={"dead": True}, srv3=back)) is NoAction
    assert kind(seen(srv1=UNHEARD, srv2={"dead": True}, srv3={"answering": LONG})) is Restart


def test_one_replica_that_does_not_reach_the_primary_is_no_reason_for_a_restart() -> None:
    """It would be the same afterwards. With two, one of them can be the primary and the other acknowledges."""
    cut_off = {"receiving": False, "received": "0-1-8", "written": "0-1-8"}
    assert kind(seen(srv1=UNHEARD, srv2={"dead": True}, srv3=cut_off)) is NoAction
    assert kind(seen(srv1=UNHEARD, srv2=cut_off, srv3=cut_off)) is Restart


def test_a_primary_whose_log_its_replicas_refuse_is_restarted() -> None:
    """A disk was full, and the last that stands there is torn; a restart cuts it off. It was told to no client."""
    refused = {"receiving": False, "stopped": True, "error": "1236"}
    torn = seen(srv1={"stalled": LONG}, srv2=refused, srv3=refused)
    assert kind(torn) is Restart
    assert kind(seen(torn, srv1={"stalled": LATER})) is NoAction
    assert kind(replace(torn, lossless=False)) is NoAction


def test_a_primary_is_not_restarted_again_and_again() -> None:
    assert kind(seen(srv1={**UNHEARD, "uptime": FRESH_S - 1})) is NoAction


@pytest.mark.parametrize("lossless", [True, False])
def test_from_a_primary_held_up_by_a_lock_another_takes_over(lossless: bool) -> None:
    observation = seen(srv1={"stalled": LATER}, srv2={"received": "0-1-8", "written": "0-1-8"})
    action = decide(replace(observation, lossless=lossless))
    assert isinstance(action, HandOver)
    assert (action.candidate, action.primary) == ("srv3", "srv1")


def test_a_primary_that_cannot_hand_over_is_given_up_without_a_loss() -> None:
    stuck = seen(srv1={"stalled": LONG})
    assert kind(stuck) is Restart
    bold = replace(stuck, lossless=False)
    assert kind(bold) is Promote
    behind = {"received": "0-1-8", "written": "0-1-8"}
    assert kind(seen(bold, srv2=behind, srv3=behind)) is HandOver, "it would lose what no replica has"


def stalled(*looks: tuple[object, float, float]) -> float:
    """For how long writes are stalled after some looks: commits so far, the oldest write's age, the time."""
    progress = WriteProgress()
    for look in looks:
        progress.note(*look)
    return progress.stalled(looks[-1][2])


def test_writes_are_stalled_when_one_waits_and_none_ends() -> None:
    assert stalled((5, 0.0, 10.0), (5, 0.6, 11.0), (5, 3.6, 14.0)) == pytest.approx(4.0)
    assert stalled((5, 0.0, 10.0), (5, 0.6, 11.0), (6, 3.6, 14.0)) == 0.0, "one has ended"
    assert stalled((5, 0.0, 10.0), (5, 0.0, 11.0), (5, 0.0, 14.0)) == 0.0, "none is due"
    assert stalled((5, 0.1, 10.0), (5, 0.1, 11.0), (5, 0.1, 14.0)) == 0.0, "short ones fail for another reason"


def test_an_end_to_the_sessions_that_wait_is_no_progress() -> None:
    """Their clients ask again; a handover that was refused would begin the count anew each time."""
    assert stalled((5, 0.0, 10.0), (5, 0.6, 11.0), (5, 0.0, 12.9), (5, 0.6, 13.5)) == pytest.approx(3.5)
    assert stalled((5, 0.0, 10.0), (5, 0.6, 11.0), (5, 0.0, 14.0)) == 0.0, "they do not ask again"


def test_what_the_manager_could_not_see_counts_for_nothing() -> None:
    progress = WriteProgress()
    for look in ((5, 0.0, 10.0), (5, 0.6, 11.0), (5, 3.6, 14.0)):
        progress.note(*look)
    progress.forgive(3.0, 14.0)
    assert progress.stalled(14.0) == pytest.approx(1.0)


# --- settings that the promise rests on ------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["srv1", "srv2", "srv3"])
def test_a_setting_that_was_changed_is_put_back_on_any_server(server: str) -> None:
    wrong = (("sync_binlog", "0"),)
    action = decide(seen(**{server: {"violations": wrong}}))
    assert action == Correct(server, wrong, "sync_binlog was 0")


def test_a_server_that_does_not_answer_is_not_corrected() -> None:
    assert kind(seen(srv3={"violations": (("sync_binlog", "0"),), "dead": True})) is NoAction


# --- whatever may be seen -------------------------------------------------------------------------------------------

NAMES = ("srv1", "srv2", "srv3")


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    servers = tuple(
        ServerState(
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
            heartbeat_age=draw(st.sampled_from([None, 0.0, SILENT])),
            error=draw(st.sampled_from(["", "1236"])),
            fenced=draw(st.booleans()),
            violations=draw(st.sampled_from([(), (("sync_binlog", "0"),)])),
            stalled=draw(st.sampled_from([0.0, SOON, LATER, LONG])),
            unacknowledged=draw(st.booleans()),
            leaving=draw(st.sampled_from([(), ("srv3",)])),
        )
        for number, name in enumerate(NAMES, start=1)
    )
    noted, routed = draw(st.sampled_from(["", *NAMES])), draw(st.sampled_from([None, "?", *NAMES]))
    return Observation(servers, draw(st.booleans()), noted, routed, draw(st.booleans()), draw(st.booleans()))


@given(observations())
def test_whatever_is_seen_a_candidate_is_reachable_has_most_and_takes_nobodys_place_who_lives(
    observation: Observation,
) -> None:
    action = decide(observation)
    if not isinstance(action, Promote):
        return
    chosen = observation[action.candidate]
    assert chosen.reachable
    assert sequence(chosen.position) == max(sequence(each.position) for each in observation.reachable)
    if action.old:
        old = observation[action.old]
        given_up = not observation.lossless and old.stalled >= RESTART_S
        assert given_up or not (old.reachable and old.writable)
        assert old.reachable or old.dead or old.silent >= SILENT_S
        alive = [
            e for e in observation.reachable if e.follows == old.name and e.receiving and e.heartbeat_age is not None
        ]
        assert old.reachable or old.dead or all((each.heartbeat_age or 0.0) >= SILENT_S for each in alive)
    if observation.lossless:
        assert len(observation.reachable) >= len(observation.servers) - 1


@given(observations())
def test_whatever_is_seen_only_the_primary_is_routed_to_or_followed(observation: Observation) -> None:
    action = decide(observation)
    if isinstance(action, Route | Rejoin):
        primary = observation[action.primary]
        assert primary.reachable
        assert primary.writable
        assert [each.name for each in observation.reachable if each.writable] == [primary.name], (
            "a second writer is closed first"
        )
    if isinstance(action, Rejoin):
        assert action.server != action.primary
    if isinstance(action, Demote):
        assert observation[action.server].writable
        assert action.server != action.primary
