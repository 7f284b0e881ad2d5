# SPDX-License-Identifier: GPL-2.0-only
"""What a way is: how the normal kernel is left, and how it comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.audit.audit import Moment
from harness.kernel.needs import Need, check_needs
from harness.machine.machine import Machine
from harness.record.result import ImageInfo, Range

Leave = Callable[[Machine, str], object]
"""Takes a machine out of its normal kernel; more of a command line is given."""

Back = Callable[[Machine, str], dict[str, Any]]
"""Brings the normal kernel back, and returns its status line "back"."""

ReadImage = Callable[[Path, int], tuple[ImageInfo, list[Range]] | None]
"""Reads an image: from a disk, of a machine with so many bytes of RAM."""


class Kind(StrEnum):
    """What ways have in common."""

    RESUME = "resume"
    """KSPAWN writes an image of ours; the power goes off; something resumes it."""
    CLASSIC = "classic"
    """The kernel under test hibernates itself."""
    STAYS = "stays"
    """There is no image, and the power stays on."""


class Loader(StrEnum):
    """What brings the image back, by the memory that it has."""

    RESTRICTED = "restricted"
    """The spawned kernel, in 0-16 MiB."""
    FULL = "full"
    """A normal kernel, with all of RAM."""
    FULL_THEN_RESTRICTED = "full, then restricted"
    """A normal kernel, which starts the spawned one."""


def boot(machine: Machine, append: str) -> object:
    """How most ways begin: a normal kernel is booted."""
    return machine.boot(append=append)


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to leave the normal kernel and to come back to it.

    Args:
        name: Its name, as options and results have it.
        kind: What it has in common with others.
        title: What it is, in a few words.
        boots: What boots after the power was off, in words for the README.
        memory: How the memory comes back, in words for the README.
        suite: The folder in test_suites that is about it.
        leave: Leaves the normal kernel, or does all of it.
        back: Comes back after the power was off; None where it stays on.
        start: How the kernel comes up that is to be left.
        userland_disk: Whether that takes a second disk with the normal userland.
        outcome: What the kernel that is back says that it is back from.
        loader: What brings an image of ours back.
        restored_by: What writes the memory, by the status line "restored".
        dev_mem_gone: Whether /dev/mem has to be strict, and be removed first.
        needs: Options that the spawned kernel needs besides.
        needs_hint: Where that is described.
        limits: Refusals that it cannot help, by status word, in words.
        read: Reads, from the disk, what is in an image that is not ours; None
            where its kernel writes it in a way that is not known.
        by_default: Whether it is compared unless it is named.
        reference: Whether others are related to it.
        whole: The one phase that it is, where leaving and coming back are one.
    """

    name: str
    kind: Kind
    title: str
    boots: str
    memory: str
    suite: str
    leave: Leave
    back: Back | None = None
    start: Leave = boot
    userland_disk: bool = False
    outcome: str = "image"
    loader: Loader = Loader.RESTRICTED
    restored_by: str = ""
    dev_mem_gone: bool = False
    needs: tuple[Need, ...] = ()
    needs_hint: str = ""
    limits: Mapping[str, str] = field(default_factory=dict)
    read: ReadImage | None = None
    by_default: bool = True
    reference: bool = False
    whole: str = ""

    @property
    def resumes(self) -> bool:
        """Whether it brings back an image that KSPAWN wrote."""
        return self.kind is Kind.RESUME

    @property
    def classic(self) -> bool:
        """Whether it is a hibernation of the kernel under test itself."""
        return self.kind is Kind.CLASSIC

    @property
    def audited(self) -> Moment:
        """Where an audit of it looks."""
        if self.resumes or self.outcome == "plain":
            return Moment.JUMP
        return Moment.COPY if self.classic else Moment.NONE

    @property
    def kernels(self) -> int:
        """How many kernels have a boot_id of their own in a cycle: none of them is another's."""
        return 4 if self.loader is Loader.FULL_THEN_RESTRICTED else 3

    def check_needs(self, config: Mapping[str, str], *, label: str) -> None:
        """Check that the config of a spawned kernel has what this way needs.

        Args:
            config: As `kconfig.parse` gives it.
            label: Names the kernel.

        Raises:
            PrerequisiteError: It has not.
        """
        check_needs(config, self.needs, label=label, hint=self.needs_hint)
