"""How much the site can answer: with all servers, and while one of them is away and comes back."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from experiments.instruments import load
from experiments.web_failover import balancer
from testbed.faults.injection import Fault, injected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from experiments.engine.run import Run
    from testbed.testbed import Testbed

WARM_SECONDS, WHOLE_SECONDS, DRAIN_SECONDS, AWAY_SECONDS = 0.5, 1.5, 0.3, 0.5
PHASE = "capacity"


def measured(testbed: Testbed, run: Run, settings: load.Settings, server: str) -> dict[str, Any]:
    """Good answers a second when clients ask without a pause: ``whole_per_s``, and ``away_per_s`` without a server.

    The second is what a site can promise. It counts while that server's host is off and then starts again, which on one
    machine for all hosts costs the others processor time; the balancer is told, so that its checks play no part.
    """
    file = run.folder / "capacity.jsonl"
    asking = replace(settings, rate=None, tag=f"capacity-{settings.tag}")
    with run.phase(PHASE), balancer.watched(testbed) as watch, load.loading(testbed.inside("client"), asking, file):
        time.sleep(WARM_SECONDS)
        began = time.time()
        time.sleep(WHOLE_SECONDS)
        whole = time.time()
        with balancer.without(testbed, server):
            time.sleep(DRAIN_SECONDS)
            failed = time.time()
            with injected(testbed, Fault("off", server), mark=run.mark):
                time.sleep(AWAY_SECONDS)
            back = time.time()
        watch.wait_for(server)
    done = load.outcomes(file)
    load.compress(file)
    return {
        "whole_per_s": _rate(done, began, whole),
        "away_per_s": _rate(done, failed, back),
        "clients": asking.clients,
        "away_s": round(back - failed, 3),
    }


def _rate(done: Sequence[load.Outcome], start: float, stop: float) -> float:
    good = sum(each.ok and start <= each.time + each.latency_s < stop for each in done)
    return round(good / (stop - start), 1)
