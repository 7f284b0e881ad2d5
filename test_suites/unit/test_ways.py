# SPDX-License-Identifier: GPL-2.0-only
"""Is a way a part: named in its own module, and told by the registry everywhere else?"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.base.errors import UsageError
from harness.ways import registry
from harness.ways.way import Kind, Loader, Way

ROOT = Path(__file__).resolve().parents[2]
NAMES = set(registry.names())


def comparisons(path: Path) -> Iterator[str]:
    """Where the code of a module compares with the name of a way, or chooses by one."""
    for node in ast.walk(ast.parse(path.read_text())):
        compared: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            compared = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            compared = [node.value]
        elif isinstance(node, ast.Dict):
            compared = [key for key in node.keys if key is not None]
        for one in compared:
            for part in ast.walk(one):
                if isinstance(part, ast.Constant) and part.value in NAMES:
                    yield f"{path.relative_to(ROOT)}:{part.lineno}: {part.value!r}"


def test_no_module_but_its_own_knows_a_way_by_name() -> None:
    # Guest programs have names of their own, one of them that of a way.
    rooms = ("ways", "guest")
    modules = [p for p in (ROOT / "harness").rglob("*.py") if p.parent.name not in rooms]
    found = [place for module in modules for place in comparisons(module)]
    # What a suite expects of a kernel is said by the suite.
    found = [place for place in found if not place.startswith("harness/plugin/suite.py")]
    assert found == []


def test_comparison_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: as the verdict once did it."""
    module = tmp_path / "verdict.py"
    module.write_text('x = way == "snapshot"\ny = {"in-place": 1}\nz = way in ("restricted",)\n')
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert len(list(comparisons(module))) == 3


def row_of(way: Way) -> tuple[str, str]:
    """The row of the README's table that a way is in: what boots, how memory comes back."""
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    said = {"no-image": "no image", "plain-jump": "plain jump"}.get(way.name, way.name)
    for row in cells:
        if said in re.split(r", |`", row[0]) or said.partition("-")[0] in re.split(r", ", row[0]):
            return row[1], row[2]
    pytest.fail(f"{way.name} is not in the README's table")


@pytest.mark.parametrize("way", registry.every(), ids=lambda way: way.name)
def test_way_is_in_the_table_of_the_readme(way: Way) -> None:
    boots, memory = (cell.replace("\N{EN DASH}", "-") for cell in row_of(way))
    if way.resumes or way.name == "plain-jump":
        assert (boots, memory) == (way.boots, way.memory)
    assert (ROOT / "test_suites" / way.suite).is_dir()


@pytest.mark.parametrize("way", registry.every(), ids=lambda way: way.name)
def test_way_says_all_that_its_checks_ask(way: Way) -> None:
    assert way.title
    if way.resumes:
        assert way.back is not None
        assert way.restored_by
        assert way.outcome == "image"
    else:
        assert way.loader is Loader.RESTRICTED
    assert (way.back is None) == bool(way.whole) or way.kind is not Kind.STAYS or not way.whole


def test_one_way_is_the_reference() -> None:
    assert sum(way.reference for way in registry.every()) == 1


def test_unknown_way_is_a_mistake_that_names_the_others() -> None:
    with pytest.raises(UsageError, match=r"no way 'teleport'.*restricted.*snapshot"):
        registry.get("teleport")
