# SPDX-License-Identifier: GPL-2.0-only
"""One build and one run of a revision: what a bisection spends its time on.

A task is done here, in a thread, or on a worker of a cluster: all that it needs
is in it, and all that it found is in what it returns.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from harness.base import archive, cache, data, files, processes
from harness.base.errors import BuildError, HarnessError, KspawnError
from harness.base.version import Version
from harness.bisect import outcome, recorder
from harness.bisect.found import cycles, lines
from harness.bisect.outcome import Report
from harness.bisect.repository import git, make_work_tree
from harness.bisect.state import Build, Settings
from harness.guest import guestbuild
from harness.kernel import flavors, kbuild, tree
from harness.kernel.specs import KernelSpec, load_kernel, of_version
from harness.kernel.yamlfile import ROOT

# A build that ended for one of these says nothing about its revision.
_NOT_THE_SOURCE = re.compile(
    r"No space left on device|Killed (?:signal|process)|Cannot allocate memory|virtual memory"
    r"|Input/output error|Disk quota exceeded"
)
# A run has deadlines of its own; this one is for when they fail.
_RUN_SECONDS = 3600
_STOP_SECONDS = 20
# The tests that are under way, of all threads.
_running: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True)
class Task:
    """A revision that is to be run once.

    Args:
        settings: Those of the bisection.
        revision: The hash.
        slot: Which of the work trees is used; one task a slot at a time.
        folder: Where its logs go.
        kernel: Its kernel in the cache, if it was built before.
    """

    settings: Settings
    revision: str
    slot: int
    folder: str
    kernel: str = ""


@dataclass
class Done:
    """What a task came to.

    Args:
        task: The task.
        build: The build, if there was one.
        report: What the tests came to, if they ran.
        seconds: How long the tests took.
        worker: Where it ran.
        files: The logs, packed, for who does not share the file system.
    """

    task: Task
    build: Build | None = None
    report: Report | None = None
    seconds: float = 0.0
    worker: str = ""
    files: bytes = field(default=b"", repr=False)


def perform(task: Task) -> Done:
    """Build a revision, if need be, and run the tests on it once.

    Args:
        task: What is to be done.

    Returns:
        What came of it; a harness that broke is in the report.
    """
    done = Done(task)
    folder = Path(task.folder)
    try:
        # A bisection that was killed has left the half of this run here.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        kernel = Path(task.kernel) if task.kernel else None
        if kernel is None or not (kernel / "bzImage").is_file():
            done.build = build(task.settings, task.revision, slot=task.slot)
            if not done.build.ok:
                (folder / "build.log").write_text(_build_log(task, done.build))
                return done
            kernel = Path(done.build.folder)
        start = time.monotonic()
        done.report = run(task.settings, kernel, folder)
        done.seconds = time.monotonic() - start
    except (KspawnError, OSError) as exc:
        done.report = Report(broken=str(exc))
    return done


def _build_log(task: Task, made: Build) -> str:
    """What make said, before the next build of the work tree writes over it."""
    place = work_tree(task.settings, task.slot)
    path = tree.build_log(place, "normal")
    own = path.exists() and path.stat().st_mtime >= time.time() - made.seconds
    return f"{made.error}\n" + (f"\n{path.read_text(errors='replace')}" if own else "")


def perform_remotely(task: Task) -> Done:
    """The same, on a machine that may not share the file system.

    Args:
        task: What is to be done.
    """
    done = perform(task)
    done.worker = os.uname().nodename
    return pack(done)


def pack(done: Done) -> Done:
    """Take the logs of a task along.

    Args:
        done: What it came to.
    """
    done.files = archive.pack(Path(done.task.folder))
    return done


def unpack(done: Done) -> None:
    """Put the logs of a task where they belong, if they are not there.

    Args:
        done: What a task on another machine came to.
    """
    folder = Path(done.task.folder)
    if done.files and not folder.exists():
        archive.unpack(done.files, folder)
    done.files = b""


# -- the build -------------------------------------------------------------------


def work_tree(settings: Settings, slot: int) -> Path:
    """The work tree of a slot: kept from one bisection of a tree to the next.

    Args:
        settings: Those of the bisection.
        slot: Its number.
    """
    source = Path(settings.tree)
    key = cache.short(cache.digest(str(source)))
    # An entry of the cache for each; the name in it is that of the kernels in messages.
    return cache.home() / "bisect" / f"{key}-{slot}" / f"{source.name}-{slot}"


def check_out(source: Path, place: Path, revision: str) -> None:
    """Bring a work tree to a revision; files that do not differ are not touched.

    Args:
        source: The repository.
        place: The work tree; made if it is not there.
        revision: The hash.
    """
    if make_work_tree(source, place, revision):
        return
    lock = Path(git(place, "rev-parse", "--git-path", "index.lock").stdout.strip())
    # The caller holds the work tree: it is of a git that was killed.
    (place / lock).unlink(missing_ok=True)
    git(place, "checkout", "-q", "--force", "--detach", revision)
    git(place, "clean", "-q", "-ffdx")


def build(settings: Settings, revision: str, *, slot: int) -> Build:
    """Build a revision; if it does not build, once more with each build-fix patch.

    Args:
        settings: Those of the bisection.
        revision: The hash.
        slot: Which of the work trees is used.

    Raises:
        HarnessError: The build broke for a reason that is not in the source.
    """
    start = time.monotonic()
    source, place = Path(settings.tree), work_tree(settings, slot)
    note = _note(settings, revision)
    if known := _built_before(note, revision):
        return known
    with cache.lock("bisect", place.parent.name):
        check_out(source, place, revision)
        made = _make(settings, place, revision)
        tried = []
        for fix in settings.fixes if not made.ok else ():
            if not _apply(place, Path(fix)):
                tried.append(f"{Path(fix).name} does not apply")
                continue
            again = _make(settings, place, revision)
            git(place, "checkout", "-q", "--force", "--detach", revision)
            git(place, "clean", "-q", "-ffdx")
            if again.ok:
                made = again.model_copy(update={"fix": fix})
                break
            tried.append(f"with {Path(fix).name}: {again.error}")
        if not made.ok:
            made.error = "; ".join([made.error, *tried])
    made.seconds = time.monotonic() - start
    if made.ok:
        note.parent.mkdir(parents=True, exist_ok=True)
        files.write(note, made.model_dump_json())
    return made


def _note(settings: Settings, revision: str) -> Path:
    """Where it is noted which kernel a revision came to: by all that it is made from.

    So another bisection of the same range, with other tests, builds nothing.
    """
    content = git(Path(settings.tree), "rev-parse", f"{revision}^{{tree}}").stdout
    spec = _spec_of(settings, revision)
    kind = flavors.kind(settings.flavors, spec.kernel_version())
    given = [*kind.fragments, *map(Path, (*settings.fragments, *settings.fixes))]
    whole = Path(settings.config) if settings.config else kind.base
    base = [whole] if whole else spec.fragments("normal")
    patches: list[Path] = []
    if settings.patched:
        patches = [*spec.patch_files("normal"), *spec.patch_files("spawned")]
    counts = f"{bool(settings.config)} {len(settings.fragments)} {len(settings.fixes)}"
    key = cache.digest(content, kbuild.compiler(kind.make), counts, *base, *given, *patches)
    return work_tree(settings, 0).parent / "built" / cache.short(key)


def _spec_of(settings: Settings, revision: str) -> KernelSpec:
    """What is known of a revision, by the version that it has itself."""
    source = Path(settings.tree)
    makefile = git(source, "show", f"{revision}:Makefile", check=False).stdout
    version = Version.of_makefile(makefile)
    if version is None:
        return load_kernel(settings.kernel)
    return of_version(settings.kernel, version, source)


def _built_before(note: Path, revision: str) -> Build | None:
    """The kernel that was noted, unless the cache has dropped it since."""
    start = time.monotonic()
    try:
        known = Build.model_validate_json(note.read_text())
        # The oldest are dropped first.
        os.utime(known.folder)
    except (OSError, ValidationError):
        return None
    if not (Path(known.folder) / "bzImage").is_file():
        return None
    return known.model_copy(update={"revision": revision, "seconds": time.monotonic() - start})


def _make(settings: Settings, place: Path, revision: str) -> Build:
    try:
        spec = _spec_of(settings, revision)
        kind = flavors.kind(settings.flavors, spec.kernel_version())
        kernel = tree.build_tree(
            place,
            "normal",
            spec=spec,
            fragments=[*kind.fragments, *(Path(path) for path in settings.fragments)],
            config=Path(settings.config) if settings.config else kind.base,
            make=kind.make,
            patched=settings.patched,
        )
    except BuildError as exc:
        if _NOT_THE_SOURCE.search(str(exc)):
            raise HarnessError(f"the build broke: {exc}") from exc
        # Without what the report says anyway, and the log that the next step replaces.
        error = exc.message.removeprefix(f"{place.name} normal kernel does not build: ")
        return Build(revision=revision, ok=False, error=error)
    return Build(revision=revision, ok=True, folder=str(kernel.folder))


def _apply(place: Path, fix: Path) -> bool:
    return git(place, "apply", str(fix), check=False).returncode == 0


def prepare(settings: Settings) -> None:
    """Build what each run needs besides the revision: the guest and the spawned kernel.

    Args:
        settings: Those of the bisection.

    Raises:
        BuildError: It does not build.
        PrerequisiteError: Something that it needs is missing.
    """
    guest = guestbuild.build_guest()
    kbuild.build_kernel(load_kernel(settings.kernel), "spawned", init=guest["kspawn"])


# -- the run ---------------------------------------------------------------------


def command(settings: Settings, kernel: Path, folder: Path) -> list[str]:
    """The command that runs the tests on a kernel once.

    Args:
        settings: Those of the bisection.
        kernel: The folder of the kernel.
        folder: Where its logs go.
    """
    return [
        *(sys.executable, "-m", "pytest", *settings.arguments),
        *("-p", recorder.__name__, "-p", "no:cacheprovider"),
        *(f"--rootdir={ROOT}", f"--config-file={ROOT / 'pyproject.toml'}"),
        *settings.options,
        *(f"--kernel={settings.kernel}", f"--bzimage={kernel / 'bzImage'}"),
        f"--run-folder={folder}",
        # Runs that are to tell chance from cause have nothing of a boot in common.
        "--cold",
    ]


def run(settings: Settings, kernel: Path, folder: Path) -> Report:
    """Run the tests on a kernel once.

    Args:
        settings: Those of the bisection.
        kernel: The folder of the kernel.
        folder: Where its logs go.
    """
    record = folder / "failures.jsonl"
    record.unlink(missing_ok=True)
    env = os.environ | {
        recorder.VARIABLE: str(record),
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(data.IMPORTS), os.environ.get("PYTHONPATH", "")])
        ),
    }
    # SIGINT would not do: what a script starts in the background ignores it, and
    # tests that live on write into the folder of the run that is next. The
    # machines are seen to by their guard.
    line = [*processes.bound(signal.SIGKILL), *command(settings, kernel, folder)]
    with (folder / "pytest.log").open("w") as log:
        process = subprocess.Popen(
            line,
            cwd=settings.cwd or None,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _running.add(process)
        try:
            process.wait(timeout=_RUN_SECONDS)
        except subprocess.TimeoutExpired:
            return Report(broken=f"the tests did not end within {_RUN_SECONDS} s")
        finally:
            # As Ctrl-C does, so that machines are shut down.
            processes.end(process, signal.SIGINT, seconds=_STOP_SECONDS)
            _running.discard(process)
    report = outcome.merge(lines(record), cycles(folder))
    if report.broken and not record.exists():
        tail = (folder / "pytest.log").read_text(errors="replace").strip().splitlines()
        report.broken = f"{report.broken}: {tail[-1] if tail else 'pytest said nothing'}"
    return report


def stop_runs() -> None:
    """End the tests that run in other threads, so that nobody waits for them."""
    for process in list(_running):
        processes.end(process, signal.SIGINT, seconds=_STOP_SECONDS)
