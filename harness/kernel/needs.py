# SPDX-License-Identifier: GPL-2.0-only
"""The options that a run needs of a kernel's config, checked before the boot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.base.errors import PrerequisiteError
from harness.kernel.specs import Role


@dataclass(frozen=True)
class Need:
    """An option, and what a run does with it.

    Args:
        option: Its name, without CONFIG_; alternatives are parted by `|`.
        why: What it is for.
        value: What it must be: "y", "n", or the least that a number may be.
        driver: Whether it may be a module, where the userland loads those of the kernel.
    """

    option: str
    why: str
    value: str = "y"
    driver: bool = False

    def met(self, config: Mapping[str, str], *, modules: bool = False) -> bool:
        """Whether a config has it.

        Args:
            config: As `kconfig.parse` gives it.
            modules: Whether the userland loads the modules of this kernel.
        """
        got = [config.get(name, "n") for name in self.option.split("|")]
        return any(self._met(one) or (modules and self.driver and one == "m") for one in got)

    def _met(self, got: str) -> bool:
        if self.value.isdigit():
            return got.isdigit() and int(got) >= int(self.value)
        return got == self.value

    def __str__(self) -> str:
        names = " or ".join(f"CONFIG_{name}" for name in self.option.split("|"))
        wanted = f" of at least {self.value}" if self.value.isdigit() else f"={self.value}"
        return f"{names}{wanted}, {self.why}"


_BOTH = (
    Need("X86_64", "the machines are x86-64"),
    Need("PRINTK", "for its log"),
    Need("TTY", "for its log"),
    Need("SERIAL_8250_CONSOLE", "its log goes to a serial port"),
    Need("SERIAL_8250_NR_UARTS", "log, status and shell have a port each", "4"),
    Need("SERIAL_8250_RUNTIME_UARTS", "log, status and shell have a port each", "4"),
    Need("BLK_DEV_INITRD", "for its userland"),
    Need("BINFMT_ELF", "for its programs"),
    Need("PROC_FS", "its programs read /proc"),
    Need("SYSFS", "its programs read /sys"),
    Need("DEVTMPFS", "for its device files"),
    Need("KEXEC", "it loads the next kernel"),
    Need("PCI", "for its disk"),
    Need("VIRTIO_PCI|SATA_AHCI", "for its disk", driver=True),
    Need("VIRTIO_BLK|SATA_AHCI", "for its disk", driver=True),
)
_NEEDS: Mapping[Role, tuple[Need, ...]] = {
    "normal": (
        *_BOTH,
        Need("KEXEC_JUMP", "it jumps, and is jumped back to"),
        Need("BINFMT_SCRIPT", "for its userland"),
        Need("TMPFS", "for its userland"),
        Need("UNIX98_PTYS", "for SSH"),
        Need("NET", "for SSH"),
        Need("INET", "for SSH"),
        Need("UNIX", "the witness has sockets"),
        Need("VIRTIO_NET", "for SSH", driver=True),
        Need("FUTEX", "the witness has threads"),
        Need("EPOLL", "the witness waits by it"),
        Need("TIMERFD", "the witness has timers"),
        Need("EVENTFD", "the witness has some"),
        Need("PROC_PAGE_MONITOR", "pages are found by /proc/self/pagemap"),
    ),
    "spawned": (
        *_BOTH,
        Need("DEVMEM", "it saves and restores memory by /dev/mem"),
        Need("RELOCATABLE", "it is loaded below 16 MiB"),
        Need("SMP", "in 16 MiB there is room for one CPU", "n"),
    ),
}


def check(
    config: Mapping[str, str], role: Role, *, label: str, hint: str = "", modules: bool = False
) -> None:
    """Check that a config has what a run needs.

    Args:
        config: As `kconfig.parse` gives it.
        role: Which of the two builds.
        label: Names the kernel.
        hint: What the user can do.
        modules: Whether the userland loads the modules of this kernel.

    Raises:
        PrerequisiteError: It has not; the first missing option is named with
            its reason, and the others are named.
    """
    check_needs(config, _NEEDS[role], label=label, hint=hint, modules=modules)


def check_needs(
    config: Mapping[str, str],
    needs: Sequence[Need],
    *,
    label: str,
    hint: str = "",
    modules: bool = False,
) -> None:
    """Check that a config has some options.

    Args:
        config: As `kconfig.parse` gives it.
        needs: The options.
        label: Names the kernel.
        hint: What the user can do.
        modules: Whether the userland loads the modules of this kernel.

    Raises:
        PrerequisiteError: It has not; the first missing option is named with
            its reason, and the others are named.
    """
    missing = [need for need in needs if not need.met(config, modules=modules)]
    if not missing:
        return
    others = ", ".join(dict.fromkeys(f"CONFIG_{need.option}" for need in missing[1:]))
    also = f"; also {others.replace('|', ' or CONFIG_')}" if others else ""
    raise PrerequisiteError(f"{label}: the run needs {missing[0]}{also}", hint=hint)
