"""The firewall's rules: what the site takes (services.site.routes), and the core rules about scripts for free text.

A field in which people write anything cannot be judged by attack signatures without refusing honest people; every other
input has a pattern, and what does not fit is refused whatever it means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from services.service import render
from services.site.routes import ASKED_ANYWAY, COOKIE, FILES, KEY, NAME, ROUTES, VALID_NAME, Field, PageRoute
from topo.plan import SITE

CORE_RULES = "/usr/share/modsecurity-crs/rules"
UNICODE = "/etc/nginx/unicode.mapping"
#: bytes of a request's body that are judged: more than nginx takes
BODY = 128 * 1024
#: headers whose values have a rule of their own
OWN_PATTERN = ("Cookie", "User-Agent", "Referer", "Host", "Via", "From", "Sec-CH-UA", "Sec-CH-UA-Full-Version-List")


def rules(log: str, work: str) -> str:
    """ModSecurity's configuration, with its audit log, and a folder to write in."""
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
        fields=[field for field in _fields() if field.pattern is not None],
        once=[spelling for field in _fields() for spelling in spellings(field)],
        free=[spelling for field in _fields() if field.free for spelling in spellings(field)],
        exempt=[spelling for field in _fields() if not field.free for spelling in spellings(field)],
        spellings=spellings,
        name=NAME,
        valid_name=VALID_NAME,
        cookie=COOKIE,
        key=KEY,
        site=re.escape(SITE),
        own_headers="".join(f"|!REQUEST_HEADERS:{name}" for name in OWN_PATTERN),
    )


def spellings(field: Field) -> tuple[str, ...]:
    """The names under which ModSecurity knows a field."""
    as_json = any(route.as_json and field in route.form for route in ROUTES)
    return (field.name, f"json.{field.name}") if as_json else (field.name,)


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
        if route.names:
            names.setdefault(route.path, set()).update(route.names)
    return names


def _fields() -> tuple[Field, ...]:
    return tuple(dict.fromkeys(field for route in ROUTES for field in _of(route)))


def _of(route: PageRoute) -> tuple[Field, ...]:
    return (*route.query, *route.form)
