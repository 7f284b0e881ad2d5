# SPDX-License-Identifier: GPL-2.0-only
"""Defaults beside the tests: kspawn.toml, or [tool.kspawn] of a pyproject.toml.

    kernel-tree = "~/linux"     # from the folder of the file, if relative
    flavor = ["debug"]
    machine = "smp2"
    way = "snapshot"
    results = "results"

An option on the command line wins.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.base import data, paths
from harness.base.errors import SpecError, UsageError
from harness.kernel.yamlfile import unknown_key

FILE = "kspawn.toml"
# The option that a key stands for, and whether its value is a path.
_KEYS = {
    "kernel": ("--kernel", False),
    "kernel-tree": ("--kernel-tree", True),
    "flavor": ("--flavor", False),
    "machine": ("--vm-config", False),
    "way": ("--resume-path", False),
    "results": ("--results", True),
}
_LARGEST = 1 << 16


def options(arguments: Sequence[str], here: Path) -> list[str]:
    """The options of pytest that a file beside the tests gives.

    Args:
        arguments: Those of the command line.
        here: The current folder.

    Raises:
        SpecError: The file is wrong.
    """
    found = find(arguments, here)
    if found is None:
        return []
    file, table = found
    given = {argument.partition("=")[0] for argument in arguments}
    made: list[str] = []
    for key, value in table.items():
        if key not in _KEYS:
            raise SpecError(f"{file}: {unknown_key(key, _KEYS)}: {key}")
        option, is_path = _KEYS[key]
        values = value if key == "flavor" and isinstance(value, list) else [value]
        if not all(isinstance(one, str) and one for one in values):
            raise SpecError(f"{file}: {key}: {value!r} is no text")
        if option not in given:
            made += [f"{option}={_path(file, one) if is_path else one}" for one in values]
    return made


def find(arguments: Sequence[str], here: Path) -> tuple[Path, dict[str, Any]] | None:
    """The nearest file, and its table: beside the tests that are named, or above.

    Args:
        arguments: Those of the command line.
        here: The current folder, whose tests are run where none are named.
    """
    for folder in _folders(arguments, here):
        for name in (FILE, "pyproject.toml"):
            file = folder / name
            if not paths.is_file(file):
                continue
            table = _read(file)
            if name != FILE:
                table = table.get("tool", {}).get("kspawn")
            if table is not None:
                return file, table
    return None


def _folders(arguments: Sequence[str], here: Path) -> Iterator[Path]:
    """Where the tests are that are named, and all folders above them."""
    named = [here / argument.partition("::")[0] for argument in arguments if argument[:1] != "-"]
    tests = [str(path.resolve()) for path in named if os.path.lexists(path)]
    start = Path(os.path.commonpath(tests)) if tests else here.resolve()
    if start.is_relative_to(data.root()):
        return  # our own suites, which a command of ours may run
    if start.is_dir():
        yield start
    yield from start.parents


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(paths.read(file, largest=_LARGEST).decode())
    except UsageError as exc:
        raise SpecError(exc.message) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SpecError(f"{file}: {exc}") from None


def _path(file: Path, text: str) -> Path:
    try:
        return file.parent / paths.given(text)
    except UsageError as exc:
        raise SpecError(f"{file}: {exc.message}") from None
