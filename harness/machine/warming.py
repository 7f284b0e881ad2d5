# SPDX-License-Identifier: GPL-2.0-only
"""Warm machines: a booted normal kernel is kept as a state of QEMU, and started from there.

Init of the userland says "warm" before anything in it is a machine's own, and waits: there
the state is kept. A machine that starts from it is given random bytes, a host key and the
key that may log in (harness/guest/renew); boot_id and all that follows are its own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path

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


def start(machine: Parts) -> bool:
    """Start a machine from a kept state; where there is none, boot it and keep one.

    What follows is the status line "ready".

    Args:
        machine: The machine, switched off; see `possible`.

    Returns:
        Whether it started from a state that was there.

    Raises:
        KernelError: The kernel crashed or hung on the way.
        LostVMError: QEMU does not start.
    """
    initrd = _initrd(machine)
    key = _key(machine, initrd)
    own = f"{secrets.token_hex(_SEED_BYTES)}{ssh.host_key().hex()}"
    line = f"{own} {machine.link.key.public.strip()}\n".encode()
    if _start(machine, initrd, key, line):
        return True
    machine.qemu.tell(line)
    return False


def _start(machine: Parts, initrd: Path, key: str, line: bytes) -> bool:
    booted = False

    def keep(part: Path) -> None:
        nonlocal booted
        booted = True
        _boot_and_keep(machine, initrd, part)

    folder: Path | None = None
    with contextlib.suppress(_UnfitError):
        folder = cache.entry(KIND, key, keep, needed=(_STATE, _LOG))
    if folder is None:
        return False  # it goes on as any other that booted
    if booted:
        # Only now: a state that is not whole is not to have a machine that goes on.
        machine.domain.monitor("cont")
        for old in cache.entries(KIND)[_KEPT:]:
            cache.drop(KIND, old.name)
        return False
    # Those that were used last are kept.
    with contextlib.suppress(OSError):
        os.utime(folder)
    try:
        log = (folder / _LOG).read_bytes()
        machine.power_on(
            kernel=machine.kernels.normal.bzimage,
            initrd=initrd,
            cmdline=_cmdline(),
            logs=_LOGS,
            incoming=Incoming(folder / _STATE, log, line),
        )
    except LostVMError as exc:
        err.print(f"kspawn: a warm machine: {exc.message}; its state is made again", markup=False)
        machine.qemu.forget()
        cache.drop(KIND, key)
        return _start(machine, initrd, key, line)
    return True


def _boot_and_keep(machine: Parts, initrd: Path, part: Path) -> None:
    begun = time.monotonic()
    machine.power_on(
        kernel=machine.kernels.normal.bzimage, initrd=initrd, cmdline=_cmdline(), logs=_LOGS
    )
    deadline = machine.timeouts.deadline("boot", "the userland of the normal kernel")
    warm = machine.watch.wait_status("normal", "warm", deadline=deadline)
    if guestclock.fault(warm, time.monotonic() - begun):
        raise _UnfitError
    time.sleep(_SETTLE_SECONDS)
    machine.watch.scan()
    if machine.splats or machine.complaints:
        raise _UnfitError  # a moment's trouble would be that of all
    if guestclock.timer_fault(machine.logs[0].path):
        raise _UnfitError
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


def _key(machine: Parts, initrd: Path) -> str:
    """What made a state, QEMU and libvirt included."""
    hypervisor = machine.qemu.hardware.hypervisor
    parts = (
        _VERSION,
        cache.file_digest(initrd),
        cache.file_digest(machine.kernels.normal.bzimage),
        _cmdline(),
        machine.panic_option,
        machine.config.model_dump_json(exclude={"timeout_scale"}),
        machine.accel,
        str(machine.disk.stat().st_size),
        hypervisor.versions,
        cache.file_digest(spec.TEMPLATE),
    )
    return cache.short(cache.digest(*parts))
