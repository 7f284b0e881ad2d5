# SPDX-License-Identifier: GPL-2.0-only
"""The machine: a state machine around the lives of QEMU that make a cycle.

off -boot-> running -load, KSPAWN-> hibernating -save, power off-> hibernated
-boot 0-16M, restore-> resuming -jump back-> running

The ways out and back are in harness/ways; they are made of the steps of
`StateMachine`.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.base.closing import Closing
from harness.base.errors import LostVMError
from harness.machine import commandline, guestclock, keep, resuming, spawning, warming
from harness.machine.lives import Incoming
from harness.machine.statemachine import StateMachine
from harness.machine.states import State


class Machine(StateMachine, Closing):
    """One machine, through as many lives of QEMU as it takes; see `Parts` for what it is given."""

    warm = False
    """Whether it may start from a state that was kept, see `warming`."""
    started_warm = False
    """Whether it did."""
    arm = ""
    """A command that is to have run in it by then, see `warming.start`."""
    armed = ""
    """The one that has, with its output in `warming.ARMED`."""

    def boot(self, *, append: str = "") -> dict[str, Any]:
        """Boot the normal kernel until its userland is ready.

        Args:
            append: More of its command line.

        Returns:
            The ready line: release, boot_id, hostkey.

        Raises:
            KernelError: It crashed or hung on the way.
        """
        with self.transition(State.OFF, State.HIBERNATED, to=State.RUNNING):
            with self.timeline.phase("boot", boot=self.boot_number + 1, kernel="normal"):
                ready = self._until_ready(append)
            self.host_key = str(ready["hostkey"])
            self.connect()
        return ready

    def _until_ready(self, append: str) -> dict[str, Any]:
        """Start; and again, where all that follows would be judged by a clock that is wrong."""
        for attempt in range(1, guestclock.ATTEMPTS + 1):
            begun = time.monotonic()
            self._start(append)
            self.spawned_line, self.grown = commandline.SPAWNED_LINE, False
            deadline = self.timeouts.deadline("boot", "the userland of the normal kernel")
            ready = self.wait_status("normal", "ready", deadline=deadline)
            if self.started_warm:
                return ready  # its clocks were looked at before it was kept
            fault = guestclock.fault(ready, time.monotonic() - begun)
            poor = fault or guestclock.timer_fault(self._log_of_boot)
            if not poor:
                return ready
            self.timeline.event("clock measured wrongly", poor)
            # The root of one that has a disk is mounted by now.
            if self.userland_disk or self.data_disk is not None:
                break
            if attempt < guestclock.ATTEMPTS:
                self._forget()
        if fault:
            raise LostVMError(f"the machine is of no use: {fault}", hint="the host is too busy")
        # One that does without the timer is slower, but right until an interrupt is late.
        return ready

    @property
    def _log_of_boot(self) -> Path:
        return self.kernel_logs.of_boot(self.boot_number)[0].path

    def _forget(self) -> None:
        """Take back the last boot, with what it said and logged."""
        self.watch.forget(self.boot_number)
        self.qemu.forget()

    def _start(self, append: str) -> None:
        self.armed = ""
        if self.warm and warming.possible(self, append=append):
            self.started_warm, armed = warming.start(self, arm=self.arm)
            self.armed = self.arm if armed else ""
            return
        self.power_on(
            kernel=self.kernels.normal.bzimage,
            initrd=self.initrd(),
            cmdline=f"{commandline.NORMAL_CMDLINE} {self.root_words} {append}".strip(),
            logs=("normal", "hibernating"),
        )

    def hibernate(
        self, *, append: str = "", visit: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        """Hibernate through KSPAWN, until the power is off; see `spawning.hibernate`."""
        return spawning.hibernate(self, append=append, visit=visit)

    def resume(
        self,
        *,
        append: str = "",
        scribble: bool = True,
        visit: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Resume by a kernel in 0-16 MiB, until the normal one is back; see `resuming.resume`."""
        return resuming.resume(self, append=append, scribble=scribble, visit=visit)

    def come_back(self) -> dict[str, Any]:
        """Wait for the status line "back" of a kernel that was left.

        Returns:
            The line.

        Raises:
            KernelError: A kernel crashed or hung.
        """
        with self.transition(State.RUNNING, to=State.RUNNING):
            return self.wait_back()

    def unplug(self) -> None:
        """Pull the plug on a running machine; what is on its disk stays."""
        with self.transition(State.RUNNING, to=State.OFF):
            self._power_cut()

    def close(self) -> None:
        """Pull the plug and remove the disk."""
        self._power_cut()
        if self.state is not State.BROKEN:
            self.state = State.OFF
        with contextlib.suppress(OSError):
            shutil.rmtree(self._private)

    def revive(self, kept: keep.Kept) -> None:
        """Have a machine again as it was when it was kept.

        Args:
            kept: What was kept of it.

        Raises:
            LostVMError: QEMU does not take the state.
            UsageError: The state was not kept.
        """
        life, state = kept.needed()
        self.userland_disk = life.userland_disk
        with self.transition(State.OFF, to=State(kept.state)):
            keep.restore(kept, disk=self.disk, private_key=self.private_key)
            if kept.data_disk is not None:
                self.data_disk = self._private / "data.raw"
                shutil.copy(kept.path(kept.data_disk), self.data_disk)
            self.host_key, self.qemu.number = kept.host_key, life.boot - 1
            initrd = kept.path("initrd.cpio") if life.initrd else None
            life = life.model_copy(update={"initrd": initrd})
            self.qemu.start(life, second_disk=self._second_disk(), incoming=Incoming(state))
            if kept.state == State.RUNNING:
                self.connect()
