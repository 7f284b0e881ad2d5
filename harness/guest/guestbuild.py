# SPDX-License-Identifier: GPL-2.0-only
"""Builds the programs that run in the guests: static, with musl, in seconds."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.base import cache
from harness.base.cache import Notify, quiet
from harness.base.errors import BuildError, PrerequisiteError
from harness.base.toolversions import version_line
from harness.guest import layouts

GUEST = Path(__file__).resolve().parent

_COMPILER = "musl-gcc"
_WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wmissing-prototypes", "-Wstrict-prototypes")
# What a program does not use of a shared folder is not in it.
_SMALL = ("-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections")
_SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_FLAGS = ("-static", "-std=gnu11", *_WARNINGS, *_SMALL)


@dataclass(frozen=True)
class _Program:
    """How a program is made.

    Args:
        folders: The folders below harness/guest/ with its sources and headers.
        flags: What the compiler is told besides.
    """

    folders: tuple[str, ...]
    # With -Os, a copy of a page is `rep movsb`: an eighth as fast on an emulated CPU.
    flags: tuple[str, ...] = ("-O2", "-s")


# The spawned kernels have few MiB for theirs; the witness keeps registers in loops.
_PROGRAMS = {
    "kspawn": _Program(("kspawn", "shared", "x86")),
    "witness": _Program(("witness", "witnesses", "x86"), ("-O2", "-g", "-pthread")),
    "uswsusp": _Program(("uswsusp", "shared", "x86")),
    "renew": _Program(("renew",)),
    "ready": _Program(("ready",)),
    "jumpback": _Program(("jumpback", "shared", "x86")),
    # It runs on the host, in the place of QEMU.
    "minder": _Program(("minder",)),
}
MINDER = "minder"
PROGRAMS = tuple(name for name in _PROGRAMS if name != MINDER)
# musl's headers end where the kernel's begin: these are the system's own.
_KERNEL_HEADERS = {
    "linux": ("/usr/include/linux",),
    "asm": ("/usr/include/x86_64-linux-gnu/asm", "/usr/include/asm"),
    "asm-generic": ("/usr/include/asm-generic",),
}


def build_guest(
    programs: Sequence[str] = PROGRAMS, *, folder: Path = GUEST, notify: Notify = quiet
) -> dict[str, Path]:
    """Build the guests' programs, where their sources changed.

    Args:
        programs: The names of the programs.
        folder: Where the sources are.
        notify: Told what is built.

    Returns:
        The path of each program by its name.

    Raises:
        BuildError: A program does not compile.
        PrerequisiteError: The compiler or the kernel's headers are missing.
    """
    return {name: _build(name, folder, notify) for name in programs}


def program_sources(name: str, folder: Path = GUEST) -> tuple[list[Path], list[Path]]:
    """What a program is made of.

    Args:
        name: Its name.
        folder: Where the sources are.

    Returns:
        Its sources, and its headers.
    """
    rooms = [folder / room for room in _PROGRAMS[name].folders]
    sources = [path for room in rooms for path in sorted(room.glob("*.c"))]
    headers = [path for room in rooms for path in sorted(room.glob("*.h"))]
    return sources, headers


def _build(name: str, folder: Path, notify: Notify) -> Path:
    flags = (*_FLAGS, *_PROGRAMS[name].flags)
    return _compile(name, name, (_COMPILER, *flags), folder, _compiler_version(), notify)


def build_sanitized(
    name: str,
    *,
    folder: Path = GUEST,
    main: Path | None = None,
    flags: Sequence[str] = (),
    notify: Notify = quiet,
) -> Path:
    """Build a guest program for the host, with sanitizers: what it reads wrong ends it.

    Args:
        name: Its name.
        folder: Where the sources are.
        main: A source that takes the place of the program's main.c.
        flags: What the compiler is told besides.
        notify: Told what is built.

    Returns:
        The program.

    Raises:
        BuildError: It does not compile.
        PrerequisiteError: The compiler is missing.
    """
    if not shutil.which("gcc"):
        raise PrerequisiteError("gcc is needed", hint="install the package gcc")
    command = ("gcc", "-std=gnu11", "-O1", "-g", *_WARNINGS, *_SANITIZERS, *flags)
    label = f"{name}-{main.stem if main else 'host'}"
    return _compile(name, label, command, folder, "", notify, main=main)


def _compile(
    name: str,
    label: str,
    command: Sequence[str],
    folder: Path,
    compiler: str,
    notify: Notify,
    *,
    main: Path | None = None,
) -> Path:
    """Compile and link a program in one go, which takes a second, into the cache."""
    sources, headers = program_sources(name, folder)
    if not sources:
        raise BuildError(f"the guest program {name} has no sources in {folder / name}")
    names = [str(path.relative_to(folder)) for path in (*sources, *headers)]
    if main is not None:
        sources = [*(path for path in sources if path.name != "main.c"), main]
    made = layouts.header()
    key = cache.digest(name, compiler, *command, *names, *sources, *headers, made)

    def build(part: Path) -> None:
        notify(f"building the guest program {name}")
        includes = part / "include"
        link_kernel_headers(includes)
        (includes / layouts.HEADER).write_text(made)
        line = [*command, "-isystem", str(includes)]
        for room in _PROGRAMS[name].folders:
            line += ["-iquote", str(folder / room)]
        line += ["-o", str(part / name), *map(str, sources)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{name} does not build: {first_error(done.stderr)}")
        shutil.rmtree(includes)

    return cache.entry("guest", f"{label}-{cache.short(key)}", build, notify=notify) / name


def first_error(output: str) -> str:
    """The line of a compiler's output, or of make's, that says what is wrong.

    Args:
        output: What it printed.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern in (
        r"\berror:|undefined reference|multiple definition|\bfatal\b",
        # What make says itself, such as "No rule to make target"; not "[...] Error 2".
        r"^make(?:\[\d+\])?: \*\*\* (?!\[|Waiting)",
    ):
        if found := [line for line in lines if re.search(pattern, line)]:
            return found[0]
    return (lines or ["no message"])[-1]


