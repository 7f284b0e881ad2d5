# SPDX-License-Identifier: GPL-2.0-only
"""The state machine: a machine is in one state, and each step from it is watched."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Protocol

from harness.base.deadline import Deadline
from harness.base.errors import KspawnError, RefusedError, StateError
from harness.machine.keep import Standing, keep_all
from harness.machine.parts import Parts
from harness.machine.states import State
from harness.machine.watch import REFUSED


class Observer(Protocol):
    """Is called at the moments of a cycle, to look at the machine from outside of the guest.

    An observer that has to act while the machine goes on (at a breakpoint, for
    example) starts what it needs for that, and returns at once.
    """

    seconds: float
    """How long the machine stood still for it."""

    def leaving(self, machine: StateMachine) -> None:
        """The normal kernel runs, and is about to be told to go."""

    def returning(self, machine: StateMachine) -> None:
        """What brings the normal kernel back runs, and has not written any memory yet."""

    def back(self, machine: StateMachine) -> None:
        """The normal kernel said that it is back."""


class StateMachine(Parts):
    """A machine with its states, and the steps that ways are made of."""

    # The refusal that was seen to: the machine is as good as before.
    _settled: RefusedError | None = None

    @cached_property
    def observers(self) -> list[Observer]:
        """Who is told of the moments of a cycle."""
        return []

    @property
    def stood_still(self) -> float:
        """How long it stood still for all of them, in seconds."""
        return sum(observer.seconds for observer in self.observers)

    @contextmanager
    def transition(self, *states: State, to: State) -> Iterator[None]:
        """Go to a state; any error on the way breaks the machine for good.

        The exception is a refusal that `refusable` has handled.

        Args:
            states: Where it may be now.
            to: Where it is at the end.

        Raises:
            StateError: It is elsewhere.
        """
        if self.state not in states:
            raise StateError(f"the machine is {self.state}: it cannot become {to}")
        try:
            yield
        except BaseException as exc:
            if exc is self._settled:
                raise
            if isinstance(exc, KspawnError):
                self.keep(str(exc))
            self.state = State.BROKEN
            self._power_cut()
            raise
        self.state = to

    @contextmanager
    def refusable(self, settle: Callable[[], State]) -> Iterator[None]:
        """Let a guest program refuse to go on: the machine is as good as before.

        Args:
            settle: Sees to what the refusal left, and says where the machine is then.
        """
        try:
            yield
        except RefusedError as exc:
            self.state = settle()
            self._settled = exc
            raise

    def connect(self, *, kernel: str = "normal") -> None:
        """Connect to the userland of a normal kernel.

        Args:
            kernel: What it is called in the timeline.
        """
        deadline = self.timeouts.deadline("ssh", f"sshd of the {kernel} kernel")
        with self.timeline.phase("connect", boot=self.boot_number, kernel=kernel):
            self.link.connect(deadline)

    def leave(self, command: str) -> None:
        """Start what takes the kernel away from under the connection.

        What follows is `wait_status`, and `come_back` if it comes back.

        Args:
            command: A program with its arguments.
        """
        self.notify(Observer.leaving)
        self.link.leave(command, self.timeouts.deadline("command", command))

    def notify(self, moment: Callable[[Observer, StateMachine], None]) -> None:
        """Tell all observers of a moment.

        Args:
            moment: The method of `Observer` that is called.
        """
        for observer in self.observers:
            getattr(observer, moment.__name__)(self)

    def wait_status(
        self,
        role: str | tuple[str, ...],
        *events: str,
        deadline: Deadline,
        refused: Sequence[str] = REFUSED,
    ) -> dict[str, Any]:
        """Wait for a status line; see `Watch.wait_status`."""
        return self.watch.wait_status(role, *events, deadline=deadline, refused=refused)

    def wait_off(self, deadline: Deadline | None = None, *, refused: Sequence[str] = ()) -> None:
        """Wait until the power is off, or until the reset, and see to it.

        Args:
            deadline: Until when.
            refused: Events that end the wait.

        Raises:
            RefusedError: A guest program said that it does not go on.
            KernelError: A kernel crashed or hung.
        """
        self.watch.wait_off(
            deadline or self.timeouts.deadline("power_off", "power off"), refused=refused
        )
        if self.qemu.was_reset:
            self.qemu.take_reset()
            self._silence()
            self.watch.scan(last=True)
            return
        self.timeline.event("power off")
        self._power_cut()

    def wait_back(self) -> dict[str, Any]:
        """Wait until the normal kernel is back, and connect to it."""
        with self.timeline.phase("jump back", boot=self.boot_number, kernel="normal"):
            back = self.heard_back()
        self.connect()
        return back

    def heard_back(self, *, memory: int = 0) -> dict[str, Any]:
        """Wait until the normal kernel says that it is back.

        Args:
            memory: Bytes of RAM that are gone through until then.
        """
        deadline = self.timeouts.deadline("back", "the normal kernel, back again", memory=memory)
        back = self.wait_status("normal", "back", deadline=deadline)
        self.jump_command = str(back["command"])
        self.notify(Observer.back)
        return back

    def _silence(self) -> None:
        """Close what talks to a kernel that is gone."""
        self.link.hang_up()
        self.watch.drain()

    def _power_cut(self) -> None:
        self._silence()
        self.qemu.cut()
        self.watch.scan(last=True)

    def keep(self, reason: str) -> None:
        """Keep memory and image for a debugger, if that was asked for and can be.

        Args:
            reason: What went wrong.
        """
        if not self.keep_bytes or not self.qemu.on or not self.domain.running:
            return
        try:
            kept = keep_all(self._standing(), reason)
        except (KspawnError, OSError, ValueError, subprocess.SubprocessError) as exc:
            # What went wrong first is what is reported.
            self.timeline.event("memory not kept", str(exc))
            return
        self.timeline.event("memory kept" if kept.memory else "memory not kept", kept.not_kept)

    def _standing(self) -> Standing:
        return Standing(
            state=str(self.state),
            folder=self.folder,
            kernels=self.kernels,
            config=self.config,
            accel=self.accel,
            keep_bytes=self.keep_bytes,
            domain=self.domain,
            life=self.life,
            disk=self.disk,
            data_disk=self.data_disk,
            private_key=self.private_key,
            host_key=self.host_key,
            timeouts=self.timeouts,
        )
