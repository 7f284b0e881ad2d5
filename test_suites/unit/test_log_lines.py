# SPDX-License-Identifier: GPL-2.0-only
"""Logs of kernels with the prefixes of dmesg, syslog and journald."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.logs.lines import LineReader
from harness.logs.splats import Scanned, SplatScanner

LOGS = Path(__file__).parent / "logs"
NAMES = ("bug", "hung-task", "null-dereference", "oops-bug-warn", "rcu-stall-self", "refcount")
STAMP = re.compile(r"^\[ *(\d+\.\d{6})\] ")

Prefix = Callable[[int, str, str], str]


def journal(stamp: str) -> Prefix:
    return lambda number, time, text: f"{stamp} host-1 kernel: {text}"


# Named by what writes them: (number of the line, seconds since boot, text) -> line.
PREFIXES: dict[str, Prefix] = {
    "dmesg -T": lambda n, time, text: f"[Thu Nov 26 18:00:0{n % 10} 2026] {text}",
    "dmesg -H": lambda n, time, text: f"[{'  +0.000001' if n % 9 else 'Nov26 18:00'}] {text}",
    "dmesg -d": lambda n, time, text: f"[{time:>12} <    0.000001>] {text}",
    "dmesg -x": lambda n, time, text: f"kern  :warn  : [{time:>12}] {text}",
    "dmesg -r": lambda n, time, text: f"<4>[{time:>12}] {text}",
    "dmesg --time-format iso": lambda n, t, text: f"2026-11-26T18:00:00,123456+00:00 {text}",
    "/dev/kmsg": lambda n, time, text: f"4,{n},{time.replace('.', '')},-;{text}",
    "printk.time=0 of /proc/kmsg": lambda n, time, text: f"<4>{text}",
    "syslog": lambda n, time, text: f"Nov 26 18:00:00 host kernel: [{time:>12}] {text}",
    "syslog of day 6": lambda n, time, text: f"Nov  6 18:00:00 host kernel: [{time:>12}] {text}",
    "rsyslog": lambda n, t, text: f"2026-11-26T18:00:00.123456+01:00 host kernel: [{t}] {text}",
    "journalctl -o short": journal("Nov 26 18:00:00"),
    "journalctl -o short-precise": journal("Nov 26 18:00:00.123456"),
    "journalctl -o short-full": journal("Thu 2026-11-26 18:00:00 UTC"),
    "journalctl -o short-iso": journal("2026-11-26T18:00:00+0000"),
    "journalctl -o short-unix": journal("1764180000.123456"),
    "journalctl -o short-monotonic": lambda n, time, text: f"[{time:>12}] host kernel: {text}",
    "a bare tag": lambda n, time, text: f"kernel: {text}",
}


def scanned(data: str) -> Scanned:
    scanner = SplatScanner()
    splats = [*scanner.feed(data), *scanner.finish()]
    return Scanned(splats, scanner.complaints, scanner.reader)


def lines_of(name: str) -> list[tuple[str, str]]:
    """Time and text of each line of the kernel in a kept log."""
    text = (LOGS / f"{name}.log").read_bytes().decode(errors="replace").replace("\r", "")
    found = ((STAMP.match(line), line) for line in text.splitlines())
    return [(match[1], line[match.end() :]) for match, line in found if match]


@pytest.mark.parametrize("how", sorted(PREFIXES))
@pytest.mark.parametrize("name", NAMES)
def test_prefixes_change_nothing(name: str, how: str) -> None:
    lines = lines_of(name)
    plain = scanned("\n".join(f"[{time:>12}] {text}" for time, text in lines))
    other = scanned("\n".join(PREFIXES[how](n, time, text) for n, (time, text) in enumerate(lines)))
    assert plain.splats
    assert other.splats == plain.splats
    assert not other.reader.hardly_kernel
    assert other.reader.kernel_lines == other.reader.lines == plain.reader.lines


@pytest.mark.parametrize(
    "line",
    [
        "Nov 26 18:00:00 host systemd[1]: BUG: unable to handle kernel paging request",
        "Nov 26 18:00:00 host app: Kernel panic - not syncing: is what it prints",
        "2026-11-26T18:00:00.123456+01:00 host sshd[77]: WARNING: possible recursive locking",
        "[    1.234567] host systemd[1]: BUG: none",
    ],
)
def test_other_programs_in_the_journal_are_no_kernel(line: str) -> None:
    found = scanned(f"Nov 26 18:00:00 host kernel: up\n{line}\n")
    assert (found.splats, found.complaints) == ([], [])


@pytest.mark.parametrize("name", sorted(path.stem for path in LOGS.glob("*.log")))
def test_logs_of_kernels_are_taken_for_such(name: str) -> None:
    data = (LOGS / f"{name}.log").read_bytes()
    assert not scanned(data.decode(errors="replace")).reader.hardly_kernel
    bare = re.sub(rb"(?m)^\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? ", b"", data)
    assert not scanned(bare.decode(errors="replace")).reader.hardly_kernel


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        (LOGS / "README.md").read_text(),
        Path(__file__).read_text(),
        "".join(f"12:00:{n % 60:02} worker {n}: job done\n" for n in range(500)),
        # One line of a kernel makes no log of a kernel.
        "[    1.000000] up\n" + "step done\n" * 200,
    ],
)
def test_other_texts_are_hardly_a_kernels(text: str) -> None:
    assert scanned(text).reader.hardly_kernel


def test_a_torn_line_counts_once() -> None:
    reader = LineReader()
    torn = b"user: half a l[    1.000000] kernel[    1.000001] more"
    assert [line.text for line in reader.read(torn, 7)] == ["user: half a l", "kernel", "more"]
    assert (reader.lines, reader.kernel_lines, reader.stamps) == (1, 1, True)
