# SPDX-License-Identifier: GPL-2.0-only
"""The result of a run: the schema of `result.json`, documented in docs/result.md."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from harness.base import files
from harness.base.files import Stored
from harness.base.said import Said
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
    KFENCE = "KFENCE"
    KCSAN = "KCSAN"
    UBSAN = "UBSAN"
    CFI = "CFI"
    LOCKDEP = "lockdep"
    RCU_STALL = "RCU stall"
    SOFT_LOCKUP = "soft lockup"
    HARD_LOCKUP = "hard lockup"
    HUNG_TASK = "hung task"
    JUMP_EXCEPTION = "exception in a jump"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Splat(_Model):
    """A report of a kernel that something is wrong with it."""

    kind: SplatKind
    title: Said = Field(description="the line that says it, without its timestamp")
    file: Said | None = Field(default=None, description="kernel source file, if the log has it")
    line: int | None = None
    function: Said | None = Field(default=None, description="without offset, if the log has it")
    log: str = Field(default="", description="name of the log, such as '1-normal.log'")
    log_line: int = Field(default=0, description="line in that log, from 1")
    text: Said = Field(default="", description="the whole report")
    expected: bool = False


class ComplaintKind(StrEnum):
    """The classes of complaints: what a kernel says of trouble, and goes on."""

    INTERRUPT = "interrupt"
    FILESYSTEM = "filesystem error"
    IO = "I/O error"
    DISK_LINK = "disk link"
    PAGE_ALLOCATION = "page allocation failure"
    OUT_OF_MEMORY = "out of memory"
    MEMORY_LEAK = "memory leak"
    NETWORK_DEVICE = "network device"
    CLOCK = "unstable clock"
    FREEZER = "failed freeze"
    DEVICE_PM = "device power management"
    CPU = "CPU bring-up"
    PROCESS = "crashed process"


class Complaint(_Model):
    """A line of a kernel that tells of trouble, and is no splat."""

    kind: ComplaintKind
    title: Said = Field(description="the first such line, without its timestamp")
    log: str = Field(default="", description="name of the log, such as '1-normal.log'")
    log_line: int = Field(default=0, description="line in that log, from 1")
    count: int = Field(default=1, description="lines that differ from it in numbers only, and it")
    expected: bool = False
    tolerated: str = Field(default="", description="why it is no fault of the kernel here")

    @property
    def bad(self) -> bool:
        """Whether it fails the run."""
        return not self.expected and not self.tolerated

    def line(self) -> str:
        """The complaint in one line."""
        again = f" ({self.count} times)" if self.count > 1 else ""
        return f"{self.log}:{self.log_line}: {self.kind}: {self.title}{again}"


class Check(_Model):
    """One thing that was asserted."""

    name: str = Field(description="dotted, such as 'witness.anonymous-memory'")
    ok: bool
    detail: Said = Field(default="", description="what was seen, one line")


class KernelInfo(_Model):
    """One kernel of the run."""

    role: str = Field(description="'normal' or 'spawned'")
    name: str = Field(description="name of the spec, such as 'linux-6.12'")
    release: Said = Field(description="as uname -r gives it")
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
        "'saved', 'zero', 'free' or 'unexplained' (by the audit); or what restored it: "
        "'/dev/mem', 'kexec_load', '/dev/snapshot', or 'swap_pages' of the normal kernel"
    )


class MemoryMap(_Model):
    """What was where in the memory of the machine."""

    ram_bytes: int
    ranges: list[Range] = Field(default_factory=list)


class ImageInfo(_Model):
    """The hibernation image."""

    file_bytes: int = Field(description="header, notes and stored pages")
    stored_bytes: int = Field(description="pages whose content is in the image")
    zero_bytes: int = Field(description="pages of one byte, nearly always zero: marked only")
    free_bytes: int = Field(default=0, description="free pages, left out")
    ram_bytes: int = Field(description="RAM above 16 MiB that it describes")
    segments: int


class MemoryUse(_Model):
    """How full the memory of the normal kernel was before it was left."""

    total_bytes: int = Field(description="its MemTotal")
    used_bytes: int = Field(description="MemTotal less MemAvailable")
    witness_bytes: int = Field(description="known pages that the witness holds and checks")
    fill: int | None = Field(default=None, description="per cent of MemTotal that were asked for")


class AuditClass(_Model):
    """The pages of one class, of all that the machine has."""

    name: str = Field(description="such as 'kept', 'free' or 'backup area'")
    why: str = Field(default="", description="why its pages may differ, or must not")
    pages: int = Field(description="how many it has, as the normal kernel left")
    differ: int = Field(description="how many of them were not the same when it was back")


class AuditPage(_Model):
    """A page that differs without a reason."""

    address: int = Field(description="its physical address")
    offset: int = Field(description="of the first byte that differs")
    bytes: int = Field(description="how many of it differ")
    before: str = Field(description="what is there, in hex, as the normal kernel left")
    after: str = Field(description="and when it was back")
    owner: str = Field(default="", description="whose it is, one line")

    def line(self) -> str:
        """The page in one line."""
        return (
            f"{self.address + self.offset:#x}: {self.bytes} bytes differ from there, "
            f"{self.before} → {self.after}: {self.owner or 'unknown'}"
        )


class AuditState(_Model):
    """A field of a CPU or of a device that is not as it was."""

    device: str = Field(description="such as 'cpu/0', 'ioapic/0', or 'kernel' for its own switches")
    field: str = Field(description="as QEMU calls it, or the name of a variable")
    before: str = Field(description="in hex, at most 24 bytes")
    after: str
    why: str = Field(default="", description="why that may be; empty where there is no reason")

    def line(self) -> str:
        """It in one line."""
        return f"{self.device} {self.field}: {self.before} → {self.after}"


class AuditInfo(_Model):
    """What the host saw: all of RAM as the normal kernel left, and as it was back."""

    reason: str = Field(default="", description="why there was no audit")
    cannot: bool = Field(
        default=False, description="there cannot be one: no symbols, or no breakpoints"
    )
    seconds: float = Field(default=0.0, description="how long the machine stood still for it")
    pages: int = 0
    differ: int = Field(default=0, description="how many pages differ, for whatever reason")
    classes: list[AuditClass] = Field(default_factory=list)
    bounds: list[str] = Field(
        default_factory=list, description="classes whose size makes no sense, a line each"
    )
    unexplained: int = Field(default=0, description="pages that differ without a reason")
    named: list[AuditPage] = Field(default_factory=list, description="the first of them")
    registers: list[str] = Field(
        default_factory=list,
        description="registers that the jump has to keep and did not, a line each",
    )
    state_reason: str = Field(default="", description="why CPUs and devices were not audited")
    fields: int = Field(default=0, description="how many fields of CPUs and devices there are")
    switches: int = Field(
        default=0, description="how many of the kernel's own switches were compared"
    )
    state: list[AuditState] = Field(
        default_factory=list, description="those that are not as they were"
    )


class Accelerator(_Model):
    """Which accelerator ran the guests, and why."""

    name: str = Field(description="'kvm' or 'tcg'")
    reason: str


class LogFile(_Model):
    """A log that the run left, relative to result.json."""

    path: str
    kernel: str = Field(description="'normal', 'hibernating', 'resuming', 'status'")
    boot: int


AGAIN = "; run again with QEMU's log: "
"""In a reason: what follows is from a second run."""


class Result(Stored):
    """What a run found."""

    schema_version: int = SCHEMA_VERSION
    run: str = Field(description="name of the run, also of its folder")
    started: datetime = Field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0
    verdict: Verdict = Verdict.FAILED
    exit_code: int = 5
    reason: Said = Field(default="", description="why it failed, one line")
    last_exception: Said = Field(
        default="",
        description="what a silent reset began with, by QEMU's log of the cycle run again",
    )
    refused: Said = Field(default="", description="status word of what refused to go on")
    warm: bool = Field(
        default=False, description="the normal kernel was started from a state that was kept"
    )
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
    audit: AuditInfo | None = Field(default=None, description="none where it was not asked for")
    checks: list[Check] = Field(default_factory=list)
    not_here: dict[str, str] = Field(
        default_factory=dict,
        description="checks that this kernel or CPU has nothing for, and why: not passed",
    )
    splats: list[Splat] = Field(default_factory=list)
    complaints: list[Complaint] = Field(default_factory=list)
    log_tail: Said = Field(default="", description="the end of the log of the kernel that failed")
    logs: list[LogFile] = Field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the result as JSON, whole or not at all.

        Args:
            path: The file to write.
        """
        files.write(path, self.model_dump_json(indent=2) + "\n")
