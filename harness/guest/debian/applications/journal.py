# SPDX-License-Identifier: GPL-2.0-only
"""journald, and a service that says a number twice a second.

No number is missing in the journal, and the only gap in its times is what CLOCK_BOOTTIME
knows of: the time away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from applications.application import Application, ApplicationError, run, sequence

_JOURNALS = Path("/var/log/journal")
_UNIT = "kspawn-journal.service"
# How long a message may be late, in seconds.
_LATE = 15.0
# How much the time of day may be set by, in seconds.
_STEP = 2.0


class Journal(Application):
    """Its own file, which it verifies itself."""

    name = "journal"
    units = ("systemd-journald.service", _UNIT)
    stops = (_UNIT,)
    least = 10

    def entries(self) -> list[dict[str, Any]]:
        """What the service said, as the journal has it."""
        text = run("journalctl", "-o", "json", "--output-fields=MESSAGE", f"_SYSTEMD_UNIT={_UNIT}")
        return [json.loads(line) for line in text.splitlines()]

    def progress(self) -> int:
        """The last number in it."""
        text = run("journalctl", "-o", "cat", "-n", "1", f"_SYSTEMD_UNIT={_UNIT}")
        found = re.match(r"number (\d+)", text)
        return int(found[1]) if found else 0

    def judge(self) -> list[str]:
        """Look at numbers, times and the file."""
        entries = self.entries()
        told = [re.fullmatch(r"number (\d+) slept ([0-9.]+)", e["MESSAGE"]) for e in entries]
        wrong = sequence([int(one[1]) for one in told if one], what="messages")
        if not all(told):
            wrong.append("there are messages of another content")
        if len({entry["_BOOT_ID"] for entry in entries}) != 1:
            wrong.append("its entries are of several boots")
        stamps = [
            (
                int(e["__MONOTONIC_TIMESTAMP"]) / 1e6,
                int(e["__REALTIME_TIMESTAMP"]) / 1e6,
                float(one[2]),
            )
            for e, one in zip(entries, told, strict=True)
            if one
        ]
        wrong += gaps(stamps)
        # The file that is written to at the time is never whole.
        run("journalctl", "--rotate")
        files = [f"--file={path}" for path in _JOURNALS.rglob("system@*.journal")]
        try:
            run("journalctl", "--verify", "-q", *files)
        except ApplicationError as exc:
            wrong.append(f"its file: {exc}")
        return wrong

    @property
    def damages(self) -> Mapping[str, Callable[[], None]]:
        """A number that another one takes the place of, in the file."""

        def replace() -> None:
            changed = 0
            for path in _JOURNALS.rglob("*.journal"):
                data = path.read_bytes()
                at = data.find(b"MESSAGE=number 12 slept")
                if at >= 0:
                    changed += 1
                    with path.open("r+b") as file:
                        file.seek(at)
                        file.write(b"MESSAGE=number 99 slept")
            if not changed:
                raise ApplicationError("there is no message to be changed")

        return {"message": replace}


def gaps(stamps: list[tuple[float, float, float]]) -> list[str]:
    """What is wrong with the times of messages.

    Args:
        stamps: CLOCK_MONOTONIC and CLOCK_REALTIME of each as journald got it, and how long
            the kernel had slept when it was sent.
    """
    wrong = []
    jumped = 0.0
    for old, new in pairwise(stamps):
        took, passed = new[0] - old[0], new[1] - old[1]
        jumped += passed - took
        if not 0 <= took <= _LATE:
            wrong.append(f"{took:.1f} s of CLOCK_MONOTONIC after {old[0]:.1f} s")
    slept = stamps[-1][2] - stamps[0][2] if stamps else 0.0
    if abs(jumped - slept) > _STEP:
        wrong.append(f"its times lack {jumped:.1f} s, and {slept:.1f} s were slept")
    return wrong
