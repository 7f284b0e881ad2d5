# SPDX-License-Identifier: GPL-2.0-only
"""Redis with an append-only file: a client that adds to a list and to a sum."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from applications.application import Application, ApplicationError, lines, run, sequence

_FILES = Path("/var/lib/redis/appendonlydir")


class Client:
    """A connection to the server."""

    def __init__(self) -> None:
        self._file = socket.create_connection(("127.0.0.1", 6379), timeout=30).makefile("rwb")

    def ask(self, *words: str) -> list[str]:
        """Ask something; an answer that is one word is a list of one.

        Raises:
            ApplicationError: The server says that it is an error.
        """
        data = b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words)
        self._file.write(b"*%d\r\n%s" % (len(words), data))
        self._file.flush()
        return self._answer()

    def _answer(self) -> list[str]:
        line = self._file.readline().decode().rstrip("\r\n")
        kind, rest = line[:1], line[1:]
        if kind == "*":
            return [word for _ in range(int(rest)) for word in self._answer()]
        if kind == "$":
            return [self._file.read(int(rest) + 2).decode()[:-2]]
        if kind in ("+", ":"):
            return [rest]
        raise ApplicationError(f"redis answers {line!r}")


class Redis(Application):
    """Debian's own service, and one client."""

    name = "redis"
    units = ("redis-server.service", "kspawn-redis.service")
    stops = ("kspawn-redis.service",)
    least = 10

    def progress(self) -> int:
        """What was acknowledged."""
        return len(lines(self.folder / "acknowledged"))

    def judge(self) -> list[str]:
        """Look at what the server has, and at what it reads from its file."""
        wrong = [f"a client: {line}" for line in lines(self.folder / "errors")]
        wrong += [f"the server: {line}" for line in self._contents()]
        manifest = next(_FILES.glob("*.manifest"))
        said = run("redis-check-aof", str(manifest))
        if not re.search(r"All AOF files and manifest are valid", said):
            wrong.append(f"redis-check-aof: {said.strip().splitlines()[-1]}")
        run("systemctl", "restart", "redis-server.service")
        return wrong + [f"its file: {line}" for line in self._contents()]

    def _contents(self) -> list[str]:
        client = Client()
        numbers = [int(word) for word in client.ask("LRANGE", "list", "0", "-1")]
        wrong = sequence(numbers, what="elements")
        acknowledged = [int(line) for line in lines(self.folder / "acknowledged")]
        if lost := sorted(set(acknowledged) - set(numbers)):
            wrong.append(f"{len(lost)} acknowledged elements lost, such as {lost[0]}")
        total = int(client.ask("GET", "sum")[0])
        if total != sum(numbers):
            wrong.append(f"the sum is {total} and not {sum(numbers)}")
        return wrong

    @property
    def damages(self) -> Mapping[str, Callable[[], None]]:
        """An element less; another sum."""

        def lost() -> None:
            Client().ask("LREM", "list", "1", "6")

        def another() -> None:
            Client().ask("INCR", "sum")

        return {"sum": another, "lost": lost}
