# SPDX-License-Identifier: GPL-2.0-only
"""The store: all nights, in one SQLite file.

An attempt is written in one transaction, under the key of its job and its
number: one that comes twice, from a worker that was thought lost, counts once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness.base.closing import Closing
from harness.base.errors import HarnessError
from harness.night.matrix import Job
from harness.night.model import Attempt, Outcome, TestRun

NAME = "night.sqlite"
_VERSION = 1
# An interrupted night is taken up again for so long; after that it is history.
RESUMABLE = timedelta(hours=24)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS nights (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    folder TEXT NOT NULL,
    started TEXT NOT NULL,
    finished TEXT,
    harness TEXT NOT NULL,
    host TEXT NOT NULL,
    exit_code INTEGER
);
CREATE TABLE IF NOT EXISTS jobs (
    night INTEGER NOT NULL REFERENCES nights(id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    position INTEGER NOT NULL,
    title TEXT NOT NULL,
    kernels TEXT NOT NULL,
    spec TEXT NOT NULL,
    PRIMARY KEY (night, key)
);
CREATE TABLE IF NOT EXISTS attempts (
    night INTEGER NOT NULL,
    job TEXT NOT NULL,
    number INTEGER NOT NULL,
    started TEXT NOT NULL,
    seconds REAL NOT NULL,
    exit_code INTEGER NOT NULL,
    reason TEXT NOT NULL,
    host TEXT NOT NULL,
    folder TEXT NOT NULL,
    figures TEXT NOT NULL,
    PRIMARY KEY (night, job, number),
    FOREIGN KEY (night, job) REFERENCES jobs(night, key) ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS tests (
    night INTEGER NOT NULL,
    job TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    outcome TEXT NOT NULL,
    seconds REAL NOT NULL,
    exit_code INTEGER NOT NULL,
    message TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (night, job, number, name),
    FOREIGN KEY (night, job, number)
        REFERENCES attempts(night, job, number) ON DELETE CASCADE
);
"""


@dataclass(frozen=True)
class Night:
    """One night in the store."""

    id: int
    name: str
    folder: str
    started: datetime
    finished: datetime | None
    harness: str
    host: str
    exit_code: int | None


@dataclass(frozen=True)
class StoredJob:
    """A job of a night, with its attempts."""

    key: str
    title: str
    kernels: dict[str, str]
    spec: Job
    attempts: tuple[Attempt, ...]


