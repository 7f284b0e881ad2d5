# SPDX-License-Identifier: GPL-2.0-only
"""A container of systemd-nspawn, with namespaces and a network of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from applications.application import (
    Application,
    drop_line,
    inactive,
    lines,
    run,
    sequence,
    wait_inactive,
)

_KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "uts")


class Container(Application):
    """One process in it, which counts, and sends each number through its own loopback."""

    name = "container"
    units = ("kspawn-container.service",)
    least = 6

    def inside(self) -> int:
        """The process in it."""
        group = run("systemctl", "show", "-P", "ControlGroup", self.units[0]).strip()
        folders = Path(f"/sys/fs/cgroup{group}").rglob("cgroup.procs")
        found = [int(pid) for folder in folders for pid in folder.read_text().split()]
        return max(found)

    def progress(self) -> int:
        """How far it counted."""
        return len(lines(self.folder / "counted"))

    def note(self) -> dict[str, Any]:
        """As of all, and its namespaces."""
        return {**super().note(), "namespaces": self._namespaces()}

    def _namespaces(self) -> list[str]:
        pid = self.inside()
        return [f"{pid} {Path(f'/proc/{pid}/ns/{kind}').readlink()}" for kind in _KINDS]

    def goes_on(self, noted: Mapping[str, Any]) -> list[str]:
        """As of all; and it is in the same namespaces."""
        wrong = super().goes_on(noted)
        if not wrong and (now := self._namespaces()) != noted["namespaces"]:
            wrong.append(f"its namespaces were {noted['namespaces']}, and are {now}")
        host = [str(Path(f"/proc/1/ns/{kind}").readlink()) for kind in _KINDS]
        if shared := [own for own in noted["namespaces"] if own.split()[1] in host]:
            wrong.append(f"it shares namespaces with the host: {shared}")
        return wrong

    def judge(self) -> list[str]:
        """Look at all that it counted."""
        words = [line.split() for line in lines(self.folder / "counted")]
        wrong = sequence([int(word[0]) for word in words], what="numbers")
        if others := {tuple(word[1:]) for word in words} - {("2", "inside", "lo")}:
            wrong.append(f"its PID, its name or its interfaces changed: {sorted(others)}")
        wrong += lines(self.folder / "wrong")
        return wrong + inactive(*self.units)

    @property
    def damages(self) -> Mapping[str, Callable[[], None]]:
        """A number less; its process killed."""

        def kill() -> None:
            os.kill(self.inside(), signal.SIGKILL)
            wait_inactive(self.units[0])

        return {"lost": lambda: drop_line(self.folder / "counted"), "killed": kill}
