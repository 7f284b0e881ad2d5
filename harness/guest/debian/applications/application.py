# SPDX-License-Identifier: GPL-2.0-only
"""What all applications have: a folder, units of systemd, and how far they are."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

STATE = Path("/var/lib/kspawn")
_PROPERTIES = ("ActiveState", "MainPID", "NRestarts", "ExecMainStartTimestampMonotonic")
# Under an emulator, with all of them at once.
_PATIENCE = 180.0
_POLL = 0.2


class ApplicationError(Exception):
    """An application does not go on, or is not what it was."""


class Application:
    """An application that is taken through a hibernation."""

    name: ClassVar[str]
    # What arms it, started in this order; each must be the same afterwards.
    units: ClassVar[tuple[str, ...]] = ()
    # How much further it has to get afterwards.
    least: ClassVar[int] = 3
    # Whether its units are stopped before it is looked at.
    stops: ClassVar[tuple[str, ...]] = ()

    @property
    def folder(self) -> Path:
        """Where its state lies; the units make it, for who they run as."""
        return STATE / self.name

    @property
    def damages(self) -> Mapping[str, Callable[[], None]]:
        """What can be done to it so that the check must fail, by name."""
        return {}

    def arm(self) -> None:
        """Start it."""
        run("systemctl", "start", *self.units)

    def under_way(self) -> None:
        """Wait until it has done something.

        Raises:
            ApplicationError: It does not.
        """
        self.wait(self.least)

    def progress(self) -> int:
        """How far it is; more and more as it goes on."""
        raise NotImplementedError

    def note(self) -> dict[str, Any]:
        """What must be the same after the hibernation, as JSON takes it."""
        return {"progress": self.progress(), "units": properties(*self.units)}

    def goes_on(self, noted: Mapping[str, Any]) -> list[str]:
        """Wait until it got further than it was.

        Args:
            noted: What `note` gave before.

        Returns:
            What is wrong with that, a line each.
        """
        wrong = []
        found = properties(*noted["units"])
        for unit, before in noted["units"].items():
            now = found[unit]
            if now != before:
                wrong.append(f"{unit} is not what it was: {before} before, {now} now")
        if not wrong:
            try:
                self.wait(noted["progress"] + self.least)
            except ApplicationError as exc:
                wrong.append(str(exc))
        return wrong

    def wait(self, wanted: int) -> None:
        """Wait until it is so far.

        Raises:
            ApplicationError: It does not get there.
        """
        end = time.monotonic() + _PATIENCE
        while (reached := self.progress()) < wanted:
            if time.monotonic() > end:
                raise ApplicationError(f"it stands at {reached}, and {wanted} were waited for")
            time.sleep(_POLL)

    def settle(self) -> None:
        """Have it at rest, to look at what it did."""
        for unit in self.stops:
            run("systemctl", "stop", unit)

    def judge(self) -> list[str]:
        """Look at all that it did.

        Returns:
            What is wrong, a line each.
        """
        raise NotImplementedError


def run(*command: str) -> str:
    """Run a program.

    Raises:
        ApplicationError: It failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-300:]
        raise ApplicationError(f"`{' '.join(command)}` ended with {done.returncode}: {said}")
    return done.stdout


def properties(*units: str) -> dict[str, dict[str, str]]:
    """What systemd says of units, as far as it must stay the same."""
    blocks = run("systemctl", "show", "-p", ",".join(_PROPERTIES), *units).strip().split("\n\n")
    return {
        unit: dict(line.split("=", 1) for line in block.splitlines())
        for unit, block in zip(units, blocks, strict=True)
    }


def inactive(*units: str) -> list[str]:
    """What is wrong where not all units are active."""
    states = run("systemctl", "show", "-P", "ActiveState", *units).split()
    return [] if set(states) == {"active"} else ["it is not active"]


def wait_inactive(unit: str) -> None:
    """Wait until systemd has seen that a unit is killed."""
    run("sh", "-c", f"while systemctl -q is-active {unit}; do sleep 0.1; done")


def lines(path: Path) -> list[str]:
    """The whole lines of a file that grows; none where it is not there."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return []
    return text.split("\n")[:-1]


def drop_line(path: Path) -> None:
    """Write over a line in the middle of a file by the one before: who writes there goes on."""
    kept = path.read_bytes().splitlines(keepends=True)
    at = next(
        number
        for number in range(len(kept) // 2, len(kept))
        if len(kept[number]) == len(kept[number - 1])
    )
    with path.open("r+b") as file:
        file.seek(sum(map(len, kept[:at])))
        file.write(kept[at - 1])


def sequence(numbers: list[int], *, what: str) -> list[str]:
    """What is wrong with numbers that must be 1, 2, 3 and so on."""
    if numbers == list(range(1, len(numbers) + 1)):
        return []
    found = Counter(numbers)
    wanted = set(range(1, max(numbers, default=0) + 1))
    wrong = []
    if lost := sorted(wanted - found.keys()):
        wrong.append(f"{len(lost)} {what} lost, the first is {lost[0]}")
    if twice := sorted(number for number, times in found.items() if times > 1):
        wrong.append(f"{len(twice)} {what} are there twice, the first is {twice[0]}")
    if more := sorted(found.keys() - wanted):
        wrong.append(f"{what} that nobody made: {more[0]}")
    return wrong or [f"{what} are not in their order"]
