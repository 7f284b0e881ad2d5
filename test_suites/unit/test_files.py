# SPDX-License-Identifier: GPL-2.0-only
"""The folders of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.base.files import run_folder


def test_a_run_that_came_to_nothing_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="early"), run_folder(tmp_path / "results", "cycle"):
        raise ValueError("early")
    assert not list((tmp_path / "results").iterdir())


def test_what_a_run_left_stays(tmp_path: Path) -> None:
    for _ in range(2):
        with run_folder(tmp_path, "cycle") as folder:
            (folder / "junit.xml").touch()
    assert len(list(tmp_path.glob("*-cycle*/junit.xml"))) == 2
