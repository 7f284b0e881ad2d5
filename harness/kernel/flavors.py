# SPDX-License-Identifier: GPL-2.0-only
"""Flavours: kinds of normal kernels, as people build them (`flavors` of versions.yaml)."""

from __future__ import annotations

import lzma
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.base import cache, debian
from harness.base.cache import Notify, quiet
from harness.base.errors import BuildError, PrerequisiteError, SpecError, UsageError
from harness.base.version import Version
from harness.kernel import clang, kconfig, versions

QUICK = "quick"
"""The flavour that is no flavour: what the version brings, and nothing besides."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What flavours come to.

    Args:
        fragments: Config fragments, in the order they apply.
        make: Variables of make, such as LLVM.
        base: A whole .config, in place of the fragments of the version.
    """

    fragments: tuple[Path, ...] = ()
    make: Mapping[str, str] = field(default_factory=dict)
    base: Path | None = None


def split(text: str) -> tuple[str, ...]:
    """The flavours of an axis of the matrix: "debug", "debug+rt", or "quick" for none.

    Args:
        text: As it is written in the file.
    """
    return tuple(name for name in text.split("+") if name != QUICK)


def check(names: Sequence[str]) -> None:
    """Check that there are flavours of these names, and that they go together.

    Args:
        names: What the user gave.

    Raises:
        SpecError: There is none of a name.
        UsageError: Two have a whole .config each.
    """
    found = [versions.facts().flavor(name) for name in names]
    based = [one.name for one in found if one.base]
    if len(based) > 1:
        raise UsageError(f"--flavor {based[0]} and {based[1]}: each has a whole config")


def kind(
    names: Sequence[str],
    version: Version,
    *,
    notify: Notify = quiet,
) -> Kind:
    """What flavours come to for a version.

    Args:
        names: Their names.
        version: That of the source.
        notify: Told what is fetched.

    Raises:
        PrerequisiteError: A package with a config, or the compiler, is not to be had.
        SpecError: There is none of a name, or this version has no such flavour.
    """
    make: dict[str, str] = {}
    base = None
    for name in names:
        one = versions.facts().flavor(name)
        if not one.holds(version):
            raise SpecError(f"Linux {version} has no flavour {name}: {_bounds(one)}")
        make |= _make(one)
        if one.base:
            base = _config_of(one, version, notify)
    return Kind(fragments=tuple(versions.flavor_fragments(version, names)), make=make, base=base)


def slow(names: Sequence[str]) -> float:
    """How many times longer than others kernels of these flavours may take.

    Args:
        names: Their names.

    Raises:
        SpecError: There is none of a name.
    """
    return max([1.0, *(versions.facts().flavor(name).slow for name in names)])


def _bounds(one: versions.Flavor) -> str:
    words = [f"since {one.since}"] if one.since else []
    return f"it is there {' '.join([*words, *([f'before {one.before}'] if one.before else [])])}"


def _make(one: versions.Flavor) -> dict[str, str]:
    """The variables of make, with the compiler that is there."""
    if one.make.get("LLVM") != clang.NEWEST:
        return one.make
    llvm = clang.newest()
    if llvm is None:
        raise PrerequisiteError(
            f"flavour {one.name} is built by clang, and there is none with its linker",
            hint=f"install {clang.PACKAGES}, of one version, such as clang-19, lld-19, llvm-19",
        )
    return one.make | {"LLVM": llvm}


def _config_of(one: versions.Flavor, version: Version, notify: Notify) -> Path:
    """The .config of Debian's kernel without a variant, of its modules those that we need."""
    package = one.base.format(series=version.series)
    root = debian.unpack(package, suites=one.suites, notify=notify)
    found = sorted(root.glob("usr/src/*/config.amd64_none_amd64.xz"))
    if not found:
        raise BuildError(f"the package {package} has no config of amd64")

    fragments = versions.fragments(version, "normal")
    wanted = {name for path in fragments for name in kconfig.parse(path.read_text())}

    def unpack(part: Path) -> None:
        text = lzma.decompress(found[0].read_bytes()).decode()
        (part / "config").write_text(narrowed(text, wanted))

    key = f"{root.name}-{cache.short(cache.digest(*sorted(wanted)))}"
    return cache.entry("configs", key, unpack, notify=notify) / "config"


def narrowed(config: str, wanted: Collection[str]) -> str:
    """A config without the modules that nobody asks for.

    A distribution has thousands, and a virtual machine loads a dozen. What is built in
    stays, and what the other modules depend on is known by Kconfig.

    Args:
        config: The whole .config.
        wanted: The options that stay modules, without CONFIG_.
    """

    def off(found: re.Match[str]) -> str:
        return found[0] if found[1] in wanted else f"# CONFIG_{found[1]} is not set"

    return re.sub(r"^CONFIG_(\w+)=m$", off, config, flags=re.MULTILINE)
