"""The verdict on ``monitoring``: each thing that it says against the truth. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from experiments.engine.numbers import distribution
from experiments.engine.verdict import CheckResult, ClaimCheck, Verdict, composed
from experiments.monitoring.evidence import AlertedFault, MonitoringEvidence, SecondRow

#: how far what is told may be from the truth
SECOND_SHARE, SECOND_REQUESTS = 0.01, 2
PROCESSOR_SHARE, PROCESSOR_S = 0.05, 0.02
#: s from one sample to the next
STEP_S = 1.2
#: seconds between samples in which so many requests were answered must have been seen
FEWEST_SECONDS = 5


def judge(evidence: MonitoringEvidence) -> Verdict:
    """False as soon as something that was told is not so, was told late, or was not told."""
    if evidence.clean is None or not evidence.counts:
        return Verdict(None, "the clean phase was not measured to its end")
    return composed(CHECKS, evidence, _numbers(evidence))


def _numbers(evidence: MonitoringEvidence) -> dict[str, object]:
    requests = sum(row["truth"] for row in evidence.counts)
    return {"requests": requests, "alerts": len(evidence.firing), "spoilt": evidence.spoilt}


def _alerts_in_time(evidence: MonitoringEvidence) -> CheckResult:
    wanted = [row for row in evidence.faults if row["alerts"]]
    missing = [row for row in wanted if row["fired"] is None]
    delays = {row["fault"]: row["fired"] - row["began"] for row in wanted if row["fired"] is not None}
    late = {row["fault"]: delays[row["fault"]] for row in wanted if delays.get(row["fault"], 0.0) > row["late_s"]}
    numbers = {"faults": len(evidence.faults), "missing": len(missing), "alert_s": distribution(list(delays.values()))}
    if missing:
        first = missing[0]
        said = f"{first['fault']}: no {' or '.join(first['alerts'])} at {' or '.join(first['hosts'])}"
        return CheckResult(False, f"{said}{_more(missing)}", numbers)
    if late:
        name, delay = max(late.items(), key=lambda item: item[1])
        return CheckResult(False, f"{name}: its alert came after {delay:.1f} s{_more(late)}", numbers)
    if not wanted:
        return CheckResult(None, "no fault was injected", numbers)
    slowest = max(delays.values())
    return CheckResult(True, f"all of {len(wanted)} faults were told within {slowest:.1f} s", numbers)


def _more(rows: Sequence[object] | Mapping[str, object]) -> str:
    return f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""


def _no_false_alarm(evidence: MonitoringEvidence) -> CheckResult:
    assert evidence.clean is not None
    began, ended = evidence.clean
    false = [row for row in evidence.firing if row["began"] < ended and row["ended"] > began]
    numbers = {"clean_s": round(ended - began, 1), "false_alarms": len(false)}
    if false:
        return CheckResult(False, f"{false[0]['alert']} of {false[0]['host']} without a cause{_more(false)}", numbers)
    return CheckResult(True, f"no false alarm in {ended - began:.0f} s", numbers)


def _counted_exactly(evidence: MonitoringEvidence) -> CheckResult:
    wrong = [row for row in evidence.counts if row["truth"] != row["told"]]
    numbers = {"counts": len(evidence.counts), "counts_wrong": len(wrong)}
    if wrong:
        row = wrong[0]
        what = f"{row['host']}: {row['told']:.0f} requests for {row['path']} with status {row['status']}"
        return CheckResult(False, f"{what}, where there were {row['truth']}{_more(wrong)}", numbers)
    total = sum(row["truth"] for row in evidence.counts)
    return CheckResult(True, f"{total:,} requests were counted exactly", numbers)


def off(row: SecondRow) -> float:
    """The requests by which a second's number is wrong beyond what is allowed; 0 when it is right."""
    return max(0.0, abs(row["told"] - row["truth"]) - max(SECOND_REQUESTS, SECOND_SHARE * row["truth"]))


def _each_second(evidence: MonitoringEvidence) -> CheckResult:
    wrong = [row for row in evidence.seconds if off(row)]
    numbers = {"seconds": len(evidence.seconds), "seconds_wrong": len(wrong)}
    if wrong:
        row = max(wrong, key=off)
        what = f"{row['host']}: {row['told']:.0f} requests in {row['seconds']:.2f} s"
        return CheckResult(False, f"{what}, where there were {row['truth']}{_more(wrong)}", numbers)
    if len(evidence.seconds) < FEWEST_SECONDS:
        return CheckResult(None, f"only {len(evidence.seconds)} seconds can be compared", numbers)
    return CheckResult(True, f"each of {len(evidence.seconds)} seconds is right", numbers)


