# SPDX-License-Identifier: GPL-2.0-only
"""What `bench --kernel-tree` says of its figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.bench import edit as treebench
from harness.bench.edit import Figures
from harness.cli.main import cli


@pytest.mark.parametrize(("build", "code"), [(20.0, 0), (20.1, 1)])
def test_above_its_goal_it_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: float, code: int
) -> None:
    figures = Figures(makes=[10.0], builds=[build], cycles=[10.0])
    monkeypatch.setattr(treebench, "run", lambda *arguments, **named: figures)
    tree = tmp_path / "linux"
    (tree / "arch" / "x86").mkdir(parents=True)
    for name in ("Kconfig", "Makefile"):
        (tree / name).touch()
    words = ["bench", "--kernel-tree", str(tree), "--results", str(tmp_path / "r")]
    run = CliRunner().invoke(cli, words, standalone_mode=False)
    assert (run.return_value, run.exception) == (code, None)
    assert ("is above the goal of 1.50" in run.output) is bool(code)
