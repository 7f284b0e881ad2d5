# SPDX-License-Identifier: GPL-2.0-only
"""Witnesses: processes whose state must survive, and what /proc says of them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.base.deadline import Deadline
from harness.base.errors import HarnessError
from harness.base.processes import stat_fields
from harness.machine import warming
from harness.machine.machine import Machine
from harness.record.result import Check, MemoryUse

MEBIBYTES = 64
# The kind of state whose pages can be located.
_MEMORY = "anonymous-memory"
# What it needs besides: its files in tmpfs, threads, children, sockets.
_OTHER_MEBIBYTES = 20
PROC_CHECKS = (
    "processes",
    "start-time",
    "threads",
    "file-descriptors",
    "maps",
    "signals",
    "limits",
    "identity",
)

_READINGS, _SETTLE_SECONDS = 4, 3.0
# What busybox's init blocks while it works, and for a second (sleep1()) after each child that
# ended: SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGCHLD and SIGPWR (init/init.c).
_INIT_WORKS, _INIT_RESTS = "SigBlk: 0000000020014a07", "SigBlk: 0000000000000000"
_SIGNALS = ("SigQ", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")
# What a process changes by itself as it works.
_WORK = ("threads", "file-descriptors", "maps")
_IDENTITY = ("Name", "Umask", "Uid", "Gid", "Groups", "CapEff", "NoNewPrivs", "Cpus_allowed")


@dataclass(frozen=True)
class Process:
    """A process as /proc shows it: what must not change."""

    pid: int
    parent: int
    name: str
    aspects: Mapping[str, str] = field(compare=False)


def process_of(pid: int, files: Mapping[str, str]) -> Process | None:
    """A process, by what its files in /proc say.

    Args:
        pid: Its PID.
        files: stat, status, task, fd, maps and limits, as `read_files` gives them.

    Returns:
        The process; None where it ended meanwhile.
    """
    fields = stat_fields(files.get("stat", ""))
    status = dict(re.findall(r"^(\w+):\s*(.*)$", files.get("status", ""), re.MULTILINE))
    if len(fields) < 20 or "Name" not in status:
        return None
    tasks = sorted(
        f"{line.split(' ', 1)[0]} started at {stat_fields(line)[19]}"
        for line in files.get("task", "").splitlines()
        if line.strip()
    )
    return Process(
        pid=pid,
        parent=int(fields[1]),
        name=status["Name"],
        aspects={
            "start-time": fields[19],
            "threads": "\n".join(tasks),
            "file-descriptors": files.get("fd", ""),
            "maps": files.get("maps", ""),
            "signals": _signals(pid, status),
            "limits": files.get("limits", ""),
            "identity": "\n".join(f"{key}: {status.get(key)}" for key in _IDENTITY)
            + f"\nparent {fields[1]} group {fields[2]} session {fields[3]} tty {fields[4]}"
            + f" nice {fields[16]}",
        },
    )


def _signals(pid: int, status: Mapping[str, str]) -> str:
    """A process's masks of signals; of init, as they are while it rests."""
    text = "\n".join(f"{key}: {status.get(key)}" for key in _SIGNALS)
    working = pid == 1 and status["Name"] == "busybox"
    return text.replace(_INIT_WORKS, _INIT_RESTS) if working else text


def processes(
    machine: Machine, *, like: Mapping[int, Process] | None = None, since: int = 0
) -> dict[int, Process]:
    """All processes of the userland but those of the connection that asks.

    A process that works shows it, so /proc is read until two readings agree, or one agrees
    with `like`; a real loss or change is in every reading.

    Args:
        machine: A running machine.
        like: The processes as they were before.
        since: As of `compare`.
    """
    settling = Deadline(seconds=_SETTLE_SECONDS, what="processes at rest")
    last = _read_processes(machine)
    readings = 0
    while readings < _READINGS or not settling.expired:
        readings += 1
        if like is not None and all(check.ok for check in compare(like, last, since=since)):
            break
        again = _read_processes(machine)
        if like is None and all(check.ok for check in compare(last, again)):
            break
        last = again
    return last