def _processor(evidence: MonitoringEvidence) -> CheckResult:
    wrong = [
        row
        for row in evidence.processor
        if abs(row["told_s"] - row["truth_s"]) > max(PROCESSOR_S, PROCESSOR_SHARE * row["truth_s"])
    ]
    errors = [abs(row["told_s"] / row["truth_s"] - 1) for row in evidence.processor if row["truth_s"]]
    numbers = {"processor_error": round(max(errors), 4) if errors else None}
    if wrong:
        row = wrong[0]
        said = f"{row['host']}: {row['told_s']:.2f} s of processor time, where it took {row['truth_s']:.2f} s"
        return CheckResult(False, f"{said}{_more(wrong)}", numbers)
    if not evidence.processor:
        return CheckResult(None, "no processor time was compared", numbers)
    return CheckResult(True, "processor time is right", numbers)


def _no_gap(evidence: MonitoringEvidence) -> CheckResult:
    steps = [row["longest_s"] for row in evidence.steps]
    numbers = {"longest_step_s": max(steps, default=None)}
    if not steps:
        return CheckResult(None, "no samples were found", numbers)
    worst = max(evidence.steps, key=lambda row: row["longest_s"])
    if worst["longest_s"] > STEP_S:
        return CheckResult(False, f"{worst['host']}: {worst['longest_s']:.2f} s without a sample", numbers)
    return CheckResult(True, f"a sample at least every {max(steps):.2f} s", numbers)


def _no_line_lost(evidence: MonitoringEvidence) -> CheckResult:
    lost = {row["service"]: row["written"] - row["stored"] for row in evidence.logs if row["written"] > row["stored"]}
    written, copies = (sum(row[name] for row in evidence.logs) for name in ("written", "copies"))
    numbers = {"lines": written, "lines_lost": sum(lost.values()), "lines_copied": copies}
    if lost:
        name, count = max(lost.items(), key=lambda item: item[1])
        return CheckResult(False, f"{name}: {count} log lines lost{_more(lost)}", numbers)
    if not written:
        return CheckResult(None, "no log line was written", numbers)
    return CheckResult(True, f"{written:,} log lines stored, none lost", numbers)


def _away(evidence: MonitoringEvidence) -> CheckResult:
    numbers = {
        "away": {
            row["fault"]: {"lines": row["lines"], "lost": row["lost"], "longest_step_s": row["longest_step_s"]}
            for row in evidence.away
        }
    }
    for row in evidence.away:
        if row["lost"] > row["allowed"]:
            return CheckResult(False, f"{row['fault']}: {row['lost']} of {row['lines']:,} log lines lost", numbers)
        if row["longest_step_s"] > STEP_S:
            said = f"{row['fault']}: {row['longest_step_s']:.1f} s without a sample of {row['host']}"
            return CheckResult(False, said, numbers)
    return CheckResult(True, "nothing is missing of when the monitoring host was away", numbers)


def _finished(evidence: MonitoringEvidence) -> CheckResult:
    if evidence.stopped:
        return CheckResult(None, evidence.stopped)
    if len(evidence.faults) < evidence.scheduled:
        return CheckResult(None, f"{len(evidence.faults)} of {evidence.scheduled} faults were injected")
    return CheckResult(True, "every fault was injected")


CHECKS = (
    ClaimCheck("each fault was told in time", _alerts_in_time),
    ClaimCheck("no false alarm", _no_false_alarm),
    ClaimCheck("requests are counted exactly", _counted_exactly),
    ClaimCheck("each second is right", _each_second),
    ClaimCheck("processor time is right", _processor),
    ClaimCheck("a sample every second", _no_gap),
    ClaimCheck("no log line is lost", _no_line_lost),
    ClaimCheck("nothing is missing while the monitoring host is away", _away),
    ClaimCheck("the schedule was finished", _finished),
)


def delays(faults: Iterable[AlertedFault]) -> list[tuple[str, float | None]]:
    """Each fault that an alert was to tell of, with the seconds until it did."""
    return [
        (row["fault"], None if row["fired"] is None else row["fired"] - row["began"]) for row in faults if row["alerts"]
    ]
