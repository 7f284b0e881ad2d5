# SPDX-License-Identifier: GPL-2.0-only
"""Builds kernels from their specs, and keeps them in the cache.

There are two levels. A tree is a patched and configured source with the
objects in `build/` below it; its key leaves out the init that a spawned kernel
embeds. A kernel is what a tree made with one init. So another init costs a
link, not a build.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from harness.base import cache, debian, processes
from harness.base.errors import BuildError, PrerequisiteError, UsageError
from harness.guest import guestbuild, initramfs
from harness.kernel import kconfig, versions
from harness.kernel.specs import (
    DebianSource,
    DirectorySource,
    KernelSpec,
    Role,
    TarballSource,
    shown,
)

Progress = Callable[[int, int, str], None]

# Goes into every key: raise it when the same inputs would be built otherwise.
_VERSION = "1"
_TOOLS = ("make", "gcc", "ld", "flex", "bison", "bc", "tar", "patch", "cp")
_TOOL_PACKAGES = "make gcc binutils flex bison bc tar patch libelf-dev"
# The lines that make prints, until a build of this kernel has been counted.
_LINES = {"normal": 1950, "spawned": 1000}
EMBEDDED = "initramfs.cpio"
_STEP = re.compile(r"^  ([A-Z][A-Z0-9_]*) +(?:\[M\] +)?(\S+)")
_STOP_SECONDS = 5


def no_progress(done: int, total: int, what: str) -> None:
    """A `Progress` that tells nobody."""


@dataclass(frozen=True)
class BuiltKernel:
    """A kernel in the cache.

    Args:
        folder: Where its files are.
        name: The name of its spec.
        role: "normal" or "spawned".
        tree: The tree it was built in; modules for it can be built there.
        build: The folder of its objects, in the tree.
    """

    folder: Path
    name: str
    role: Role
    tree: Path
    build: str = "build"

    @property
    def bzimage(self) -> Path:
        """What boots."""
        return self.folder / "bzImage"

    @property
    def vmlinux(self) -> Path:
        """The kernel with its symbols."""
        return self.folder / "vmlinux"

    @property
    def symbols(self) -> Path:
        """Its System.map; one that the user brought may have none."""
        return self.folder / "System.map"

    @property
    def config_file(self) -> Path:
        """The .config it was built with."""
        return self.folder / "config"

    @property
    def objects(self) -> Path:
        """The folder of the objects: `make -C <objects> M=<module>` works in it."""
        return self.tree / self.build

    @cached_property
    def release(self) -> str:
        """The release, as uname -r gives it."""
        return (self.folder / "release").read_text().strip()

    @cached_property
    def config_hash(self) -> str:
        """SHA-256 of the .config."""
        return cache.file_digest(self.config_file)

    @property
    def build_hash(self) -> str:
        """The key in the cache."""
        return self.folder.name

    @cached_property
    def config(self) -> dict[str, str]:
        """The options that are set, without CONFIG_: "y", "m", a number or a string."""
        options = kconfig.parse(self.config_file.read_text())
        return {name: value for name, value in options.items() if value != "n"}


def build_kernel(
    spec: KernelSpec,
    role: Role,
    *,
    init: Path | None = None,
    fragments: Sequence[Path] = (),
    base: Path | None = None,
    make: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> BuiltKernel:
    """Build a kernel, as far as it is not in the cache.

    Args:
        spec: The kernel.
        role: Which of its two builds.
        init: The static program that a spawned kernel embeds as its init.
        fragments: Config fragments that are applied after those of the spec.
        base: A whole .config, in place of the spec's fragments.
        make: Variables of make, such as LLVM.
        progress: Told how many of how many steps are done (0 of 0 where that
            is not known), and what is being done.

    Returns:
        The kernel.

    Raises:
        BuildError: A patch does not apply, an option did not take, or the
            kernel does not compile.
        PrerequisiteError: The source or a tool is not there.
        UsageError: The kind of source cannot be built yet.
    """
    if role == "spawned" and init is None:
        raise UsageError(f"the spawned kernel of {spec.name} needs an init to embed")
    _check_tools()
    recipe = _recipe(spec, role, fragments, base, make or {}, progress)
    embedded = initramfs.spawned_initramfs(init) if init and role == "spawned" else b""
    key = cache.short(cache.digest(recipe.key, embedded))
    tree = cache.home() / "trees" / recipe.key

    def build(part: Path) -> None:
        cache.entry("trees", recipe.key, lambda new: _prepare(recipe, new), notify=recipe.say)
        with cache.lock("trees", recipe.key, notify=recipe.say):
            with _no_orphans(tree / recipe.build, recipe) as guard:
                _compile(recipe, tree, embedded, guard)
            _collect(tree / recipe.build, part)

    folder = cache.entry("kernels", key, build, notify=recipe.say)
    return BuiltKernel(folder=folder, name=spec.name, role=role, tree=tree)


# --- Sources ---------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """Where a tree is copied from; `digest` changes with its content."""

    digest: str
    copy: Callable[[Path], None]


def _source(spec: KernelSpec, notify: cache.Notify) -> _Source:
    match spec.source:
        case DebianSource(package=package):
            tree = debian.source(package, notify=notify)
            return _Source(tree.name, lambda target: _link_tree(tree, target))
        case TarballSource(path=name, sha256=sha256):
            return _tarball(spec.path(name), sha256, notify)
        case DirectorySource(path=name):
            return _directory(spec.path(name), notify)
    raise UsageError(
        f"kernel {spec.name}: a source of the kind {spec.source.kind!r} cannot be built yet",
        hint="debian, tarball and directory can",
    )


def _tarball(path: Path, sha256: str | None, notify: cache.Notify) -> _Source:
    if not path.is_file():
        raise PrerequisiteError(f"there is no source archive {path}")
    digest = cache.file_digest(path)
    if sha256 and sha256.lower() != digest:
        raise PrerequisiteError(f"{path} has the SHA-256 {digest}, not the one in the spec")

    def copy(target: Path) -> None:
        _link_tree(debian.extract(path, key=cache.short(digest), notify=notify), target)

    return _Source(digest, copy)


def _directory(path: Path, notify: cache.Notify) -> _Source:
    if not (path / "Kconfig").is_file():
        raise PrerequisiteError(f"{path} is no kernel source: it has no Kconfig")
    files = git_files(path, "-co")
    digest = _git_digest(path) if files is not None else None
    if files is None:
        files = all_files(path)

    def copy(target: Path) -> None:
        notify(f"copying {path}")
        copy_files(path, files, target)

    return _Source(digest or _manifest(path, files), copy)


def git_files(path: Path, which: str) -> list[str] | None:
    """The files of a git work tree, what git ignores left out; None if it is none.

    Args:
        path: Its root.
        which: "-o" for those that git does not know, "-co" for all.
    """
    if not (path / ".git").exists():
        return None
    listed = _git(path, "ls-files", "-z", which, "--exclude-standard")
    if listed is None:
        return None
    names = {os.fsdecode(name) for name in listed.split(b"\0") if name}
    return sorted(name for name in names if os.path.lexists(path / name))


def _git_digest(path: Path) -> str | None:
    """A digest of the content: the same again when a bisection comes back to a commit."""
    tree = _git(path, "rev-parse", "HEAD^{tree}")
    changes = _git(path, "diff", "--binary", "--no-ext-diff", "--no-textconv", "HEAD")
    unknown = git_files(path, "-o")
    if tree is None or changes is None or unknown is None:
        return None
    files = [path / name for name in unknown]
    return cache.digest(tree, changes, *unknown, *(file for file in files if file.is_file()))


def _git(path: Path, *arguments: str) -> bytes | None:
    command = ["git", "-C", str(path), *arguments]
    env = processes.git_environment()
    done = subprocess.run(command, capture_output=True, check=False, env=env)
    return None if done.returncode else done.stdout


def all_files(path: Path) -> list[str]:
    """All files below a folder, relative to it, without those of git."""
    found = []
    for folder, folders, names in os.walk(path):
        if ".git" in folders:
            folders.remove(".git")
        found += [os.path.relpath(Path(folder) / name, path) for name in names]
    return sorted(found)


def _manifest(path: Path, files: Iterable[str]) -> str:
    """A digest of names, sizes and times: contents would take too long to read each time."""
    lines = []
    for name in files:
        status = (path / name).lstat()
        lines.append(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_mode}")
    return cache.digest(str(path), "\n".join(lines))


def copy_files(path: Path, files: Sequence[str], target: Path) -> None:
    """Copy some files of a tree into another, with their times.

    Args:
        path: Where they are.
        files: Their names, relative to it.
        target: Where they go.

    Raises:
        BuildError: One cannot be read or written.
    """
    names = b"\0".join(os.fsencode(name) for name in files)
    pack = ["tar", "-C", str(path), "--null", "--no-recursion", "-T", "-", "-cf", "-"]
    unpack = ["tar", "-C", str(target), "-xf", "-"]
    with subprocess.Popen(unpack, stdin=subprocess.PIPE) as reader:
        done = subprocess.run(pack, input=names, stdout=reader.stdin, check=False)
    if done.returncode or reader.returncode:
        raise BuildError(f"cannot copy {path} into the cache")


def _link_tree(tree: Path, target: Path) -> None:
    """Copy a tree by hard links: patch(1) replaces a file, it does not write into it."""
    done = subprocess.run(
        ["cp", "-al", f"{tree}/.", str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(f"cannot copy {tree}: {done.stderr.strip()}")


# --- Recipes: what goes into a build ------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What make is run for; `key` names its log, `build` the folder of the objects."""

    name: str
    role: Role
    key: str
    progress: Progress
    build: str = "build"
    make: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.name} {self.role}"

    def notify(self, message: str) -> None:
        self.progress(0, 0, message)

    def say(self, message: str) -> None:
        """Pass on what somebody says who does not know which kernel it is about."""
        self.notify(f"{self.label}: {message}")


