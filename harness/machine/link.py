# SPDX-License-Identifier: GPL-2.0-only
"""The connection to the userland of the normal kernel, over one life of QEMU and the next."""

from __future__ import annotations

from harness.base.deadline import Deadline
from harness.base.errors import StateError
from harness.machine.lives import Lives
from harness.machine.watch import Watch
from harness.vm import ssh


class Link:
    """SSH to the normal kernel, whose host key changes with each kernel that is booted.

    Args:
        lives: The lives of QEMU.
        watch: Looks after the machine while a command runs.
        key: What lets us in.
    """

    def __init__(self, lives: Lives, watch: Watch, *, key: ssh.KeyPair) -> None:
        self.key = key
        self.host_key = ""
        self._lives = lives
        self._watch = watch
        self._shell: ssh.Shell | None = None
        # That of a kernel that is being left.
        self._left: ssh.Shell | None = None

    @property
    def open(self) -> bool:
        """Whether there is a connection."""
        return self._shell is not None

    @property
    def shell(self) -> ssh.Shell:
        """The connection.

        Raises:
            StateError: There is none.
        """
        if self._shell is None:
            raise StateError("there is no connection to the machine")
        return self._shell

    def connect(self, deadline: Deadline) -> None:
        """Connect anew.

        Args:
            deadline: Until when.

        Raises:
            KernelHangError: Nothing answered in time.
        """
        self.hang_up()
        self._shell = self._made()
        self._shell.connect(deadline)

    def another(self, deadline: Deadline) -> ssh.Shell:
        """A connection of the caller's own, which stays while the kernel is left.

        Args:
            deadline: Until when.

        Raises:
            KernelHangError: Nothing answered in time.
        """
        shell = self._made()
        shell.connect(deadline)
        return shell

    def _made(self) -> ssh.Shell:
        return ssh.Shell(
            port=self._lives.domain.ssh_port(),
            key=self.key,
            host_key=self.host_key,
            alive=self._watch.check_alive,
        )

    def leave(self, command: str, deadline: Deadline) -> None:
        """Start what takes the kernel away from under the connection."""
        self.shell.start(command, deadline)
        self._left, self._shell = self._shell, None

    def hang_up(self) -> None:
        """Close what talks to a kernel that is gone, or soon will be."""
        for shell in (self._shell, self._left):
            if shell is not None:
                shell.close()
        self._shell = self._left = None
