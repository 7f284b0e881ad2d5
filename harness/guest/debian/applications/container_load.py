# SPDX-License-Identifier: GPL-2.0-only
"""What runs in the container."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path


def main() -> None:
    """Count, and send each number through a connection of the container's own."""
    folder = Path("/state")
    server = socket.create_server(("127.0.0.1", 7000))
    sender = socket.create_connection(("127.0.0.1", 7000))
    receiver = server.accept()[0]
    number = 0
    with (folder / "counted").open("w", buffering=1) as counted:
        while True:
            number += 1
            sender.sendall(number.to_bytes(8))
            if int.from_bytes(receiver.recv(8)) != number:
                (folder / "wrong").write_text(f"{number} did not come through the loopback\n")
            interfaces = ",".join(name for _, name in socket.if_nameindex())
            counted.write(f"{number} {os.getpid()} {socket.gethostname()} {interfaces}\n")
            time.sleep(0.5)


if __name__ == "__main__":
    main()