def _read_processes(machine: Machine) -> dict[int, Process]:
    files = read_files(machine.run("witness processes").check())
    parsed = [process_of(pid, content) for pid, content in files.items()]
    everything = {process.pid: process for process in parsed if process}
    return {
        pid: process for pid, process in everything.items() if not _of_session(process, everything)
    }


def read_files(text: str) -> dict[int, dict[str, str]]:
    """What `witness processes` said: of each process, the content of its files in /proc.

    Args:
        text: A line "@@ PID FILE" before the lines of each file; "=N" is a line that was
            said before, as the one of that number.

    Raises:
        HarnessError: It names a line that it has not said.
    """
    files: dict[int, dict[str, list[str]]] = {}
    known: list[str] = []
    current: list[str] = []
    for line in text.rstrip("\n").split("\n"):
        if found := re.fullmatch(r"@@ (\d+) (\w+)", line):
            current = files.setdefault(int(found[1]), {}).setdefault(found[2], [])
        elif found := re.fullmatch(r"=(\d+)", line):
            if int(found[1]) >= len(known):
                raise HarnessError(f"the witness names line {found[1]} of {len(known)}")
            current.append(known[int(found[1])])
        else:
            known.append(line)
            current.append(line)
    return {
        pid: {name: "\n".join(lines) for name, lines in parts.items()}
        for pid, parts in files.items()
    }


def _of_session(process: Process, everything: Mapping[int, Process]) -> bool:
    """Whether a process belongs to an SSH connection, which does not survive."""
    while True:
        parent = everything.get(process.parent)
        if parent is None:
            return False
        if process.name == "dropbear" and parent.name == "dropbear":
            return True
        process = parent


def compare(
    before: Mapping[int, Process], after: Mapping[int, Process], *, since: int = 0
) -> list[Check]:
    """What /proc says before and after.

    Args:
        before: The processes before the hibernation.
        after: The processes after the resume.
        since: Processes that started earlier, by the clock of /proc, may go on with work of
            their own meanwhile: open files, take memory, start threads.

    Returns:
        One check an aspect; names begin with "proc.".
    """
    lost = sorted(f"{p.name}[{p.pid}]" for pid, p in before.items() if pid not in after)
    checks = [
        Check(
            name="proc.processes",
            ok=bool(before) and not lost,
            detail=f"lost: {', '.join(lost)}" if lost else f"{len(before)} processes, all there",
        )
    ]
    for aspect in PROC_CHECKS[1:]:
        judged = {
            pid: process
            for pid, process in before.items()
            if not since or aspect not in _WORK or int(process.aspects["start-time"]) >= since
        }
        changed = [
            f"{p.name}[{pid}]: {_difference(p.aspects[aspect], after[pid].aspects[aspect])}"
            for pid, p in judged.items()
            if pid in after and p.aspects[aspect] != after[pid].aspects[aspect]
        ]
        checks.append(
            Check(
                name=f"proc.{aspect}",
                ok=bool(judged) and not changed,
                detail="; ".join(changed)[:600] if changed else f"{len(judged)} processes alike",
            )
        )
    return checks


def _difference(before: str, after: str) -> str:
    old, new = before.splitlines(), after.splitlines()
    gone = [line for line in old if line not in new]
    come = [line for line in new if line not in old]
    return f"was {' | '.join(gone)[:200]!r}, is {' | '.join(come)[:200]!r}"


def command(*, mebibytes: int = MEBIBYTES, only: str = "", directory: str = "") -> str:
    """What starts a witness; `Machine.arm` may be it. See `Witness.start`."""
    chosen = f" --only {shlex.quote(only)}" if only else ""
    chosen += f" --dir {shlex.quote(directory)}" if directory else ""
    return f"witness run --mebibytes {mebibytes}{chosen}"


