# SPDX-License-Identifier: GPL-2.0-only
"""Patches on a source tree: applied, or found to be there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.base import cache
from harness.base.errors import BuildError
from harness.kernel import versions
from harness.kernel.specs import shown


def apply_series(
    patches: Sequence[Path], tree: Path, *, notify: cache.Notify = cache.quiet
) -> None:
    """Apply patches; of one that other versions need otherwise, the variant that applies.

    Args:
        patches: The files, in order, each the variant that the version has.
        tree: The source, or as much of it as all their variants touch.
        notify: Told which are there already, and which are of another version.

    Raises:
        BuildError: No variant of one applies; the one of the version is named.
    """
    for patch in patches:
        variants = versions.variants(patch)
        if any(is_applied(one, tree) for one in variants):
            notify(f"{patch.name} is there already")
            continue
        fitting = next((one for one in variants if applies(one, tree)), patch)
        if fitting != patch:
            notify(f"{shown(fitting)} applies in place of {shown(patch)}")
        apply_patches([fitting], tree)


def apply_patches(patches: Sequence[Path], tree: Path) -> None:
    """Apply patches, without fuzz.

    Args:
        patches: The files, in order.
        tree: The source, or as much of it as they touch.

    Raises:
        BuildError: One does not apply; it is named, with the file and the hunk.
    """
    for patch in patches:
        _run_patch(["--forward"], patch, tree)


def take_back(patches: Sequence[Path], tree: Path) -> None:
    """Undo what `apply_patches` did.

    Args:
        patches: The files, in the order in which they were applied.
        tree: The source, or as much of it as they touch.

    Raises:
        BuildError: One is not there.
    """
    for patch in reversed(patches):
        _run_patch(["--reverse", "--force"], patch, tree)


def is_applied(patch: Path, tree: Path) -> bool:
    """Whether a tree has what a patch changes already.

    Args:
        patch: The patch.
        tree: The source, or as much of it as the patch touches.
    """
    return _would(["--reverse", "--force"], patch, tree)


def applies(patch: Path, tree: Path) -> bool:
    """Whether a patch would apply, without fuzz.

    Args:
        patch: The patch.
        tree: The source, or as much of it as the patch touches.
    """
    return _would(["--forward"], patch, tree)


def _run_patch(how: Sequence[str], patch: Path, tree: Path) -> None:
    command = ["patch", "-p1", *how, "--fuzz=0", "--no-backup-if-mismatch"]
    done = subprocess.run(
        [*command, "--reject-file=-", "-i", str(patch)],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise BuildError(f"the patch {shown(patch)} does not apply: {_rejected(done.stdout)}")


def _would(how: Sequence[str], patch: Path, tree: Path) -> bool:
    command = ["patch", "-p1", *how, "--dry-run", "--fuzz=0", "--reject-file=-", "-i", str(patch)]
    done = subprocess.run(
        command, cwd=tree, capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    return done.returncode == 0


def _rejected(output: str) -> str:
    """The file and the hunk that patch(1) could not place."""
    file = ""
    for line in output.splitlines():
        if found := re.match(r"patching file (\S+)", line):
            file = found[1]
        elif re.search(r"FAILED|previously applied|No file to patch|can't find file", line):
            return f"{file}: {line.strip()}" if file else line.strip()
    lines = output.strip().splitlines()
    return lines[-1] if lines else "patch(1) failed"
