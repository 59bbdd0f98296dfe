"""Draws the README's pictures: ``python -m docs.draw topology`` and, as root, ``python -m docs.draw boot``.

The topology comes from the plan and the services' list; the boot is what the main command really prints. So neither is
kept by hand: a test compares the first with the plan, and the second is made anew when the output changes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from services import deployment
from services.secrets import Secrets
from testbed.commandline import guarded
from topo.errors import UsageError
from topo.plan import Host, Plan, plan
from topo.profile import SEED, Profile

IMAGES = Path(__file__).parent / "images"

# measures of the topology, in SVG units
CARD, GAP, HEIGHT, MARGIN = 158, 18, 92, 34
TOP, CORE, FIREWALLS, SERVERS = 70, 250, 362, 478
PADDING = 8

STYLE = """
:root {
  --ink: #1c2430; --faint: #5b6675; --line: #9aa5b5; --card: #ffffff; --page: #f4f6fa; --zone: #e7ecf4;
  --switch: #b35309; --switch-card: #fff4e5;
  --internet: #c0362c; --dmz: #2f62c9; --monitoring: #7a3fb5; --servers: #12805c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6eaf1; --faint: #a3adbd; --line: #66758c; --card: #1c2532; --page: #10161f; --zone: #19212d;
    --switch: #f6b35c; --switch-card: #33271a;
    --internet: #ff8a80; --dmz: #8ab0ff; --monitoring: #cf9bff; --servers: #4fd1a1;
  }
}
text { font-family: system-ui, -apple-system, "Segoe UI", sans-serif; font-size: 13px; fill: var(--ink); }
.name { font-size: 16px; font-weight: 700; }
.address, .port { font-family: ui-monospace, monospace; font-size: 12px; fill: var(--faint); }
.zone { fill: var(--zone); }
.card { fill: var(--card); stroke: var(--line); }
.switch { fill: var(--switch-card); stroke: var(--switch); stroke-width: 2; }
.link { stroke: var(--line); stroke-width: 2.5; }
"""

# how the terminal looks in the picture of a boot: background, ink, the eight colours, the eight bright ones
THEME = TerminalTheme(
    (16, 22, 31),
    (222, 228, 238),
    [
        (16, 22, 31), (255, 123, 112), (69, 201, 152), (240, 179, 74),
        (130, 170, 255), (207, 155, 255), (86, 200, 220), (222, 228, 238),
    ],
    [
        (102, 117, 140), (255, 123, 112), (69, 201, 152), (240, 179, 74),
        (130, 170, 255), (207, 155, 255), (86, 200, 220), (255, 255, 255),
    ],
)  # fmt: skip
COLUMNS = 104
LAST_ERASURE = "\x1b[2K"
NOT_A_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]")
FONT_FROM_OUTSIDE = re.compile(r"@font-face\s*{[^}]*}\s*")


def topology(profile: Profile = SEED) -> str:
    """The plan as SVG: hosts by zone above, the core switch, the firewalls, and the servers behind them."""
    made = plan(profile)
    direct = [made.host(far.node) for _, far in made.links_of("core") if not made.is_switch(far.node)]
    slots = max(len(direct), len([host for host in made.hosts if host.zone == "servers"]))
    width = 2 * MARGIN + slots * CARD + (slots - 1) * GAP
    height = SERVERS + HEIGHT + 62
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>Hosts, zones, switches and firewalls of the testbed</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" rx="14" fill="var(--page)"/>',
        *_upper(made, direct, profile),
        *_lower(made, width, profile),
        f'<rect class="switch" x="{MARGIN}" y="{CORE}" width="{width - 2 * MARGIN}" height="44" rx="10"/>',
        f'<text class="name" x="{MARGIN + 18}" y="{CORE + 28}">core</text>',
        f'<text x="{MARGIN + 66}" y="{CORE + 28}">Open vSwitch; decides where no firewall stands on the path</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _upper(made: Plan, direct: list[Host], profile: Profile) -> Iterator[str]:
    """The hosts that hang on the core switch itself, by zone."""
    places = {host.name: MARGIN + index * (CARD + GAP) for index, host in enumerate(direct)}
    for zone in dict.fromkeys(host.zone for host in direct):
        mine = [places[host.name] for host in direct if host.zone == zone]
        yield _zone(zone, min(mine), TOP, max(mine) + CARD - min(mine))
    for own, far in made.links_of("core"):
        if far.node in places:
            x = places[far.node] + CARD // 2
            yield f'<line class="link" x1="{x}" y1="{TOP + HEIGHT}" x2="{x}" y2="{CORE}"/>'
            yield f'<text class="port" x="{x + 6}" y="{CORE - 8}">{own.port}</text>'
            yield from _card(made.host(far.node), places[far.node], TOP, profile)


def _lower(made: Plan, width: int, profile: Profile) -> Iterator[str]:
    """Each firewall under the core switch, and the server that it guards."""
    guards = [switch for switch in made.switches if switch.guards]
    step = (width - 2 * MARGIN) / len(guards)
    centres = [round(MARGIN + step * (index + 0.5)) for index in range(len(guards))]
    yield _zone("servers", centres[0] - CARD // 2, SERVERS, centres[-1] - centres[0] + CARD, below=True)
    for switch, x in zip(guards, centres, strict=True):
        above = next(far.port for own, far in made.links_of(switch.name) if far.node == "core")
        yield f'<line class="link" x1="{x}" y1="{CORE + 44}" x2="{x}" y2="{SERVERS}"/>'
        yield f'<text class="port" x="{x + 6}" y="{CORE + 60}">{above}</text>'
        for own, far in made.links_of(switch.name):
            y = FIREWALLS - 8 if far.node == "core" else FIREWALLS + 60
            yield f'<text class="port" x="{x + 6}" y="{y}">{own.port}</text>'
        yield f'<rect class="switch" x="{x - 62}" y="{FIREWALLS}" width="124" height="44" rx="10"/>'
        label = f'<tspan class="name">{switch.name}</tspan> firewall'
        yield f'<text x="{x}" y="{FIREWALLS + 28}" text-anchor="middle">{label}</text>'
        yield from _card(made.host(str(switch.guards)), x - CARD // 2, SERVERS, profile)


def _zone(zone: str, x: int, y: int, width: int, *, below: bool = False) -> str:
    label = y + HEIGHT + 30 if below else y - 24
    top = y - PADDING if below else y - 46
    size = f'width="{width + 2 * PADDING}" height="{HEIGHT + 46 + PADDING}"'
    return (
        f'<rect class="zone" x="{x - PADDING}" y="{top}" {size} rx="14"/>'
        f'<text x="{x}" y="{label}" style="fill: var(--{zone}); font-weight: 700">{zone}</text>'
    )


def _card(host: Host, x: int, y: int, profile: Profile) -> Iterator[str]:
    services = deployment.host_services(plan(profile), profile, Secrets())
    runs = [service.product or service.role for service in services if service.host == host.name]
    yield f'<rect class="card" x="{x}" y="{y}" width="{CARD}" height="{HEIGHT}" rx="10"/>'
    yield f'<rect x="{x}" y="{y + 14}" width="4" height="{HEIGHT - 28}" rx="2" style="fill: var(--{host.zone})"/>'
    yield f'<text class="name" x="{x + 16}" y="{y + 28}">{host.name}</text>'
    yield f'<text class="address" x="{x + 16}" y="{y + 49}">{host.ip}</text>'
    yield f'<text x="{x + 16}" y="{y + 72}">{", ".join(reversed(runs)) or "tools only"}</text>'


def boot() -> str:
    """A real boot with its journey, as SVG. Needs what the main command needs."""
    command = (sys.executable, "-m", "topo.foobar", "--name", f"picture-{os.getpid()}")
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise UsageError(f"the boot ended with exit code {done.returncode}: {done.stderr.strip()}")
    return terminal(done.stdout, "sudo ./foobar </dev/null")


def terminal(output: str, title: str) -> str:
    """A command's coloured output as a terminal's window. Of what was drawn live, only the last picture is kept."""
    shown = NOT_A_COLOUR.sub("", output.rpartition(LAST_ERASURE)[2])
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(Text.from_ansi(shown.strip("\n")))
    return FONT_FROM_OUTSIDE.sub("", console.export_svg(title=title, theme=THEME, unique_id="boot"))


PICTURES = {"topology": topology, "boot": boot}


def main(words: list[str]) -> int:
    """Write the named pictures."""
    for name in words or ["topology"]:
        if name not in PICTURES:
            raise UsageError(f"{name}: no such picture; pictures: {', '.join(PICTURES)}")
        path = IMAGES / f"{name}.svg"
        path.write_text(PICTURES[name]())
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
