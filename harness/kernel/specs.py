# SPDX-License-Identifier: GPL-2.0-only
"""The YAML files that describe kernels and machines, read and checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
)

from harness.base import paths
from harness.base.errors import SpecError, UsageError
from harness.base.text import cut
from harness.base.version import Version
from harness.kernel import kconfig, versions
from harness.kernel.candidates import Candidates
from harness.kernel.sourcespec import (
    BzImageSource,
    DebianSource,
    DirectorySource,
    GitSource,
    Model,
    TarballSource,
)
from harness.kernel.specfiles import find, names
from harness.kernel.vmconfig import VM_CONFIGS, VMConfig
from harness.kernel.yamlfile import ROOT, Role, first_error, read_yaml, shown, unknown_key

KERNELS = versions.KERNELS

__all__ = [
    "DEFAULT",
    "KERNELS",
    "ROOT",
    "VM_CONFIGS",
    "BzImageSource",
    "Configs",
    "DebianSource",
    "DirectorySource",
    "GitSource",
    "KernelSpec",
    "Patches",
    "Role",
    "Series",
    "TarballSource",
    "VMConfig",
    "default_kernel",
    "find",
    "first_error",
    "known_kernels",
    "load_for_tree",
    "load_kernel",
    "load_vm_config",
    "names",
    "of_version",
    "read_yaml",
    "shown",
    "unknown_key",
]

DEFAULT = "default"
"""Stands for the newest known kernel that can be had, and for what a tree says itself."""


class Series(Model):
    """Patches of kernels/facts/versions.yaml by name: "ours", "fixes", a name, or "-name"."""

    normal: list[str] = Field(default_factory=lambda: [versions.OURS])
    spawned: list[str] = Field(default_factory=lambda: [versions.OURS])


class Patches(Model):
    """Patches in place of those of the version: folders of kernels/patches, or globs in it."""

    common: list[str] = Field(default_factory=list)
    normal: list[str] = Field(default_factory=list)
    spawned: list[str] = Field(default_factory=list)


class Configs(Model):
    """Fragments of kernels/configs in place of those of the version, by the role of the build."""

    normal: list[str] = Field(min_length=1)
    spawned: list[str] = Field(min_length=1)


class KernelSpec(Candidates):
    """A kernel: where it comes from; the version of that says how its two builds are made."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    version: str = Field(default="", description="of the source, where its name does not say it")
    series: Series = Field(default_factory=Series)
    patches: Patches | None = None
    configs: Configs | None = None
    _more: tuple[Path, ...] = PrivateAttr(default=())

    @field_validator("version")
    @classmethod
    def _check_version(cls, value: str) -> str:
        if value and Version.parse(value) is None:
            raise ValueError(f"{value!r} is no version, write it like '6.12'")
        return value

    def kernel_version(self) -> Version:
        """The version of the source.

        Raises:
            PrerequisiteError: The source would say it, and is not there.
            SpecError: Neither the file nor the source says it.
        """
        found = Version.parse(self.version) or self._version_of_source()
        if found is None:
            self.check_source()
            raise SpecError(
                f"{shown(self._file)}: the source does not say which version of Linux it is",
                hint="add a line such as version: '6.12'",
            )
        return found

    def _version_of_source(self) -> Version | None:
        if self.ready:
            # It is built already: what would be chosen is of no use.
            self.check_source()
            return Version.parse(known_kernels()[0].removeprefix("linux-"))
        return self.version_of_source()

    def of_version(self, version: Version) -> KernelSpec:
        """The same kernel of another version: that of the tree it is built from.

        Args:
            version: What the tree says.
        """
        return self.model_copy(update={"version": str(version)})

    def with_patches(self, files: Sequence[Path]) -> KernelSpec:
        """The same kernel with more patches in its normal build, after all others.

        Args:
            files: The patches, in the order they apply.
        """
        copy = self.model_copy()
        copy._more = (*self._more, *files)
        return copy

    def patch_files(self, role: Role) -> list[Path]:
        """The patches of a build, in the order they apply.

        Args:
            role: Which of the two builds.

        Raises:
            SpecError: A series or a glob has no patch.
        """
        more = self._more if role == "normal" else ()
        return [*self._patches_of_spec(role), *more]

    def _patches_of_spec(self, role: Role) -> list[Path]:
        if self.patches is None:
            chosen = self.series.normal if role == "normal" else self.series.spawned
            try:
                return versions.patches(self.kernel_version(), role, chosen)
            except SpecError as exc:
                message = f"{shown(self._file)}: series.{role}: {exc.message}"
                raise SpecError(message, hint=exc.hint) from None
        own = self.patches.normal if role == "normal" else self.patches.spawned
        files: list[Path] = []
        for kind, series in (("common", self.patches.common), (role, own)):
            for name in series:
                files += self._series(f"patches.{kind}", name)
        return files

    def fragments(self, role: Role) -> list[Path]:
        """The config fragments of a build, in the order they apply.

        Args:
            role: Which of the two builds.

        Raises:
            SpecError: A fragment is not there.
        """
        if self.configs is None:
            return versions.fragments(self.kernel_version(), role)
        names = self.configs.normal if role == "normal" else self.configs.spawned
        folder = KERNELS / "configs"
        for name in names:
            if not _is_file(folder, name):
                available = ", ".join(sorted(path.name for path in folder.glob("*.config")))
                raise SpecError(
                    f"{shown(self._file)}: configs.{role}: "
                    f"no file {cut(repr(name))} in {shown(folder)}",
                    hint=f"there are: {available}",
                )
            with _named(f"{shown(self._file)}: configs.{role}"):
                kconfig.read_options(folder / name)
        return [folder / name for name in names]

    def chosen(self) -> str:
        """What its version brings with it, in a line."""
        series: dict[Role, Sequence[Path]] = {
            role: self.patch_files(role) for role in get_args(Role)
        }
        return versions.describe(self.kernel_version(), series)

    def _series(self, field: str, name: str) -> list[Path]:
        folder = KERNELS / "patches"
        try:
            is_folder = (folder / paths.given(name)).is_dir()
            matches = folder.glob(f"{name}/*.patch" if is_folder else name)
            found = sorted(path for path in matches if path.is_file())
        # What glob does not take: an absolute pattern, or none.
        except (UsageError, OSError, ValueError, NotImplementedError):
            found = []
        if not found:
            raise SpecError(
                f"{shown(self._file)}: {field}: {cut(repr(name))} names no patch in {shown(folder)}"
            )
        return found