class Store(Closing):
    """The file of all nights.

    Args:
        path: The file; it is made where it is not there.

    Raises:
        HarnessError: It is no store, or one of a newer version.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        # One thread writes, but not always the one that opened it.
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._open()
        except sqlite3.OperationalError as exc:
            raise HarnessError(f"{path}: {exc}") from exc
        except sqlite3.DatabaseError as exc:
            raise HarnessError(f"{path} is no store of nights: {exc}") from exc

    def _open(self) -> None:
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA journal_mode = WAL")
        # With the WAL, whole after a kill; the last of it may go with the power.
        self._db.execute("PRAGMA synchronous = NORMAL")
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > _VERSION:
            raise HarnessError(f"{self.path} is of version {version}, this is for {_VERSION}")
        self._db.executescript(_SCHEMA)
        self._db.execute(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def begin(
        self,
        *,
        name: str,
        folder: str,
        harness: str,
        host: str = "",
        started: datetime | None = None,
    ) -> int:
        """Begin a night.

        Returns:
            Its number.
        """
        when = (started or datetime.now(UTC)).isoformat()
        with self._transaction() as db:
            cursor = db.execute(
                "INSERT INTO nights (name, folder, started, harness, host) VALUES (?, ?, ?, ?, ?)",
                (name, folder, when, harness, host),
            )
        return int(cursor.lastrowid or 0)

    def add_jobs(self, night: int, jobs: Sequence[tuple[str, Job, dict[str, str]]]) -> None:
        """Add the jobs of a night; those that are there stay.

        Args:
            night: The night.
            jobs: Key, job, and the kernels that it boots: build hash by role.
        """
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO jobs (night, key, position, title, kernels, spec) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position",
                [
                    (night, key, position, job.title, json.dumps(kernels), job.model_dump_json())
                    for position, (key, job, kernels) in enumerate(jobs)
                ],
            )

    def keep_only(self, night: int, keys: Sequence[str]) -> None:
        """Drop the jobs of an unfinished night that are not wanted any more."""
        marks = ",".join("?" * len(keys))
        with self._transaction() as db:
            db.execute(f"DELETE FROM jobs WHERE night = ? AND key NOT IN ({marks})", (night, *keys))

    def add_attempt(self, night: int, attempt: Attempt) -> bool:
        """Add an attempt that is done.

        Returns:
            Whether it was new: the same attempt again changes nothing.
        """
        at = attempt
        with self._transaction() as db:
            cursor = db.execute(
                "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    *(night, at.job, at.number, at.started.isoformat(), at.seconds),
                    *(at.exit_code, at.reason, at.host, at.folder, json.dumps(at.figures)),
                ),
            )
            if cursor.rowcount == 0:
                return False
            db.executemany(
                "INSERT INTO tests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [
                    (
                        *(night, at.job, at.number, run.name, run.outcome.value),
                        *(run.seconds, run.exit_code, run.message, run.detail),
                    )
                    for run in at.tests
                ],
            )
        return True

    def finish(self, night: int, exit_code: int, *, when: datetime | None = None) -> None:
        """Note that all of a night is done."""
        with self._transaction() as db:
            db.execute(
                "UPDATE nights SET finished = ?, exit_code = ? WHERE id = ?",
                ((when or datetime.now(UTC)).isoformat(), exit_code, night),
            )

    def unfinished(self, name: str) -> Night | None:
        """The latest night of a matrix, if it was interrupted, and not long ago."""
        nights = self.nights(name)
        if not nights or nights[-1].finished is not None:
            return None
        recent = datetime.now(UTC) - nights[-1].started < RESUMABLE
        return nights[-1] if recent else None

    def names(self) -> list[str]:
        """The names of all matrices, the one that ran last first."""
        rows = self._db.execute("SELECT name FROM nights GROUP BY name ORDER BY max(id) DESC")
        return [str(row[0]) for row in rows]

    def nights(self, name: str) -> list[Night]:
        """All nights of a matrix, in order."""
        rows = self._db.execute(
            "SELECT id, name, folder, started, finished, harness, host, exit_code "
            "FROM nights WHERE name = ? ORDER BY id",
            (name,),
        )
        return [
            Night(
                id=row[0],
                name=row[1],
                folder=row[2],
                started=datetime.fromisoformat(row[3]),
                finished=datetime.fromisoformat(row[4]) if row[4] else None,
                harness=row[5],
                host=row[6],
                exit_code=row[7],
            )
            for row in rows
        ]

    def jobs(self, night: int, *, details: bool = True) -> list[StoredJob]:
        """The jobs of a night with all their attempts, in the order of the matrix.

        Args:
            night: The night.
            details: False leaves out what pytest said of each failure.
        """
        attempts: dict[str, list[Attempt]] = {}
        runs = self._tests(night, details)
        for row in self._db.execute(
            "SELECT job, number, started, seconds, exit_code, reason, host, folder, figures "
            "FROM attempts WHERE night = ? ORDER BY job, number",
            (night,),
        ):
            attempts.setdefault(row[0], []).append(
                Attempt(
                    job=row[0],
                    number=row[1],
                    started=datetime.fromisoformat(row[2]),
                    seconds=row[3],
                    exit_code=row[4],
                    reason=row[5],
                    host=row[6],
                    folder=row[7],
                    figures=json.loads(row[8]),
                    tests=runs.get((row[0], row[1]), []),
                )
            )
        rows = self._db.execute(
            "SELECT key, title, kernels, spec FROM jobs WHERE night = ? ORDER BY position", (night,)
        )
        return [
            StoredJob(
                key=row[0],
                title=row[1],
                kernels=json.loads(row[2]),
                spec=Job.model_validate_json(row[3]),
                attempts=tuple(attempts.get(row[0], [])),
            )
            for row in rows
        ]

    def _tests(self, night: int, details: bool) -> dict[tuple[str, int], list[TestRun]]:
        detail = "detail" if details else "''"
        runs: dict[tuple[str, int], list[TestRun]] = {}
        for row in self._db.execute(
            f"SELECT job, number, name, outcome, seconds, exit_code, message, {detail} "
            "FROM tests WHERE night = ? ORDER BY job, number, rowid",
            (night,),
        ):
            runs.setdefault((row[0], row[1]), []).append(
                # What comes from our own table was checked when it went in.
                TestRun.model_construct(
                    name=row[2],
                    outcome=Outcome(row[3]),
                    seconds=row[4],
                    exit_code=row[5],
                    message=row[6],
                    detail=row[7],
                )
            )
        return runs

    def close(self) -> None:
        """Close the file."""
        self._db.close()
