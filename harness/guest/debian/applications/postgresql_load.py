# SPDX-License-Identifier: GPL-2.0-only
"""The clients of PostgreSQL: transfers, one after the other, until SIGTERM."""

from __future__ import annotations

import os
import random
import signal
import threading
import traceback
from pathlib import Path

from applications.postgresql import ACCOUNTS, CLIENTS, SETUP, connect

_PAUSE = 1.0
_stop = threading.Event()
_LEDGER = "INSERT INTO ledger (client, number, source, target, amount) VALUES (%s, %s, %s, %s, %s)"
_MOVE = "UPDATE accounts SET balance = balance + %s WHERE id = %s"


def main() -> None:
    """Make the tables, and work until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: _stop.set())
    folder = Path(os.environ["STATE_DIRECTORY"])
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(SETUP, (ACCOUNTS,))
    threads = [threading.Thread(target=_client, args=(folder, n)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _client(folder: Path, client: int) -> None:
    try:
        _transfers(folder, client)
    except Exception:
        with (folder / "errors").open("a") as file:
            file.write(traceback.format_exc().strip().splitlines()[-1] + "\n")


def _transfers(folder: Path, client: int) -> None:
    chosen = random.Random(client)
    connection = connect()
    with (folder / f"client-{client}").open("w", buffering=1) as acknowledged:
        number = 0
        while not _stop.wait(_PAUSE):
            number += 1
            # In one order, so that two never wait for each other.
            source, target = sorted(chosen.sample(range(1, ACCOUNTS + 1), 2))
            amount = chosen.randrange(-1000, 1000)
            with connection, connection.cursor() as cursor:
                cursor.execute(_MOVE, (-amount, source))
                cursor.execute(_MOVE, (amount, target))
                cursor.execute(_LEDGER, (client, number, source, target, amount))
            acknowledged.write(f"{number}\n")
    connection.close()


if __name__ == "__main__":
    main()
