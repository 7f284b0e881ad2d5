# SPDX-License-Identifier: GPL-2.0-only
"""What a dynamic program needs of a tree: its libraries, and their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from harness.base import debian
from harness.base.cache import Notify, quiet
from harness.base.errors import BuildError
from harness.base.lazy import lazily

if TYPE_CHECKING:
    from elftools.common import exceptions
    from elftools.elf import dynamic, elffile, segments
else:
    exceptions = lazily("elftools.common.exceptions")
    dynamic = lazily("elftools.elf.dynamic")
    elffile = lazily("elftools.elf.elffile")
    segments = lazily("elftools.elf.segments")

PACKAGES = ("busybox-static", "dropbear-bin", "kexec-tools")

_LIBRARY_FOLDERS = (
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "lib64",
    "usr/lib64",
    "lib",
    "usr/lib",
)


def required(programs: Iterable[Path], roots: Sequence[Path]) -> dict[str, Path]:
    """As `libraries`, but all of them have to be found.

    Args:
        programs: ELF programs.
        roots: Where libraries are looked for, before the host.

    Raises:
        BuildError: A library was not found.
    """
    found, missing = libraries(programs, roots)
    if missing:
        name, wanted_by = next(iter(missing.items()))
        raise BuildError(f"the library {name}, which {wanted_by} needs, was not found")
    return found


def with_dependencies(
    programs: Iterable[Path], roots: Sequence[Path], *, notify: Notify = quiet
) -> list[Path]:
    """The roots, and those of the packages they depend on, until no library is missing.

    Args:
        programs: The programs that are to run.
        roots: Unpacked packages.
        notify: Told what is fetched.

    Returns:
        Roots for `add_programs`; a library that no package has is still missing.
    """
    programs = list(programs)
    known = list(roots)
    seen = {name for root in roots for name in debian.depends(root) if not name.startswith("lib")}
    newest = list(roots)
    while newest and libraries(programs, known)[1]:
        names = {name for root in newest for name in debian.depends(root)} - seen
        seen |= names
        # libc6 is the host's: its packages are what the rest was linked with.
        wanted = sorted(name for name in names if name.startswith("lib") and name != "libc6")
        newest = debian.unpack_all(wanted, notify=notify)
        known += newest
    return known


def libraries(
    programs: Iterable[Path], roots: Sequence[Path]
) -> tuple[dict[str, Path], dict[str, str]]:
    """The dynamic linkers and libraries that programs need, and those of the libraries.

    Args:
        programs: ELF programs; static ones and scripts need nothing.
        roots: Where libraries are looked for, before the host.

    Returns:
        Files on the host by their path in the guest, and for each library
        that was not found the name of what needs it.
    """
    found: dict[str, Path] = {}
    missing: dict[str, str] = {}
    queue = list(programs)
    done: set[Path] = set()
    while queue:
        program = queue.pop()
        if program in done:
            continue
        done.add(program)
        for name in _needed(program):
            # /lib is in the search path of every distribution's linker, and
            # /lib64 is a link to it, for the linker's own fixed path.
            path = f"/lib/{name}"
            if path in found:
                continue
            library = _find_library(name, roots)
            if library is None:
                missing.setdefault(name, program.name)
                continue
            found[path] = library
            queue.append(library)
    return dict(sorted(found.items())), missing


def _needed(program: Path) -> list[str]:
    """The names of the libraries and of the dynamic linker that an ELF file asks for."""
    with program.open("rb") as file:
        try:
            elf = elffile.ELFFile(file)
        except exceptions.ELFError:
            return []
        names = [
            PurePosixPath(segment.get_interp_name()).name
            for segment in elf.iter_segments()
            if isinstance(segment, segments.InterpSegment)
        ]
        section = elf.get_section_by_name(".dynamic")
        if isinstance(section, dynamic.DynamicSection):
            names += [cast(Any, tag).needed for tag in section.iter_tags("DT_NEEDED")]
        return names


def _find_library(name: str, roots: Sequence[Path]) -> Path | None:
    for root in (*roots, Path("/")):
        for folder in _LIBRARY_FOLDERS:
            path = root / folder / name
            if path.is_file():
                return path
    return None


def tool(roots: Sequence[Path], name: str) -> Path:
    """A program in the first of some trees that has it, wherever programs lie."""
    for root in roots:
        for folder in ("bin", "sbin", "usr/bin", "usr/sbin"):
            path = root / folder / name
            if path.is_file():
                return path
    raise BuildError(f"none of the packages {', '.join(PACKAGES)} holds the program {name}")
