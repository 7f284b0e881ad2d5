# SPDX-License-Identifier: GPL-2.0-only
"""The identity of a job: what it is, the kernels it boots, and our own code.

Two jobs with one key do the same work. So a job whose key is done is not run again.
"""

from __future__ import annotations

import functools
from pathlib import Path

from harness.base import cache, data
from harness.guest import layouts
from harness.kernel import specfiles, specs, vmconfig
from harness.night.matrix import ALLOWANCES, Job

_SUFFIXES = {".py", ".c", ".h", ".j2", ".txt"}


@functools.cache
def harness_version() -> str:
    """A hash of the harness's own code, uncommitted changes included."""
    files = [
        path
        for path in sorted(data.PACKAGE.rglob("*"))
        if path.suffix in _SUFFIXES and "__pycache__" not in path.parts
    ]
    # What is known of versions: bugs, layouts.
    files.append(layouts.VERSIONS)
    names = [str(path.relative_to(data.IMPORTS)) for path in files]
    return cache.digest(*names, *files, specs.ROOT / "conftest.py", specs.ROOT / "pyproject.toml")


@functools.cache
def _suite_version(path: str) -> str:
    root = Path(path) if Path(path).is_absolute() else specs.ROOT / path
    files = [root] if root.is_file() else sorted(root.rglob("*.py"))
    return cache.digest(*(str(file.relative_to(root.parent)) for file in files), *files)


def job_key(job: Job, kernels: str) -> str:
    """The key of a job.

    Args:
        job: The job.
        kernels: The content key of the kernels it boots.
    """
    machine = specfiles.find(job.vm_config, folder=vmconfig.VM_CONFIGS, what="VM config")
    fields = job.model_dump_json(exclude=set(ALLOWANCES))
    return cache.short(
        cache.digest(fields, kernels, machine, _suite_version(job.path), harness_version())
    )
