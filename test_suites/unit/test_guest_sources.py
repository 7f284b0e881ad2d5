# SPDX-License-Identifier: GPL-2.0-only
"""The guests' C: a header a part, no circle of parts, nothing too long to read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from harness.guest import guestbuild

MAX_LINES = 500
MAX_FUNCTION = 60
# What a program begins with has no caller, and so no header.
ROOTS = r"main|cmd_\w+|uswsusp|jumpback|renew|ready"
FILES = sorted(guestbuild.GUEST.glob("*/*.[ch]"))


def uses(program: str, folder: Path = guestbuild.GUEST) -> dict[str, set[str]]:
    """Which parts each part of a program includes, its own header aside."""
    sources, headers = guestbuild.program_sources(program, folder)
    edges: dict[str, set[str]] = {}
    for path in (*sources, *headers):
        included = re.findall(r'^#include "([^"]+)\.h"$', path.read_text(), re.MULTILINE)
        edges.setdefault(path.stem, set()).update(set(included) - {path.stem})
    return edges


def order(edges: Mapping[str, set[str]]) -> list[str]:
    """The parts, each after those that it uses."""
    return list(TopologicalSorter(edges).static_order())


@pytest.mark.parametrize("program", guestbuild.PROGRAMS)
def test_parts_use_each_other_in_one_direction(program: str) -> None:
    assert order(uses(program))


def test_a_circle_is_seen(tmp_path: Path) -> None:
    """The control: two parts that use each other."""
    (tmp_path / "kspawn").mkdir()
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / "kspawn" / f"{name}.h").write_text(f"int {name}(void);\n")
        (tmp_path / "kspawn" / f"{name}.c").write_text(f'#include "{other}.h"\n')
    with pytest.raises(CycleError):
        order(uses("kspawn", tmp_path))


@pytest.mark.parametrize("program", guestbuild.PROGRAMS)
def test_each_part_has_a_header_that_it_is_checked_against(program: str) -> None:
    """What is not in the header is static: the compiler is told to see to that."""
    sources, headers = guestbuild.program_sources(program)
    names = {path.name for path in headers}
    for source in sources:
        if re.fullmatch(ROOTS, source.stem) or source.parent.name == "witnesses":
            continue
        assert f"{source.stem}.h" in names, source
        assert f'#include "{source.stem}.h"' in source.read_text(), source


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_can_be_read_in_one_go(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_LINES
    for body in re.findall(r"^[\w*][^\n;]*\([^;{}]*\)\n\{\n(.*?)^\}", text, re.M | re.S):
        assert body.count("\n") <= MAX_FUNCTION, body.splitlines()[0]


def test_a_witness_is_a_file_of_its_name() -> None:
    names = {
        path.stem: re.findall(r'\.name = "([^"]+)"', path.read_text())
        for path in (guestbuild.GUEST / "witnesses").glob("*.c")
    }
    assert len(names) >= 17
    assert names == {stem: [stem] for stem in names}


def test_a_command_is_a_file_of_its_name() -> None:
    for path in (guestbuild.GUEST / "kspawn").glob("cmd_*.c"):
        [name] = re.findall(r'\.name = "([^"]+)"', path.read_text())
        assert path.stem == f"cmd_{name.replace('-', '_')}"
