# SPDX-License-Identifier: GPL-2.0-only
"""Builds kernels from their specs, and keeps them in the cache.

There are two levels. A tree is a patched and configured source with the
objects in `build/` below it; its key leaves out the init that a spawned kernel
embeds. A kernel is what a tree made with one init. So another init costs a
link, not a build.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.base import cache
from harness.base.errors import BuildError, PrerequisiteError, UsageError
from harness.base.toolversions import version_line
from harness.guest import initramfs
from harness.kernel import clang, kconfig, making, modules, versions
from harness.kernel.built import EMBEDDED, BuiltKernel
from harness.kernel.checkout import Fetched, fetch
from harness.kernel.making import (
    Makes,
    Progress,
    Work,
    make_with_progress,
    no_orphans,
    no_progress,
)
from harness.kernel.objects import FILES, forget_harmed
from harness.kernel.patching import apply_series
from harness.kernel.specs import KernelSpec, Role

# Goes into every key: raise it when the same inputs would be built otherwise. 2: with the
# init that it was given, and not with one that ccache had.
_VERSIONS: Mapping[Role, str] = {"normal": "1", "spawned": "2"}
_EMBEDDING = "usr/initramfs_data.o"
_TOOLS = ("make", "gcc", "ld", "flex", "bison", "bc", "lz4", "tar", "patch", "cp")
_TOOL_PACKAGES = "make gcc binutils flex bison bc lz4 tar patch libelf-dev"


def build_kernel(
    spec: KernelSpec,
    role: Role,
    *,
    init: Path | None = None,
    fragments: Sequence[Path] = (),
    base: Path | None = None,
    make: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> BuiltKernel:
    """Build a kernel, as far as it is not in the cache.

    Args:
        spec: The kernel.
        role: Which of its two builds.
        init: The static program that a spawned kernel embeds as its init.
        fragments: Config fragments that are applied after those of the spec.
        base: A whole .config, in place of the spec's fragments.
        make: Variables of make, such as LLVM.
        progress: Told how many of how many steps are done (0 of 0 where that
            is not known), and what is being done.

    Returns:
        The kernel.

    Raises:
        BuildError: A patch does not apply, an option did not take, or the
            kernel does not compile.
        PrerequisiteError: The source or a tool is not there.
        UsageError: The kind of source cannot be built yet.
    """
    if role == "spawned" and init is None:
        raise UsageError(f"the spawned kernel of {spec.name} needs an init to embed")
    _check_tools()
    recipe = _recipe(spec, role, fragments, base, make or {}, progress)
    embedded = initramfs.spawned_initramfs(init) if init and role == "spawned" else b""
    key = recipe.kernel_key(embedded)
    tree = cache.home() / "trees" / recipe.key

    def build(part: Path) -> None:
        prepare = partial(_prepare, recipe)
        cache.entry("trees", recipe.key, prepare, notify=recipe.say, without=recipe.build)
        with cache.lock("trees", recipe.key, notify=recipe.say):
            with no_orphans(tree / recipe.build, recipe) as guard:
                _compile(recipe, tree, embedded, guard)
            _collect(recipe, tree, part)

    folder = cache.entry("kernels", key, build, notify=recipe.say, needed=tuple(FILES))
    return BuiltKernel(folder=folder, name=spec.name, role=role, tree=tree)


@dataclass(frozen=True, kw_only=True)
class _Recipe(Work):
    """What a tree is made from besides."""

    source: Fetched
    patches: Sequence[Path]
    allconfig: str
    base: str | None

    def kernel_key(self, embedded: bytes) -> str:
        """The key of the kernel that is made with an init."""
        options = kconfig.parse(f"{self.base or ''}\n{self.allconfig}")
        # What has modules was kept without them once.
        kept = ["modules"] if "m" in options.values() else []
        return cache.short(cache.digest(self.key, embedded, *kept))


def _recipe(
    spec: KernelSpec,
    role: Role,
    fragments: Sequence[Path],
    base: Path | None,
    make: Mapping[str, str],
    progress: Progress,
) -> _Recipe:
    def notify(message: str) -> None:
        progress(0, 0, message)

    source = fetch(spec, notify)
    files = [*([] if base else spec.fragments(role)), *fragments]
    allconfig = "".join(path.read_text().rstrip("\n") + "\n" for path in files)
    if role == "spawned":
        allconfig += f'CONFIG_INITRAMFS_SOURCE="{EMBEDDED}"\n'
    allconfig = versions.fit(allconfig, spec.kernel_version())
    patches = spec.patch_files(role)
    whole = [base] if base else []
    key = cache.digest(_VERSIONS[role], source.digest, allconfig, compiler(make), *patches, *whole)
    return _Recipe(
        name=spec.name,
        role=role,
        source=source,
        patches=patches,
        allconfig=allconfig,
        base=base.read_text() if base else None,
        # Without the name: what two specs have in common is built once.
        key=f"{role}-{cache.short(key)}",
        progress=progress,
        make=make,
    )


def compiler(make: Mapping[str, str] | None = None) -> str:
    """The versions of the compiler and the linker, and what make is told of them.

    Args:
        make: Variables of make.

    Raises:
        PrerequisiteError: One of them is not there.
    """
    lines = [f"{name}={value}" for name, value in sorted((make or {}).items())]
    tools = ["gcc", "ld"]
    if make and "LLVM" in make:
        tools = [clang.tool(name, make["LLVM"]) for name in ("clang", "ld.lld")]
    for tool in tools:
        if not shutil.which(tool):
            raise PrerequisiteError(
                f"building this kernel needs {tool}",
                hint=f"LLVM takes the packages {clang.PACKAGES}",
            )
        lines.append(version_line(tool))
    return "\n".join(lines)


def _check_tools() -> None:
    missing = [tool for tool in _TOOLS if not shutil.which(tool)]
    if missing:
        raise PrerequisiteError(
            f"building a kernel needs {', '.join(missing)}",
            hint=f"install the packages {_TOOL_PACKAGES}",
        )


# --- Patches and configs ------------------------------------------------------


def _prepare(recipe: _Recipe, tree: Path) -> None:
    recipe.notify(f"{recipe.label}: copying the source")
    recipe.source.copy(tree)
    apply_series(recipe.patches, tree, notify=recipe.say)
    recipe.notify(f"{recipe.label}: configuring")
    if (tree / ".config").exists():
        making.make(tree, ["mrproper"])
    configure(
        tree,
        recipe.build,
        recipe.allconfig,
        base=recipe.base,
        make=recipe.make,
        label=recipe.label,
    )


def configure(
    tree: Path,
    build: str,
    fragments: str,
    *,
    base: str | None = None,
    make: Mapping[str, str] | None = None,
    label: str = "",
) -> dict[str, str]:
    """Make the .config of a build; one that comes out the same is not touched.

    Args:
        tree: The source.
        build: The folder of the objects, in the source.
        fragments: The options that are wanted.
        base: A whole .config that they are added to; without it, all that they
            do not ask for is off.
        make: Variables of make, such as LLVM.
        label: Names the kernel in errors.

    Returns:
        The options that came out, as `kconfig.parse` gives them.

    Raises:
        BuildError: An option of the fragments did not take.
    """
    objects = tree / build
    objects.mkdir(exist_ok=True)
    (objects / "allconfig").write_text(fragments)
    if base is None:
        making.make(
            tree, [f"O={build}", "KCONFIG_ALLCONFIG=allconfig", "allnoconfig"], variables=make
        )
    else:
        (objects / ".config").write_text(f"{base}\n{fragments}")
        making.make(tree, [f"O={build}", "olddefconfig"], variables=make)
    got = (objects / ".config").read_text()
    kconfig.check(fragments, got, tree=tree, label=label, may_lack=versions.may_lack)
    return kconfig.parse(got)


def compile_in(
    tree: Path,
    build: str,
    target: Path,
    *,
    name: str,
    log: str,
    role: Role,
    init: Path | None = None,
    make: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
    makes: Makes | None = None,
) -> None:
    """Bring the objects of a configured tree up to date, where they are.

    Args:
        tree: The source. The caller sees to it that nobody else builds here.
        build: The folder of the objects, in the source.
        target: The folder that the kernel's files are copied to.
        name: Names the kernel in messages.
        log: The name of the log, as `log_file` takes it.
        role: Which of the two builds.
        init: The static program that a spawned kernel embeds as its init.
        make: Variables of make, such as LLVM.
        progress: Told how far it is, as of `build_kernel`.
        makes: Those of the builds that go on beside this one, if any.

    Raises:
        BuildError: The kernel does not compile, or the makes were ended.
        PrerequisiteError: A tool is missing.
    """
    _check_tools()
    work = Work(name=name, role=role, key=log, progress=progress, build=build, make=make or {})
    embedded = initramfs.spawned_initramfs(init) if init and role == "spawned" else b""
    with no_orphans(tree / build, work) as guard:
        _compile(work, tree, embedded, guard, makes=makes)
    _collect(work, tree, target)


def is_complete(tree: Path, build: str) -> bool:
    """Whether objects were made to the end once: a build of them is an incremental one.

    Args:
        tree: The source.
        build: The folder of the objects, in the source.
    """
    return (tree / build / ".complete").exists()


def _compile(
    work: Work, tree: Path, embedded: bytes, guard: int, *, makes: Makes | None = None
) -> None:
    """Bring the objects of a tree up to date. The caller holds its lock."""
    objects = tree / work.build
    config = objects / ".config"
    # A build that was killed while it linked again leaves a vmlinux that make
    # takes for whole. One that was killed the first time does not: kbuild
    # notes how it made a file after it made it.
    complete, unsure = objects / ".complete", objects / ".unsure"
    if unsure.exists() and complete.exists():
        work.notify(f"{work.label}: clearing up after an interrupted build")
        _forget_since(objects, unsure.stat().st_mtime_ns)
    if complete.exists():
        forget_harmed(objects, work)
    unsure.touch()
    options = kconfig.parse(config.read_text())
    if embedded:
        _write_if_changed(objects / EMBEDDED, embedded)
        if not _embeds(objects / "vmlinux", embedded, options):
            (objects / _EMBEDDING).unlink(missing_ok=True)
    goals = ["bzImage", *(["modules"] if options.get("MODULES") == "y" else [])]
    make_with_progress(work, tree, goals, inherit=(guard,), makes=makes or Makes())
    if not _embeds(objects / "vmlinux", embedded, options):
        raise BuildError(
            f"{work.label}: it was linked with another init than the one that it was given",
            hint=f"remove {objects / _EMBEDDING}, and build it again",
        )
    complete.touch()
    unsure.unlink()


def _embeds(vmlinux: Path, embedded: bytes, options: Mapping[str, str]) -> bool:
    """Whether a kernel has the init that it was given, as far as it can be seen.

    make and ccache go by names and dates, and either was wrong before.

    Args:
        vmlinux: The kernel.
        embedded: The initramfs that was given, if any.
        options: The kernel's: one that is compressed is not looked for.
    """
    if not embedded or options.get("INITRAMFS_COMPRESSION_NONE") != "y":
        return True
    return vmlinux.is_file() and embedded in vmlinux.read_bytes()


def _forget_since(objects: Path, began: int) -> None:
    """Remove what was made since a build began that did not end: it may be half.

    For each file X that it makes, kbuild keeps the command in .X.cmd.

    Args:
        objects: The folder of the objects.
        began: When the build began, in nanoseconds as of st_mtime_ns.
    """
    for folder, _, names in os.walk(objects):
        for name in names:
            if name.startswith(".") and name.endswith(".cmd"):
                made = Path(folder) / name[1:-4]
                if made.is_file() and made.stat().st_mtime_ns >= began:
                    made.unlink()


def _collect(work: Work, tree: Path, target: Path) -> None:
    for name, source in FILES.items():
        shutil.copy2(tree / work.build / source, target / name)
    modules.collect(tree, work.build, target, make=work.make)


def _write_if_changed(path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        path.write_bytes(data)
