# SPDX-License-Identifier: GPL-2.0-only
"""Puts what is no code into the package: kernels, machines, suites (see harness/base/data.py)."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
FOLDERS = ("kernels", "vm-configs", "test_suites")
FILES = ("pyproject.toml", "conftest.py")


class BuildWithData(build_py):
    """Copies the data after the code; an editable installation has the checkout's."""

    def run(self) -> None:
        """Build."""
        if self.editable_mode:
            super().run()
            return
        # pip builds in the checkout, where a module that is gone would stay for ever.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        target = Path(self.build_lib) / "harness" / "data"
        target.mkdir(parents=True)
        ignore = shutil.ignore_patterns("__pycache__", "unit", "fresh")
        for name in FOLDERS:
            shutil.copytree(HERE / name, target / name, ignore=ignore)
        for name in FILES:
            shutil.copy(HERE / name, target)


setup(cmdclass={"build_py": BuildWithData})