@dataclass(frozen=True, kw_only=True)
class _Recipe(_Work):
    """What a tree is made from besides."""

    source: _Source
    patches: Sequence[Path]
    allconfig: str
    base: str | None


def _recipe(
    spec: KernelSpec,
    role: Role,
    fragments: Sequence[Path],
    base: Path | None,
    make: Mapping[str, str],
    progress: Progress,
) -> _Recipe:
    def notify(message: str) -> None:
        progress(0, 0, message)

    source = _source(spec, notify)
    files = [*([] if base else spec.fragments(role)), *fragments]
    allconfig = "".join(path.read_text().rstrip("\n") + "\n" for path in files)
    if role == "spawned":
        allconfig += f'CONFIG_INITRAMFS_SOURCE="{EMBEDDED}"\n'
    allconfig = versions.fit(allconfig, spec.kernel_version())
    patches = spec.patch_files(role)
    whole = [base] if base else []
    key = cache.digest(_VERSION, source.digest, allconfig, compiler(make), *patches, *whole)
    return _Recipe(
        name=spec.name,
        role=role,
        source=source,
        patches=patches,
        allconfig=allconfig,
        base=base.read_text() if base else None,
        # Without the name: what two specs have in common is built once.
        key=f"{role}-{cache.short(key)}",
        progress=progress,
        make=make,
    )