def _compiler_version() -> str:
    if not shutil.which(_COMPILER):
        raise PrerequisiteError(f"{_COMPILER} is needed", hint="install the package musl-tools")
    return version_line(_COMPILER)


def link_kernel_headers(includes: Path) -> None:
    """Make the kernel's headers known to the C library's compiler.

    Args:
        includes: The folder to make, for the compiler's -isystem.

    Raises:
        PrerequisiteError: They are missing.
    """
    includes.mkdir()
    for name, places in _KERNEL_HEADERS.items():
        found = next((place for place in places if Path(place).is_dir()), None)
        if found is None:
            raise PrerequisiteError(
                f"the kernel's headers {places[0]} are needed",
                hint="install the package linux-libc-dev",
            )
        (includes / name).symlink_to(found)


def build_module(
    name: str,
    *,
    objects: Path,
    build_hash: str,
    make: Sequence[str] = (),
    notify: Notify = quiet,
) -> Path:
    """Build a test module for the normal kernel.

    Args:
        name: Its name; the source is in harness/guest/modules/.
        objects: The folder of the kernel's objects.
        build_hash: The key of the kernel in the cache.
        make: Variables that make is given, such as "LLVM=1".
        notify: Told what is built.

    Returns:
        The path of the .ko file.

    Raises:
        BuildError: It does not compile.
    """
    folder = GUEST / "modules"
    sources = [folder / f"{name}.c", *sorted(folder.glob("*.h")), folder / "Kbuild"]
    key = cache.short(cache.digest(build_hash, *sources))

    def build(part: Path) -> None:
        notify(f"building the module {name}")
        for source in sources:
            shutil.copy(source, part)
        done = subprocess.run(
            [
                *("make", "-s", "-C", str(objects), *make),
                *(f"M={part}", f"KSPAWN_MODULE={name}", "modules"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BuildError(f"{name} does not build: {first_error(done.stderr + done.stdout)}")

    return cache.entry("modules", f"{name}-{key}", build, notify=notify) / f"{name}.ko"
