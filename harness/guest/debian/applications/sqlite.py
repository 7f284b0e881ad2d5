# SPDX-License-Identifier: GPL-2.0-only
"""SQLite in WAL mode: a writer whose rows are a chain of sums."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping

from applications.application import Application, lines, sequence

FILE = "rows.db"


class SQLite(Application):
    """One writer, whose log is checkpointed again and again."""

    name = "sqlite"
    units = ("kspawn-sqlite.service",)
    stops = units
    least = 10

    def progress(self) -> int:
        """Rows that were acknowledged."""
        return len(lines(self.folder / "acknowledged"))

    def judge(self) -> list[str]:
        """Look at the file's own structure, and at each row."""
        database = sqlite3.connect(self.folder / FILE)
        said = [row[0] for row in database.execute("PRAGMA integrity_check")]
        wrong = [f"integrity_check: {line}" for line in said if line != "ok"]
        mode = database.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal":
            wrong.append(f"its journal is {mode}")
        rows = list(database.execute("SELECT number, sum FROM rows ORDER BY rowid"))
        database.close()
        numbers = [number for number, _ in rows]
        wrong += sequence(numbers, what="rows")
        acknowledged = [int(line) for line in lines(self.folder / "acknowledged")]
        if lost := sorted(set(acknowledged) - set(numbers)):
            wrong.append(f"{len(lost)} acknowledged rows lost, such as {lost[0]}")
        before = ""
        for number, found in rows:
            before = chained(before, number)
            if found != before:
                wrong.append(f"row {number} has another content")
                break
        return wrong

    def _change(self, command: str) -> None:
        with sqlite3.connect(self.folder / FILE) as database:
            database.execute(command)

    @property
    def damages(self) -> Mapping[str, Callable[[], None]]:
        """A row less, a row that is another."""
        return {
            "content": lambda: self._change("UPDATE rows SET sum = 'x' WHERE number = 4"),
            "lost": lambda: self._change("DELETE FROM rows WHERE number = 9"),
        }


def chained(before: str, number: int) -> str:
    """The sum of a row, which is over that of the row before."""
    return hashlib.sha256(f"{before} {number}".encode()).hexdigest()
