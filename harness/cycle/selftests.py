# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own tests of kexec, run in the normal kernel.

tools/testing/selftests/kexec and liveupdate of the tree, and the KUnit suites that
have to do with kexec. What they report is read as KTAP.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from harness.base.deadline import Deadline
from harness.base.errors import PrerequisiteError
from harness.kernel.built import BuiltKernel
from harness.kernel.kconfig import Kconfig
from harness.logs import ktap
from harness.machine.machine import Machine

SELFTESTS = "tools/testing/selftests"
KEXEC, LIVEUPDATE = "kexec", "liveupdate"
# The names of options for KUnit suites that test kexec, its images and its
# memory: kernel/resource.c is what kexec_file_load places segments by.
_SUITES = re.compile(
    r"(KEXEC|KHO|CRASH|LIVEUPDATE|RESOURCE)\w*_KUNIT\w*|\w*KUNIT\w*_(KEXEC|KHO)\w*"
)
GUEST = "/run/selftests"
"""Where the tests are in the guest."""
# tools/testing/selftests/kselftest/runner.sh: the default of a program.
_SECONDS = 45
_ASSIGNED = re.compile(r"^(TEST_\w+|\w*)\s*[:+]?=\s*(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Programs:
    """What a folder of selftests has.

    Args:
        tests: The programs that are tests.
        sources: Of these, what has to be compiled.
        files: What they need besides.
    """

    tests: tuple[str, ...]
    sources: tuple[str, ...]
    files: tuple[str, ...]


def programs(folder: Path) -> Programs:
    """The tests of a folder of selftests, by its Makefile.

    Args:
        folder: The folder.

    Raises:
        PrerequisiteError: There is none.
    """
    makefile = folder / "Makefile"
    if not makefile.is_file():
        raise PrerequisiteError(f"the tree has no {SELFTESTS}/{folder.name}")
    words: dict[str, list[str]] = {}
    for name, value in _ASSIGNED.findall(makefile.read_text().replace("\\\n", " ")):
        words.setdefault(name, []).extend(value.split("#")[0].split())
    tests = [name for name in words.get("TEST_PROGS", []) if (folder / name).is_file()]
    generated = [
        *words.get("TEST_GEN_PROGS", []),
        *words.get("TEST_GEN_FILES", []),
        *words.get("TEST_GEN_PROGS_EXTENDED", []),
    ]
    # Some are named by a rule only: test_kexec_jump of 6.15.
    sources = [path.stem for path in sorted(folder.glob("*.c"))]
    compiled = [name for name in words.get("TEST_GEN_PROGS", []) if name in sources]
    return Programs(
        tests=(*tests, *compiled),
        sources=tuple(dict.fromkeys(name for name in [*generated, *sources] if name in sources)),
        files=tuple(path.name for path in sorted(folder.iterdir()) if path.suffix == ".sh"),
    )


def _compile(folder: Path, name: str, target: Path) -> str:
    """Compile a program, static; returns what is wrong, or nothing."""
    sources = [str(folder / f"{name}.c"), *map(str, sorted(folder.glob(f"{name}*.S")))]
    sources += map(str, sorted(folder.glob("lib/*.c")))
    # After the system's own: headers of what is newer than that.
    headers = ["-idirafter", str(folder.parents[3] / "include/uapi")]
    headers += [f"-I{folder / 'lib/include'}"] if (folder / "lib").is_dir() else []
    command = ["gcc", "-O2", "-static", "-no-pie", *headers, "-o", str(target / name), *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[0] if done.returncode else ""


def run_selftests(
    machine: Machine, kernel: BuiltKernel, folder: Path, *, collection: str = KEXEC
) -> list[ktap.Test]:
    """Run selftests of a kernel's tree in it.

    Args:
        machine: A machine whose normal kernel runs.
        kernel: The kernel.
        folder: Where what they print goes, as kselftest.ktap.
        collection: The folder of tools/testing/selftests.

    Returns:
        The tests.

    Raises:
        HarnessError: The connection to the machine broke.
        KernelError: The kernel crashed or hung.
        PrerequisiteError: The tree has no such tests.
    """
    found, problems = install(machine, kernel, folder, collection=collection)
    lines = ["TAP version 13", f"1..{len(found.tests)}"]
    for number, name in enumerate(found.tests, 1):
        title = f"selftests: {collection}: {name}"
        lines += [f"# timeout set to {_SECONDS}", f"# {title}"]
        lines += _run_one(machine, f"{number} {title}", name, problems.get(name, ""))
    text = "\n".join(lines) + "\n"
    (folder / "kselftest.ktap").write_text(text)
    return ktap.parse(text)


def install(
    machine: Machine, kernel: BuiltKernel, folder: Path, *, collection: str = KEXEC
) -> tuple[Programs, dict[str, str]]:
    """Put tests into the guest, in `GUEST`, and the kernel where they look for one.

    Args:
        machine: A machine whose normal kernel runs.
        kernel: The kernel.
        folder: Where what is compiled goes, in selftests.
        collection: The folder of tools/testing/selftests.

    Returns:
        What there is, and what is wrong with a program that does not compile.

    Raises:
        PrerequisiteError: The tree has no such tests.
    """
    source = kernel.tree / SELFTESTS / collection
    found = programs(source)
    made = folder / "selftests"
    made.mkdir(parents=True, exist_ok=True)
    problems = {name: _compile(source, name, made) for name in found.sources}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in found.files:
            tar.add(source / name, name)
        for path in sorted(made.iterdir()):
            tar.add(path, path.name)
    limit = machine.timeouts.deadline("command", "the selftests")
    machine.run(f"mkdir -p {GUEST} /boot").check()
    machine.shell.put(archive.getvalue(), f"{GUEST}/tests.tar", limit)
    machine.run(f"cd {GUEST} && tar xf tests.tar && chmod +x *").check()
    image = kernel.bzimage.read_bytes()
    machine.shell.put(image, f"/boot/vmlinuz-{kernel.release}", limit)
    return found, {name: problem for name, problem in problems.items() if problem}


def _run_one(machine: Machine, title: str, name: str, problem: str) -> list[str]:
    if problem:
        return [f"ok {title} # SKIP it does not compile: {problem}"]
    seconds = _SECONDS * machine.timeouts.scale
    done = machine.run(
        f"cd {GUEST} && timeout {seconds:.0f} ./{name} </dev/null 2>&1",
        deadline=Deadline(seconds=seconds + 30, what=name),
    )
    printed = done.out.splitlines()
    lines = [f"# {line}" for line in printed]
    match done.exit_code:
        case 0:
            return [*lines, f"ok {title}"]
        case 4:
            # What it printed last says why.
            return [*lines, f"ok {title} # SKIP {printed[-1] if printed else ''}".rstrip()]
        case 124 | 143:
            return [*lines, f"not ok {title} # TIMEOUT {seconds:.0f} seconds"]
    return [*lines, f"not ok {title} # exit={done.exit_code}"]


def kunit_options(tree: Path) -> list[str]:
    """The options of the KUnit suites of a tree that have to do with kexec.

    Args:
        tree: The source.
    """
    symbols = Kconfig(tree).symbols
    return sorted(name for name in symbols if _SUITES.fullmatch(name))


def kunit_fragment(options: list[str]) -> str:
    """A config fragment that builds KUnit suites into a kernel, to run at its boot.

    Args:
        options: Those of the suites.
    """
    wanted = ["KUNIT", "KUNIT_DEBUGFS", *options]
    return "".join(f"CONFIG_{name}=y\n" for name in wanted)
