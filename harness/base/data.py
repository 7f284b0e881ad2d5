# SPDX-License-Identifier: GPL-2.0-only
"""Where the files are that are no code: kernels, machines, suites.

In a checkout they lie beside the package, and in the package where it is
installed: setup.py puts them there.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the package `harness`."""

IMPORTS = PACKAGE.parent
"""What is to be on the path of Python, for another process to find the package."""


def root() -> Path:
    """The folder that has kernels/, vm-configs/ and test_suites/."""
    return IMPORTS if is_checkout() else PACKAGE / "data"


def is_checkout() -> bool:
    """Whether this is the code of a checkout."""
    return (IMPORTS / "kernels" / "facts").is_dir()
