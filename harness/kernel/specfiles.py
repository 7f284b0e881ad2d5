# SPDX-License-Identifier: GPL-2.0-only
"""The YAML files of kernels and machines, by name or by path."""

from __future__ import annotations

import os
from pathlib import Path

from harness.base import paths
from harness.base.errors import SpecError, UsageError
from harness.base.text import cut
from harness.kernel.yamlfile import shown


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
