# SPDX-License-Identifier: GPL-2.0-only
"""make, with its progress; nothing of it outlives the harness."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.base import cache, processes
from harness.base.errors import BuildError
from harness.guest import guestbuild
from harness.kernel import clang
from harness.kernel.specs import Role

Progress = Callable[[int, int, str], None]
# The lines that make prints (of 7.3), until a build of this kernel has been counted.
_LINES = {"normal": 2320, "spawned": 1440}
_STEP = re.compile(r"^  ([A-Z][A-Z0-9_]*) +(?:\[M\] +)?(\S+)")
_STOP_SECONDS = 5


def no_progress(done: int, total: int, what: str) -> None:
    """A `Progress` that tells nobody."""


# --- Recipes: what goes into a build ------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Work:
    """What make is run for.

    Args:
        name: Names the kernel in messages.
        role: Which of its two builds.
        key: Names its log.
        progress: Told how far it is.
        build: The folder of the objects.
        make: Variables of make.
    """

    name: str
    role: Role
    key: str
    progress: Progress
    build: str = "build"
    make: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The kernel, for people."""
        return f"{self.name} {self.role}"

    def notify(self, message: str) -> None:
        """Tell something that is no step."""
        self.progress(0, 0, message)

    def say(self, message: str) -> None:
        """Pass on what somebody says who does not know which kernel it is about."""
        self.notify(f"{self.label}: {message}")


# --- make ---------------------------------------------------------------------


@contextmanager
def no_orphans(objects: Path, work: Work) -> Iterator[int]:
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


def make(tree: Path, goals: Sequence[str], *, variables: Mapping[str, str] | None = None) -> None:
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


def make_with_progress(
    work: Work, tree: Path, goals: Sequence[str], *, inherit: Sequence[int], makes: Makes
) -> None:
    """Run make, and tell each step that it prints.

    Args:
        work: What is built.
        tree: Where.
        goals: What make is to make.
        inherit: Open files that it gets.
        makes: Where it is noted, to be ended from elsewhere.

    Raises:
        BuildError: It failed; the log is named.
    """
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

    def __init__(self, work: Work, objects: Path) -> None:
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
        compiler = clang.tool("clang", given["LLVM"]) if "LLVM" in given else "gcc"
        given.setdefault("CC", f"ccache {compiler}")
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
        if not re.match(
            r"MAKE|KBUILD_|KCONFIG_|ARCH$|CROSS_COMPILE$|LOCALVERSION$|[KC]FLAGS|CCACHE_DEPEND",
            name,
        )
    }
    # Objects are below the source, so kbuild names all files relative to it:
    # the paths are the same for all trees, and ccache knows a file again.
    # Not CCACHE_DEPEND, though it saves the preprocessor: what `.incbin` reads is in no list
    # of headers, so a spawned kernel got the init of the one before it from the cache. A
    # preprocessed file tells of it, and is not kept. Nor is what was kept by that mode.
    return env | {
        "LC_ALL": "C",
        "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
        "KBUILD_BUILD_VERSION": "1",
        "KBUILD_BUILD_USER": "kspawn",
        "KBUILD_BUILD_HOST": "kspawn",
        "CCACHE_DIR": str(cache.home() / "ccache"),
        "CCACHE_NAMESPACE": "preprocessed",
        "CCACHE_BASEDIR": str(tree),
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_SLOPPINESS": "time_macros",
    }
