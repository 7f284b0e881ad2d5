# SPDX-License-Identifier: GPL-2.0-only
"""What a machine boots."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.guest import guestbuild, initramfs
from harness.kernel.built import BuiltKernel


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """What a machine boots: the two builds and the userland of the normal one."""

    normal: BuiltKernel
    spawned: BuiltKernel
    guest: dict[str, Path]
    userland: Path | None = None

    @cached_property
    def initramfs(self) -> bytes:
        """The userland, without what is a machine's own; made once for all of them."""
        return self.make_initramfs()

    def make_initramfs(self, *, more: Path | None = None) -> bytes:
        """The userland, without what is a machine's own.

        Args:
            more: A folder of the user's that comes on top.
        """
        return initramfs.normal_initramfs(
            guest=self.guest,
            tree=self.userland,
            files={"/boot/spawned": self.spawned.bzimage.read_bytes()},
            more=more,
            modules=self.normal.modules,
        )

    def module(self, name: str) -> Path:
        """A test module for the normal kernel, built when it is first asked for."""
        return guestbuild.build_module(
            name,
            objects=self.normal.objects,
            build_hash=self.normal.build_hash,
            make=self.normal.make,
        )
