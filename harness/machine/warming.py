# SPDX-License-Identifier: GPL-2.0-only
"""Warm machines: a booted normal kernel is kept as a state of QEMU, and started from there.

Init of the userland says "warm" before anything in it is a machine's own, and waits: there
the state is kept. A machine that starts from it is given random bytes, a host key and the
key that may log in (harness/guest/renew); boot_id and all that follow are its own.

A machine may be armed as well: a command has run in it, such as one that starts a witness,
and a state is kept of that.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from harness.base import cache
from harness.base.errors import LostVMError
from harness.base.files import private_file
from harness.base.terminal import err
from harness.machine import commandline, guestclock
from harness.machine.lives import Incoming
from harness.machine.parts import Parts
from harness.vm import spec, ssh

KIND = "warm"
# Raise it when what is kept, or when, becomes another.
_VERSION = "5"
_STATE, _LOG = "machine.state", "normal.log"
_LOGS = ("normal", "hibernating")
_SEED_BYTES = 32
ARMED = "/run/armed"
"""Where a machine has the output of the command that armed it."""
# A state has 100 MiB and more.
_KEPT = 16
# Until what the guest wrote to its ports is out of them.
_SETTLE_SECONDS = 0.2


class _UnfitError(Exception):
    """What a boot came to is not to be what all others begin with."""


def possible(machine: Parts, *, append: str) -> bool:
    """Whether a machine may start from a kept state.

    It may if it would boot like all others: with the usual command line, for the first
    time, without a second disk, and without firmware that fetches its kernel.

    Args:
        machine: The machine, switched off.
        append: More of its command line.
    """
    usual = not append and machine.boot_number == 0 and machine.qemu.trace is None
    # QEMU flushes the disk as it keeps a state: one that fails would not let it.
    plain = machine.qemu.disk_filter is None
    alone = not machine.userland_disk and machine.data_disk is None and plain
    return usual and alone and not machine.qemu.hardware.resets


class Started(NamedTuple):
    """How a machine came to its own part of the boot.

    Args:
        warm: From a state that was there.
        armed: The command that was to run before had run.
    """

    warm: bool
    armed: bool


class _Came(NamedTuple):
    """A machine that waits for a line, or was told it."""

    fit: bool
    told: bool
    warm: bool


_UNFIT = _Came(fit=False, told=False, warm=False)


def start(machine: Parts, *, arm: str = "") -> Started:
    """Start a machine from a kept state; where there is none, boot it and keep one.

    What follows is the status line "ready".

    Args:
        machine: The machine, switched off; see `possible`.
        arm: A command that has run in it by then, and whose output is in `ARMED`: it runs
            once, and a state is kept of that as well.

    Raises:
        KernelError: The kernel crashed or hung on the way.
        LostVMError: QEMU does not start.
    """
    own = f"{secrets.token_hex(_SEED_BYTES)}{ssh.host_key().hex()}"
    line = f"{own} {machine.link.key.public.strip()}\n".encode()
    came = _come(machine, _initrd(machine), arm, line)
    if not came.told:
        machine.qemu.tell(line)
    return Started(came.warm, bool(arm) and came.fit)


def _come(machine: Parts, initrd: Path, arm: str, line: bytes) -> _Came:
    key = _key(machine, initrd, arm)
    made: _Came | None = None

    def keep(part: Path) -> None:
        nonlocal made
        made = _UNFIT
        warm = _armed(machine, initrd, arm) if arm else _booted(machine, initrd)
        _keep(machine, part)
        made = _Came(fit=True, told=False, warm=warm)

    folder: Path | None = None
    with contextlib.suppress(_UnfitError):
        folder = cache.entry(KIND, key, keep, needed=(_STATE, _LOG))
    if made is not None:
        if made.fit:
            # Only now: a state that is not whole is not to have a machine that goes on.
            machine.domain.monitor("cont")
            for old in cache.entries(KIND)[_KEPT:]:
                cache.drop(KIND, old.name)
        return made  # one that is not fit goes on as any other that booted
    assert folder is not None
    # Those that were used last are kept.
    with contextlib.suppress(OSError):
        os.utime(folder)
    try:
        _take(machine, initrd, folder, line)
    except LostVMError as exc:
        err.print(f"kspawn: a warm machine: {exc.message}; its state is made again", markup=False)
        machine.qemu.forget()
        cache.drop(KIND, key)
        return _come(machine, initrd, arm, line)
    return _Came(fit=True, told=True, warm=True)


def _take(machine: Parts, initrd: Path, folder: Path, line: bytes) -> None:
    """Start from a kept state, and have its kernel told a line."""
    log = (folder / _LOG).read_bytes()
    machine.power_on(
        kernel=machine.kernels.normal.bzimage,
        initrd=initrd,
        cmdline=_cmdline(),
        logs=_LOGS,
        incoming=Incoming(folder / _STATE, log, line),
    )


def _booted(machine: Parts, initrd: Path) -> bool:
    """Boot, until init waits to be told what is the machine's own; that is not warm."""
    begun = time.monotonic()
    machine.power_on(
        kernel=machine.kernels.normal.bzimage, initrd=initrd, cmdline=_cmdline(), logs=_LOGS
    )
    deadline = machine.timeouts.deadline("boot", "the userland of the normal kernel")
    warm = machine.watch.wait_status("normal", "warm", deadline=deadline)
    if guestclock.fault(warm, time.monotonic() - begun):
        raise _UnfitError
    if guestclock.timer_fault(machine.logs[0].path):
        raise _UnfitError
    return False


def _armed(machine: Parts, initrd: Path, arm: str) -> bool:
    """Start one that has done nothing yet, and have it run a command; whether it was warm."""
    line = f"run {arm}\n".encode()
    came = _come(machine, initrd, "", line)
    if not came.fit:
        raise _UnfitError
    if not came.told:
        machine.qemu.tell(line)
    deadline = machine.timeouts.deadline("command", arm)
    done = machine.watch.wait_status("normal", "armed", deadline=deadline)
    if done["exit"]:
        raise _UnfitError  # who runs it as ever is told why
    return came.warm


def _keep(machine: Parts, part: Path) -> None:
    time.sleep(_SETTLE_SECONDS)
    machine.watch.scan()
    if machine.splats or machine.complaints:
        raise _UnfitError  # a moment's trouble would be that of all
    part.chmod(0o700)
    size = machine.config.memory_bytes
    state = private_file(part / _STATE)
    machine.domain.save_state(
        state, machine.timeouts.deadline("save", "the state of the machine", memory=size)
    )
    shutil.copyfile(machine.logs[0].path, private_file(part / _LOG))


def _cmdline() -> str:
    return f"{commandline.NORMAL_CMDLINE} {commandline.WARM_OPTION}"


def _initrd(machine: Parts) -> Path:
    """The userland, without what is a machine's own."""
    return machine.make_initrd("warm.cpio", authorized_key="")


def _key(machine: Parts, initrd: Path, arm: str) -> str:
    """What made a state, QEMU and libvirt included."""
    hypervisor = machine.qemu.hardware.hypervisor
    parts = (
        _VERSION,
        cache.file_digest(initrd),
        cache.file_digest(machine.kernels.normal.bzimage),
        _cmdline(),
        arm,
        machine.panic_option,
        machine.config.model_dump_json(exclude={"timeout_scale"}),
        machine.accel,
        str(machine.disk.stat().st_size),
        hypervisor.versions,
        cache.file_digest(spec.TEMPLATE),
    )
    return cache.short(cache.digest(*parts))
