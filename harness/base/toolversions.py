# SPDX-License-Identifier: GPL-2.0-only
"""Which version a tool says that it is; asked once a run."""

from __future__ import annotations

import functools
import shutil
import subprocess


def version_line(tool: str) -> str:
    """The first line of what a tool prints for --version; empty where it is not there.

    Args:
        tool: Its name.
    """
    path = shutil.which(tool)
    return _first_line(path) if path else ""


@functools.cache
def _first_line(path: str) -> str:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]
