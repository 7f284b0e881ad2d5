# SPDX-License-Identifier: GPL-2.0-only
"""The copy of a kernel tree in the cache: only what changed is written, and keeps its time."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.base import cache, files
from harness.base.errors import UsageError
from harness.base.version import Version
from harness.kernel import checkout, patching, versions
from harness.kernel.specs import KernelSpec, shown

# Raise it when the same tree would be mirrored otherwise.
_VERSION = 1
# How the names of folders begin that a build makes and removes again.
PART = "part-"
_TOUCHED = re.compile(r"^(?:---|\+\+\+) (?:[ab]/)?([^\t\n]+)", re.MULTILINE)


def name_of(tree: Path) -> str:
    """The name of a tree's kernels: that of its folder, as a file name."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", tree.name).lstrip(".-") or "tree"


def _listing(tree: Path) -> dict[str, list[int]]:
    """The files of a tree, with what of their status changes when they do."""
    names = checkout.git_files(tree, "-co")
    found = {}
    for name in names if names is not None else checkout.all_files(tree):
        try:
            status = (tree / name).lstat()
        except FileNotFoundError:
            continue
        # A folder where a file was, or a repository in this one, is none of them.
        if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            found[name] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode]
    return found


def _touched(patch: Path) -> list[str]:
    return [name for name in _TOUCHED.findall(read_text(patch)) if name != "/dev/null"]


def _put(target: Path, content: bytes | None) -> bool:
    """Write a file that is not as it should be; returns whether it was not."""
    if content is None:
        return _remove(target)
    if target.is_file() and not target.is_symlink() and target.read_bytes() == content:
        return False
    # A new file, not in place: a hard link may share the old one.
    _make_room(target)
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(content)
    if target.is_file():
        part.chmod(target.stat().st_mode & 0o777)
    part.replace(target)
    return True


def _link(target: Path, points_to: Path) -> bool:
    if target.is_symlink() and target.readlink() == points_to:
        return False
    _make_room(target)
    target.unlink(missing_ok=True)
    target.symlink_to(points_to)
    return True


def _make_room(target: Path) -> None:
    """A folder where a file is to be, or the other way round, is of the past."""
    if target.is_symlink():
        target.unlink()
    elif target.is_dir():
        shutil.rmtree(target)
    for folder in target.parents:
        if folder.is_dir():
            break
        folder.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)


def _remove(target: Path) -> bool:
    try:
        target.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except IsADirectoryError:
        shutil.rmtree(target)
    return True


def read_text(path: Path) -> str:
    """A text of a tree, whatever its encoding."""
    try:
        return path.read_text(errors="replace")
    except OSError as exc:
        raise UsageError(f"{shown(path)} cannot be read: {exc.strerror}") from None


@dataclass
class Copy:
    """The copy of a tree in the cache.

    Args:
        tree: The tree.
        root: The folder in the cache.
        spec: Has the config fragments, and the patches.
        patched: Whether the patches are applied.
    """

    tree: Path
    root: Path
    spec: KernelSpec
    patched: bool
    changed: int = field(init=False, default=0)
    _kconfig: str = field(init=False, default="")

    @property
    def name(self) -> str:
        """The name of its kernels."""
        return name_of(self.tree)

    @property
    def version(self) -> Version:
        """The version of the tree; that of the spec, where its Makefile says none."""
        return Version.of_tree(self.tree) or self.spec.kernel_version()

    @property
    def source(self) -> Path:
        """Where the source is."""
        return self.root / "source"

    @property
    def patches(self) -> list[Path]:
        """All patches of the spec: one source serves both builds."""
        files = [*self.spec.patch_files("normal"), *self.spec.patch_files("spawned")]
        return list(dict.fromkeys(files))

    def update(self, *, notify: cache.Notify = cache.quiet) -> None:
        """Bring the source up to date; what did not change keeps its time.

        Args:
            notify: Told of what takes long.

        Raises:
            BuildError: A patch does not apply.
        """
        self.source.mkdir(parents=True, exist_ok=True)
        state = self._load()
        now = _listing(self.tree)
        overlay = self._overlay(now, notify) if self.patched else {}
        before: dict[str, list[int]] = state["files"]
        again = set(state["overlaid"]) - overlay.keys()
        names = [
            name
            for name, status in now.items()
            if name not in overlay and (before.get(name) != status or name in again)
        ]
        gone = (before.keys() | again) - now.keys() - overlay.keys()
        # Noted first: were we killed on the way, these are looked at again.
        self._save({"files": before, "overlaid": sorted({*state["overlaid"], *overlay})})
        for name in gone:
            _remove(self.source / name)
        if not before:
            notify(f"{self.name}: copying the source")
            checkout.copy_files(self.tree, names, self.source)
            self.changed = len(names)
        else:
            self.changed = len(gone) + sum(self._take(name) for name in names)
        for name, content in overlay.items():
            self.changed += _put(self.source / name, content)
        self._save({"files": now, "overlaid": sorted(overlay)})
        theirs = {name: now[name] for name in now if "Kconfig" in name}
        added = {name: str(overlay[name]) for name in overlay if "Kconfig" in name}
        self._kconfig = cache.digest(json.dumps([theirs, added], sort_keys=True))

    def _load(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            state: dict[str, Any] = json.loads((self.root / "state").read_text())
            if state.get("version") == _VERSION:
                return state
        return {"files": {}, "overlaid": []}

    def _save(self, state: Mapping[str, Any]) -> None:
        files.write(self.root / "state", json.dumps({"version": _VERSION, **state}))

    def _take(self, name: str) -> bool:
        """Copy a file that may have changed; returns whether it had."""
        path, target = self.tree / name, self.source / name
        try:
            if path.is_symlink():
                return _link(target, path.readlink())
            mode = path.stat().st_mode & 0o777
            changed = _put(target, path.read_bytes())
        except FileNotFoundError:
            # Gone since it was listed: the next time sees it.
            return False
        except PermissionError as exc:
            raise UsageError(f"{path} cannot be read: {exc.strerror}") from None
        if target.stat().st_mode & 0o777 != mode:
            target.chmod(mode)
        return changed

    def _overlay(self, now: Mapping[str, Any], notify: cache.Notify) -> dict[str, bytes | None]:
        """What the patches make of the files that they touch; None is a file removed."""
        patches = self.patches
        with tempfile.TemporaryDirectory(dir=self.root, prefix=PART) as name:
            stage = Path(name)
            files = {one for patch in patches for one in versions.variants(patch)}
            touched = sorted({file for patch in files for file in _touched(patch)})
            for file in touched:
                if file in now:
                    (stage / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(self.tree / file, stage / file)
            patching.apply_series(
                patches, stage, notify=lambda what: notify(f"{self.name}: {what}")
            )
            return {
                file: (stage / file).read_bytes() if (stage / file).is_file() else None
                for file in touched
            }
