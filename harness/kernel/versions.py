# SPDX-License-Identifier: GPL-2.0-only
"""What differs between versions of Linux: kernels/facts/versions.yaml, read and asked.

Code asks for a fact here, and never compares versions itself.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.base.errors import SpecError
from harness.base.terminal import err
from harness.base.version import Bounds, Version
from harness.guest import layouts
from harness.kernel import kconfig
from harness.kernel.yamlfile import ROOT, Role, first_error, read_yaml, shown

KERNELS = ROOT / "kernels"
PATCHES = KERNELS / "patches"
CONFIGS = KERNELS / "configs"
FLAVORS = CONFIGS / "flavors"


class Variant(Bounds):
    """A patch, as some versions need it."""

    file: str = Field(description="below kernels/patches")


class Patch(Bounds):
    """A change of ours, and the variants of it."""

    name: str
    what: str
    builds: list[Role] = Field(min_length=1)
    fix: bool = Field(default=False, description="of a bug that the suites find")
    variants: list[Variant] = Field(min_length=1)

    def ordered(self, version: Version) -> list[Path]:
        """All variants, that of a version first, then the nearest.

        Args:
            version: The version.
        """
        near = sorted(self.variants, key=lambda variant: variant.distance(version))
        return [PATCHES / variant.file for variant in near]


class Fragment(Bounds):
    """A fragment of kernels/configs."""

    file: str
    builds: list[Role] = Field(min_length=1)


class Option(Bounds):
    """An option that not each version has."""

    name: str = Field(description="without CONFIG_")
    why: str = Field(description="what took its place, or was there before")


class Bug(Bounds):
    """A bug that a test shows."""

    name: str
    what: str = Field(description="the defect, with the commit that fixes it upstream")
    build: Role = Field(default="normal", description="which of the builds shows it")
    fixed_by: str = Field(description="the name of our patch that fixes it")


class Ability(Bounds):
    """What some kernels do and others do not."""

    name: str
    what: str


class FlavorFragment(Bounds):
    """A fragment of kernels/configs/flavors."""

    file: str


class Flavor(Bounds):
    """A kind of normal kernel, as people build them; bounds: the versions that have it."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    what: str
    fragments: list[FlavorFragment] = Field(default_factory=list)
    make: dict[str, str] = Field(
        default_factory=dict,
        description="variables of make, such as LLVM: '1'; 'newest' stands for what is installed",
    )
    slow: float = Field(
        default=1.0, ge=1, le=20, description="how many times longer than others it may take"
    )
    base: str = Field(
        default="",
        description="a Debian package with a whole .config, in place of our fragments; "
        "{series} stands for the series, such as 6.12; of its modules, those stay that our "
        "fragments ask for",
    )
    suites: list[str] = Field(
        default_factory=list, description="where the package is looked for, as those of a source"
    )


