"""Text from files, daemons and strangers made plain: it moves no cursor, colours nothing, and can always be printed.

``say`` prints it; what a program shall read is JSON, which escapes everything of itself.
"""

from __future__ import annotations

import re
import sys

#: control characters but for tabs and ends of lines, what turns the direction of writing, and halves of characters
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """The text with its control characters as escapes: ``\\x1b``; so, too, the bytes of a name that are no UTF-8."""
    return CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def encodable(text: str) -> str:
    """The text as it is but for halves of characters, which no encoding has."""
    return text.encode("utf-8", "backslashreplace").decode()


def say(text: object, *, error: bool = False, end: str = "\n", flush: bool = False) -> None:
    """Print a text plainly, on standard output or as an error."""
    print(plain(str(text)), file=sys.stderr if error else sys.stdout, end=end, flush=flush)


def forgive(*streams: object) -> None:
    """From now on what a stream's encoding lacks is printed as an escape, too."""
    for stream in streams:
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")
