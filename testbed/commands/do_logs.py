"""``logs``: the last lines of what services have written, or a search in all that the monitoring host has collected."""

from __future__ import annotations

import json
import re
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from testbed.commandline import Parser, seconds
from testbed.commands.command import AskedTestbed, Command, Origin, Request
from topo.errors import EXIT_HOLDS, FoobarError, RefusedError, UsageError, among
from topo.paths import BOX, PROJECT
from topo.plaintext import say
from topo.plan import LOGS, MONITOR

if TYPE_CHECKING:
    from services.monitoring.logrecord import LogRecord
    from services.monitoring.logstore import LogQuery
    from services.unit import Unit
    from testbed.testbed import Testbed

FOLLOW_SECONDS = 0.25
SEARCH_SECONDS = 60
_REQUEST = re.compile(r"[A-Za-z0-9-]{1,64}")


def _units(testbed: Testbed, host: str, service: str) -> list[Unit]:
    """The services of a host, or one of them. Raises UsageError, naming those that there are."""
    units = [unit for unit in testbed.supervisor.units if not host or unit.service.host == host]
    if service:
        units = [unit for unit in units if unit.service.is_called(service)]
    if not units:
        ids = ", ".join(unit.service.id.replace("/", " ") for unit in testbed.supervisor.units)
        raise UsageError(f"logs {host} {service}".strip() + f": nothing like that runs; services: {ids}")
    return units


def _tails(testbed: Testbed, host: str, service: str) -> list[dict[str, Any]]:
    """The services of a host, or one of them, each with its logs' last lines."""
    from services.monitoring.logstore import HEALTH

    units = _units(testbed, host, service)
    return [{"service": unit.service.id, "tail": unit.tail(without=HEALTH)} for unit in units]


def _collector(testbed: Testbed) -> Unit:
    """The log collector, which serves. Raises RefusedError."""
    if not testbed.profile.monitored:
        raise RefusedError("logs are not collected with --monitoring off; `logs HOST [SERVICE]` shows their ends")
    unit = testbed.supervisor.unit(f"{testbed.plan.host_of(MONITOR).name}/{LOGS}")
    if unit.state != "ready":
        raise RefusedError(f"{unit.service.id} is {unit.state}: it cannot be asked; `logs HOST` shows the logs' ends")
    return unit


def _search(testbed: Testbed, query: dict[str, Any]) -> dict[str, Any]:
    """Records that fit; see ``logsearch.answer``."""
    from services.monitoring.logstore import LogQuery

    host, service = query["host"], query["service"]
    if host == BOX:
        raise UsageError("box: what runs on no host is not collected; `logs box` shows its end, `denied` the samples")
    if host or service:
        roles = {unit.service.role for unit in _units(testbed, host, service)}
        query = {**query, "service": roles.pop() if service else ""}
    unit = _collector(testbed)
    words = (sys.executable, "-m", "services.monitoring.logsearch", json.dumps(query))
    done = unit.place.run(words, seconds=SEARCH_SECONDS, environment={"PYTHONPATH": str(PROJECT)})
    if done.returncode:
        raise FoobarError("the search of the collected logs failed", detail=done.stderr.strip())
    answer: dict[str, Any] = json.loads(done.stdout)
    return {**answer, "query": query, "records": answer["records"] + _statements(testbed, LogQuery(**query))}


def _statements(testbed: Testbed, query: LogQuery) -> list[dict[str, Any]]:
    """A request's statements, from the databases' own logs, which are not collected."""
    from services import logfiles
    from services.monitoring.logrecord import UNTIMED, LogRecord, statements
    from services.monitoring.logstore import in_tiers

    found: list[LogRecord] = []
    for unit in testbed.supervisor.units if query.request else ():
        for log in unit.service.local_logs:
            blank = LogRecord(0.0, unit.service.host, unit.service.role, UNTIMED, "", file=log)
            content = unit.written(logfiles.before(log)) + unit.written(log)
            found += statements(blank, content, query.request)
    return [record.as_dict() for record in sorted(found, key=in_tiers) if query.fits(record, record.text)]


def _news(testbed: Testbed, query: dict[str, Any], cursor: dict[str, int]) -> dict[str, Any]:
    """Records that fit and were stored after a place; few, so they are looked for here."""
    from services.monitoring import logsearch, logstore
    from services.monitoring.logstore import Cursor, LogQuery
    from services.service import below

    folder, _ = below(_collector(testbed).place, logstore.CURRENT)
    with folder:
        lines, place = logstore.news(folder, Cursor(**cursor))
    return {**logsearch.answer(LogQuery(**query), lines, place), "query": query}


