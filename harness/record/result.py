# SPDX-License-Identifier: GPL-2.0-only
"""The result of a run: the schema of `result.json`, documented in docs/result.md."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from harness.base import files
from harness.base.files import Stored
from harness.record.timeline import Event, Phase

SCHEMA_VERSION = 1
BY_HAND = "by hand"
"""The way of a machine that a test drives step by step."""


class Verdict(StrEnum):
    """How a run ended, in one word."""

    PASSED = "passed"
    FAILED = "failed"


class SplatKind(StrEnum):
    """The classes of splats."""

    PANIC = "panic"
    OOPS = "oops"
    BUG = "BUG"
    WARN = "WARN"
    KASAN = "KASAN"
    LOCKDEP = "lockdep"
    RCU_STALL = "RCU stall"
    SOFT_LOCKUP = "soft lockup"
    HUNG_TASK = "hung task"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Splat(_Model):
    """A report of a kernel that something is wrong with it."""

    kind: SplatKind
    title: str = Field(description="the line that says it, without its timestamp")
    file: str | None = Field(default=None, description="kernel source file, if the log has it")
    line: int | None = None
    function: str | None = Field(default=None, description="without offset, if the log has it")
    log: str = Field(default="", description="name of the log, such as '1-normal.log'")
    log_line: int = Field(default=0, description="line in that log, from 1")
    text: str = Field(default="", description="the whole report")
    expected: bool = False


class Check(_Model):
    """One thing that was asserted."""

    name: str = Field(description="dotted, such as 'witness.anonymous-memory'")
    ok: bool
    detail: str = Field(default="", description="what was seen, one line")


class KernelInfo(_Model):
    """One kernel of the run."""

    role: str = Field(description="'normal' or 'spawned'")
    name: str = Field(description="name of the spec, such as 'linux-6.12'")
    release: str = Field(description="as uname -r gives it")
    flavors: list[str] = Field(
        default_factory=list, description="kinds of kernels that it is one of, such as 'debug'"
    )
    config_hash: str = Field(description="SHA-256 of the .config")
    build_hash: str = Field(description="the key in the build cache")


class Range(_Model):
    """A range of physical addresses, the end excluded."""

    start: int
    end: int
    what: str = Field(
        description="'System RAM', 'reserved', 'spawned' (0-16 MiB), 'backup', 'hot-added', "
        "'saved', 'zero' or 'free'; or what restored it: '/dev/mem', 'kexec_load', "
        "'/dev/snapshot', or 'swap_pages' of the normal kernel"
    )


class MemoryMap(_Model):
    """What was where in the memory of the machine."""

    ram_bytes: int
    ranges: list[Range] = Field(default_factory=list)


class ImageInfo(_Model):
    """The hibernation image."""

    file_bytes: int = Field(description="header, notes and stored pages")
    stored_bytes: int = Field(description="pages whose content is in the image")
    zero_bytes: int = Field(description="pages marked as zero")
    free_bytes: int = Field(default=0, description="free pages, left out")
    ram_bytes: int = Field(description="RAM above 16 MiB that it describes")
    segments: int


class MemoryUse(_Model):
    """How full the memory of the normal kernel was before it was left."""

    total_bytes: int = Field(description="its MemTotal")
    used_bytes: int = Field(description="MemTotal less MemAvailable")
    witness_bytes: int = Field(description="known pages that the witness holds and checks")
    fill: int | None = Field(default=None, description="per cent of MemTotal that were asked for")


class Accelerator(_Model):
    """Which accelerator ran the guests, and why."""

    name: str = Field(description="'kvm' or 'tcg'")
    reason: str


class LogFile(_Model):
    """A log that the run left, relative to result.json."""

    path: str
    kernel: str = Field(description="'normal', 'hibernating', 'resuming', 'status'")
    boot: int


class Result(Stored):
    """What a run found."""

    schema_version: int = SCHEMA_VERSION
    run: str = Field(description="name of the run, also of its folder")
    started: datetime = Field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0
    verdict: Verdict = Verdict.FAILED
    exit_code: int = 5
    reason: str = Field(default="", description="why it failed, one line")
    refused: str = Field(default="", description="status word of what refused to go on")
    resume_path: str = "restricted"
    vm_config: str = "default"
    cpus: int = 1
    kernels: list[KernelInfo] = Field(default_factory=list)
    accelerator: Accelerator | None = None
    jump_command: str = Field(
        default="", description="'LINUX_REBOOT_CMD_KSPAWN' or 'LINUX_REBOOT_CMD_KEXEC'"
    )
    phases: list[Phase] = Field(default_factory=list)
    events: list[Event] = Field(default_factory=list)
    image: ImageInfo | None = None
    memory: MemoryUse | None = None
    disk_bytes: int | None = Field(
        default=None, description="what the host holds of the disk once the normal kernel left"
    )
    memory_map: MemoryMap | None = None
    checks: list[Check] = Field(default_factory=list)
    splats: list[Splat] = Field(default_factory=list)
    log_tail: str = Field(default="", description="the end of the log of the kernel that failed")
    logs: list[LogFile] = Field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the result as JSON, whole or not at all.

        Args:
            path: The file to write.
        """
        files.write(path, self.model_dump_json(indent=2) + "\n")
