# SPDX-License-Identifier: GPL-2.0-only
"""What a matrix file says, and the jobs that it comes to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
)

from harness.base.text import cut
from harness.kernel import flavors
from harness.ways import registry

AXES = ("kernel", "flavor", "config", "vm-config", "way", "suite")
_IGNORABLE = "flavor, config, vm-config and way"
What = tuple[str, str, tuple[str, ...]]
"""Which kernels a job boots: name, flavour and fragments."""
DEFAULTS = {
    "flavor": flavors.QUICK,
    "config": "default",
    "vm-config": "default",
    "way": registry.DEFAULT,
}
# Between the words of a job's title.
SEPARATOR = " · "
# What a job may use; it is the same job with more or less of it.
ALLOWANCES = ("timeout", "memory", "cpus")
# What a job takes besides the RAM of its machine: QEMU, pytest, libvirt.
OVERHEAD_MIB = 384
_DURATION = re.compile(r"([0-9]{1,9}) ?(s|m|h)")
# A week. What is longer is no time-out, and too much more no time that the system knows.
_LONGEST = 7 * 24 * 3600
_SECONDS = {"s": 1, "m": 60, "h": 3600}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def seconds_of(text: str) -> int:
    """A duration such as "90s", "30m" or "2h", in seconds.

    Raises:
        ValueError: It is none.
    """
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(f"{cut(repr(text))} is no duration, write it like 90s, 30m or 2h")
    seconds = int(found[1]) * _SECONDS[found[2]]
    if not 0 < seconds <= _LONGEST:
        raise ValueError(f"{text!r} is not within 1s and {_LONGEST // 3600}h")
    return seconds


def bare(name: str) -> str:
    """The name of a kernel or a machine that is given by name or by file."""
    return Path(name).stem if name.endswith((".yaml", ".yml")) else name


class Suite(_Model):
    """What a name on the axis `suite` stands for; by default test_suites/<name>."""

    path: str = Field(default="", description="file or folder, from the root of the checkout")
    args: list[str] = Field(default_factory=list, description="more arguments of pytest")
    ignores: list[str] = Field(
        default_factory=list,
        description="axes that mean nothing to it: combinations that differ in nothing else "
        "are one job",
    )
    timeout: str = Field(default="30m", description="after this a job is ended, as an error")
    memory: int = Field(
        default=0, ge=0, description="MiB; by default what the machine has, and more"
    )
    machines: int = Field(default=1, ge=0, description="machines that it runs at a time")
    kvm: bool = Field(default=False, description="whether it makes sense under KVM only")

    @field_validator("timeout")
    @classmethod
    def _check_timeout(cls, value: str) -> str:
        seconds_of(value)
        return value

    @field_validator("ignores")
    @classmethod
    def _check_ignores(cls, value: list[str]) -> list[str]:
        for axis in value:
            if axis not in AXES or axis in ("kernel", "suite"):
                raise ValueError(f"{axis!r} cannot be ignored: {_IGNORABLE} can")
        return value


class Include(_Model):
    """An entry of `include`: a place on the axes, and what else there is to say of its jobs."""

    kernel: str = ""
    flavor: str = ""
    config: str = ""
    vm_config: str = Field(default="", alias="vm-config")
    way: str = ""
    suite: str = ""
    args: list[str] = Field(default_factory=list)
    timeout: str = "30m"
    memory: int = Field(default=0, ge=0)
    kvm: bool = False

    @field_validator("timeout")
    @classmethod
    def _check_timeout(cls, value: str) -> str:
        seconds_of(value)
        return value


class Matrix(_Model):
    """A matrix file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    matrix: dict[str, list[Any]]
    suites: dict[str, Suite] = Field(default_factory=dict)
    configs: dict[str, list[str]] = Field(
        default_factory=dict, description="config fragments of the normal kernel by name"
    )
    retries: int = Field(default=2, ge=0, le=100)
    origin: str = Field(
        default="kspawn", pattern=r"^[a-z0-9_]+$", description="the name for KCIDB submissions"
    )

    _file: Path | None = PrivateAttr(default=None)


class Job(_Model):
    """One run of pytest: a suite on a kernel, a machine and a way back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kernel: str
    flavor: str = flavors.QUICK
    config: str = "default"
    vm_config: str = "default"
    way: str = registry.DEFAULT
    suite: str
    path: str
    args: tuple[str, ...] = ()
    fragments: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()
    timeout: int = 1800
    memory: int = Field(default=0, description="MiB that it takes, all in all")
    cpus: int = Field(default=1, description="cores that it keeps busy")
    kvm: bool = False

    @property
    def title(self) -> str:
        """What tells it from the other jobs of its matrix, for people."""
        words = [bare(self.kernel), self.suite]
        for axis, value in (("vm-config", self.vm_config), ("way", self.way)):
            if axis not in self.ignores:
                words.append(bare(value))
        words += [self.flavor] if self.flavor != flavors.QUICK else []
        if self.config != "default":
            words.append(self.config)
        if self.args:
            words.append(" ".join(self.args))
        return SEPARATOR.join(words)

    @property
    def what(self) -> What:
        """Which kernels it boots."""
        return self.kernel, self.flavor, self.fragments

    @property
    def slug(self) -> str:
        """The same, usable as the name of a folder."""
        return re.sub(r"[^A-Za-z0-9._+-]+", "-", self.title.replace(SEPARATOR, "+"))