def compiler(make: Mapping[str, str] | None = None) -> str:
    """The versions of the compiler and the linker, and what make is told of them.

    Args:
        make: Variables of make.

    Raises:
        PrerequisiteError: One of them is not there.
    """
    lines = [f"{name}={value}" for name, value in sorted((make or {}).items())]
    for tool in ("clang", "ld.lld") if make and "LLVM" in make else ("gcc", "ld"):
        if not shutil.which(tool):
            raise PrerequisiteError(
                f"building this kernel needs {tool}", hint="LLVM=1 takes the packages clang and lld"
            )
        done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
        lines.append(done.stdout.partition("\n")[0])
    return "\n".join(lines)


def _check_tools() -> None:
    missing = [tool for tool in _TOOLS if not shutil.which(tool)]
    if missing:
        raise PrerequisiteError(
            f"building a kernel needs {', '.join(missing)}",
            hint=f"install the packages {_TOOL_PACKAGES}",
        )


# --- Patches and configs ------------------------------------------------------


def _prepare(recipe: _Recipe, tree: Path) -> None:
    recipe.notify(f"{recipe.label}: copying the source")
    recipe.source.copy(tree)
    apply_series(recipe.patches, tree, notify=recipe.say)
    recipe.notify(f"{recipe.label}: configuring")
    if (tree / ".config").exists():
        _make(tree, ["mrproper"])
    configure(
        tree,
        recipe.build,
        recipe.allconfig,
        base=recipe.base,
        make=recipe.make,
        label=recipe.label,
    )


