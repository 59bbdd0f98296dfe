"""The firewall's rules: what the site takes (services.site.routes), and the core rules about scripts for free text.

A field in which people write anything cannot be judged by attack signatures without refusing honest people; every other
input has a pattern, and what does not fit is refused whatever it means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from services.service import render
from services.site.routes import ASKED_ANYWAY, COOKIE, FILES, KEY, NAME, ROUTES, VALID_NAME, Field, PageRoute
from services.waf.refusal import SCANNERS
from topo.plan import SITE

CORE_RULES = "/usr/share/modsecurity-crs/rules"
UNICODE = "/etc/nginx/unicode.mapping"
#: bytes of a request's body that are judged: more than nginx takes
BODY = 128 * 1024
#: headers whose values have a rule of their own
OWN_PATTERN = ("Cookie", "User-Agent", "Referer", "Host", "Via", "From", "Sec-CH-UA", "Sec-CH-UA-Full-Version-List")


def rules(log: str, work: str) -> str:
    """ModSecurity's configuration, with its audit log, and a folder to write in."""
    fields = tuple(dict.fromkeys(field for route in ROUTES for field in route.fields))
    return render(
        "waf.conf.j2",
        log=log,
        work=work,
        core=CORE_RULES,
        unicode=UNICODE,
        body=BODY,
        paths=either(_paths()),
        sending=either(re.escape(route.path) for route in ROUTES if "POST" in route.methods),
        names={path: either(map(re.escape, names)) for path, names in _names().items()},
        fields=[field for field in fields if field.pattern is not None],
        once=[spelling for field in fields for spelling in spellings(field)],
        free=[spelling for field in fields if field.free for spelling in spellings(field)],
        exempt=[spelling for field in fields if not field.free for spelling in spellings(field)],
        spellings=spellings,
        name=NAME,
        valid_name=VALID_NAME,
        cookie=COOKIE,
        key=KEY,
        site=re.escape(SITE),
        scanners=SCANNERS,
        own_headers="".join(f"|!REQUEST_HEADERS:{name}" for name in OWN_PATTERN),
    )


def spellings(field: Field) -> tuple[str, ...]:
    """The names under which ModSecurity knows a field."""
    return tuple(dict.fromkeys(name for route in ROUTES for name in _spellings(route, field)))


def _spellings(route: PageRoute, field: Field) -> Iterator[str]:
    if field in route.fields:
        yield field.name
    if field in route.form and route.as_json:
        yield f"json.{field.name}"


def either(patterns: Iterable[str]) -> str:
    """A pattern that fits where one of these does."""
    return f"(?:{'|'.join(sorted(set(patterns)))})"


def _paths() -> Iterator[str]:
    yield from (re.escape(route.path) for route in ROUTES)
    yield from (re.escape(f"/{name}") for name in FILES)
    yield from map(re.escape, ASKED_ANYWAY)


def _names() -> dict[str, set[str]]:
    """The names of all inputs of each path that has some."""
    names: dict[str, set[str]] = {}
    for route in ROUTES:
        for field in route.fields:
            names.setdefault(route.path, set()).update(_spellings(route, field))
    return names
