# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn shell`: a shell in a running machine, of any of its kernels."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import paramiko

from harness.base.errors import BuildError, ExitCode, HarnessError, PrerequisiteError
from harness.base.terminal import echo
from harness.cycle.witness import Witness
from harness.kernel.built import BuiltKernel
from harness.machine import keep
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.machine.states import State
from harness.record.timeline import Timeline

ROLES = ("normal", "hibernating", "resuming")
# Ctrl-], as with telnet: what no program in the guest is likely to want.
_ESCAPE = b"\x1d"
_POLL = 0.1


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def gdb_line(machine: Machine, kernel: BuiltKernel) -> str:
    """Let gdb attach to a machine.

    Args:
        machine: A machine that runs.
        kernel: The kernel that runs in it.

    Returns:
        The line that attaches gdb, with the symbols of the kernel.

    Raises:
        HarnessError: QEMU does not open the port.
    """
    from harness.kernel import debuginfo  # noqa: PLC0415  (compiles; most shells need it not)

    port = free_port()
    answer = machine.domain.monitor(f"gdbserver tcp:127.0.0.1:{port}")
    if "aiting for gdb" not in answer:
        raise HarnessError(f"QEMU opens no port for gdb: {answer.strip()}")
    try:
        vmlinux = debuginfo.with_types(kernel)
    except (BuildError, PrerequisiteError):
        # Types are compiled as a module is, which a spawned kernel has not:
        # then there are its symbols.
        vmlinux = kernel.vmlinux
    return f"gdb {vmlinux} -ex 'target remote 127.0.0.1:{port}'"


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Hand every key on, until the end; nothing to do where stdin is no terminal."""
    if not sys.stdin.isatty():
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _window() -> os.terminal_size:
    """The size of the terminal itself: LINES and COLUMNS may be another one's."""
    return os.get_terminal_size(sys.stdin.fileno())


def _copy_keys(send: Callable[[bytes], object]) -> bool:
    """Pass on what came from the user; returns whether more may come."""
    data = os.read(sys.stdin.fileno(), 4096)
    ended = not data
    if sys.stdin.isatty():
        data, escape, _ = data.partition(_ESCAPE)
        ended = ended or bool(escape)
    if data:
        send(data)
    return not ended


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def in_normal(machine: Machine) -> int:
    """A shell in the normal kernel's userland; a pipe is read as a script.

    Args:
        machine: A machine whose normal kernel runs.

    Returns:
        The exit code of the shell.

    Raises:
        HarnessError: The connection broke.
    """
    channel = machine.shell.session(seconds=machine.timeouts.ssh * machine.timeouts.scale)
    try:
        if sys.stdin.isatty():
            size = _window()
            channel.get_pty(os.environ.get("TERM", "linux"), size.columns, size.lines)
            channel.invoke_shell()
        else:
            channel.exec_command("/bin/sh")
        with _raw_terminal(), _resizing(channel):
            _bridge(machine, channel)
        return max(0, channel.recv_exit_status()) if channel.exit_status_ready() else 0
    except (OSError, EOFError, paramiko.SSHException) as exc:
        raise HarnessError(f"the SSH connection to the guest broke: {exc!r}") from exc
    finally:
        channel.close()


def _bridge(machine: Machine, channel: paramiko.Channel) -> None:
    more = True
    while True:
        wanted = [channel, sys.stdin] if more else [channel]
        ready, _, _ = select.select(wanted, [], [], _POLL)
        if channel in ready:
            data = channel.recv(65536)
            if not data:
                return
            _show(data)
        while channel.recv_stderr_ready():
            sys.stderr.buffer.write(channel.recv_stderr(65536))
            sys.stderr.flush()
        if sys.stdin in ready:
            more = _copy_keys(channel.sendall)
            if not more:
                if sys.stdin.isatty():
                    return
                channel.shutdown_write()
        machine.has_news()