def _is_file(folder: Path, name: str) -> bool:
    try:
        return paths.is_file(folder / paths.given(name))
    except UsageError:
        return False


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Put a place before the message of a UsageError, which is one of a spec then."""
    try:
        yield
    except UsageError as exc:
        raise SpecError(f"{place}: {exc.message}", hint=exc.hint) from None


_AnySpec = TypeVar("_AnySpec", KernelSpec, VMConfig)


def load_kernel(name_or_path: str | Path) -> KernelSpec:
    """Read the description of a kernel.

    Args:
        name_or_path: A name such as "linux-6.12", found in kernels/, the path of a
            YAML file, or "default", the newest that can be had.

    Raises:
        SpecError: There is no such kernel, its file is wrong, or a file that it names is
            not there or is of another kind.
    """
    if name_or_path == DEFAULT:
        name_or_path = default_kernel()
    spec = _load(KernelSpec, find(name_or_path, folder=KERNELS, what="kernel"))
    # What it names has to be there: else that would come out after builds, or hours.
    for role in get_args(Role):
        spec.fragments(role)
        spec.patch_files(role)
    return spec


def load_for_tree(name_or_path: str | Path, tree: Path) -> KernelSpec:
    """The description of a kernel that is built from a tree: its version chooses.

    Args:
        name_or_path: As of `load_kernel`; by default the tree alone says all.
        tree: The tree.

    Raises:
        SpecError: There is no such kernel, its file is wrong, or the tree says no version.
    """
    version = Version.of_tree(tree)
    if version is None:
        raise SpecError(f"{tree} is no kernel tree: its Makefile says no version")
    return of_version(name_or_path, version, tree)


def of_version(name_or_path: str | Path, version: Version, tree: Path) -> KernelSpec:
    """The same, where the version is known already.

    Args:
        name_or_path: As of `load_kernel`.
        version: The version of the tree.
        tree: The tree.

    Raises:
        SpecError: There is no such kernel, or its file is wrong.
    """
    if name_or_path != DEFAULT:
        return load_kernel(name_or_path).of_version(version)
    source = DirectorySource(kind="directory", path=str(tree))
    return KernelSpec(name=f"linux-{version.series}", source=[source], version=str(version))


def known_kernels() -> list[str]:
    """The kernels of kernels/ that are a version and nothing besides, the newest first."""
    found = {
        name: version
        for name in names(KERNELS)
        if re.fullmatch(r"linux-\d+\.\d+", name)
        and (version := Version.parse(name.removeprefix("linux-")))
    }
    return sorted(found, key=lambda name: found[name], reverse=True)


def default_kernel() -> str:
    """The newest known kernel that can be had; says so if it is not the newest.

    Where none can be had it is the newest as well: what is wrong then comes out
    where its source is fetched.
    """
    newest, *others = known_kernels()
    for name in (newest, *others):
        if load_kernel(name).can_be_had():
            if name != newest:
                versions.say_once(f"the source of {newest} is not to be had, taking {name}")
            return name
    return newest


def load_vm_config(name_or_path: str | Path) -> VMConfig:
    """Read the description of a machine.

    Args:
        name_or_path: A name such as "default", found in vm-configs/, or the
            path of a YAML file.

    Raises:
        SpecError: There is no such machine, or its file is wrong.
    """
    return _load(VMConfig, find(name_or_path, folder=VM_CONFIGS, what="VM config"))


def _load(model: type[_AnySpec], path: Path) -> _AnySpec:
    data = read_yaml(path)
    try:
        spec = model.model_validate(data)
    except ValidationError as exc:
        raise SpecError(f"{shown(path)}: {first_error(exc, model)}") from None
    if spec.name != path.stem:
        raise SpecError(f"{shown(path)}: name: {spec.name!r} is not the name of the file")
    spec._file = path
    return spec