@dataclass(frozen=True)
class Witness:
    """A witness that runs in a machine.

    Args:
        machine: The machine.
        pid: The witness's PID there.
        checks: The names of what it asserts.
        mebibytes: How much patterned memory it holds.
        not_here: What this kernel or CPU cannot hold, by name, and why.
        only: The one kind of state that it holds; empty for all.
    """

    machine: Machine
    pid: int
    checks: tuple[str, ...]
    mebibytes: int = MEBIBYTES
    not_here: Mapping[str, str] = field(default_factory=dict)
    only: str = ""

    @classmethod
    def start(
        cls,
        machine: Machine,
        *,
        mebibytes: int = MEBIBYTES,
        only: str = "",
        directory: str = "",
    ) -> Witness:
        """Start a witness and have it check itself once.

        Args:
            machine: A running machine.
            mebibytes: How much patterned memory it holds.
            only: The one kind of state that it is to hold; empty for all.
            directory: Where its files are in the machine; by default in a tmpfs.

        Raises:
            HarnessError: It did not start, or fails before anything was done.
        """
        words = command(mebibytes=mebibytes, only=only, directory=directory)
        if machine.armed == words:
            words, machine.armed = f"cat {warming.ARMED}", ""
        done = machine.run(words, deadline=_deadline(machine, mebibytes))
        line = answer_of(done.check())
        witness = cls(
            machine=machine,
            pid=int(line["pid"]),
            checks=tuple(line["checks"]),
            mebibytes=mebibytes,
            not_here=dict(line["not_here"]),
            only=only,
        )
        failed = [check for check in witness.check() if not check.ok]
        if failed:
            raise HarnessError(f"the witness fails at once: {failed[0].name}: {failed[0].detail}")
        return witness

    def check(self) -> list[Check]:
        """Ask it to check itself; names begin with "witness."."""
        limit = _deadline(self.machine, self.mebibytes)
        done = self.machine.run("witness check", deadline=limit)
        line = answer_of(done.out)
        if "checks" not in line:
            detail = str(line.get("error", done.err))
            return [Check(name=f"witness.{name}", ok=False, detail=detail) for name in self.checks]
        got = {str(one["name"]): one for one in line["checks"]}
        return [
            Check(
                name=f"witness.{name}",
                ok=bool(got.get(name, {}).get("ok", False)),
                detail=str(got.get(name, {}).get("detail", "the witness did not check it")),
            )
            for name in self.checks
        ]

    def locate(self, page: int) -> tuple[int, int]:
        """Where a page of its memory is.

        Args:
            page: Index of the page.

        Returns:
            Its physical address, and its first word; zeros where it holds no memory.
        """
        if self.only not in ("", _MEMORY):
            return 0, 0
        line = answer_of(self.machine.run(f"witness locate {page}").check())
        return int(line["pfn"]) * 4096, int(str(line["word0"]), 0)

    def damage(self, *names: str) -> None:
        """Damage some of its state, to see the checks fail.

        Args:
            names: The names of the checks; those that are not here are left out.
        """
        held = [name for name in names if name not in self.not_here]
        each = "; ".join(f"witness damage {shlex.quote(name)} >/dev/null || exit" for name in held)
        if each:
            self.machine.run(each, deadline=_deadline(self.machine, self.mebibytes)).check()


def _deadline(machine: Machine, mebibytes: int) -> Deadline:
    # What it does with its usual memory takes a part of what a command may.
    return machine.timeouts.deadline("command", "the witness", memory=mebibytes // MEBIBYTES << 30)


def memory_use(machine: Machine) -> MemoryUse:
    """How full the memory of the normal kernel is.

    Args:
        machine: A running machine.
    """
    text = machine.run("cat /proc/meminfo").check()
    kb = {key: int(value) for key, value in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    return MemoryUse(
        total_bytes=kb["MemTotal"] << 10,
        used_bytes=(kb["MemTotal"] - kb["MemAvailable"]) << 10,
        witness_bytes=0,
    )


def fill_mebibytes(use: MemoryUse, percent: int) -> int:
    """How much patterned memory a witness needs so that memory is filled.

    Args:
        use: How full it is without a witness.
        percent: How much of MemTotal is to be in use.

    Returns:
        1 where more than that is in use already.
    """
    missing = use.total_bytes * percent // 100 - use.used_bytes
    return max(1, (missing >> 20) - _OTHER_MEBIBYTES)


def answer_of(text: str) -> dict[str, Any]:
    """What the witness says: its last line, in JSON.

    Raises:
        HarnessError: It is none.
    """
    try:
        line: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    except (ValueError, IndexError) as exc:
        raise HarnessError(f"the witness answers {text[-200:]!r}") from exc
    return line
