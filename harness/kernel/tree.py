# SPDX-License-Identifier: GPL-2.0-only
"""A developer's tree: built incrementally, never written to.

A tree has a mirror in the cache: its source, kept up to date file by file, and
below it the objects of both builds. What did not change keeps its time there,
so make does what it would do in the tree itself. The mirror is where patches go
that the tree is to have for a run, and what an earlier build left in the tree
stays out of it.

```python
with open_tree(Path("~/linux").expanduser(), spec=load_kernel("linux-6.12")) as mirror:
    normal = mirror.build("normal")
    spawned = mirror.build("spawned", init=guest["kspawn"])
```

`build_tree` does this for one build. Another commit that is checked out in the
same tree (the work tree of a bisection, say) is an incremental build as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.base import cache, files
from harness.base.errors import UsageError
from harness.base.version import Version
from harness.kernel import kbuild, kconfig, versions
from harness.kernel.kbuild import BuiltKernel, Progress, no_progress
from harness.kernel.specs import KernelSpec, Role, shown

# Raise it when the same tree would be mirrored otherwise.
_VERSION = 1
# Folders of a mirror that are there for a moment only.
_PART = "part-"
# So many kernels of a tree are kept: runs that are under way may need them.
_KEPT = 64
# kbuild refuses a build with O= where one of these is (Makefile, "outputmakefile").
_BUILT = (".config", "include/config", "arch/x86/include/generated")
_TOUCHED = re.compile(r"^(?:---|\+\+\+) (?:[ab]/)?([^\t\n]+)", re.MULTILINE)
_ADDED_OPTION = re.compile(r"^\+config (\w+)", re.MULTILINE)


def build_tree(
    tree: Path,
    role: Role,
    *,
    spec: KernelSpec,
    init: Path | None = None,
    fragments: Sequence[Path] = (),
    config: Path | None = None,
    make: Mapping[str, str] | None = None,
    patched: bool = False,
    progress: Progress = no_progress,
) -> BuiltKernel:
    """Build a kernel from a tree, as far as the tree changed since the last time.

    Args:
        tree: The tree, with what is not committed; nothing is written into it.
        role: Which of the two builds.
        spec: Has the config fragments, and the patches.
        init: The static program that a spawned kernel embeds as its init.
        fragments: Config fragments that are applied after those of the spec.
        config: A whole .config for the normal kernel, in place of the spec's.
        make: Variables of make, such as LLVM.
        patched: Whether the patches of the spec are applied.
        progress: Told how far it is, as of `kbuild.build_kernel`.

    Returns:
        The kernel: its files are a copy that later builds leave alone.

    Raises:
        BuildError: It does not compile, a patch does not apply, an option did
            not take.
        UsageError: The folder is no kernel tree, or one that cannot be used.
    """
    with open_tree(tree, spec=spec, patched=patched, progress=progress) as mirror:
        return mirror.build(
            role, init=init, fragments=fragments, config=config, make=make, progress=progress
        )


@contextmanager
def open_tree(
    tree: Path, *, spec: KernelSpec, patched: bool = False, progress: Progress = no_progress
) -> Iterator[Mirror]:
    """Lock the mirror of a tree, and bring it up to date.

    Args:
        tree: The tree.
        spec: Has the patches.
        patched: Whether they are applied.
        progress: Told what is done.

    Yields:
        The mirror; nobody else changes it meanwhile.

    Raises:
        BuildError: A patch does not apply.
        UsageError: The folder is no kernel tree, or one that cannot be used.
    """

    def notify(message: str) -> None:
        progress(0, 0, message)

    tree = tree.expanduser().resolve()
    check_tree(tree)
    key = _key(tree)
    with cache.lock("mirrors", key, notify=notify):
        mirror = Mirror(tree=tree, root=cache.home() / "mirrors" / key, spec=spec, patched=patched)
        # Of runs that were killed: nobody else is here.
        for left in mirror.root.glob(f"{_PART}*"):
            shutil.rmtree(left, ignore_errors=True)
        notify(f"{mirror.name}: looking for changes")
        mirror.update(notify=notify)
        yield mirror


def check_tree(tree: Path) -> None:
    """Check that a folder is a kernel tree whose source can be told from what was built.

    Args:
        tree: The folder.

    Raises:
        UsageError: It is not.
    """
    for name in ("Kconfig", "Makefile", "arch/x86"):
        if not (tree / name).exists():
            raise UsageError(f"{tree} is no kernel tree: it has no {name}")
    built = [name for name in _BUILT if (tree / name).exists()]
    if built and kbuild.git_files(tree, "-co") is None:
        raise UsageError(
            f"{tree} was built in ({built[0]} is there), and without git its source "
            "cannot be told from what was built",
            hint=f"run `make -C {tree} mrproper`, or make it a git tree",
        )


def _key(tree: Path) -> str:
    """What tells the mirror of a tree from those of others of the same name."""
    return f"{_name(tree)}-{cache.short(cache.digest(str(tree)))}"


def build_log(tree: Path, role: Role) -> Path:
    """What make said in the last build of a tree.

    Args:
        tree: The tree.
        role: Which of the two builds.
    """
    return kbuild.log_file(f"{_key(tree.expanduser().resolve())}-{role}")


def _name(tree: Path) -> str:
    """The name of a tree's kernels: that of its folder, as a file name."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", tree.name).lstrip(".-") or "tree"


