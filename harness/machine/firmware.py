# SPDX-License-Identifier: GPL-2.0-only
"""How the firmware of a machine that resets gets a kernel of its own for each boot."""

from __future__ import annotations

import shutil
from pathlib import Path

_TFTP, _NEXT = "tftp://10.0.2.2", "next.ipxe"
# What the firmware runs: it waits until there is a kernel for it.
_WAITING = f"""\
#!ipxe
:again
chain {_TFTP}/{_NEXT} || sleep 1
goto again
"""


class Firmware:
    """Kernels for a firmware that boots by iPXE, one a boot.

    Args:
        folder: What the firmware finds by TFTP; it is made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def offer(self, boot: int, *, kernel: Path, initrd: Path | None, cmdline: str) -> None:
        """Put a kernel where the firmware fetches it, without saying so yet.

        Args:
            boot: The number of the boot.
            kernel: The kernel.
            initrd: Its userland.
            cmdline: Its command line.
        """
        self.folder.mkdir(exist_ok=True)
        lines = ["#!ipxe", f"kernel {_TFTP}/kernel-{boot} {cmdline}"]
        shutil.copy(kernel, self.folder / f"kernel-{boot}")
        if initrd is not None:
            shutil.copy(initrd, self.folder / f"initrd-{boot}")
            lines.append(f"initrd {_TFTP}/initrd-{boot}")
        (self.folder / f"offer-{boot}").write_text("\n".join([*lines, "boot", ""]))
        (self.folder / "boot.ipxe").write_text(_WAITING)

    def release(self, boot: int) -> None:
        """Let the firmware have the kernel of a boot."""
        (self.folder / f"offer-{boot}").rename(self.folder / _NEXT)

    def hold(self) -> None:
        """Let the firmware wait after the next reset."""
        (self.folder / _NEXT).unlink(missing_ok=True)
