"""The page of ``top``, drawn from one answer: lines of text that fit whatever terminal there is. No value is shown
that is not of now: a host without news for 3 s has a line that says so, and so has the page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.text import Text

#: a value that is older is not shown
OLD_S = 3.0
WIDE = 100
Values = dict[str, dict[str, float]]
Cell = tuple[str, str]
NOTHING: Cell = ("-", "dim")
GOOD, BAD, WARNING = "green", "bold red", "yellow"


class TopValues:
    """The answer's values, by their name and the host (or whatever they are of)."""

    def __init__(self, rows: list[list[Any]]) -> None:
        self.rows: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
        for name, labels, value in rows:
            self.rows[name].append((labels, value))

    def one(self, name: str, **labels: str) -> float | None:
        """The one value with these labels; None where there is none, or it is no number."""
        values = [value for own, value in self.rows[name] if labels.items() <= own.items()]
        return values[0] if len(values) == 1 and values[0] == values[0] else None

    def total(self, name: str, begins: str = "", **labels: str) -> float | None:
        """The sum of those with these labels, whose status or code begins so."""
        values = [
            value
            for own, value in self.rows[name]
            if labels.items() <= own.items() and (own.get("status") or own.get("code", "")).startswith(begins)
        ]
        return sum(values) if self.rows[name] else None

    def label(self, name: str, wanted: str, **labels: str) -> str:
        """A label of the first one with these labels; empty where there is none."""
        return next((own[wanted] for own, _ in self.rows[name] if labels.items() <= own.items()), "")


def page(answer: Mapping[str, Any], age: float, width: int, height: int) -> list[Text]:
    """The lines of the page. ``answer``: what ``top`` was answered (monitored.py), and the ``title``.

    ``age``: for how many seconds there has been no answer with values.
    """
    lines = [_title(answer, width)]
    if answer["problem"] or age > OLD_S:
        why = answer["problem"] or "the testbed does not answer"
        lines += [Text(f"no news for {age:.0f} s: {why}", style=BAD), *_faults(answer)]
    else:
        values = TopValues(answer["values"])
        lines += [_site(values), *_table(answer, values, width, age)]
        room = height - len(lines)
        lines += _fit([_drops(values), _alerts(answer, width), _faults(answer)], room)
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines[:height]


def _title(answer: Mapping[str, Any], width: int) -> Text:
    clock = datetime.fromtimestamp(answer["time"]).astimezone().strftime("%H:%M:%S")
    left, right = answer["title"], f"{clock}  q leaves"
    left = left if len(left) + len(right) + 2 <= width else f"{left[: max(0, width - len(right) - 3)]}…"
    return Text(f"{left}{' ' * (width - len(left) - len(right))}{right}", style="reverse")


def _site(values: TopValues) -> Text:
    """The whole site in a line, as the balancer sees it; its time is nginx's."""
    codes = {code: values.total("site", begins=code) for code in ("", "4", "5")}
    rate, refused, errors = codes[""], codes["4"], codes["5"]
    if rate is None:  # it passes connections on, and sees no answer
        rate, refused, errors = (values.total("answers", begins=code) for code in ("", "4", "5"))
    share = f"{100 * (errors or 0) / rate:.1f} %" if rate else "none"
    median, tail, queue = (values.one(name) for name in ("site p50", "site p99", "queue"))
    parts = (
        ("site", "bold"),
        f"  {_number(rate)[0]} req/s  p50 {_seconds(median)[0]}  p99 {_seconds(tail)[0]}",
        f"  4xx {_number(refused)[0]}/s  ",
        (f"errors {share}", BAD if errors else ""),
        f"  queue {_number(queue)[0]}",
    )
    return Text.assemble(*parts)


Column = tuple[str, int, Callable[[TopValues, str], Cell]]


def _columns(width: int) -> list[Column]:
    """Heading, width, and what is said of a host. A wide terminal has more of them."""

    def rate(begins: str, style: str = "") -> Callable[[TopValues, str], Cell]:
        return lambda values, host: _styled(_number(_answers(values, host, begins)), style)

    def plain(name: str, shown: Callable[[float | None], Cell]) -> Callable[[TopValues, str], Cell]:
        return lambda values, host: shown(values.one(name, host=host))

    wide = width >= WIDE
    return [
        ("cpu", 5, plain("cpu", _percent)),
        ("mem", 6, plain("memory", _bytes)),
        ("in/s", 6, plain("in", _bytes)),
        ("out/s", 6, plain("out", _bytes)),
        ("req/s", 6, rate("")),
        *([("2xx", 6, rate("2")), ("3xx", 6, rate("3"))] if wide else []),
        ("4xx", 5, rate("4", WARNING)),
        ("5xx", 5, rate("5", BAD)),
        ("p50", 6, plain("p50", _seconds)),
        ("p99", 6, plain("p99", _seconds)),
        ("lb", 6, _balanced),
        *([("busy", 6, lambda values, host: _number(values.one("sessions", server=host)))] if wide else []),
        ("db", 8, _role),
        ("lag", 5, plain("lag", _seconds)),
    ]


