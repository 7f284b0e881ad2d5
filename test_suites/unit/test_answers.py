# SPDX-License-Identifier: GPL-2.0-only
"""Is apt asked again when, and only when, it may answer otherwise?"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.base import answers

Ask = Callable[..., dict[str, str]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(answers, "_STATE", (tmp_path / "lists",))
    monkeypatch.setattr(answers, "_CONFIG", tmp_path / "etc")
    (tmp_path / "lists").mkdir()
    (tmp_path / "etc").mkdir()
    return []


@pytest.fixture
def look_up(asked: list[int]) -> Ask:
    def look_up(*packages: str, found: bool = True) -> dict[str, str]:
        def ask() -> dict[str, str]:
            asked.append(1)
            return dict.fromkeys(packages, f"{len(asked)}.0") if found else {}

        return answers.remembered(packages, own=None, ask=ask)

    return look_up


def test_asked_once(look_up: Ask, asked: list[int]) -> None:
    assert look_up("a", "b") == look_up("a", "b") == {"a": "1.0", "b": "1.0"}
    assert look_up("a") == {"a": "2.0"}
    assert len(asked) == 2


@pytest.mark.parametrize("what", ["lists", "etc"])
def test_asked_again_where_something_changed(look_up: Ask, tmp_path: Path, what: str) -> None:
    look_up("a")
    (tmp_path / what / "new").write_text("deb …")
    os.utime(tmp_path / what, (1, 1))
    assert look_up("a") == {"a": "2.0"}


def test_asked_again_after_an_hour(look_up: Ask, tmp_path: Path) -> None:
    look_up("a")
    [path] = (tmp_path / "home" / "apt").glob("answer-*")
    hour_ago = time.time() - 3700
    os.utime(path, (hour_ago, hour_ago))
    assert look_up("a") == {"a": "2.0"}


def test_damaged_answer_is_no_answer(look_up: Ask, tmp_path: Path) -> None:
    look_up("a")
    [path] = (tmp_path / "home" / "apt").glob("answer-*")
    path.write_text("{")
    assert look_up("a") == {"a": "2.0"}


def test_what_is_not_there_is_asked_for_again_with_new_lists(look_up: Ask, tmp_path: Path) -> None:
    assert look_up("a", found=False) == look_up("a") == {}
    (tmp_path / "lists" / "new").touch()
    os.utime(tmp_path / "lists", (1, 1))
    assert look_up("a") == {"a": "2.0"}
