# SPDX-License-Identifier: GPL-2.0-only
"""PostgreSQL under a load of transfers, each of which a ledger of its own tells of.

The clients note on the disk what was acknowledged to them. No acknowledged transfer may
be lost, and none be there twice; the balances are the sums of the ledger.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from typing import Any

import psycopg2

from applications.application import Application, lines, sequence

CLIENTS, ACCOUNTS = 4, 100
SETUP = """
CREATE TABLE accounts (id integer PRIMARY KEY, balance bigint NOT NULL DEFAULT 0);
INSERT INTO accounts (id) SELECT generate_series(1, %s);
-- Not unique: what is there twice is to be seen.
CREATE TABLE ledger (client integer, number integer, source integer, target integer,
                     amount bigint, made timestamptz DEFAULT clock_timestamp());
CREATE INDEX ledger_number ON ledger (client, number);
CREATE EXTENSION amcheck;
"""
_SUMS = """
SELECT count(*) FROM accounts a LEFT JOIN (
    SELECT id, sum(amount) AS moved FROM (
        SELECT target AS id, amount FROM ledger
        UNION ALL SELECT source, -amount FROM ledger) AS each GROUP BY id) AS total USING (id)
WHERE a.balance <> coalesce(total.moved, 0)
"""
_INDEXES = """
SELECT bt_index_check(c.oid, true) FROM pg_class c
WHERE relname IN ('accounts_pkey', 'ledger_number')
"""


class PostgreSQL(Application):
    """The cluster as Debian makes it, and four clients."""

    name = "postgresql"
    units = ("postgresql@15-main.service", "kspawn-postgresql.service")
    stops = ("kspawn-postgresql.service",)
    least = 8

    def acknowledged(self, client: int) -> list[int]:
        """The numbers of the transfers that a client was told are done."""
        return [int(line) for line in lines(self.folder / f"client-{client}")]

    def progress(self) -> int:
        """Transfers that were acknowledged."""
        return sum(len(self.acknowledged(client)) for client in range(CLIENTS))

    def judge(self) -> list[str]:
        """Compare the tables with each other, and with what the clients know."""
        wrong = [f"a client: {line}" for line in lines(self.folder / "errors")]
        for client in range(CLIENTS):
            asked = "SELECT number FROM ledger WHERE client = %s ORDER BY number"
            numbers = [row[0] for row in query(asked, client)]
            acknowledged = self.acknowledged(client)
            if lost := sorted(set(acknowledged) - set(numbers)):
                wrong.append(f"client {client}: {len(lost)} acknowledged lost, such as {lost[0]}")
            # It was stopped in order: what was done was told as well.
            if more := sorted(set(numbers) - set(acknowledged)):
                wrong.append(f"client {client}: {len(more)} not acknowledged, such as {more[0]}")
            wrong += sequence(numbers, what=f"transfers of client {client}")
        if differ := query(_SUMS)[0][0]:
            wrong.append(f"{differ} balances are not the sum of the ledger")
        if query("SELECT sum(balance) FROM accounts")[0][0]:
            wrong.append("the balances do not add up to nothing")
        try:
            query(_INDEXES)
        except psycopg2.Error as exc:
            wrong.append(f"amcheck: {str(exc).strip()}")
        return wrong

    @property
    def damages(self) -> Mapping[str, Callable[[], None]]:
        """A row less, a row more, a balance that changed."""
        one = "SELECT ctid FROM ledger WHERE client = 1 AND number = 7"
        again = "INSERT INTO ledger SELECT * FROM ledger WHERE client = 2 AND number = 5"
        return {
            "lost": lambda: execute(f"DELETE FROM ledger WHERE ctid = ({one})"),
            "twice": lambda: execute(again),
            "balance": lambda: execute("UPDATE accounts SET balance = balance + 1 WHERE id = 3"),
        }


def connect() -> Any:
    """A connection, as the user that owns the cluster."""
    if os.geteuid() == 0:
        os.seteuid(pwd.getpwnam("postgres").pw_uid)
    try:
        return psycopg2.connect(dbname="postgres", host="/var/run/postgresql", user="postgres")
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


def query(text: str, *values: object) -> list[Any]:
    """The rows that a query gives."""
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(text, values)
        return list(cursor.fetchall())


def execute(text: str) -> None:
    """Change something."""
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(text)
