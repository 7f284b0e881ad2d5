# SPDX-License-Identifier: GPL-2.0-only
"""The YAML files that describe kernels and machines, read and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
)

from harness.base import debian, paths
from harness.base.errors import PrerequisiteError, SpecError, UsageError
from harness.base.text import cut
from harness.base.version import Version
from harness.kernel import kconfig, versions
from harness.kernel.yamlfile import ROOT, Role, first_error, read_yaml, shown, unknown_key

KERNELS = versions.KERNELS
VM_CONFIGS = ROOT / "vm-configs"

__all__ = [
    "DEFAULT",
    "KERNELS",
    "MAXIMUM_MEMORY",
    "MIB",
    "MINIMUM_MEMORY",
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

MIB = 1 << 20
MINIMUM_MEMORY = 64 * MIB
MAXIMUM_MEMORY = 16 << 40
_UNITS = {"MiB": MIB, "GiB": 1 << 30}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class DebianSource(_Model):
    """A Debian package that holds a kernel source."""

    kind: Literal["debian"]
    package: str = Field(description="such as 'linux-source-6.12'")


class TarballSource(_Model):
    """A source archive on this machine."""

    kind: Literal["tarball"]
    path: str
    sha256: str | None = None


class GitSource(_Model):
    """A revision of a git repository on this machine."""

    kind: Literal["git"]
    path: str
    revision: str


class DirectorySource(_Model):
    """A source tree as it is; it is copied, so that nothing is built in it."""

    kind: Literal["directory"]
    path: str


class BzImageSource(_Model):
    """Kernels that are built already."""

    kind: Literal["bzimage"]
    normal: str
    spawned: str


Source = Annotated[
    DebianSource | TarballSource | GitSource | DirectorySource | BzImageSource,
    Field(discriminator="kind"),
]


class Series(_Model):
    """Patches of kernels/facts/versions.yaml by name: "ours", "fixes", a name, or "-name"."""

    normal: list[str] = Field(default_factory=lambda: [versions.OURS])
    spawned: list[str] = Field(default_factory=lambda: [versions.OURS])


class Patches(_Model):
    """Patches in place of those of the version: folders of kernels/patches, or globs in it."""

    common: list[str] = Field(default_factory=list)
    normal: list[str] = Field(default_factory=list)
    spawned: list[str] = Field(default_factory=list)


class Configs(_Model):
    """Fragments of kernels/configs in place of those of the version, by the role of the build."""

    normal: list[str] = Field(min_length=1)
    spawned: list[str] = Field(min_length=1)


class KernelSpec(_Model):
    """A kernel: where it comes from; the version of that says how its two builds are made."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    source: Source
    version: str = Field(default="", description="of the source, where its name does not say it")
    series: Series = Field(default_factory=Series)
    patches: Patches | None = None
    configs: Configs | None = None

    _file: Path = PrivateAttr(default=KERNELS / "unknown.yaml")

    @field_validator("version")
    @classmethod
    def _check_version(cls, value: str) -> str:
        if value and Version.parse(value) is None:
            raise ValueError(f"{value!r} is no version, write it like '6.12'")
        return value

    def path(self, name: str) -> Path:
        """A path of the source, taken from the folder of the YAML file.

        Args:
            name: As written in the file: absolute, relative, or with `~`.

        Raises:
            SpecError: It is no path.
        """
        try:
            return (self._file.parent / paths.given(name)).resolve()
        except UsageError as exc:
            raise SpecError(f"{shown(self._file)}: source: {exc.message}") from None

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
        match self.source:
            case DebianSource(package=name) | TarballSource(path=name):
                found = re.search(r"\d+\.\d+(\.\d+)?", Path(name).name)
                return Version.parse(found[0]) if found else None
            case DirectorySource(path=name):
                return Version.of_tree(self.path(name))
            case GitSource(revision=name):
                return Version.parse(name)
            case BzImageSource():
                # It is built already: what would be chosen is of no use.
                self.check_source()
                return Version.parse(known_kernels()[0].removeprefix("linux-"))
        return None

    def of_version(self, version: Version) -> KernelSpec:
        """The same kernel of another version: that of the tree it is built from.

        Args:
            version: What the tree says.
        """
        return self.model_copy(update={"version": str(version)})

    def patch_files(self, role: Role) -> list[Path]:
        """The patches of a build, in the order they apply.

        Args:
            role: Which of the two builds.

        Raises:
            SpecError: A series or a glob has no patch.
        """
        if self.patches is None:
            chosen = self.series.normal if role == "normal" else self.series.spawned
            try:
                return versions.patches(self.kernel_version(), role, chosen)
            except SpecError as exc:
                message = f"{shown(self._file)}: series.{role}: {exc.message}"
                raise SpecError(message, hint=exc.hint) from None
        own = self.patches.normal if role == "normal" else self.patches.spawned
        files: list[Path] = []
        for kind, names in (("common", self.patches.common), (role, own)):
            for name in names:
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

    def check_source(self) -> None:
        """Check that a source on this machine is there, before anything is built.

        Raises:
            PrerequisiteError: It is not.
            SpecError: It is named by what is no path.
        """
        source = self.source
        match source:
            case TarballSource():
                needed = [source.path]
            case DirectorySource():
                needed = [f"{source.path}/Kconfig"]
            case BzImageSource():
                needed = [source.normal, source.spawned]
            case _:
                needed = []
        for name in needed:
            if not paths.is_file(self.path(name)):
                raise PrerequisiteError(
                    f"{shown(self._file)}: source: there is no file {self.path(name)}"
                )

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


