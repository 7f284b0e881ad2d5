# SPDX-License-Identifier: GPL-2.0-only
"""Which clang builds a kernel: `LLVM=` of make, as Documentation/kbuild/llvm.rst has it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

NEWEST = "newest"
"""In place of a value of LLVM: the newest that is installed."""

PACKAGES = "clang, lld and llvm"


def newest() -> str | None:
    """The value of LLVM that has make use the newest clang that has its linker.

    Debian has several beside each other, as `clang-19`; what is called `clang` alone
    may be older than what a kernel asks for (scripts/min-tool-version.sh).

    Returns:
        "-19", or "1" for tools without a number; None where there is no clang.
    """
    numbers = sorted({int(found[1]) for found in map(_numbered, _programs()) if found})
    for number in reversed(numbers):
        if _is_whole(f"-{number}"):
            return f"-{number}"
    return "1" if _is_whole("") else None


def of_config(config: Mapping[str, str]) -> str | None:
    """The value of LLVM that a kernel was built with: its modules are to be built with it, too.

    Args:
        config: Its options, as `kconfig.parse` gives them.

    Returns:
        None if it was not built by clang.
    """
    if config.get("CC_IS_CLANG") != "y":
        return None
    suffix = f"-{int(config.get('CLANG_VERSION', '0')) // 10000}"
    return suffix if _is_whole(suffix) else "1"


def tool(name: str, llvm: str) -> str:
    """What a program of LLVM is called.

    Args:
        name: Such as "ld.lld".
        llvm: The value of LLVM: "1", a suffix as "-19", or a folder that ends in "/".
    """
    if llvm.endswith("/"):
        return f"{llvm}{name}"
    return name + (llvm if llvm.startswith("-") else "")


def _programs() -> list[str]:
    folders = map(Path, os.get_exec_path())
    return [path.name for one in folders if one.is_dir() for path in one.glob("clang-*")]


def _numbered(name: str) -> re.Match[str] | None:
    return re.fullmatch(r"clang-(\d{1,3})", name)


def _is_whole(suffix: str) -> bool:
    return all(shutil.which(tool(name, suffix)) for name in ("clang", "ld.lld", "llvm-ar"))
