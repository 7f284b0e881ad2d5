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

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.base import cache
from harness.base.errors import UsageError
from harness.base.version import Version
from harness.kernel import built, checkout, kbuild, kconfig, making, versions
from harness.kernel.built import BuiltKernel
from harness.kernel.making import Progress, no_progress
from harness.kernel.specs import KernelSpec, Role
from harness.kernel.treecopy import PART, Copy, name_of, read_text

# Folders of a mirror that are there for a moment only.
# So many kernels of a tree are kept: runs that are under way may need them.
_KEPT = 64
# kbuild refuses a build with O= where one of these is (Makefile, "outputmakefile").
_BUILT = (".config", "include/config", "arch/x86/include/generated")
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
    # Whatever source the spec is of: what is built is the tree.
    spec = spec.of_version(Version.of_tree(tree) or spec.kernel_version())
    with cache.lock("mirrors", key, notify=notify):
        mirror = Mirror(tree=tree, root=cache.home() / "mirrors" / key, spec=spec, patched=patched)
        # Of runs that were killed: nobody else is here.
        for left in mirror.root.glob(f"{PART}*"):
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
    if built and checkout.git_files(tree, "-co") is None:
        raise UsageError(
            f"{tree} was built in ({built[0]} is there), and without git its source "
            "cannot be told from what was built",
            hint=f"run `make -C {tree} mrproper`, or make it a git tree",
        )


def _key(tree: Path) -> str:
    """What tells the mirror of a tree from those of others of the same name."""
    return f"{name_of(tree)}-{cache.short(cache.digest(str(tree)))}"


def build_log(tree: Path, role: Role) -> Path:
    """What make said in the last build of a tree.

    Args:
        tree: The tree.
        role: Which of the two builds.
    """
    return making.log_file(f"{_key(tree.expanduser().resolve())}-{role}")


@dataclass
class Mirror(Copy):
    """The copy of a tree in the cache, and the objects below it.

    Args:
        tree: The tree.
        root: The folder in the cache.
        spec: Has the config fragments, and the patches.
        patched: Whether the patches are applied.
    """

    # -- the source --------------------------------------------------------

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
        makes: making.Makes | None = None,
    ) -> BuiltKernel:
        """Build a kernel, as far as something changed since the last time.

        Args:
            role: Which of the two builds.
            init: The static program that a spawned kernel embeds as its init.
            fragments: Config fragments that are applied after those of the spec.
            config: A whole .config for the normal kernel, in place of the spec's.
            make: Variables of make, such as LLVM.
            progress: Told how far it is.
            makes: Those of the builds that go on beside this one, if any.

        Raises:
            BuildError: It does not compile, or an option did not take.
            UsageError: It is a spawned kernel, and there is no init.
        """
        if role == "spawned" and init is None:
            raise UsageError(f"the spawned kernel of {self.name} needs an init to embed")
        build = _build_folder(role, fragments, config, make)
        self.configure(role, fragments=fragments, config=config, make=make, progress=progress)
        with tempfile.TemporaryDirectory(dir=self.root, prefix=PART) as name:
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
            folder = self._keep(made, role)
        os.utime(folder)
        self._prune()
        return BuiltKernel(folder=folder, name=self.name, role=role, tree=self.source, build=build)

    def _keep(self, made: Path, role: Role) -> Path:
        """Move what was built into an entry of the cache, by its content."""
        files = sorted(path.name for path in made.iterdir())
        paths = [made / file for file in files]
        key = cache.short(cache.digest(str(self.tree), role, *files, *paths))

        def move(part: Path) -> None:
            for path in paths:
                path.replace(part / path.name)
            (part / "mirror").write_text(f"{self.root}\n")

        return cache.entry("kernels", key, move, needed=tuple(files))

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
        text = "".join(read_text(path).rstrip("\n") + "\n" for path in (*own, *fragments))
        if role == "spawned":
            text += f'CONFIG_INITRAMFS_SOURCE="{built.EMBEDDED}"\n'
        text = versions.fit(text, self.version)
        base = read_text(config) if config is not None and role == "normal" else None
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
        ours = {name for patch in self.patches for name in _ADDED_OPTION.findall(read_text(patch))}
        wanted = {path: ours & kconfig.parse(read_text(path)).keys() for path in fragments}
        # All Kconfig files of the tree: read only where they decide something.
        known = kconfig.Kconfig(self.source).symbols if any(wanted.values()) else {}
        return [path for path, names in wanted.items() if names <= known.keys()]

    def _prune(self) -> None:
        """Remove the oldest kernels of this tree from the cache."""
        own = [
            path
            for path in cache.entries("kernels")
            if (path / "mirror").is_file() and read_text(path / "mirror").strip() == str(self.root)
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
