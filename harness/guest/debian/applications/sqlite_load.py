# SPDX-License-Identifier: GPL-2.0-only
"""The writer of SQLite: a row a transaction, until SIGTERM."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from pathlib import Path

from applications.sqlite import FILE, chained

_PAUSE = 0.5
_stop = threading.Event()


def main() -> None:
    """Write until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: _stop.set())
    folder = Path(os.environ["STATE_DIRECTORY"])
    database = sqlite3.connect(folder / FILE)
    database.execute("PRAGMA journal_mode = wal")
    database.execute("PRAGMA synchronous = full")
    database.execute("PRAGMA wal_autocheckpoint = 50")
    database.execute("CREATE TABLE rows (number integer, sum text)")
    number, before = 0, ""
    with (folder / "acknowledged").open("w", buffering=1) as acknowledged:
        while not _stop.wait(_PAUSE):
            number += 1
            before = chained(before, number)
            with database:
                database.execute("INSERT INTO rows VALUES (?, ?)", (number, before))
            acknowledged.write(f"{number}\n")
    database.close()


if __name__ == "__main__":
    main()
