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

import itertools
import shlex
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
_DEBUG = ("-g", "-gdwarf-5", "-fno-eliminate-unused-debug-types")
# A file of each kernel, whose compiler's command serves for ours: a kernel without
# modules has no rules for a file outside of its tree.
_LIKE = Path("init/main.o")
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
    key = cache.short(cache.digest(kernel.vmlinux, _SOURCE, " ".join(_DEBUG)))

    def build(part: Path) -> None:
        if not _command_file(kernel.objects).is_file():
            raise PrerequisiteError(
                f"the kernel {kernel.name} has no debug information, and the objects that its "
                "types would be compiled against are not there",
                hint="build it with kernels/configs/debug-info.config",
            )
        notify("compiling the types of the kernel")
        with tempfile.TemporaryDirectory() as name:
            _merge(kernel.vmlinux, _types(Path(name), kernel.objects), part / "vmlinux")

    return cache.entry("debug", key, build, notify=notify) / "vmlinux"


def _types(folder: Path, objects: Path) -> Path:
    """Compile the types; a final link resolves what refers to sections."""
    linked, made = folder / "types.elf", folder / "kspawn_types.o"
    _run(compiler(_command_file(objects).read_text(), source=_SOURCE, target=made), cwd=objects)
    _run(["ld", "-e", "0", "--unresolved-symbols=ignore-all", "-o", str(linked), str(made)])
    return linked


def _command_file(objects: Path) -> Path:
    return objects / _LIKE.with_name(f".{_LIKE.name}.cmd")


def compiler(saved: str, *, source: Path, target: Path) -> list[str]:
    """The command that compiles a file as one of the kernel's was, with debug information.

    Args:
        saved: What kbuild saved of that one (`.main.o.cmd`).
        source: The file.
        target: Its object.

    Raises:
        BuildError: It is not as kbuild writes it.
    """
    made, _, command = saved.partition("\n")[0].partition(":=")
    words = list(itertools.takewhile(lambda word: word != ";", shlex.split(command)))
    # cmd_ before v6.3, savedcmd_ since.
    if not made.strip().endswith(f"cmd_{_LIKE}") or words.count("-o") != 1:
        raise BuildError(f"{_LIKE} was compiled by a command that is not understood: {saved[:80]}")
    del words[words.index("-o") : words.index("-o") + 2]
    # Of clang's LTO comes no object, but what the linker is to make one of.
    kept = [
        word
        for word in words
        if not word.endswith(str(_LIKE.with_suffix(".c")))
        and not word.startswith(("-Wp,-MMD", "-flto", "-fsplit-lto-unit"))
    ]
    return [*kept, *_DEBUG, "-o", str(target), str(source)]


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


def _run(command: Sequence[str], *, cwd: Path | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode:
        message = guestbuild.first_error(done.stderr + done.stdout)
        raise BuildError(f"the types of the kernel do not build: {message}")
