# SPDX-License-Identifier: GPL-2.0-only
"""Waiting for what the guests say, while watching that the machine is well."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from harness.base.deadline import Deadline
from harness.base.errors import (
    HarnessError,
    KernelCrashError,
    KernelHangError,
    LostVMError,
    RefusedError,
)
from harness.machine.lives import Lives
from harness.machine.logs import Logs
from harness.machine.states import Timeouts
from harness.record.result import Splat
from harness.record.timeline import Timeline

_POLL = 0.1
REFUSED = ("error", "refused", "spawn-failed")


class Watch:
    """Takes the status lines of a machine, and raises what ends a wait for them.

    Args:
        lives: The lives of QEMU.
        logs: The kernels' logs.
        timeline: Where each status line is noted.
        timeouts: How long the end of a splat is waited for.
    """

    def __init__(self, lives: Lives, logs: Logs, *, timeline: Timeline, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self.lines: list[dict[str, Any]] = []
        self._lives = lives
        self._logs = logs
        self._timeline = timeline

    # -- is it well ------------------------------------------------------

    def scan(self, *, last: bool = False) -> None:
        """Read what has come in the logs of this boot."""
        self._logs.scan(self._lives.number, last=last)

    def tail(self) -> str:
        """The last lines of the kernel that wrote last."""
        return self._logs.tail(self._lives.number)

    def check_alive(self, *, off_is_fine: bool = False) -> None:
        """Look after the machine.

        Args:
            off_is_fine: Whether the power may go off, or the machine be reset.

        Raises:
            KernelCrashError: A kernel crashed, or ended the machine.
            LostVMError: QEMU is gone.
        """
        if self._lives.status is not None:
            self._lives.status.pump()
        self.scan()
        if splat := self._logs.unexpected(self._lives.number):
            self._raise_splat(splat)
        domain, was_reset = self._lives.domain, self._lives.was_reset
        # Asked first: it may end any moment, and then it is not told here but the next time.
        running = domain.running
        domain.check_disk()
        if off_is_fine and (domain.shut_down or was_reset):
            return
        if running and not was_reset:
            return
        # QEMU is gone, and with it the last lines may just have come.
        self.scan(last=True)
        if splat := self._logs.unexpected():
            self._raise_splat(splat)
        if domain.shut_down or self._lives.was_reset:
            raise KernelCrashError(
                "the machine was reset or switched off by its kernel, which said nothing",
                log_tail=self.tail(),
            )
        raise LostVMError("QEMU is gone: it was killed or it crashed")

    def _raise_splat(self, splat: Splat) -> None:
        """After a splat: wait for its end, then stop the machine at once."""
        end = Deadline(seconds=2 * self.timeouts.scale, what="the end of the splat")
        domain = self._lives.domain
        while not end.expired and domain.running and self._logs.splat_open:
            domain.wait_stopped(end.sub(_POLL, "the end of the splat"))
            self.scan()
        self.scan(last=True)
        raise self._logs.crash(splat)

    def _raise_open_splat(self) -> None:
        """An unfinished splat explains a hang."""
        self.scan(last=True)
        if splat := self._logs.unexpected():
            raise self._logs.crash(splat)

    # -- what it says ----------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether a status line has come that nobody took yet."""
        return self._lives.status is not None and self._lives.status.waiting

    def told(self, role: str, event: str) -> bool:
        """Whether a status line has come, by who says it and what; it is still to be taken."""
        status = self._lives.status
        if status is None:
            return False
        status.pump()
        return status.has(role, event)

    def note(self, line: Mapping[str, Any]) -> None:
        """Keep a status line, with the number of its boot."""
        self.lines.append({**line, "boot": self._lives.number})

    def forget(self, boot: int) -> None:
        """Take back what was said in a boot."""
        self.lines = [line for line in self.lines if line["boot"] != boot]

    def next_status(self, seconds: float = _POLL) -> dict[str, Any] | None:
        """The next status line, or None if there was none in time."""
        assert self._lives.status is not None
        line = self._lives.status.next(seconds)
        if line is not None:
            self.note(line)
            self._timeline.event(
                f"{line.get('role', '?')}: {line.get('event', '?')}", str(line.get("status", ""))
            )
        return line

    def drain(self) -> None:
        """Take what is still on its way, and close the port of a kernel that is gone."""
        if self._lives.status is not None:
            # The last line may be cut off.
            with contextlib.suppress(HarnessError):
                while self.next_status(0):
                    pass
            self._lives.end_status()

    def refusal(self, line: Mapping[str, Any]) -> RefusedError:
        """Make the error for a status line that reports a refusal."""
        return RefusedError(
            f"{line.get('role')}: {line.get('status')}: {line.get('detail')}",
            status=str(line.get("status")),
            log_tail=self.tail(),
        )

    def wait_status(
        self,
        role: str | tuple[str, ...],
        *events: str,
        deadline: Deadline,
        refused: Sequence[str] = REFUSED,
    ) -> dict[str, Any]:
        """Wait for a status line, while watching that the machine is well.

        Args:
            role: Who says it; one of several may.
            events: The events that are waited for.
            deadline: Until when.
            refused: Events that end the wait, whoever says them.

        Returns:
            The line.

        Raises:
            RefusedError: A guest program said that it does not go on.
            KernelCrashError: A kernel crashed.
            KernelHangError: The deadline passed.
            LostVMError: QEMU is gone.
        """
        roles = (role,) if isinstance(role, str) else role
        while True:
            line = self.next_status()
            if line is None:
                self.check_alive()
                if deadline.expired:
                    self._raise_open_splat()
                    raise KernelHangError(
                        f"no {' or '.join(events)!r} from the {roles[0]} kernel within "
                        f"{deadline.seconds:.0f} s ({deadline.what})",
                        log_tail=self.tail(),
                    )
            elif line.get("role") in roles and line.get("event") in events:
                return line
            elif line.get("event") in refused:
                # A kernel that crashed comes before a program that gave up.
                self.check_alive(off_is_fine=True)
                raise self.refusal(line)

    def wait_off(self, deadline: Deadline, *, refused: Sequence[str] = ()) -> None:
        """Wait until the power is off, or until the reset.

        Args:
            deadline: Until when.
            refused: Events that end the wait.

        Raises:
            RefusedError: A guest program said that it does not go on.
            KernelCrashError: A kernel crashed.
            KernelHangError: The power is still on.
            LostVMError: QEMU is gone.
        """
        while self._lives.domain.running and not self._lives.was_reset:
            line = self.next_status()
            self.check_alive(off_is_fine=True)
            if line is not None and line.get("event") in refused:
                raise self.refusal(line)
            if deadline.expired:
                raise KernelHangError(
                    f"the power is still on after {deadline.seconds:.0f} s", log_tail=self.tail()
                )
        self.check_alive(off_is_fine=True)

    def status_of(self, role: str, event: str) -> dict[str, Any]:
        """The latest status line of a kind.

        Raises:
            HarnessError: There is none.
        """
        for line in reversed(self.lines):
            if line.get("role") == role and line.get("event") == event:
                return dict(line)
        raise HarnessError(f"there was no {event!r} from the {role} kernel")
