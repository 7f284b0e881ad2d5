# SPDX-License-Identifier: GPL-2.0-only
"""The user's own kernel: the options that name it, and what they are turned into."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.base import paths
from harness.base.errors import UsageError
from harness.kernel import bzimage, flavors, kbuild, kconfig, making, needs, tree, versions
from harness.kernel.built import BuiltKernel
from harness.kernel.flavors import Kind
from harness.kernel.making import Progress
from harness.kernel.specs import KernelSpec, load_for_tree, load_kernel

Tell = Callable[[str], Progress]

HELP = {
    "kernel_tree": "a kernel tree, built as it is, changes included; nothing is written into it",
    "config_fragment": "config fragment applied after those of the kernel; may be repeated",
    "flavor": "a kind of normal kernel of kernels/facts/versions.yaml; may be repeated",
    "config": "a whole .config for the normal kernel, in place of our fragments",
    "apply_patches": "apply the patches of --kernel to the tree's copy",
    "patch": "patch for the normal kernel, applied after those of --kernel; may be repeated",
    "bzimage": "ready-made kernels: the normal one, and after a comma the spawned one",
}


@dataclass(frozen=True, kw_only=True)
class Own:
    """What the user said of a kernel, besides the name of its spec.

    Args:
        kernel_tree: A tree that is built in place of the spec's source.
        fragments: Config fragments for the normal kernel.
        flavors: Kinds of normal kernels, by name.
        config: A whole .config for the normal kernel.
        apply_patches: Whether the spec's patches are applied to the tree.
        patches: Patches for the normal kernel, after those of its spec.
        bzimage: Ready-made kernels: the normal one, or both.
    """

    kernel_tree: Path | None = None
    fragments: tuple[Path, ...] = ()
    flavors: tuple[str, ...] = ()
    config: Path | None = None
    apply_patches: bool = False
    patches: tuple[Path, ...] = ()
    bzimage: tuple[Path, ...] = ()

    def check(self) -> None:
        """Check what can be checked before anything is built.

        Raises:
            UsageError: A file is not there or is of another kind, or two options
                contradict each other.
        """
        texts = [(path, "--config-fragment") for path in self.fragments]
        texts += [(self.config, "--config")] if self.config else []
        whole = [(path, "--patch") for path in self.patches]
        whole += [(path, "--bzimage") for path in self.bzimage]
        for path, option in (*texts, *whole):
            if not paths.is_file(path):
                raise UsageError(f"{option}: there is no file {path}")
        flavors.check(self.flavors)
        if self.bzimage and (
            self.kernel_tree or self.fragments or self.flavors or self.apply_patches
        ):
            raise UsageError(
                "--bzimage takes kernels as they are",
                hint="it goes with --config at most, which says how they were built",
            )
        if self.patches and (self.bzimage or self.kernel_tree):
            raise UsageError(
                "--patch goes with --kernel alone",
                hint="a tree is built as it is: apply the patch to the tree",
            )
        if len(self.bzimage) > 2:
            raise UsageError("--bzimage takes a normal and a spawned kernel, not more")
        if self.apply_patches and self.kernel_tree is None:
            raise UsageError("--apply-patches needs --kernel-tree")
        if self.kernel_tree is not None:
            tree.check_tree(self.kernel_tree)
        for path, option in texts:
            kconfig.read_options(path, what=option)

    def check_source(self, spec: KernelSpec) -> None:
        """Check that the source of a spec is there, if it is what is built.

        Args:
            spec: The kernel.

        Raises:
            PrerequisiteError: It is not there.
            SpecError: It is named by what is no path.
        """
        if self.kernel_tree is None and not self.bzimage:
            spec.check_source()

    def spec(self, kernel: str) -> KernelSpec:
        """What is known of the kernel: that of a tree, by the tree's version.

        Args:
            kernel: Name or YAML file, as of `specs.load_kernel`.

        Raises:
            SpecError: There is no such kernel, or the tree says no version.
        """
        if self.kernel_tree is None:
            return load_kernel(kernel).with_patches(self.patches)
        return load_for_tree(kernel, self.kernel_tree.expanduser().absolute())

    def arguments(self) -> list[str]:
        """The same as options of pytest."""
        given: list[str] = []
        if self.kernel_tree is not None:
            given.append(f"--kernel-tree={self.kernel_tree}")
        given += [f"--flavor={name}" for name in self.flavors]
        given += [f"--config-fragment={path}" for path in self.fragments]
        if self.config is not None:
            given.append(f"--config={self.config}")
        if self.apply_patches:
            given.append("--apply-patches")
        given += [f"--patch={path}" for path in self.patches]
        if self.bzimage:
            given.append(f"--bzimage={','.join(map(str, self.bzimage))}")
        return given

    def build(self, spec: KernelSpec, *, init: Path, tell: Tell) -> tuple[BuiltKernel, BuiltKernel]:
        """Build both kernels, or take them as they are.

        Args:
            spec: What is not said here: source, patches, configs.
            init: The program that the spawned kernel embeds.
            tell: Makes the listener of the progress of a role.

        Returns:
            The normal and the spawned kernel.

        Raises:
            BuildError: One does not build.
            PrerequisiteError: One lacks an option that the run needs.
            UsageError: A file is not there or is no kernel.
        """
        ready = self.bzimage
        if spec.ready and not ready and not self.kernel_tree:
            ready = (spec.path(spec.ready.normal), spec.path(spec.ready.spawned))
        if ready:
            normal = bzimage.load(ready[0], "normal", config=self.config)
            if len(ready) == 2:
                return normal, bzimage.load(ready[1], "spawned")
            return normal, kbuild.build_kernel(spec, "spawned", init=init, progress=tell("spawned"))
        progress = tell("normal")
        kind = flavors.kind(
            self.flavors,
            spec.kernel_version(),
            notify=lambda what: progress(0, 0, what),
        )
        if self.kernel_tree is not None:
            versions.say_once(spec.chosen())
            return self._build_tree(self.kernel_tree, spec, kind, init=init, tell=tell)
        normal = kbuild.build_kernel(
            spec,
            "normal",
            fragments=(*kind.fragments, *self.fragments),
            base=self.config or kind.base,
            make=kind.make,
            progress=progress,
        )
        needs.check(normal.config, "normal", label=f"{spec.name} normal", modules=True)
        return normal, kbuild.build_kernel(spec, "spawned", init=init, progress=tell("spawned"))

    def _build_tree(
        self, path: Path, spec: KernelSpec, kind: Kind, *, init: Path, tell: Tell
    ) -> tuple[BuiltKernel, BuiltKernel]:
        progress = tell("tree")
        normally: dict[str, Any] = {
            "fragments": (*kind.fragments, *self.fragments),
            "config": self.config or kind.base,
            "make": kind.make,
        }
        with tree.open_tree(
            path, spec=spec, patched=self.apply_patches, progress=progress
        ) as mirror:
            # Both configs first: a mistake in one is not to cost a build.
            options = mirror.configure("normal", **normally, progress=progress)
            needs.check(options, "normal", label=f"{mirror.name} normal", modules=True)
            options = mirror.configure("spawned", progress=progress)
            needs.check(options, "spawned", label=f"{mirror.name} spawned")
            normal = functools.partial(mirror.build, "normal", **normally)
            spawned = functools.partial(mirror.build, "spawned", init=init)
            if mirror.was_built("normal", **normally) and mirror.was_built("spawned"):
                return _side_by_side(normal, spawned, progress=tell("normal and spawned"))
            return normal(progress=tell("normal")), spawned(progress=tell("spawned"))


def _side_by_side(
    first: Callable[..., BuiltKernel], second: Callable[..., BuiltKernel], *, progress: Progress
) -> tuple[BuiltKernel, BuiltKernel]:
    """Two incremental builds at once: what takes them long is links, each on one CPU.

    The first that fails ends the other, and is what is said.
    """
    makes = making.Makes()
    with ThreadPoolExecutor(2) as pool:
        builds = [pool.submit(build, progress=progress, makes=makes) for build in (first, second)]
        try:
            for build in as_completed(builds):
                build.result()
        except BaseException:
            makes.end()
            raise
    return builds[0].result(), builds[1].result()


def given_own(given: Callable[[str], Any]) -> Own:
    """What was given, by the names that both the command line and pytest have for it.

    Args:
        given: Gives the value of an option by its name.

    Raises:
        UsageError: A file is not there, or two options contradict each other.
    """
    own = Own(
        kernel_tree=_path(given("kernel_tree"), "--kernel-tree"),
        fragments=tuple(
            paths.given(path, what="--config-fragment").absolute()
            for path in given("config_fragment")
        ),
        flavors=tuple(name for name in given("flavor") if name != flavors.QUICK),
        config=_path(given("kernel_config"), "--config"),
        apply_patches=given("apply_patches"),
        patches=tuple(paths.given(path, what="--patch").absolute() for path in given("patch")),
        bzimage=_files(given("bzimage")),
    )
    own.check()
    return own


def _path(path: Path | None, option: str) -> Path | None:
    return paths.given(path, what=option).absolute() if path is not None else None


def _files(text: str) -> tuple[Path, ...]:
    names = (name for name in text.split(",") if name)
    return tuple(paths.given(name, what="--bzimage").absolute() for name in names)