@contextmanager
def _resizing(channel: paramiko.Channel) -> Iterator[None]:
    """Tell the guest of a new size of the terminal."""
    if not sys.stdin.isatty():
        yield
        return

    def resize(_number: int, _frame: object) -> None:
        size = _window()
        with contextlib.suppress(paramiko.SSHException, OSError):
            channel.resize_pty(size.columns, size.lines)

    before = signal.signal(signal.SIGWINCH, resize)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def in_spawned(machine: Machine) -> None:
    """The shell of a spawned kernel, until it goes on; `help` tells what it knows.

    Args:
        machine: A machine whose spawned kernel waits for commands.

    Raises:
        KernelCrashError: The kernel crashed.
        LostVMError: QEMU is gone.
    """
    port = machine.console
    more = True
    with _raw_terminal():
        while not machine.has_news():
            ready, _, _ = select.select([port, sys.stdin] if more else [port], [], [], _POLL)
            if port in ready:
                _show(port.recv(65536))
            if sys.stdin in ready:
                more = _copy_keys(port.sendall)
                if not more:
                    port.sendall(b"\ngo\n")
    # The last of what it said before it went on.
    _show(_drain(port))


def _drain(port: socket.socket) -> bytes:
    """What has come on a port."""
    data = b""
    while select.select([port], [], [], 0)[0]:
        if not (more := port.recv(65536)):
            break
        data += more
    return data


def run(made: Lab, folder: Path, *, role: str, gdb: bool, timeline: Timeline) -> int:
    """Boot a machine, bring it to a role, and open a shell there.

    Args:
        made: Where it runs.
        folder: Where its logs go.
        role: Which of its kernels.
        gdb: Whether to print the line that attaches gdb.
        timeline: Where its phases go.

    Returns:
        The exit code of the shell in the normal kernel; 0 for the others.
    """

    def visit() -> None:
        timeline.event("shell", role)
        kernel = made.kernels.normal if role == "normal" else made.kernels.spawned
        if gdb:
            echo(gdb_line(machine, kernel), to_stderr=True)
        if sys.stdin.isatty():
            echo(f"the {role} kernel {kernel.release}; Ctrl-] ends it", to_stderr=True)

    def visit_spawned() -> None:
        visit()
        in_spawned(machine)

    with made.machine(folder, timeline=timeline) as machine:
        machine.boot()
        if role == "normal":
            visit()
            return in_normal(machine)
        Witness.start(machine)
        # What the shell of the normal kernel said on the same port.
        _drain(machine.console)
        machine.hibernate(visit=visit_spawned if role == "hibernating" else None)
        if role == "resuming":
            machine.resume(visit=visit_spawned)
    return int(ExitCode.PASSED)


def run_again(made: Lab, folder: Path, kept: keep.Kept, *, gdb: bool) -> int:
    """Have a machine again as a failed run left it, and open a shell there.

    A kernel that crashed or hung serves no shell: then the machine stands
    there for gdb, until the user ends it.

    Args:
        made: Where it runs.
        folder: Where its logs go.
        kept: What the run kept.
        gdb: Whether to print the line that attaches gdb.

    Returns:
        The exit code of the shell.
    """
    kernels = replace(made.kernels, normal=kept.kernel("normal"), spawned=kept.kernel("spawned"))
    with made.machine(folder, config=kept.config, kernels=kernels) as machine:
        machine.revive(kept)
        alive = kept.state == State.RUNNING
        role = kept.running
        where = f"in its {role} kernel" if role else "amid a jump"
        echo(f"the machine was {kept.state}, {where}: {kept.reason}", to_stderr=True)
        if gdb or not alive:
            kernel = kernels.spawned if role == "spawned" else kernels.normal
            echo(gdb_line(machine, kernel), to_stderr=True)
        if alive:
            return in_normal(machine)
        echo("it serves no shell; Enter ends it", to_stderr=True)
        sys.stdin.readline()
    return int(ExitCode.PASSED)
