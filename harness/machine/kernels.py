# SPDX-License-Identifier: GPL-2.0-only
"""What a machine boots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.guest import guestbuild
from harness.kernel.built import BuiltKernel


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """What a machine boots: the two builds and the userland of the normal one."""

    normal: BuiltKernel
    spawned: BuiltKernel
    guest: dict[str, Path]
    userland: Path | None = None

    def module(self, name: str) -> Path:
        """A test module for the normal kernel, built when it is first asked for."""
        return guestbuild.build_module(
            name,
            objects=self.normal.objects,
            build_hash=self.normal.build_hash,
            make=self.normal.make,
        )
