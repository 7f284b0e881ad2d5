# SPDX-License-Identifier: GPL-2.0-only
"""What the system lets a process have, as far as a run fails without it."""

from __future__ import annotations

import resource
import socket

from harness.base.errors import PrerequisiteError

# What libvirt, SSH and a cycle hold open at once, twice over.
FEWEST_FILES = 256
_WANTED_FILES = 1024
# QEMU's memory, its translated code and the libraries of both; the disk of a machine.
_LEAST_BYTES = {
    resource.RLIMIT_AS: ("only {} MiB of address space may be had", 4 << 30, "ulimit -v unlimited"),
    resource.RLIMIT_DATA: ("only {} MiB of data may be had", 4 << 30, "ulimit -d unlimited"),
    resource.RLIMIT_FSIZE: ("a file may have only {} MiB", 1 << 30, "ulimit -f unlimited"),
}


def check() -> None:
    """Take what may be had, and refuse what is too little for a machine.

    Raises:
        PrerequisiteError: Too few files may be open at a time, too little memory be had,
            or there is no loopback.
    """
    _check_files()
    _check_loopback()
    for kind, (words, least, hint) in _LEAST_BYTES.items():
        soft, hard = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY and soft < least:
            resource.setrlimit(kind, (hard, hard))
            soft = hard
        if soft != resource.RLIM_INFINITY and soft < least:
            raise PrerequisiteError(
                f"{words.format(soft >> 20)}, and a machine needs {least >> 20}",
                hint=hint,
            )


def _check_loopback() -> None:
    """A new network namespace has one that is down: no guest would be reached through it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("127.0.0.1", 9))
        except OSError as exc:
            raise PrerequisiteError(
                f"machines are reached through 127.0.0.1, and it is not there: {exc.strerror}",
                hint="ip link set lo up",
            ) from None


def _check_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < _WANTED_FILES:
        wanted = _WANTED_FILES if hard == unlimited else min(hard, _WANTED_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
        soft = max(soft, wanted)
    if soft != unlimited and soft < FEWEST_FILES:
        raise PrerequisiteError(
            f"only {soft} files may be open at once, and a machine needs {FEWEST_FILES}",
            hint=f"ulimit -n {FEWEST_FILES}",
        )
