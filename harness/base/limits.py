# SPDX-License-Identifier: GPL-2.0-only
"""What the system lets a process have, as far as a run fails without it."""

from __future__ import annotations

import resource

from harness.base.errors import PrerequisiteError

# A cycle has gone through with 32; what opens more, as a matrix does, has some to spare.
FEWEST_FILES = 64
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
            f"only {soft} files may be open at a time, {FEWEST_FILES} are needed",
            hint="raise the limit, as with `ulimit -n 1024`",
        )
