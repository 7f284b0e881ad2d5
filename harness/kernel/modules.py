# SPDX-License-Identifier: GPL-2.0-only
"""The modules of a kernel, as its userland gets them: an archive that follows its own."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from harness.base.errors import PrerequisiteError
from harness.guest.cpio import Archive
from harness.kernel import making
from harness.kernel.built import MODULES


def has_some(objects: Path) -> bool:
    """Whether a build made modules.

    Args:
        objects: The folder of the objects.
    """
    order = objects / "modules.order"
    return order.is_file() and bool(order.read_text().strip())


def collect(tree: Path, build: str, target: Path, *, make: Mapping[str, str]) -> None:
    """Put the modules of a build into an archive, with what modprobe looks them up in.

    Args:
        tree: The source.
        build: The folder of the objects, in the source.
        target: The folder of the kernel's files.
        make: Variables of make, such as LLVM.

    Raises:
        BuildError: They cannot be installed.
        PrerequisiteError: There is no depmod to find out what they need.
    """
    if not has_some(tree / build):
        return
    with tempfile.TemporaryDirectory(dir=target) as name:
        goals = [f"O={build}", f"INSTALL_MOD_PATH={name}", "INSTALL_MOD_STRIP=1"]
        making.make(tree, [*goals, "modules_install"], variables=make)
        # It is no error of make's if there is no depmod.
        if not next(Path(name).glob("lib/modules/*/modules.dep"), None):
            raise PrerequisiteError("modules need depmod", hint="install the package kmod")
        (target / MODULES).write_bytes(archive(Path(name)))


def archive(root: Path) -> bytes:
    """The archive of modules that are installed below a folder.

    Without links: where the source lies does not matter to a guest. Without the tables that
    kmod has in a form of its own: busybox reads the texts.

    Args:
        root: The folder that has lib/modules.
    """
    packed = Archive()
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.suffix != ".bin":
            packed.file(f"/{path.relative_to(root)}", path.read_bytes())
    return packed.to_bytes()