def configure(
    tree: Path,
    build: str,
    fragments: str,
    *,
    base: str | None = None,
    make: Mapping[str, str] | None = None,
    label: str = "",
) -> dict[str, str]:
    """Make the .config of a build; one that comes out the same is not touched.

    Args:
        tree: The source.
        build: The folder of the objects, in the source.
        fragments: The options that are wanted.
        base: A whole .config that they are added to; without it, all that they
            do not ask for is off.
        make: Variables of make, such as LLVM.
        label: Names the kernel in errors.

    Returns:
        The options that came out, as `kconfig.parse` gives them.

    Raises:
        BuildError: An option of the fragments did not take.
    """
    objects = tree / build
    objects.mkdir(exist_ok=True)
    (objects / "allconfig").write_text(fragments)
    if base is None:
        _make(tree, [f"O={build}", "KCONFIG_ALLCONFIG=allconfig", "allnoconfig"], variables=make)
    else:
        (objects / ".config").write_text(f"{base}\n{fragments}")
        _make(tree, [f"O={build}", "olddefconfig"], variables=make)
    got = (objects / ".config").read_text()
    kconfig.check(fragments, got, tree=tree, label=label, may_lack=versions.may_lack)
    return kconfig.parse(got)


def compile_in(
    tree: Path,
    build: str,
    target: Path,
    *,
    name: str,
    log: str,
    role: Role,
    init: Path | None = None,
    make: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
    makes: Makes | None = None,
) -> None:
    """Bring the objects of a configured tree up to date, where they are.

    Args:
        tree: The source. The caller sees to it that nobody else builds here.
        build: The folder of the objects, in the source.
        target: The folder that the kernel's files are copied to.
        name: Names the kernel in messages.
        log: The name of the log, as `log_file` takes it.
        role: Which of the two builds.
        init: The static program that a spawned kernel embeds as its init.
        make: Variables of make, such as LLVM.
        progress: Told how far it is, as of `build_kernel`.
        makes: Those of the builds that go on beside this one, if any.

    Raises:
        BuildError: The kernel does not compile, or the makes were ended.
        PrerequisiteError: A tool is missing.
    """
    _check_tools()
    work = _Work(name=name, role=role, key=log, progress=progress, build=build, make=make or {})
    embedded = initramfs.spawned_initramfs(init) if init and role == "spawned" else b""
    with _no_orphans(tree / build, work) as guard:
        _compile(work, tree, embedded, guard, makes=makes)
    _collect(tree / build, target)


