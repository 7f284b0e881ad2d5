# SPDX-License-Identifier: GPL-2.0-only
"""Complaints of kernels: real logs, and lines made from the kernel's format strings."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.base import cache
from harness.bisect.outcome import of_result
from harness.cycle.checks.log import COMPLAINTS_CHECK
from harness.logs import complaints
from harness.logs.complaints import PATTERNS, TOLERATED, tolerate
from harness.logs.splats import SplatScanner, mark_expected, scan_all
from harness.record.result import Check, Complaint, Result, Verdict
from harness.record.result import ComplaintKind as K

LOGS = Path(__file__).parent / "logs"

# What the kept logs have: kind, line, and how often.
KEPT: dict[str, list[tuple[K, int, int]]] = {
    "device-refuses-to-freeze": [(K.DEVICE_PM, 10, 1)],
    "ext4-error": [(K.FILESYSTEM, 6, 1)],
    "out-of-memory": [(K.OUT_OF_MEMORY, 80, 1)],
    "page-allocation-failure": [(K.PAGE_ALLOCATION, 5, 1)],
    "unstable-tsc": [(K.CLOCK, 5, 1), (K.CLOCK, 10, 1), (K.CLOCK, 11, 1)],
    "unstable-tsc-7.3": [(K.CLOCK, 225, 1), (K.CLOCK, 228, 1)],
    "unsynchronized-tsc": [(K.CLOCK, 96, 1)],
}

LINES = {
    'irq 9: nobody cared (try booting with the "irqpoll" option)': K.INTERRUPT,
    "irq event 9: bogus return value ffffffea": K.INTERRUPT,
    "No irq handler for 0.37": K.INTERRUPT,
    "__common_interrupt: 1.55 No irq handler for vector": K.INTERRUPT,
    "EXT4-fs error (device vda): ext4_lookup:1855: inode #12: comm ls: iget: checksum invalid": (
        K.FILESYSTEM
    ),
    "Aborting journal on device vda-8.": K.FILESYSTEM,
    "XFS (vdb): Metadata corruption detected at xfs_agf_verify+0x1, xfs_agf block 0x1": (
        K.FILESYSTEM
    ),
    "XFS (vdb): Corruption of on-disk metadata (0x8) detected at xfs_x+0x1 (fs/xfs/xfs_x.c:1)."
    "  Shutting down filesystem.": K.FILESYSTEM,
    "BTRFS error (device vdb state EA): bdev vdb errs: wr 0, rd 0, flush 0, corrupt 1, gen 0": (
        K.FILESYSTEM
    ),
    "I/O error, dev vda, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2": K.IO,
    "blk_update_request: I/O error, dev vda, sector 0 op 0x1:(WRITE) flags 0x800 phys_seg 1": K.IO,
    "critical target error, dev sda, sector 8 op 0x1:(WRITE) flags 0x0 phys_seg 1 prio class 0": (
        K.IO
    ),
    "Buffer I/O error on dev vda, logical block 0, async page read": K.IO,
    "ata1: failed to recover link after 5 tries, disabling": K.DISK_LINK,
    "ata1.00: failed to recover PMP after 5 tries, giving up": K.DISK_LINK,
    "ata2.00: exception Emask 0x0 SAct 0x0 SErr 0x0 action 0x6 frozen": K.DISK_LINK,
    "kswapd0: page allocation failure: order:2, mode:0x820(GFP_ATOMIC)": K.PAGE_ALLOCATION,
    "Out of memory: Killed process 77 (fill) total-vm:9kB, anon-rss:4kB": K.OUT_OF_MEMORY,
    "Memory cgroup out of memory: Killed process 77 (fill) total-vm:9kB": K.OUT_OF_MEMORY,
    "Out of memory and no killable processes...": K.OUT_OF_MEMORY,
    "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)": K.MEMORY_LEAK,
    "unregister_netdevice: waiting for eth0 to become free. Usage count = 2": K.NETWORK_DEVICE,
    "clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable because "
    "the skew is too large:": K.CLOCK,
    "clocksource: timekeeping watchdog on CPU1: wd-tsc-wd excessive read-back delay of 90000ns "
    "vs. limit of 50000ns, wd-wd read-back delay only 100ns, attempt 3, marking tsc unstable": (
        K.CLOCK
    ),
    "clocksource: Marking clocksource tsc-early unstable due to frequency skew": K.CLOCK,
    "tsc: Marking TSC unstable due to could not calculate TSC khz": K.CLOCK,
    "Freezing user space processes failed after 20.003 seconds (1 tasks refusing to freeze, "
    "wq_busy=0):": K.FREEZER,
    "Freezing of tasks failed after 20.008 seconds (1 tasks refusing to freeze, wq_busy=0):": (
        K.FREEZER
    ),
    "PM: Some devices failed to suspend, or early wake event detected": K.DEVICE_PM,
    "PM: hibernation: Some devices failed to power down, aborting": K.DEVICE_PM,
    "virtio_blk virtio1: PM: failed to restore async: error -5": K.DEVICE_PM,
    "CPU1 failed to report alive state": K.CPU,
    "CPU1: failed to come online": K.CPU,
    "CPU1 failed to come online": K.CPU,
    "smpboot: do_boot_cpu failed(-1) to wakeup CPU#1": K.CPU,
    "Error taking CPU1 up: -5": K.CPU,
    "Error taking CPU1 down: -16": K.CPU,
    "init[35]: segfault at 0 ip 0000000000401000 sp 00007ffd error 4 in init[400000+1000]": (
        K.PROCESS
    ),
    "traps: init[1] general protection fault ip:401000 sp:7ff error:0 in init[400000+1000]": (
        K.PROCESS
    ),
    "traps: a b[7] trap invalid opcode ip:401000 sp:7ff error:0 in a[400000+1000]": K.PROCESS,
}


def found_in(text: str) -> list[Complaint]:
    scanner = SplatScanner(log_name="1-normal.log")
    assert [*scanner.feed(text), *scanner.finish()] == []
    return scanner.complaints


@pytest.mark.parametrize("name", sorted(path.stem for path in LOGS.glob("*.log")))
def test_kept_logs(name: str) -> None:
    found = scan_all(LOGS / f"{name}.log").complaints
    assert [(each.kind, each.log_line, each.count) for each in found] == KEPT.get(name, [])


@pytest.mark.parametrize("line", sorted(LINES))
@pytest.mark.parametrize(
    "before", ["[    1.234567] ", "[    1.234567][    T1] ", "Nov 26 18:00:00 host kernel: ", ""]
)
def test_each_line_is_a_complaint(before: str, line: str) -> None:
    (found,) = found_in(f"{before}Linux version 6\n{before}{line}\n{before}on it goes\n")
    assert (found.kind, found.title, found.log_line, found.count) == (LINES[line], line, 2, 1)
    assert found.log == "1-normal.log"
    assert found.bad


def test_each_pattern_was_seen() -> None:
    """No pattern is without a line, and no line is found by two."""
    for line, kind in LINES.items():
        matching = [each for each in PATTERNS if each.pattern.match(line)]
        assert [each.kind for each in matching] == [kind]
    unseen = [
        each
        for each in PATTERNS
        if not any(each.pattern.match(line) for line in LINES)
        and not any(
            each.pattern.match(found.title)
            for name in KEPT
            for found in scan_all(LOGS / f"{name}.log").complaints
        )
    ]
    assert unseen == []


@pytest.mark.parametrize(
    "line",
    [
        "tsc: Fast TSC calibration failed",
        "tsc: Marking TSC unstable due to boot parameter",
        "APIC timer disabled due to verification failure",
        "Freezing user space processes completed (elapsed 0.003 seconds)",
        "Freezing user space processes aborted after 0.001 seconds (1 tasks refusing to freeze)",
        "EXT4-fs (vdb): mounted filesystem r/w with ordered data mode. Quota mode: disabled.",
        "clocksource: Switched to clocksource tsc",
        "sched_clock: Marking stable (1248093731, -15537290)->(1526071727, -293515286)",
        "ata1: SATA max UDMA/133 abar m4096@0xfebd5000 port 0xfebd5100 irq 26",
        "smpboot: Total of 2 processors activated",
        "hpet: Lost 1 RTC interrupts",
        "kmemleak: Automatic memory scanning thread started",
        "OOM killer disabled.",
        "Serial: 8250/16550 driver, 4 ports, IRQ sharing disabled",
        "Kernel command line: irq 9: nobody cared",
    ],
)
def test_look_alikes_are_none(line: str) -> None:
    assert found_in(f"[    1.234567] {line}\n") == []


def test_a_program_cannot_complain() -> None:
    assert found_in("[    1.234567] up\nEXT4-fs error (device vda): says a program\n") == []


def test_lines_that_differ_in_numbers_only_are_one() -> None:
    blocks = "".join(
        f"[    1.{n:06}] Buffer I/O error on dev vda, logical block {n}, async page read\n"
        for n in range(100)
    )
    other = "[    2.000000] Buffer I/O error on dev vdb, logical block 0, async page read\n"
    assert [(each.log_line, each.count) for each in found_in(blocks + other)] == [
        (1, 100),
        (101, 1),
    ]
    assert found_in(blocks)[0].line().endswith("logical block 0, async page read (100 times)")


def test_a_log_full_of_them_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complaints, "_MOST", 5)
    names = [f"{a}{b}" for a in "ghijklmnop" for b in "ghijklmnop"]
    found = found_in(
        "".join(f"[    1.0] {n}: page allocation failure: order:1\n" for n in names).replace(
            "[    1.0]", "[    1.000000]"
        )
    )
    assert (len(found), sum(each.count for each in found)) == (5, 100)


def test_what_is_tolerated_where() -> None:
    for each in TOLERATED:
        assert len(each.why) > 20
    for name, bad in (
        ("unstable-tsc", 0),
        ("unstable-tsc-7.3", 0),
        ("unsynchronized-tsc", 0),
        ("page-allocation-failure", 1),
        ("device-refuses-to-freeze", 1),
    ):
        tcg, kvm = (scan_all(LOGS / f"{name}.log").complaints for _ in range(2))
        tolerate(tcg, accelerator="tcg")
        tolerate(kvm, accelerator="kvm")
        assert sum(each.bad for each in tcg) == bad, name
        assert all(each.bad for each in kvm), name
    unknown = found_in("[    1.234567] tsc: Marking TSC unstable due to could not calculate it\n")
    tolerate(unknown, accelerator="tcg")
    assert unknown[0].bad


def test_bisection_tells_complaints_apart() -> None:
    def marks(line: str) -> list[str]:
        result = Result(
            run="x",
            verdict=Verdict.FAILED,
            exit_code=1,
            complaints=found_in(f"[    1.000000] {line}"),
        )
        result.checks = [Check(name=name, ok=False) for name in ("witness.pipe", COMPLAINTS_CHECK)]
        return of_result(result).marks

    leak = "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"
    assert marks(leak) == marks(leak.replace("3", "4"))
    assert marks(leak)[0] == "check witness.pipe"
    assert marks(leak)[1].startswith("complaint memory leak: kmemleak: N new")
    assert marks(leak) != marks("irq 9: nobody cared (try booting with the irqpoll option)")


def test_expected_ones_are_marked() -> None:
    found = scan_all(LOGS / "page-allocation-failure.log").complaints
    assert mark_expected(found, ["^kexec: page allocation", "never said"]) == ["never said"]
    assert [each.bad for each in found] == [False]


@pytest.mark.skipif(
    not any((cache.home() / "sources").glob("linux-source-*")),
    reason="no source of a kernel is in the cache",
)
@pytest.mark.parametrize("index", range(len(PATTERNS)))
def test_sources_print_it(index: int) -> None:
    """The named file of each kernel in the cache has the words in a format string."""
    trees = [tree for tree in (cache.home() / "sources").glob("linux-source-*") if tree.is_dir()]
    for tree in trees:
        for name, words in PATTERNS[index].sources.items():
            text = (tree / name).read_text(errors="replace").replace('"\n', "").replace('\\"', "")
            assert words in text, f"{tree.name}/{name}: {words}"
