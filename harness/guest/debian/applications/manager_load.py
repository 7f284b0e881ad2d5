# SPDX-License-Identifier: GPL-2.0-only
"""A service that systemd kills if it does not hear of it."""

from __future__ import annotations

import os
import socket
import time

_PAUSE = 2.0


def main() -> None:
    """Tell systemd that it is ready, and then that it is alive."""
    path = os.environ["NOTIFY_SOCKET"]
    address = f"\0{path[1:]}" if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.connect(address)
        manager.send(b"READY=1")
        while True:
            time.sleep(_PAUSE)
            manager.send(b"WATCHDOG=1")


if __name__ == "__main__":
    main()
