# SPDX-License-Identifier: GPL-2.0-only
"""Builds the programs that run in the guests: static, with musl, in seconds."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.base import cache
from harness.base.cache import Notify, quiet
from harness.base.errors import BuildError, PrerequisiteError

GUEST = Path(__file__).resolve().parent

_COMPILER = "musl-gcc"
_FLAGS = ("-static", "-std=gnu11", "-Wall", "-Wextra", "-Werror")
# Each program is made of the sources that begin with its name. The spawned
# kernels have few MiB for theirs; the witness keeps registers in loops.
_PROGRAMS: dict[str, tuple[str, ...]] = {
    "kspawn": ("-Os", "-s"),
    "witness": ("-O2", "-g", "-pthread"),
    "uswsusp": ("-Os", "-s"),
    "jumpback": ("-Os", "-s"),
}
# What a program takes from another one.
_SHARED = {
    "uswsusp": ("kspawn_util.c",),
    "jumpback": ("kspawn_util.c", "kspawn_mem.c"),
}
PROGRAMS = tuple(_PROGRAMS)
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


def _build(name: str, folder: Path, notify: Notify) -> Path:
    sources = sorted(folder.glob(f"{name}*.c"))
    sources += [folder / shared for shared in _SHARED.get(name, ())]
    if not any(source.stem == name for source in sources):
        raise BuildError(f"the guest program {name} has no source {name}*.c")
    compiler = _compiler_version()
    headers = sorted(folder.glob("*.h"))
    flags = (*_FLAGS, *_PROGRAMS.get(name, ("-Os",)))
    names = [path.name for path in (*sources, *headers)]
    key = cache.digest(name, compiler, *flags, *names, *sources, *headers)

    def build(part: Path) -> None:
        notify(f"building the guest program {name}")
        includes = part / "include"
        _link_kernel_headers(includes)
        # Linked in one go: the whole takes a second.
        command = [_COMPILER, *flags, "-isystem", str(includes), "-I", str(folder)]
        command += ["-o", str(part / name), *map(str, sources)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{name} does not build: {first_error(done.stderr)}")
        shutil.rmtree(includes)

    return cache.entry("guest", f"{name}-{cache.short(key)}", build, notify=notify) / name


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
    done = subprocess.run([_COMPILER, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def _link_kernel_headers(includes: Path) -> None:
    includes.mkdir()
    for name, places in _KERNEL_HEADERS.items():
        found = next((place for place in places if Path(place).is_dir()), None)
        if found is None:
            raise PrerequisiteError(
                f"the kernel's headers {places[0]} are needed",
                hint="install the package linux-libc-dev",
            )
        (includes / name).symlink_to(found)


def build_module(name: str, *, objects: Path, build_hash: str, notify: Notify = quiet) -> Path:
    """Build a test module for the normal kernel.

    Args:
        name: Its name; the source is in harness/guest/modules/.
        objects: The folder of the kernel's objects.
        build_hash: The key of the kernel in the cache.
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
            ["make", "-s", "-C", str(objects), f"M={part}", f"KSPAWN_MODULE={name}", "modules"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BuildError(f"{name} does not build: {first_error(done.stderr + done.stdout)}")

    return cache.entry("modules", f"{name}-{key}", build, notify=notify) / f"{name}.ko"