class VMConfig(_Model):
    """A virtual machine."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    memory: str = Field(default="512MiB", description="such as '512MiB' or '1GiB'")
    cpus: int = Field(default=1, ge=1, le=8)
    machine: Literal["pc", "q35"] = "pc"
    disk_bus: Literal["virtio", "sata"] = "virtio"
    cpu: str = Field(default="max", description="a CPU model of QEMU")
    cpu_features: dict[str, bool] = Field(
        default_factory=dict, description="switched on or off, such as {la57: false}"
    )
    after: Literal["poweroff", "reset"] = Field(
        default="poweroff", description="what the hibernating kernel does when it has saved"
    )
    timeout_scale: float = Field(
        default=1.0, ge=0.1, le=1000, description="stretches every deadline"
    )

    _file: Path = PrivateAttr(default=VM_CONFIGS / "unknown.yaml")

    @property
    def file(self) -> Path:
        """The file that it was read from."""
        return self._file

    @field_validator("memory")
    @classmethod
    def _check_memory(cls, value: str) -> str:
        found = re.fullmatch(r"([0-9]{1,12}) ?(MiB|GiB)", value)
        if not found:
            raise ValueError(f"{cut(repr(value))} is no size, write it like 512MiB or 1GiB")
        if int(found[1]) * _UNITS[found[2]] < MINIMUM_MEMORY:
            raise ValueError(f"{value} is below the minimum of {MINIMUM_MEMORY // MIB}MiB")
        if int(found[1]) * _UNITS[found[2]] > MAXIMUM_MEMORY:
            raise ValueError(f"{value} is above the maximum of {MAXIMUM_MEMORY >> 30}GiB")
        return value

    @property
    def memory_bytes(self) -> int:
        """The RAM in bytes."""
        return int(self.memory[:-3]) * _UNITS[self.memory[-3:]]


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
    return KernelSpec(name=f"linux-{version.series}", source=source, version=str(version))


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
        source = load_kernel(name).source
        if not isinstance(source, DebianSource) or debian.can_be_had(source.package):
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


def names(folder: Path) -> list[str]:
    """The names of the YAML files in a folder."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def find(name_or_path: str | Path, *, folder: Path, what: str) -> Path:
    """The YAML file that a name or a path stands for.

    Args:
        name_or_path: A bare name, or a path: it ends in .yaml or has a slash.
        folder: Where bare names are found.
        what: What is looked for, for the error.

    Raises:
        SpecError: There is none.
    """
    text = str(name_or_path)
    is_path = os.sep in text or text.endswith((".yaml", ".yml"))
    try:
        path = paths.given(text) if is_path else folder / paths.given(f"{text}.yaml")
    except UsageError as exc:
        raise SpecError(f"{what}: {exc.message}") from None
    if not paths.is_file(path):
        raise SpecError(
            f"there is no {what} {cut(repr(text))}",
            hint=f"{shown(folder)} has: {', '.join(names(folder)) or 'none'}",
        )
    return path


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
