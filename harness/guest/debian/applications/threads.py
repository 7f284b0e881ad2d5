# SPDX-License-Identifier: GPL-2.0-only
"""Processes with many threads, in Java and in Python, that look after themselves."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

from applications.application import Application


class Threads(Application):
    """What both have: a socket that answers how the process is."""

    least = 4
    # The least of these that a process has.
    fewest = 32

    def ask(self, word: str) -> dict[str, Any]:
        """Ask the process something."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(120)
            client.connect(str(self.folder / "socket"))
            client.sendall(f"{word}\n".encode())
            answer = b""
            while not answer.endswith(b"\n"):
                data = client.recv(4096)
                if not data:
                    break
                answer += data
        found: dict[str, Any] = json.loads(answer)
        return found

    def progress(self) -> int:
        """The least that any kind of its threads did; nothing before there is one to ask."""
        try:
            status = self.ask("status")
        except (OSError, ValueError):
            return 0
        return min(int(status[name]) for name in ("token", "steps", "made", "ticks"))

    def judge(self) -> list[str]:
        """All its threads are alive, and none found anything wrong."""
        status = self.ask("status")
        wrong = []
        if status["alive"] != status["threads"] or status["threads"] < self.fewest:
            wrong.append(f"{status['alive']} of {status['threads']} threads are alive")
        if status["wrong"]:
            wrong.append(str(status["wrong"]))
        return wrong

    @property
    def damages(self) -> Mapping[str, Callable[[], None]]:
        """A bit of a worker's number; a thread that ends."""
        return {
            "value": lambda: void(self.ask("value")),
            "thread": lambda: void(self.ask("thread")),
        }


class Java(Threads):
    """On Debian's OpenJDK."""

    name = "java"
    units = ("kspawn-java.service",)

    def arm(self) -> None:
        """Start it, and wait: a Java that starts beside all others takes minutes."""
        super().arm()
        self.under_way()


class Python(Threads):
    """On Debian's Python."""

    name = "python"
    units = ("kspawn-python.service",)


def void(_: object) -> None:
    """Drop an answer."""
