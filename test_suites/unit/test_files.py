# SPDX-License-Identifier: GPL-2.0-only
"""The folders of runs."""

from __future__ import annotations

import subprocess
import sys
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


WRITER = """
import sys
from pathlib import Path
from harness.base import files
for _ in range(300):
    files.write(Path(sys.argv[1]), "whole")
"""


def test_many_may_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "one"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]
