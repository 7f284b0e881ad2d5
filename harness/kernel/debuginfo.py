# SPDX-License-Identifier: GPL-2.0-only
"""Debug information for kernels that were built without.

Building all of a kernel with it takes several times the disk and half as long
again, and no run needs it. What a debugger needs of a crashed kernel are its
symbols, which vmlinux has, and its types; and the types come out of one file,
compiled in seconds against the objects of the build. A kernel that has debug
information itself (kernels/configs/debug-info.config) is used as it is: only
then are there lines and local variables.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.base import cache
from harness.base.cache import Notify, quiet
from harness.base.errors import BuildError, PrerequisiteError
from harness.base.lazy import lazily
from harness.guest import guestbuild
from harness.kernel.built import BuiltKernel

if TYPE_CHECKING:
    from elftools.elf import elffile
else:
    elffile = lazily("elftools.elf.elffile")

_SOURCE = guestbuild.GUEST / "modules" / "kspawn_types.c"
_KBUILD = """\
obj-m := kspawn_types.o
ccflags-y := -I$(srctree) -g -gdwarf-5 -fno-eliminate-unused-debug-types
# Of clang's LTO comes no object, but what the linker is to make one of.
CFLAGS_REMOVE_kspawn_types.o := $(CC_FLAGS_LTO)
"""
_SECTIONS = (".debug_info", ".debug_abbrev", ".debug_str", ".debug_line", ".debug_line_str")


def has_debug_info(vmlinux: Path) -> bool:
    """Whether a kernel was built with debug information.

    Args:
        vmlinux: The kernel.
    """
    with vmlinux.open("rb") as file:
        return elffile.ELFFile(file).get_section_by_name(".debug_info") is not None


def with_types(kernel: BuiltKernel, *, notify: Notify = quiet) -> Path:
    """A vmlinux that debuggers can use: with symbols and types at least.

    Args:
        kernel: The kernel.
        notify: Told what is built.

    Returns:
        Its own vmlinux, if it has debug information; else a copy with types.

    Raises:
        BuildError: The types do not compile.
        PrerequisiteError: The objects of the kernel are not in the cache.
    """
    if not kernel.vmlinux.is_file():
        raise PrerequisiteError(
            f"the kernel {kernel.name} is not in the cache any more ({kernel.folder})",
            hint="it was removed; build it again, or pass its vmlinux to drgn yourself",
        )
    if has_debug_info(kernel.vmlinux):
        return kernel.vmlinux
    key = cache.short(cache.digest(kernel.vmlinux, _SOURCE, _KBUILD))

    def build(part: Path) -> None:
        if not (kernel.objects / "Module.symvers").is_file():
            raise PrerequisiteError(
                f"the kernel {kernel.name} has no debug information, and the objects that its "
                "types would be compiled against are not there",
                hint="build it with kernels/configs/debug-info.config",
            )
        notify("compiling the types of the kernel")
        with tempfile.TemporaryDirectory() as name:
            _merge(kernel.vmlinux, _types(Path(name), kernel), part / "vmlinux")

    return cache.entry("debug", key, build, notify=notify) / "vmlinux"


def _types(folder: Path, kernel: BuiltKernel) -> Path:
    """Compile the types; a final link resolves what refers to sections."""
    shutil.copy(_SOURCE, folder)
    (folder / "Kbuild").write_text(_KBUILD)
    make = ["make", "-s", "-C", str(kernel.objects), *kernel.make]
    _run([*make, f"M={folder}", "kspawn_types.o"])
    linked = folder / "types.elf"
    made = folder / "kspawn_types.o"
    _run(["ld", "-e", "0", "--unresolved-symbols=ignore-all", "-o", str(linked), str(made)])
    return linked


def _merge(vmlinux: Path, types: Path, target: Path) -> None:
    """Add the debug sections of one file to a copy of another."""
    command = ["objcopy"]
    with types.open("rb") as file:
        elf = elffile.ELFFile(file)
        for name in _SECTIONS:
            if (section := elf.get_section_by_name(name)) is not None:
                data = types.with_name(name.lstrip("."))
                data.write_bytes(section.data())
                command += ["--add-section", f"{name}={data}"]
                command += ["--set-section-flags", f"{name}=readonly,debug"]
    _run([*command, str(vmlinux), str(target)])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = guestbuild.first_error(done.stderr + done.stdout)
        raise BuildError(f"the types of the kernel do not build: {message}")
