# SPDX-License-Identifier: GPL-2.0-only
"""What a domain looks like, as libvirt is told."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

FILTER = "kspawn-filter"
# What QEMU's filters call the node that they lie on.
_VERIFIERS = ("blkdebug",)

environment = Environment(
    loader=PackageLoader("harness.vm"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

TEMPLATE = Path(__file__).parent / "templates" / "domain.xml.j2"
"""What a domain is made from."""


@dataclass(frozen=True)
class Serial:
    """A serial port: its log, and a socket where it is talked to."""

    log: Path | None = None
    # What is in the log already stays.
    append: bool = False
    socket: Path | None = None
    # What is said there as soon as the machine runs.
    told: bytes = b""


@dataclass(frozen=True, kw_only=True)
class DomainSpec:
    """What one life of QEMU looks like; sizes in bytes."""

    name: str
    accel: str
    memory: int
    cpus: int
    machine: str
    cpu: str
    features: Mapping[str, bool]
    kernel: Path
    initrd: Path | None
    cmdline: str
    disk: Path
    disk_bus: str
    serials: Sequence[Serial]
    second_disk: Path | None = None
    second_disk_bus: str = "virtio"
    reboot: bool = False
    netboot: Path | None = None
    extra_args: Sequence[str] = field(default_factory=tuple)
    incoming: Path | None = None
    # A monitor of ours: see early.py. Without it, a machine starts when libvirt is ready.
    control: Path | None = None
    # A node of QEMU's block layer between the first disk and its file, without that file.
    disk_filter: Mapping[str, Any] | None = None
    # By how many seconds its RTC is ahead of the host's clock.
    clock_ahead: int = 0

    def xml(self, *, emulator: str) -> str:
        """The domain as libvirt wants it.

        Args:
            emulator: Path of QEMU's binary.
        """
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["extra_args"] = [*self.extra_args, *self._own_args()]
        values |= {"disk_filter": self._filter_node(), "filter_name": FILTER}
        return environment.get_template("domain.xml.j2").render(emulator=emulator, **values)

    def _own_args(self) -> Sequence[str]:
        args = ["-incoming", "defer"] if self.incoming is not None else []
        if self.control is not None:
            args += ["-chardev", f"socket,id=kspawn,path={self.control},server=on,wait=off"]
            args += ["-mon", "chardev=kspawn,mode=control"]
        return args

    def _filter_node(self) -> str:
        """The filter as an argument of QEMU; empty where there is none."""
        if self.disk_filter is None:
            return ""
        # libvirt numbers the disks from the last one on.
        below = f"libvirt-{2 if self.second_disk else 1}-format"
        child = "image" if self.disk_filter["driver"] in _VERIFIERS else "file"
        return json.dumps({**self.disk_filter, "node-name": FILTER, child: below})


def new_name() -> str:
    """A name for a domain that no other run uses."""
    return f"kspawn-{os.getpid()}-{time.monotonic_ns() % 10**9:09d}-{secrets.token_hex(2)}"