@dataclass
class Mirror:
    """The copy of a tree in the cache, and the objects below it.

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
        return _name(self.tree)

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

    # -- the source --------------------------------------------------------

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
            kbuild.copy_files(self.tree, names, self.source)
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
        with tempfile.TemporaryDirectory(dir=self.root, prefix=_PART) as name:
            stage = Path(name)
            files = {one for patch in patches for one in versions.variants(patch)}
            touched = sorted({file for patch in files for file in _touched(patch)})
            for file in touched:
                if file in now:
                    (stage / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(self.tree / file, stage / file)
            kbuild.apply_series(patches, stage, notify=lambda what: notify(f"{self.name}: {what}"))
            return {
                file: (stage / file).read_bytes() if (stage / file).is_file() else None
                for file in touched
            }

    # -- the builds --------------------------------------------------------

    def build(
        self,
        role: Role,
        *,
        init: Path | None = None,
        fragments: Sequence[Path] = (),
        config: Path | None = None,
        make: Mapping[str, str] | None = None,
        progress: Progress = no_progress,
        makes: kbuild.Makes | None = None,
    ) -> BuiltKernel:
        """Build a kernel, as far as something changed since the last time.

        Args:
            role: Which of the two builds.
            init: The static program that a spawned kernel embeds as its init.
            fragments: Config fragments that are applied after those of the spec.
            config: A whole .config for the normal kernel, in place of the spec's.
            make: Variables of make, such as LLVM.
            progress: Told how far it is, as of `kbuild.build_kernel`.
            makes: Those of the builds that go on beside this one, if any.

        Returns:
            The kernel.

        Raises:
            BuildError: It does not compile, or an option did not take.
            UsageError: It is a spawned kernel, and there is no init.
        """
        if role == "spawned" and init is None:
            raise UsageError(f"the spawned kernel of {self.name} needs an init to embed")
        build = _build_folder(role, fragments, config, make)
        self.configure(role, fragments=fragments, config=config, make=make, progress=progress)
        with tempfile.TemporaryDirectory(dir=self.root, prefix=_PART) as name:
            made = Path(name)
            kbuild.compile_in(
                self.source,
                build,
                made,
                name=self.name,
                log=f"{self.root.name}-{role}",
                role=role,
                init=init,
                make=make,
                progress=progress,
                makes=makes,
            )
            files = sorted(path.name for path in made.iterdir())
            key = cache.short(
                cache.digest(str(self.tree), role, *files, *map(made.joinpath, files))
            )

            def move(part: Path) -> None:
                for file in files:
                    (made / file).replace(part / file)
                (part / "mirror").write_text(f"{self.root}\n")

            folder = cache.entry("kernels", key, move)
        os.utime(folder)
        self._prune()
        return BuiltKernel(folder=folder, name=self.name, role=role, tree=self.source, build=build)

    def was_built(
        self,
        role: Role,
        *,
        fragments: Sequence[Path] = (),
        config: Path | None = None,
        make: Mapping[str, str] | None = None,
    ) -> bool:
        """Whether a build is an incremental one.

        Args:
            role: Which of the two builds.
            fragments: As of `build`.
            config: As of `build`.
            make: As of `build`.
        """
        return kbuild.is_complete(self.source, _build_folder(role, fragments, config, make))

    def configure(
        self,
        role: Role,
        *,
        fragments: Sequence[Path] = (),
        config: Path | None = None,
        make: Mapping[str, str] | None = None,
        progress: Progress = no_progress,
    ) -> dict[str, str]:
        """Make the .config of a build, where something changed that it is made from.

        Args:
            role: Which of the two builds.
            fragments: Config fragments that are applied after those of the spec.
            config: A whole .config for the normal kernel, in place of the spec's.
            make: Variables of make, such as LLVM.
            progress: Told what is done.

        Returns:
            The options, as `kconfig.parse` gives them.

        Raises:
            BuildError: An option did not take.
        """
        build = _build_folder(role, fragments, config, make)
        objects = self.source / build
        own = [] if config is not None and role == "normal" else self.spec.fragments(role)
        if not self.patched:
            own = self._without_ours(own)
        text = "".join(_read(path).rstrip("\n") + "\n" for path in (*own, *fragments))
        if role == "spawned":
            text += f'CONFIG_INITRAMFS_SOURCE="{kbuild.EMBEDDED}"\n'
        text = versions.fit(text, self.version)
        base = _read(config) if config is not None and role == "normal" else None
        compiler = kbuild.compiler(make)
        key = cache.digest(text, base or "", str(base is None), self._kconfig, compiler)
        stamp = objects / ".configured"
        if (objects / ".config").exists() and stamp.exists() and stamp.read_text() == key:
            return kconfig.parse((objects / ".config").read_text())
        stamp.unlink(missing_ok=True)
        progress(0, 0, f"{self.name} {role}: configuring")
        label = f"{self.name} {role}"
        options = kbuild.configure(self.source, build, text, base=base, make=make, label=label)
        stamp.write_text(key)
        return options

    def _without_ours(self, fragments: Sequence[Path]) -> list[Path]:
        """The fragments of which no option is one that only our patches bring.

        As a whole: what else such a fragment asks for is there for that option, and
        may not fit without it.
        """
        ours = {name for patch in self.patches for name in _ADDED_OPTION.findall(_read(patch))}
        wanted = {path: ours & kconfig.parse(_read(path)).keys() for path in fragments}
        # All Kconfig files of the tree: read only where they decide something.
        known = kconfig.Kconfig(self.source).symbols if any(wanted.values()) else {}
        return [path for path, names in wanted.items() if names <= known.keys()]

    def _prune(self) -> None:
        """Remove the oldest kernels of this tree from the cache."""
        own = [
            path
            for path in cache.entries("kernels")
            if (path / "mirror").is_file() and _read(path / "mirror").strip() == str(self.root)
        ]
        for path in own[_KEPT:]:
            shutil.rmtree(path, ignore_errors=True)


def _build_folder(
    role: Role,
    fragments: Sequence[Path],
    config: Path | None,
    make: Mapping[str, str] | None,
) -> str:
    """Where a build has its objects: other files of options, other objects.

    By their names: an edit of one of them is an incremental build.
    """
    files = [*fragments, *([config] if config is not None else [])]
    given = [
        *(path.name for path in files),
        *(f"{key}-{value}" for key, value in sorted((make or {}).items())),
    ]
    names = (re.sub(r"[^A-Za-z0-9._-]", "-", name) for name in given)
    return "-".join(("build", role, *names))


# --- Files ----------------------------------------------------------------------


def _listing(tree: Path) -> dict[str, list[int]]:
    """The files of a tree, with what of their status changes when they do."""
    names = kbuild.git_files(tree, "-co")
    found = {}
    for name in names if names is not None else kbuild.all_files(tree):
        try:
            status = (tree / name).lstat()
        except FileNotFoundError:
            continue
        # A folder where a file was, or a repository in this one, is none of them.
        if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            found[name] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode]
    return found


def _touched(patch: Path) -> list[str]:
    return [name for name in _TOUCHED.findall(_read(patch)) if name != "/dev/null"]


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


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as exc:
        raise UsageError(f"{shown(path)} cannot be read: {exc.strerror}") from None
