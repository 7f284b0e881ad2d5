# SPDX-License-Identifier: GPL-2.0-only
"""A file is compiled as one of the kernel's was, and with debug information."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.base.errors import BuildError
from harness.kernel.debuginfo import compiler

SOURCE, TARGET = Path("/types.c"), Path("/types.o")
SAVED = (
    "{made} := ccache gcc -Wp,-MMD,init/.main.o.d -nostdinc -I../include -D__KERNEL__ -flto=thin"
    " -DKBUILD_MODNAME='\"main\"' -c -o init/main.o ../init/main.c   ;"
    " ./tools/objtool/objtool --uaccess   init/main.o\n\nsource_init/main.o := ../init/main.c\n"
)


@pytest.mark.parametrize("made", ["savedcmd_init/main.o", "cmd_init/main.o"])
def test_compiler(made: str) -> None:
    assert compiler(SAVED.format(made=made), source=SOURCE, target=TARGET) == [
        *("ccache", "gcc", "-nostdinc", "-I../include", "-D__KERNEL__"),
        *('-DKBUILD_MODNAME="main"', "-c"),
        *("-g", "-gdwarf-5", "-fno-eliminate-unused-debug-types"),
        *("-o", "/types.o", "/types.c"),
    ]


@pytest.mark.parametrize(
    "saved", ["", "savedcmd_init/version.o := gcc -o a", "cmd_init/main.o := gcc"]
)
def test_what_is_no_such_command(saved: str) -> None:
    with pytest.raises(BuildError, match="not understood"):
        compiler(saved, source=SOURCE, target=TARGET)
