# SPDX-License-Identifier: GPL-2.0-only
"""Do the rules of the house find what breaks them, and does the house keep them?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def rules(root: Path) -> list[str]:
    """What tools/rules.py prints of a tree."""
    command = [sys.executable, str(ROOT / "tools" / "rules.py"), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert bool(done.stdout) == bool(done.returncode)
    return done.stdout.splitlines()


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small house that keeps all rules."""
    room = tmp_path / "harness" / "room"
    room.mkdir(parents=True)
    (room / "__init__.py").write_text('"""A room.\n\nIt may import nothing."""\n')
    (room / "good.py").write_text("x = 1\n")
    return tmp_path


def test_this_house_keeps_them() -> None:
    left = ("harness/logs/",)
    assert [line for line in rules(ROOT) if not line.startswith(left)] == []


def test_names_of_files_with_tests_are_unique() -> None:
    """By its name alone pytest imports a file: of two, the second is an error."""
    names = [path.name for path in (ROOT / "test_suites").rglob("test_*.py")]
    assert [name for name in set(names) if names.count(name) > 1] == []


def test_good_house(house: Path) -> None:
    assert rules(house) == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("long.py", "x = 1\n" * 401, "long.py: 401 lines"),
        ("f.py", "def f():\n" + "    x = 1\n" * 50, "f.py:1: f: 51 lines"),
        ("own.py", "from harness.room.good import _x\n", "_x of harness.room.good is its own"),
        ("long.c", "int x;\n" * 501, "long.c: 501 lines"),
        ("__init__.py", '"""A room."""\n', "what the room may import"),
        ("good.py", "from harness.room import good\n", "a circle of imports: harness.room.good"),
    ],
)
def test_broken_rule_is_found(house: Path, name: str, text: str, said: str) -> None:
    (house / "harness" / "room" / name).write_text(text)
    found = rules(house)
    assert len(found) == 1
    assert said in found[0]


def test_circle_of_two_is_found(house: Path) -> None:
    room = house / "harness" / "room"
    (room / "a.py").write_text("from harness.room import b\n")
    (room / "b.py").write_text("from harness.room.a import x\n")
    assert rules(house) == ["a circle of imports: harness.room.a, harness.room.b"]
