"""A search of the log store: ``python -m services.monitoring.logsearch QUERY``, on the monitoring host; JSON both ways.

A process of its own, because a full store takes some seconds, and the testbed's own has clocks to keep.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.monitoring import logstore
from services.monitoring.logstore import MOST, Cursor, LogQuery, LogSearch
from topo import folders


def answer(query: LogQuery, lines: Iterable[bytes], cursor: Cursor) -> dict[str, Any]:
    """The newest records that fit; how many older ones were left off, how many lines were cut, and where to go on."""
    search = LogSearch(query)
    records = search.records(lines)
    return {
        "records": [record.as_dict() for record in records[-MOST:]],
        "left_off": max(0, len(records) - MOST),
        "cut": search.cut,
        "cursor": asdict(cursor),
    }


def main(words: str) -> None:
    """Print the answer to a query."""
    query = LogQuery(**json.loads(words))
    with folders.opened(Path(logstore.FOLDER)) as folder:
        cursor = logstore.end(folder)
        print(json.dumps(answer(query, logstore.stored(folder, query.since), cursor)))


if __name__ == "__main__":
    main(*sys.argv[1:])
