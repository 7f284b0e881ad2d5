# SPDX-License-Identifier: GPL-2.0-only
"""Is a module imported when it is first used, and not before? And is the main job's start light?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.base.lazy import lazily

# What takes long to import, and is used late or not at all in a good cycle.
LATE = (
    *("pytest", "_pytest", "invoke", "drgn.helpers", "junitparser", "elftools.elf.enums"),
    "harness.report.page",
)


def test_it_is_loaded_by_its_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kspawn_late.py").write_text("print('loaded')\nVALUE = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = lazily("kspawn_late")
    try:
        assert lazily("kspawn_late") is module
        assert capsys.readouterr().out == ""
        assert module.VALUE == 7
        assert capsys.readouterr().out == "loaded\n"
    finally:
        del sys.modules["kspawn_late"]


def test_one_that_is_missing_is_missed_at_once() -> None:
    with pytest.raises(ModuleNotFoundError, match="kspawn_nosuch"):
        lazily("kspawn_nosuch")


def test_a_cycle_begins_without_what_it_uses_late() -> None:
    code = f"import sys, harness.cli.cycle; print([n for n in {LATE} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
