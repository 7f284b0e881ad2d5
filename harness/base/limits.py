# SPDX-License-Identifier: GPL-2.0-only
"""What the system lets a process have, as far as a run fails without it."""

from __future__ import annotations

import resource

from harness.base.errors import PrerequisiteError

# What libvirt, SSH and a cycle hold open at once, twice over.
FEWEST_FILES = 256
_WANTED_FILES = 1024


def check() -> None:
    """Take what may be had, and refuse what is too little for a machine.

    Raises:
        PrerequisiteError: Too few files may be open at a time.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < _WANTED_FILES:
        wanted = _WANTED_FILES if hard == unlimited else min(hard, _WANTED_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
        soft = max(soft, wanted)
    if soft != unlimited and soft < FEWEST_FILES:
        raise PrerequisiteError(
            f"only {soft} files may be open at once, and a machine needs {FEWEST_FILES}",
            hint=f"ulimit -n {FEWEST_FILES}",
        )