def _answers(values: TopValues, host: str, begins: str) -> float | None:
    known = any(labels.get("host") == host for labels, _ in values.rows["answers"])
    return values.total("answers", begins, host=host) if known else None


def _balanced(values: TopValues, host: str) -> Cell:
    """The balancer's word for a server: UP, DOWN, MAINT, ..."""
    state = values.label("balancer", "state", server=host)
    return (state, GOOD if state == "UP" else BAD) if state else ("", "")


def _role(values: TopValues, host: str) -> Cell:
    """The part that its database has. ``stopped``: it follows no primary."""
    writable, follows = values.one("writable", host=host), values.one("replicating", host=host)
    if writable is None:
        return ("", "")
    if writable:
        return ("primary", GOOD)
    return ("replica", "") if follows else ("stopped", BAD)


def _table(answer: Mapping[str, Any], values: TopValues, width: int, age: float) -> Iterator[Text]:
    columns, first = _columns(width), max(5, *(len(host) for host in answer["hosts"]))
    yield Text("host".ljust(first) + "".join(head.rjust(room) for head, room, _ in columns), style="bold underline")
    for host in answer["hosts"]:
        silent = values.one("age", host=host)
        line = Text(host.ljust(first), style="bold")
        if silent is None or silent + age > OLD_S:
            ago = "no news yet" if silent is None else f"no news for {silent + age:.0f} s"
            line.append(f"  {ago}", style=BAD)
        else:
            for _, room, shown in columns:
                text, style = shown(values, host)
                line.append(text.rjust(room), style=style or "not bold")
        yield line


def _drops(values: TopValues) -> list[Text]:
    """The packets that each rule drops now, on each switch, and has dropped so far: the most first."""
    totals = {(labels["switch"], labels["rule"]): value for labels, value in values.rows["dropped"] if value}
    rates = {(labels["switch"], labels["rule"]): value for labels, value in values.rows["dropping"]}
    ordered = sorted(totals, key=lambda where: (-rates.get(where, 0), -totals[where]))
    rows = [
        Text.assemble(
            f"  {switch:6}{rule:14}",
            (f"{_number(rates.get((switch, rule)))[0]:>7}/s", BAD if rates.get((switch, rule)) else ""),
            f"{totals[switch, rule]:12.0f} in all",
        )
        for switch, rule in ordered
    ]
    return [Text("dropped by rule", style="bold"), *(rows or [Text("  nothing", style="dim")])]


def _alerts(answer: Mapping[str, Any], width: int) -> list[Text]:
    rows = [
        Text.assemble(
            f"  {datetime.fromisoformat(row['since']).astimezone():%H:%M:%S}  ",
            (f"{row['alert']:14}", BAD),
            f" {row['summary']}" + (f"   ({row['hint']})" if width >= WIDE else ""),
        )
        for row in answer["alerts"]
    ]
    notes = [Text(f"  {answer['note']}", style=WARNING)] if answer["note"] else []
    return [Text(f"alerts: {len(rows) or 'none'}", style="bold"), *notes, *rows]


def _faults(answer: Mapping[str, Any]) -> list[Text]:
    return [Text(f"fault in force: {fault}", style=WARNING) for fault in answer["faults"]]


def _fit(parts: list[list[Text]], room: int) -> Iterator[Text]:
    """All parts in that many lines: the longest one gives first, and says how much it has left out."""
    kept = [len(part) for part in parts]
    while sum(kept) > max(room, 0) and max(kept):
        kept[kept.index(max(kept))] -= 1
    for part, count in zip(parts, kept, strict=True):
        whole = count == len(part)
        yield from part[: count if whole else max(0, count - 1)]
        if not whole and count:
            yield Text(f"  ... {len(part) - count + 1} more", style="dim")


def _styled(cell: Cell, style: str) -> Cell:
    return (cell[0], style) if cell[0] not in ("-", "0") else cell


def _number(value: float | None) -> Cell:
    """Up to four characters, and one for the thousands."""
    if value is None:
        return NOTHING
    if 0 < value < 10:
        return (f"{value:.1f}".removesuffix(".0"), "")
    return (f"{value:.0f}", "") if value < 9999.5 else (f"{value / 1000:.0f}k", "")


def _percent(value: float | None) -> Cell:
    return NOTHING if value is None else (f"{100 * value:.0f}%", WARNING if value > 0.9 else "")


def _bytes(value: float | None) -> Cell:
    if value is None:
        return NOTHING
    for unit in ("", "K", "M"):
        if value < 999.5:
            return (f"{value:.0f}{unit}", "")
        value /= 1000
    return (f"{value:.1f}G", "")


def _seconds(value: float | None) -> Cell:
    if value is None:
        return NOTHING
    if value < 0.9995:
        return (f"{1000 * value:.0f}ms", "")
    return (f"{value:.1f}s" if value < 99 else f"{value:.0f}s", WARNING)