class Facts(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    patches: list[Patch]
    fragments: list[Fragment]
    options: list[Option]
    bugs: list[Bug]
    abilities: list[Ability]
    layouts: layouts.Layouts
    flavors: list[Flavor]

    def bug(self, name: str) -> Bug:
        """A bug by its name.

        Raises:
            SpecError: There is none of that name.
        """
        return _named(self.bugs, name, "bug")

    def can(self, name: str, version: Version) -> bool:
        """Whether a kernel has an ability.

        Args:
            name: The ability.
            version: That of the kernel.

        Raises:
            SpecError: There is none of that name.
        """
        return _named(self.abilities, name, "ability").holds(version)

    def patch(self, name: str) -> Patch:
        """A patch by its name.

        Raises:
            SpecError: There is none of that name.
        """
        return _named(self.patches, name, "patch")

    def flavor(self, name: str) -> Flavor:
        """A flavour by its name.

        Raises:
            SpecError: There is none of that name.
        """
        return _named(self.flavors, name, "flavour")


_T = TypeVar("_T", Ability, Bug, Patch, Flavor)


def _named(known: Sequence[_T], name: str, what: str) -> _T:
    for one in known:
        if one.name == name:
            return one
    there = ", ".join(one.name for one in known) or "none"
    raise SpecError(f"there is no {what} {name!r}", hint=f"{shown(layouts.VERSIONS)} has: {there}")


@functools.cache
def facts() -> Facts:
    """The facts of kernels/facts/versions.yaml.

    Raises:
        SpecError: The file is wrong.
    """
    path = layouts.VERSIONS
    try:
        return Facts.model_validate(read_yaml(path))
    except ValidationError as exc:
        raise SpecError(f"{shown(path)}: {first_error(exc, Facts)}") from None


# The words of a series, besides the names of patches.
OURS, FIXES = "ours", "fixes"


def patches(version: Version, role: Role, chosen: Sequence[str] = (OURS,)) -> list[Path]:
    """The patches of a build, in the order they apply.

    Args:
        version: That of the source.
        role: Which of the two builds.
        chosen: "ours", "fixes", or names of patches; "-NAME" leaves one out.

    Raises:
        SpecError: There is no patch of that name.
    """
    return [one.ordered(version)[0] for one in _series(version, role, chosen)]


def _series(version: Version, role: Role, chosen: Sequence[str]) -> list[Patch]:
    known = facts()
    words = {OURS, FIXES}
    named = {known.patch(word.removeprefix("-")).name for word in chosen if word not in words}
    left_out = {word[1:] for word in chosen if word.startswith("-")}
    found = []
    for one in known.patches:
        group = FIXES if one.fix else OURS
        if one.name in left_out or role not in one.builds or not one.holds(version):
            continue
        if group in chosen or one.name in named:
            found.append(one)
    return found


def variants(patch: Path) -> list[Path]:
    """All variants of a patch, itself first; only itself where it is none of ours.

    Args:
        patch: The file.
    """
    for one in facts().patches:
        files = [PATCHES / variant.file for variant in one.variants]
        if patch in files:
            return [patch, *(file for file in reversed(files) if file != patch)]
    return [patch]


def fragments(version: Version, role: Role) -> list[Path]:
    """The config fragments of a build, in the order they apply.

    Args:
        version: That of the source.
        role: Which of the two builds.
    """
    found = facts().fragments
    return [CONFIGS / one.file for one in found if role in one.builds and one.holds(version)]


def flavor_fragments(version: Version, flavors: Sequence[str]) -> list[Path]:
    """The fragments of flavours, in the order they apply.

    Args:
        version: That of the source.
        flavors: Their names.

    Raises:
        SpecError: There is no flavour of that name.
    """
    return [
        FLAVORS / one.file
        for name in flavors
        for one in facts().flavor(name).fragments
        if one.holds(version)
    ]


def fit(text: str, version: Version) -> str:
    """Fragments without the options that a version is known not to have.

    Args:
        text: The fragments.
        version: That of the source.
    """
    gone = {one.name: one.why for one in facts().options if not one.holds(version)}
    lines = []
    for line in text.splitlines(keepends=True):
        name = next(iter(kconfig.parse(line)), "")
        lines.append(f"# {name}: {gone[name]}\n" if name in gone else line)
    return "".join(lines)


def may_lack(name: str) -> bool:
    """Whether there are versions without an option, so that a tree may be one of them.

    Args:
        name: The option, without CONFIG_.
    """
    return any(one.name == name for one in facts().options)


@functools.cache
def say_once(what: str) -> None:
    """Say something to the user, once a run.

    Args:
        what: A line.
    """
    err.print(f"kspawn: {what}", highlight=False, soft_wrap=True)


def _wanted(version: Version) -> set[str]:
    """The options that the fragments of both builds ask for, without those of flavours."""
    files = {path for role in get_args(Role) for path in fragments(version, role)}
    return {name for path in files for name in kconfig.parse(path.read_text())}


def describe(version: Version, series: Mapping[Role, Sequence[Path]]) -> str:
    """What was chosen for a version, in a line.

    Args:
        version: The version.
        series: The patches of each build.
    """
    folders = sorted({path.parent.name for paths in series.values() for path in paths})
    bugs = [one.name for one in facts().bugs if one.holds(version)]
    wanted = _wanted(version)
    gone = [one.name for one in facts().options if one.name in wanted and not one.holds(version)]
    return (
        f"Linux {version}: patches of {', '.join(folders) or 'no series'}; "
        f"options left out: {', '.join(gone) or 'none'}; "
        f"known bugs: {', '.join(dict.fromkeys(bugs)) or 'none'}"
    )
