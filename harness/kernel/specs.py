# SPDX-License-Identifier: GPL-2.0-only
"""The YAML files that describe kernels and machines, read and checked."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
)

from harness.base import paths, yamltext
from harness.base.errors import PrerequisiteError, SpecError, UsageError
from harness.base.text import cut
from harness.kernel import kconfig

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels"
VM_CONFIGS = ROOT / "vm-configs"

MIB = 1 << 20
MINIMUM_MEMORY = 64 * MIB
MAXIMUM_MEMORY = 16 << 40
_UNITS = {"MiB": MIB, "GiB": 1 << 30}

Role = Literal["normal", "spawned"]


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


class Patches(_Model):
    """Series to apply: folders of kernels/patches, or globs in it."""

    common: list[str] = Field(default_factory=list)
    normal: list[str] = Field(default_factory=list)
    spawned: list[str] = Field(default_factory=list)


class Configs(_Model):
    """Fragments of kernels/configs, by the role of the build."""

    normal: list[str] = Field(min_length=1)
    spawned: list[str] = Field(min_length=1)


class KernelSpec(_Model):
    """A kernel: where it comes from and how its two builds are made."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    source: Source
    patches: Patches = Field(default_factory=Patches)
    configs: Configs

    _file: Path = PrivateAttr(default=KERNELS / "unknown.yaml")

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

    def patch_files(self, role: Role) -> list[Path]:
        """The patches of a build, in the order they apply.

        Args:
            role: Which of the two builds.

        Raises:
            SpecError: A series or a glob has no patch.
        """
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
        name_or_path: A name such as "linux-6.12", found in kernels/, or the
            path of a YAML file.

    Raises:
        SpecError: There is no such kernel, its file is wrong, or a file that it names is
            not there or is of another kind.
    """
    spec = _load(KernelSpec, find(name_or_path, folder=KERNELS, what="kernel"))
    # What it names has to be there: else that would come out after builds, or hours.
    for role in get_args(Role):
        spec.fragments(role)
        spec.patch_files(role)
    return spec


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


def shown(path: Path) -> str:
    """A path as a person reads it: from the checkout or from here, where it can be."""
    resolved = path.resolve()
    for base in (ROOT, Path.cwd()):
        if resolved.is_relative_to(base):
            return str(resolved.relative_to(base))
    return str(path)


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


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that is a mapping.

    Raises:
        SpecError: It cannot be read, or is something else.
    """
    try:
        return yamltext.parse(paths.read(path, largest=yamltext.LARGEST))
    except SpecError as exc:
        raise SpecError(f"{shown(path)}: {exc.message}") from None
    except UsageError as exc:
        raise SpecError(exc.message) from None


# What is said of keys that are not known, or are no words.
_KEYS = ("extra_forbidden", "invalid_key")


def first_error(exc: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong with a file, in one line with its field.

    Args:
        exc: What reading it raised.
        model: What it was read as.
    """
    # What a key that is not known was meant for is missing: the typo is the one to name.
    errors = sorted(exc.errors(include_url=False), key=lambda e: e["type"] not in _KEYS)
    error = errors[0]
    place = _place(error["loc"])
    message = _message(error, model)
    return f"{place}: {message}" if place else message


def _place(location: tuple[int | str, ...]) -> str:
    parts = [cut(str(part), 60) for part in location]
    # pydantic puts the kind of a source between the key and what is in it.
    if parts[:1] == ["source"] and len(parts) > 2:
        del parts[1]
    return ".".join(parts)


def _message(error: Any, model: type[BaseModel]) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            message = unknown_key(str(error["loc"][-1]), _known(model, error["loc"][:-1]))
        case "missing":
            message = "missing"
        case "value_error":
            message = str(context["error"])
        case "union_tag_not_found":
            message = "kind: missing"
        case "union_tag_invalid":
            message = f"kind: {context['tag']!r} is none of {context['expected_tags']}"
        case _:
            text = str(error["msg"])
            message = f"{text[0].lower()}{text[1:]}, not {cut(repr(error['input']))}"
    return cut(message, 400)


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What to say of a key that is not known: what may have been meant, or all that there is.

    Args:
        key: As it is written in the file.
        known: Those that may be there.
    """
    names = list(known)
    if near := difflib.get_close_matches(key, names, n=1):
        return f"unknown key, is it {near[0]!r}? (known are: {', '.join(names)})"
    return "unknown key" + (f" (known are: {', '.join(names)})" if names else "")


def _known(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys that may be at a place of a file, by the JSON schema of its model."""
    schema = model.model_json_schema()
    node = schema
    for part in place:
        if mapping := node.get("discriminator", {}).get("mapping"):
            node = {"$ref": mapping.get(part, "")}
        else:
            other = node.get("items") or node.get("additionalProperties") or {}
            node = node.get("properties", {}).get(part, other)
        if reference := node.get("$ref"):
            node = schema["$defs"].get(reference.rpartition("/")[2], {})
    return list(node.get("properties", ()))
