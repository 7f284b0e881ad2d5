# SPDX-License-Identifier: GPL-2.0-only
"""Machines, as the YAML files in vm-configs describe them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    PrivateAttr,
    field_validator,
)

from harness.base.text import cut
from harness.kernel.sourcespec import (
    Model,
)
from harness.kernel.yamlfile import ROOT

VM_CONFIGS = ROOT / "vm-configs"

MIB = 1 << 20
MINIMUM_MEMORY = 64 * MIB
MAXIMUM_MEMORY = 16 << 40
_UNITS = {"MiB": MIB, "GiB": 1 << 30}


class VMConfig(Model):
    """A virtual machine."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    memory: str = Field(default="512MiB", description="such as '512MiB' or '1GiB'")
    cpus: int = Field(default=1, ge=1, le=8)
    machine: Literal["pc", "q35"] = "pc"
    disk_bus: Literal["virtio", "sata"] = "virtio"
    second_disk_bus: Literal["virtio", "sata"] | None = Field(
        default=None, description="of a second disk; by default that of the first"
    )
    cpu: str = Field(default="max", description="a CPU model of QEMU")
    cpu_features: dict[str, bool] = Field(
        default_factory=dict, description="switched on or off, such as {la57: false}"
    )
    after: Literal["poweroff", "reset"] = Field(
        default="poweroff", description="what the hibernating kernel does when it has saved"
    )
    timeout_scale: float = Field(
        default=1.0, ge=0.1, le=1000, description="stretches every deadline"
    )

    _file: Path = PrivateAttr(default=VM_CONFIGS / "unknown.yaml")

    @property
    def file(self) -> Path:
        """The file that it was read from."""
        return self._file

    @field_validator("memory")
    @classmethod
    def _check_memory(cls, value: str) -> str:
        found = re.fullmatch(r"([0-9]{1,12}) ?(MiB|GiB)", value)
        if not found:
            raise ValueError(f"{cut(repr(value))} is no size, write it like 512MiB or 1GiB")
        if int(found[1]) * _UNITS[found[2]] < MINIMUM_MEMORY:
            raise ValueError(f"{value} is below the minimum of {MINIMUM_MEMORY // MIB}MiB")
        if int(found[1]) * _UNITS[found[2]] > MAXIMUM_MEMORY:
            raise ValueError(f"{value} is above the maximum of {MAXIMUM_MEMORY >> 30}GiB")
        return value

    @property
    def memory_bytes(self) -> int:
        """The RAM in bytes."""
        return int(self.memory[:-3]) * _UNITS[self.memory[-3:]]
