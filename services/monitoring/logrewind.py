"""Before a shipper starts: it is to begin some lines earlier. ``python -S logrewind.py FOLDER LINES COMMAND...``

rsyslogd notes its place in a log when it has sent a line, not when that is confirmed: killed, it would lose what was on
its way. What is sent again is recognised by where it stands.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

#: bytes that are read at once, looking back
BLOCK = 2**16


def rewound(path: str, place: int, lines: int) -> int:
    """The place so many lines before another one in a file; that one itself where the file is shorter by now."""
    with open(path, "rb") as log:
        if os.fstat(log.fileno()).st_size < place:
            return place
        begin, breaks = place, b""
        while begin > 0 and breaks.count(b"\n") <= lines:
            size = min(BLOCK, begin)
            begin -= size
            log.seek(begin)
            breaks = log.read(size) + breaks
    kept = breaks.split(b"\n")
    return max(0, place - sum(len(line) + 1 for line in kept[-lines - 1 : -1]) - len(kept[-1]))


def rewind(state: Path, lines: int) -> None:
    """Let one of rsyslogd's notes of a place in a log name an earlier one."""
    note = json.loads(state.read_text())
    place = rewound(note["filename"], note["curr_offs"], lines)
    state.write_text(
        json.dumps({"filename": note["filename"], "prev_was_nl": 0, "curr_offs": place, "strt_offs": place})
    )


def main(folder: str, lines: str, *command: str) -> None:
    """Rewind all notes, and become the shipper; a note that cannot be read stays as it is."""
    for state in Path(folder).glob("imfile-state:*"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            rewind(state, int(lines))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