def is_complete(tree: Path, build: str) -> bool:
    """Whether objects were made to the end once: a build of them is an incremental one.

    Args:
        tree: The source.
        build: The folder of the objects, in the source.
    """
    return (tree / build / ".complete").exists()


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
        command = ["patch", "-p1", "--forward", "--fuzz=0", "--no-backup-if-mismatch"]
        command += ["--reject-file=-", "-i", str(patch)]
        done = subprocess.run(
            command,
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise BuildError(f"the patch {shown(patch)} does not apply: {_rejected(done.stdout)}")


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


# --- make ---------------------------------------------------------------------


@contextmanager
def _no_orphans(objects: Path, work: _Work) -> Iterator[int]:
    """Wait until what a killed run started here has ended; yield what make is to inherit.

    The lock of the cache goes with our own process, but compilers that are
    running go on for seconds, and then remove what they were making. This lock
    is theirs too: it is free when the last of them is gone.
    """
    with (objects / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            work.notify(f"{work.label}: waiting for the end of an interrupted build")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


class Makes:
    """The makes of builds side by side, which are ended together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    @contextmanager
    def holding(self, process: subprocess.Popen[str]) -> Iterator[None]:
        """Have a make ended with the others.

        Args:
            process: The make; it leads a session.
        """
        with self._lock:
            self._running.add(process)
            late = self._ended
        try:
            if late:
                processes.end(process, signal.SIGTERM, seconds=_STOP_SECONDS)
            yield
        finally:
            with self._lock:
                self._running.discard(process)

    def end(self) -> None:
        """End them, and those that are yet to begin."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for process in running:
            processes.end(process, signal.SIGTERM, seconds=_STOP_SECONDS)


def _compile(
    work: _Work, tree: Path, embedded: bytes, guard: int, *, makes: Makes | None = None
) -> None:
    """Bring the objects of a tree up to date. The caller holds its lock."""
    objects = tree / work.build
    config = objects / ".config"
    # A build that was killed while it linked again leaves a vmlinux that make
    # takes for whole. One that was killed the first time does not: kbuild
    # notes how it made a file after it made it.
    complete, unsure = objects / ".complete", objects / ".unsure"
    if unsure.exists() and complete.exists():
        work.notify(f"{work.label}: clearing up after an interrupted build")
        _forget_since(objects, unsure.stat().st_mtime_ns)
    unsure.touch()
    if embedded:
        _write_if_changed(objects / EMBEDDED, embedded)
    modules = kconfig.parse(config.read_text()).get("MODULES") == "y"
    goals = ["bzImage", *(["modules"] if modules else [])]
    _make_with_progress(work, tree, goals, inherit=(guard,), makes=makes or Makes())
    complete.touch()
    unsure.unlink()


def _forget_since(objects: Path, began: int) -> None:
    """Remove what was made since a build began that did not end: it may be half.

    For each file X that it makes, kbuild keeps the command in .X.cmd.

    Args:
        objects: The folder of the objects.
        began: When the build began, in nanoseconds as of st_mtime_ns.
    """
    for folder, _, names in os.walk(objects):
        for name in names:
            if name.startswith(".") and name.endswith(".cmd"):
                made = Path(folder) / name[1:-4]
                if made.is_file() and made.stat().st_mtime_ns >= began:
                    made.unlink()


def _collect(objects: Path, target: Path) -> None:
    files = {
        "bzImage": "arch/x86/boot/bzImage",
        "vmlinux": "vmlinux",
        "config": ".config",
        "release": "include/config/kernel.release",
        "System.map": "System.map",
    }
    for name, source in files.items():
        shutil.copy2(objects / source, target / name)


def _write_if_changed(path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        path.write_bytes(data)


def _make(tree: Path, goals: Sequence[str], *, variables: Mapping[str, str] | None = None) -> None:
    """Run make where it is short."""
    with _running(tree, ["-s", *goals], variables=variables) as process:
        output = process.communicate()[0]
    if process.returncode:
        message = guestbuild.first_error(output)
        raise BuildError(f"make {goals[-1]} failed: {message}")


def log_file(key: str) -> Path:
    """What make said in the last build of a key.

    Args:
        key: The key of a tree in the cache, or the name that `compile_in` was given.
    """
    return cache.home() / "logs" / f"{key}.log"


def _make_with_progress(
    work: _Work, tree: Path, goals: Sequence[str], *, inherit: Sequence[int], makes: Makes
) -> None:
    log = log_file(work.key)
    log.parent.mkdir(parents=True, exist_ok=True)
    steps = _Steps(work, tree / work.build)
    arguments = [f"O={work.build}", f"-j{os.cpu_count() or 1}", *goals]
    try:
        with (
            log.open("w") as file,
            _running(tree, arguments, inherit=inherit, variables=work.make) as process,
            makes.holding(process),
        ):
            assert process.stdout is not None
            for line in process.stdout:
                file.write(line)
                steps.see(line)
            process.wait()
    finally:
        steps.keep()
    if process.returncode:
        message = guestbuild.first_error(log.read_text(errors="replace"))
        raise BuildError(f"{work.label} kernel does not build: {message}", hint=f"see {log}")
    steps.finish()


class _Steps:
    """How far a build is: the lines that make printed, of those it printed last time.

    Only the first build of a tree is counted, with what runs that were
    interrupted did of it; later ones link, and end before a figure is of use.
    """

    def __init__(self, work: _Work, objects: Path) -> None:
        self.work = work
        self.first = not (objects / ".complete").exists()
        self.own = objects / ".steps"
        self.last = cache.home() / "counts" / f"{work.name}-{work.role}"
        self.done = _read_count(self.own)
        self.total = _read_count(self.last) or _LINES[work.role]

    def see(self, line: str) -> None:
        if not (step := _STEP.match(line)):
            return
        self.done += 1
        what = f"{self.work.label}: {step[1]} {step[2]}"
        if self.first:
            self.work.progress(min(self.done, self.total), self.total, what)
        else:
            self.work.progress(0, 0, what)

    def keep(self) -> None:
        if self.first:
            self.own.write_text(f"{self.done}\n")

    def finish(self) -> None:
        if self.first:
            self.last.parent.mkdir(exist_ok=True)
            self.last.write_text(f"{self.done}\n")


def _read_count(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


@contextmanager
def _running(
    tree: Path,
    arguments: Sequence[str],
    *,
    inherit: Sequence[int] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Run make in a session of its own, which is ended with whatever ends us."""
    command = ["make", "-C", str(tree), "ARCH=x86_64"]
    given = dict(variables or {})
    if shutil.which("ccache"):
        given.setdefault("CC", "ccache clang" if "LLVM" in given else "ccache gcc")
    command += [f"{name}={value}" for name, value in given.items()]
    # Should we be killed, make gets a signal, and ends what it started.
    process = subprocess.Popen(
        [*processes.bound(signal.SIGTERM), *command, *arguments],
        env=build_environment(tree),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=tuple(inherit),
    )
    try:
        yield process
    finally:
        processes.end(process, signal.SIGTERM, seconds=_STOP_SECONDS)
        if process.stdout:
            process.stdout.close()


def build_environment(tree: Path) -> dict[str, str]:
    """The same build for everyone: nothing of the user's make, no dates and names.

    Args:
        tree: The source, with the objects in a folder of it.
    """
    env = {
        name: value
        for name, value in os.environ.items()
        if not re.match(r"MAKE|KBUILD_|KCONFIG_|ARCH$|CROSS_COMPILE$|LOCALVERSION$|[KC]FLAGS", name)
    }
    # Objects are below the source, so kbuild names all files relative to it:
    # the paths are the same for all trees, and ccache knows a file again.
    return env | {
        "LC_ALL": "C",
        "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
        "KBUILD_BUILD_VERSION": "1",
        "KBUILD_BUILD_USER": "kspawn",
        "KBUILD_BUILD_HOST": "kspawn",
        "CCACHE_DIR": str(cache.home() / "ccache"),
        "CCACHE_BASEDIR": str(tree),
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_SLOPPINESS": "time_macros",
    }
