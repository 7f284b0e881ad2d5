# SPDX-License-Identifier: GPL-2.0-only
"""systemd itself: what it started is as it was, and nothing failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from applications.application import Application, run, wait_inactive

_SERVICE = "kspawn-idle.service"


class Manager(Application):
    """All that it runs, with a service of which it wants to hear."""

    name = "systemd"
    units = (_SERVICE,)
    least = 1

    def progress(self) -> int:
        """The time by its own clock, in tenths of a second."""
        return int(float(Path("/proc/uptime").read_text().split()[0]) * 10)

    def note(self) -> dict[str, Any]:
        """As of all, and what runs."""
        return {**super().note(), "running": self._running()}

    def _running(self) -> list[str]:
        text = run(
            "systemctl",
            "list-units",
            "--plain",
            "--no-legend",
            "--state=running,active",
            "--type=service,socket,timer,mount,slice",
        )
        return sorted(line.split()[0] for line in text.splitlines())

    def goes_on(self, noted: Mapping[str, Any]) -> list[str]:
        """As of all; and what ran does."""
        wrong = super().goes_on(noted)
        # Services of a timer come and go, and the build ends.
        come_and_go = {"kspawn-interval.service", "kspawn-calendar.service", "kspawn-build.service"}
        if gone := set(noted["running"]) - set(self._running()) - come_and_go:
            wrong.append(f"no longer active: {', '.join(sorted(gone))}")
        return wrong

    def judge(self) -> list[str]:
        """Nothing failed."""
        text = run("systemctl", "list-units", "--plain", "--no-legend", "--state=failed")
        return [f"failed: {line.split()[0]}" for line in text.splitlines()]

    @property
    def damages(self) -> Mapping[str, Callable[[], None]]:
        """A service whose process is killed."""

        def kill() -> None:
            run("systemctl", "kill", "-s", "KILL", _SERVICE)
            wait_inactive(_SERVICE)

        return {"killed": kill}
