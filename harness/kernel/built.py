# SPDX-License-Identifier: GPL-2.0-only
"""A kernel that was built: where it is, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.base import cache
from harness.kernel import clang, kconfig
from harness.kernel.specs import Role

EMBEDDED = "initramfs.cpio"
MODULES = "modules.cpio"


@dataclass(frozen=True)
class BuiltKernel:
    """A kernel in the cache.

    Args:
        folder: Where its files are.
        name: The name of its spec.
        role: "normal" or "spawned".
        tree: The tree it was built in; modules for it can be built there.
        build: The folder of its objects, in the tree.
    """

    folder: Path
    name: str
    role: Role
    tree: Path
    build: str = "build"

    @property
    def bzimage(self) -> Path:
        """What boots."""
        return self.folder / "bzImage"

    @property
    def vmlinux(self) -> Path:
        """The kernel with its symbols."""
        return self.folder / "vmlinux"

    @property
    def symbols(self) -> Path:
        """Its System.map; one that the user brought may have none."""
        return self.folder / "System.map"

    @property
    def config_file(self) -> Path:
        """The .config it was built with."""
        return self.folder / "config"

    @property
    def objects(self) -> Path:
        """The folder of the objects: `make -C <objects> M=<module>` works in it."""
        return self.tree / self.build

    @property
    def modules(self) -> Path | None:
        """Its modules, a cpio archive for its userland; None if it has none of its own."""
        path = self.folder / MODULES
        return path if path.is_file() else None

    @property
    def make(self) -> list[str]:
        """The variables of make that a module for it is to be built with."""
        llvm = clang.of_config(self.config)
        return [f"LLVM={llvm}"] if llvm else []

    @cached_property
    def release(self) -> str:
        """The release, as uname -r gives it."""
        return (self.folder / "release").read_text().strip()

    @cached_property
    def config_hash(self) -> str:
        """SHA-256 of the .config."""
        return cache.file_digest(self.config_file)

    @property
    def build_hash(self) -> str:
        """The key in the cache."""
        return self.folder.name

    @cached_property
    def config(self) -> dict[str, str]:
        """The options that are set, without CONFIG_: "y", "m", a number or a string."""
        options = kconfig.parse(self.config_file.read_text())
        return {name: value for name, value in options.items() if value != "n"}