class LogsCommand(Command):
    """Shows logs without entering a host."""

    name = "logs"
    words = "[HOST [SERVICE]]"
    summary = "what services have written: the last lines, or a search in all that is collected"
    about = (
        "Show the last lines of what the services on a host have written; with a flag, or without a host, search all"
        " logs that the monitoring host has collected. Health checks are left out unless they are asked for."
    )

    @property
    def requests(self) -> Mapping[str, Request]:
        return {
            "logs": _tails,
            "logs-search": _search,
            "logs-news": _news,
            "services": lambda testbed: [unit.service.id for unit in testbed.supervisor.units],
        }

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("host", nargs="?", default="", help="a host, or `box` (all hosts)")
        parser.add_argument("service", nargs="?", default="", help="only this one (all of the host)")
        parser.add_argument("--since", metavar="TIME", help="so long ago at most: 30s, 5m, 1h")
        parser.add_argument("--grep", metavar="TEXT", default="", help="what was logged has this text in it")
        parser.add_argument("--request", metavar="ID", default="", help="one request, through all tiers")
        parser.add_argument(
            "--level", default="", help="at least as grave: debug, info, notice, warning, error or critical"
        )
        parser.add_argument("--follow", action="store_true", help="go on with new ones until Ctrl-C")
        parser.add_argument("--json", action="store_true", help="as JSON, one object a line")

    def run(self, options: Namespace, origin: Origin) -> int:
        query = _query(options)
        target = origin.target(options.name)
        searches = options.since or options.grep or options.request or options.level or options.follow or options.json
        if options.host and not searches:
            return _show_tails(target, options)
        answer = target.ask("logs-search", query=query)
        _show(answer, options)
        while options.follow:
            time.sleep(FOLLOW_SECONDS)
            answer = target.ask("logs-news", query=answer["query"], cursor=answer["cursor"])
            _show(answer, options)
        return EXIT_HOLDS

    def candidates(self, before: Sequence[str], origin: Origin) -> Iterable[str]:
        target = origin.target_if_any(None)
        ids = [service.split("/") for service in target.ask("services")] if target else []
        if not before:
            return dict.fromkeys(host for host, _ in ids)
        return [name for host, name in ids if [host] == list(before)]


def _query(options: Namespace) -> dict[str, Any]:
    """The options as ``logstore.LogQuery`` has them. Raises UsageError for one that makes no sense."""
    from services.monitoring.logrecord import LEVELS
    from services.monitoring.logstore import LogQuery

    since = time.time() - seconds("--since", options.since) if options.since else 0.0
    if options.request and not _REQUEST.fullmatch(options.request):
        raise UsageError(f"--request {options.request}: no request id; those are letters, digits and dashes")
    if options.level and options.level not in LEVELS:
        raise UsageError(f"--level {options.level}: say one of: {among(options.level, LEVELS)}")
    return asdict(LogQuery(options.host, options.service, since, options.grep, options.request, options.level))


def _show_tails(target: AskedTestbed, options: Namespace) -> int:
    for row in target.ask("logs", host=options.host, service=options.service):
        say(row["tail"] or f"{row['service']}: nothing written yet")
    return EXIT_HOLDS


def _show(answer: Mapping[str, Any], options: Namespace) -> None:
    """The records of an answer, and on standard error what is missing in it."""
    from services.monitoring.logrecord import LogRecord

    records = [LogRecord(**row) for row in answer["records"]]
    if options.json:
        for record in records:
            say(json.dumps(record.as_dict()), flush=True)
    elif options.request:
        show_request(options.request, records, follows=options.follow)
    else:
        for record in records:
            say(line(record), flush=True)
    if answer["left_off"]:
        say(f"{answer['left_off']} older entries are left off; say --since, --grep or --level", error=True)
    if answer["cut"]:
        say(f"{answer['cut']} lines were too long and are cut", error=True)


def line(record: LogRecord) -> str:
    """A record for people: local time with milliseconds, place, level, text; further rows stand under it."""
    level = "" if record.level == "info" else f"{record.level}: "
    text = (level + record.text).replace("\n", "\n    ")
    return f"{_clock(record.time)} {record.host}/{record.service} {text}"


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment).strftime("%H:%M:%S.%f")[:-3]


def show_request(request: str, records: Sequence[LogRecord], *, follows: bool) -> None:
    """A request's way: when each tier got it, the milliseconds since the tier before, and how long it took there."""
    if not records and not follows:
        say(f"no log has the request {request}", error=True)
        return
    before = None
    for record in records:
        step = "" if before is None else f"{(record.began - before) * 1000:+.1f} ms"
        before = record.began
        took = "" if record.took_ms is None else f" [{record.took_ms:g} ms]"
        text = record.text.replace("\n", "\n    ")
        say(f"{_clock(record.began)} {step:>10} {record.host}/{record.service}{took} {text}", flush=True)
    from services.monitoring.logrecord import TIERS

    missing = [tier for tier in TIERS if records and tier not in {record.service for record in records}]
    if missing and not follows:
        say(f"not in the log of: {', '.join(missing)}", error=True)
