# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn shell` on a real terminal, and gdb beside it: as a person uses them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from harness.kernel.specs import ROOT
from harness.machine.lab import Lab

pytestmark = pytest.mark.vm

# A boot and a jump, with the deadlines of TCG.
SECONDS = 300
ESCAPE = "\x1d"


@contextmanager
def shell(
    lab: Lab, folder: Path, role: str, *more: str, size: tuple[int, int] = (33, 101)
) -> Iterator[pexpect.spawn[str]]:
    """`./kspawn shell` on a terminal, up to its prompt; then Ctrl-], and what is left behind."""
    options = lab.options
    words = ["-m", "harness", "shell", "--role", role, *more, f"--results={folder}"]
    words += [f"--kernel={options.kernel}", f"--vm-config={options.vm_config}"]
    words += [f"--accel={options.accel}", *options.own.arguments()]
    with (folder / "terminal.log").open("w") as log:
        child: pexpect.spawn[str] = pexpect.spawn(
            sys.executable, words, cwd=str(ROOT), dimensions=size, timeout=SECONDS, encoding="utf-8"
        )
        child.logfile_read = log
        try:
            before = termios.tcgetattr(child.child_fd)
            child.expect("; Ctrl-] ends it\r\n")
            yield child
            child.send(ESCAPE)
            child.expect(pexpect.EOF)
            # Asked while the terminal is there: a shell that comes back finds it as it was.
            assert termios.tcgetattr(child.child_fd) == before
        finally:
            child.close(force=True)
    assert child.exitstatus == 0
    assert machines_of(child) == []


def machines_of(child: pexpect.spawn[str]) -> list[str]:
    """The QEMUs that a run of kspawn has started, and that are still there."""
    done = subprocess.run(
        ["pgrep", "-af", rf"^\S*qemu\S* .*guest=kspawn-{child.pid}-"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()


def type_line(child: pexpect.spawn[str], text: str, expected: str) -> None:
    """Type a line, and wait for what is expected of it."""
    child.send(f"{text}\r")
    child.expect(expected)


@pytest.mark.ci
def test_the_normal_kernel(lab: Lab, folder: Path) -> None:
    """Keys, the size of the window, and Ctrl-C go to the guest."""
    with shell(lab, folder, "normal") as child:
        assert machines_of(child)
        # What is typed before its prompt is lost: the shell flushes the terminal.
        child.expect("kspawn# ")
        type_line(child, "stty size", "33 101\r\n")
        type_line(child, "echo $((6 * 7))", "\r\n42\r\n")
        child.setwinsize(50, 120)
        type_line(child, "until stty size | grep -x '50 120'; do :; done", "\r\n50 120\r\n")
        child.send("cat\r")
        type_line(child, "heard", "heard\r\nheard\r\n")
        child.send("\x03")
        type_line(child, "echo $((7 * 8))", "\r\n56\r\n")


@pytest.mark.parametrize("role", ["hibernating", "resuming"])
def test_a_spawned_kernel(lab: Lab, folder: Path, role: str) -> None:
    """What is typed is seen, and Ctrl-] lets the kernel go on with its work."""
    with shell(lab, folder, role) as child:
        type_line(child, "cat /proc/cmdline", f"kspawn.role={role}")
        type_line(child, "ps", r"1 \(init\) R")
        # Ctrl-C and Backspace do not end it, nor do they leave anything in the line.
        child.send("\x03")
        type_line(child, "pss\x7f", r"1 \(init\) R")
    (status,) = folder.glob("*/1-status.log")
    assert '"saved"' in status.read_text()


_TYPED = "p ((struct task_struct *)&init_task)->comm"


def gdb(line: str, *commands: str) -> str:
    """Run the line that `--gdb` printed, with commands after it; gdb lets go at the end."""
    words = [*shlex.split(line), "-batch"]
    for command in commands:
        words += ["-ex", command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    return done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
@pytest.mark.parametrize("role", ["normal", "hibernating", "resuming"])
def test_gdb(lab: Lab, folder: Path, role: str) -> None:
    """A backtrace of the kernel that waits in its shell; it goes on when gdb lets go of it."""
    with shell(lab, folder, role, "--gdb") as child:
        found = re.search(r"gdb \S+ -ex 'target remote \S+'", str(child.before))
        assert found, child.before
        kernel = lab.kernels.normal if role == "normal" else lab.kernels.spawned
        said = gdb(found[0], "info symbol $pc", "bt", "x/s (char *)&linux_banner", _TYPED)
        (folder / "gdb.txt").write_text(said)
        assert "in section .text" in said or "in section .noinstr" in said, said
        # It waits for a key: frames of the kernel that is there, with the names of its functions.
        assert re.search(r"^#\d .* in (?:do_idle|cpu_startup_entry) \(\)", said, re.MULTILINE), said
        assert f"Linux version {kernel.release} " in said, said
        if role == "normal":
            # It has types too; a spawned kernel has no modules, and these are made as one.
            assert '= "swapper' in said, said
            type_line(child, "echo $((6 * 7))", "\r\n42\r\n")
        else:
            type_line(child, "ps", r"1 \(init\) R")
