# SPDX-License-Identifier: GPL-2.0-only
"""The client of Redis: a list and a sum that grow, until SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from applications.application import ApplicationError
from applications.redis import Client

_PAUSE = 0.5
_stop = threading.Event()


def main() -> None:
    """Work until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: _stop.set())
    folder = Path(os.environ["STATE_DIRECTORY"])
    client, number = Client(), 0
    with (folder / "acknowledged").open("w", buffering=1) as acknowledged:
        while not _stop.wait(_PAUSE):
            number += 1
            try:
                # In one transaction: both or none.
                client.ask("MULTI")
                client.ask("RPUSH", "list", str(number))
                client.ask("INCRBY", "sum", str(number))
                client.ask("EXEC")
            except (OSError, ValueError, ApplicationError) as exc:
                (folder / "errors").write_text(f"{exc}\n")
                return
            acknowledged.write(f"{number}\n")


if __name__ == "__main__":
    main()
