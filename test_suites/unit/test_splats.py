# SPDX-License-Identifier: GPL-2.0-only
"""The splat scanner, on logs of real kernels; logs/README.md tells how they were made."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.base.errors import HarnessError, UsageError
from harness.logs.splats import SplatScanner, mark_expected, scan, signature
from harness.record.result import Splat
from harness.record.result import SplatKind as K

LOGS = Path(__file__).parent / "logs"

Place = tuple[K, str | None, str | None, int | None]

LKDTM = "drivers/misc/lkdtm/bugs.c"
FATAL: Place = (K.PANIC, None, None, None)
EXPECTED: dict[str, list[Place]] = {
    "bug": [(K.BUG, "lkdtm_BUG", LKDTM, 105), FATAL],
    "cfi-freed-timer-handler": [
        (K.CFI, "__sysvec_apic_timer_interrupt", None, None),
        (K.WARN, "wake_up_klogd", "kernel/printk/printk.c", 4631),
        FATAL,
    ],
    "clean": [],
    "ext4-error": [],
    # A report begins while the one before it has not ended.
    "freed-timer-handler": [
        (K.OOPS, "lapic_cal_handler", None, None),
        (K.WARN, "wake_up_klogd", "kernel/printk/printk.c", 4631),
        FATAL,
    ],
    "hung-task": [(K.HUNG_TASK, "lkdtm_HUNG_TASK", None, None)] * 2,
    "hung-task-panic": [
        (K.HUNG_TASK, "lkdtm_HUNG_TASK", None, None),
        (K.PANIC, "watchdog", None, None),
    ],
    "device-refuses-to-freeze": [],
    "init-exit": [(K.PANIC, "do_exit", None, None)],
    "interleaved": [
        (K.WARN, "lkdtm_WARNING", LKDTM, 112),
        (K.WARN, "refcount_warn_saturate", "lib/refcount.c", 25),
        (K.OOPS, "lkdtm_EXCEPTION", None, None),
        FATAL,
    ],
    "jump-exception": [(K.JUMP_EXCEPTION, None, None, None)],
    "jump-to-null": [(K.OOPS, "execute_location", None, None), FATAL],
    "kasan-early-interrupt": [(K.KASAN, "rcu_is_watching", None, None)],
    "no-root": [(K.PANIC, "mount_root_generic", None, None)],
    "null-dereference": [(K.OOPS, "lkdtm_EXCEPTION", None, None), FATAL],
    "oops-bug-warn": [
        (K.OOPS, "lkdtm_EXCEPTION", None, None),
        (K.BUG, "lkdtm_BUG", LKDTM, 105),
        (K.WARN, "lkdtm_WARNING_MESSAGE", LKDTM, 117),
    ],
    "out-of-memory": [],
    "page-allocation-failure": [],
    "panic": [(K.PANIC, "lkdtm_PANIC", None, None)],
    "panic-on-warn": [
        (K.WARN, "lkdtm_WARNING", LKDTM, 112),
        (K.PANIC, "report_bug", None, None),
    ],
    "panic-reboot": [(K.PANIC, "lkdtm_PANIC", None, None)],
    "rcu-stall": [(K.RCU_STALL, "lkdtm_SOFTLOCKUP", None, None)] * 3,
    "rcu-stall-other-cpu": [(K.RCU_STALL, "lkdtm_HARDLOCKUP", None, None)] * 3,
    "rcu-stall-self": [(K.RCU_STALL, "lkdtm_SOFTLOCKUP", None, None)] * 2,
    "refcount": [
        (K.WARN, "refcount_warn_saturate", "lib/refcount.c", 25),
        (K.WARN, "refcount_warn_saturate", "lib/refcount.c", 31),
        (K.WARN, "refcount_warn_saturate", "lib/refcount.c", 28),
    ],
    "rt-resume-sleeps": [(K.WARN, "ktime_get", "kernel/time/timekeeping.c", 1000)] * 2,
    "soft-lockup": [(K.SOFT_LOCKUP, "lkdtm_SOFTLOCKUP", None, None)] * 3,
    "soft-lockup-panic": [
        (K.SOFT_LOCKUP, "lkdtm_SOFTLOCKUP", None, None),
        (K.PANIC, "watchdog_timer_fn", None, None),
    ],
    "stack-exhausted": [
        (K.WARN, "current_time", "fs/inode.c", 2626),
        (K.OOPS, "proc_self_get_link", None, None),
        FATAL,
    ],
    "unstable-tsc": [],
    "unstable-tsc-7.3": [],
    "unsynchronized-tsc": [],
    "warn": [
        (K.WARN, "lkdtm_WARNING", LKDTM, 112),
        (K.WARN, "lkdtm_WARNING_MESSAGE", LKDTM, 117),
    ],
    "write-read-only": [(K.OOPS, "lkdtm_WRITE_RO", None, None), FATAL],
}
# What has a title of its own making is another test's.
CRASHES = sorted(
    name for name, places in EXPECTED.items() if places and places[0][0] is not K.JUMP_EXCEPTION
)

# What would be a header by itself, if it were not part of a report already.
SECOND_HALF = re.compile(rb"Oops: |kernel BUG at ")

each_log = pytest.mark.parametrize("name", sorted(EXPECTED))
each_crash = pytest.mark.parametrize("name", CRASHES)


def read(name: str) -> bytes:
    return (LOGS / f"{name}.log").read_bytes()


def splats_of(data: bytes | str, *, chunk: int | None = None) -> list[Splat]:
    scanner = SplatScanner()
    found: list[Splat] = []
    for start in range(0, len(data), chunk or len(data)):
        found += scanner.feed(data[start : start + (chunk or len(data))])
    return found + scanner.finish()


def places(splats: list[Splat]) -> list[Place]:
    return [(s.kind, s.function, s.file, s.line) for s in splats]


def unstamped(data: bytes) -> bytes:
    return re.sub(rb"(?m)^\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? ", b"", data)


def test_every_stored_log_is_listed() -> None:
    assert sorted(path.stem for path in LOGS.glob("*.log")) == sorted(EXPECTED)


@each_log
def test_finds_what_is_in_a_log(name: str) -> None:
    assert places(scan(LOGS / f"{name}.log")) == EXPECTED[name]


@each_log
@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_pieces_do_not_matter(name: str, chunk: int) -> None:
    assert splats_of(read(name), chunk=chunk) == splats_of(read(name))


@each_crash
def test_log_line_is_that_of_the_title(name: str) -> None:
    lines = read(name).decode(errors="replace").split("\n")
    for splat in splats_of(read(name)):
        title, _, message = splat.title.partition(": ")
        assert title in lines[splat.log_line - 1], message


@each_crash
def test_finds_the_same_without_timestamps(name: str) -> None:
    assert places(splats_of(unstamped(read(name)))) == EXPECTED[name]


@each_crash
@pytest.mark.parametrize("caller", [b"[    T1]", b"[   C0]"])
def test_finds_the_same_with_caller_ids(name: str, caller: bytes) -> None:
    data = re.sub(
        rb"(?m)(^|[^\n])(\[ *\d+\.\d{6}\])(\[ *[TC]\d+\])?", rb"\1\2" + caller, read(name)
    )
    assert places(splats_of(data)) == EXPECTED[name]


@each_crash
def test_finds_the_same_in_a_damaged_log(name: str) -> None:
    """NULs, colours, levels, other line ends and what is no UTF-8 change nothing."""
    damaged = b"\xff\xfe\0\0\n" + b"\n".join(
        b"\0\x1b[1;31m" + line.rstrip(b"\r") + b"\x1b[0m\r\r" for line in read(name).split(b"\n")
    )
    assert places(splats_of(damaged)) == EXPECTED[name]
    levels = re.sub(rb"(?m)^\[", b"<4>[", read(name))
    assert places(splats_of(levels)) == EXPECTED[name]


@each_crash
def test_finds_the_same_between_the_lines_of_a_program(name: str) -> None:
    """A program writes to the console meanwhile, and leaves its lines half written."""
    torn = b"\n".join(
        b"user: step " + line if line.startswith(b"[") and number % 3 else b"user: done\n" + line
        for number, line in enumerate(read(name).split(b"\n"))
    )
    assert places(splats_of(torn)) == EXPECTED[name]


@each_crash
def test_without_the_headers_there_is_nothing(name: str) -> None:
    """The mutation run: traces and end marks alone are no splat."""
    numbers = {splat.log_line for splat in splats_of(read(name))}
    lines = [
        line
        for number, line in enumerate(read(name).split(b"\n"), 1)
        if number not in numbers and not SECOND_HALF.search(line)
    ]
    assert splats_of(b"\n".join(lines)) == []


@each_crash
def test_each_header_counts(name: str) -> None:
    """Without one header, exactly its splat is gone."""
    whole = splats_of(read(name))
    for index, splat in enumerate(whole):
        end = whole[index + 1].log_line if index + 1 < len(whole) else sys.maxsize
        kept = [
            line
            for number, line in enumerate(read(name).split(b"\n"), 1)
            if number != splat.log_line
            and not (splat.log_line < number < end and SECOND_HALF.search(line))
        ]
        assert len(splats_of(b"\n".join(kept))) == len(whole) - 1


@each_crash
@pytest.mark.parametrize("part", [0.25, 0.5, 0.75])
def test_a_log_that_breaks_off_keeps_its_last_splat(name: str, part: float) -> None:
    for splat in splats_of(read(name)):
        lines = read(name).split(b"\n")
        length = int(part * (splat.text.count("\n") + 1)) or 1
        cut = b"\n".join(lines[: splat.log_line - 1 + length])
        last = splats_of(cut)[-1]
        assert (last.kind, last.title, last.log_line) == (splat.kind, splat.title, splat.log_line)


@each_crash
def test_a_report_is_text_without_other_reports(name: str) -> None:
    for splat in splats_of(read(name)):
        assert splat.title.split(": ")[0] in splat.text
        assert "\r" not in splat.text
        assert splat.text.count("Kernel panic") <= 2
        assert "Call Trace:" in splat.text or splat.kind is K.PANIC


def test_open_from_the_header_to_the_end_mark() -> None:
    scanner = SplatScanner(log_name="1-normal.log")
    seen: list[tuple[bool, int]] = []
    for line in read("null-dereference").splitlines(keepends=True):
        found = scanner.feed(line)
        if (scanner.open, len(found)) != (seen[-1] if seen else (False, 0)):
            seen.append((scanner.open, len(found)))
        assert all(splat.log == "1-normal.log" for splat in found)
    # The oops begins and ends, then the panic begins, and nothing ends it.
    assert seen == [(True, 0), (False, 1), (False, 0), (True, 0)]
    assert [splat.kind for splat in scanner.finish()] == [K.PANIC]
    assert not scanner.open
    assert scanner.finish() == []


def test_the_end_of_a_panic_is_seen_at_once() -> None:
    scanner = SplatScanner()
    assert [splat.kind for splat in scanner.feed(read("panic"))] == [K.PANIC]
    assert not scanner.open


def test_a_report_whose_end_was_lost_ends() -> None:
    scanner = SplatScanner()
    head = read("warn").split(b"Modules linked in")[0]
    assert scanner.feed(head) == []
    assert scanner.open
    found = scanner.feed(b"[    9.000000] usb 1-1: new device\r\n" * 50)
    assert len(found) == 1
    assert "usb" not in found[0].text
    assert not scanner.open


def test_text_without_a_line_end_stays_bounded() -> None:
    scanner = SplatScanner()
    assert scanner.feed(b"Oops: a: " * 60_000) == []
    assert scanner.feed(b"\n[    1.000000] Kernel panic - not syncing: x\n") == []
    (splat,) = scanner.finish()
    assert (splat.kind, splat.log_line) == (K.PANIC, 2)


def test_text_may_come_as_str() -> None:
    text = read("warn").decode()
    assert splats_of(text) == splats_of(read("warn"))


WARN_619 = "WARNING: kernel/kexec_core.c:123 at kernel_kexec+0x1/0x20, CPU#0: init/1"


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (WARN_619, (K.WARN, "kernel_kexec", "kernel/kexec_core.c", 123)),
        (
            "WARNING: CPU: 1 PID: 7 at ./include/linux/mm.h:5 dup+0x1/0x2 [mod]",
            (K.WARN, "dup", "./include/linux/mm.h", 5),
        ),
        ("WARNING: CPU: 1 PID: 7 at dup+0x1/0x2", (K.WARN, "dup", None, None)),
        ("WARNING: at dup+0x1/0x2, CPU#1: init/7", (K.WARN, "dup", None, None)),
        (
            "WARNING: kernel stack frame pointer at 00000000c0f2a2f1 in init:1 has bad value",
            (K.WARN, None, None, None),
        ),
        ("kernel BUG at mm/slub.c:448!", (K.BUG, None, "mm/slub.c", 448)),
        ("kernel BUG at mm/../lib/x.c:2!", (K.BUG, None, "mm/../lib/x.c", 2)),
        ("BUG: Bad page state in process init  pfn:01234", (K.BUG, None, None, None)),
        ("BUG: scheduling while atomic: init/1/0x00000002", (K.BUG, None, None, None)),
        (
            "BUG: sleeping function called from invalid context at mm/page_alloc.c:47",
            (K.BUG, None, "mm/page_alloc.c", 47),
        ),
        (
            "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 30s!",
            (K.BUG, None, None, None),
        ),
        (
            "BUG: Bad rss-counter state mm:00000000c8 type:MM_ANONPAGES val:1",
            (K.BUG, None, None, None),
        ),
        (
            "BUG: KCSAN: data-race in tick_nohz_stop+0x3/0x9 / update+0x1/0x2",
            (K.KCSAN, "tick_nohz_stop", None, None),
        ),
        (
            "BUG: KCSAN: data-race in tick_nohz_stop / update_wall_time",
            (K.KCSAN, "tick_nohz_stop", None, None),
        ),
        (
            "BUG: KCSAN: assert: race in lock_it+0x3/0x9",
            (K.KCSAN, "lock_it", None, None),
        ),
        (
            "BUG: KFENCE: use-after-free read in copy_user+0x3/0x9",
            (K.KFENCE, "copy_user", None, None),
        ),
        (
            "BUG kmalloc-64 (Tainted: G    B   W         ): Right Redzone overwritten",
            (K.BUG, None, None, None),
        ),
        (
            "UBSAN: shift-out-of-bounds in lib/foo.c:17:3",
            (K.UBSAN, None, "lib/foo.c", 17),
        ),
        ("list_del corruption, ff1100->next is LIST_POISON1 (dead)", (K.BUG, None, None, None)),
        (
            "BUG: KASAN: slab-use-after-free in read_it+0x3c/0x90",
            (K.KASAN, "read_it", None, None),
        ),
        ("BUG: KASAN: null-ptr-deref in f+0x1/0x2", (K.KASAN, "f", None, None)),
        ("BUG: unable to handle page fault for address: ffff", (K.OOPS, None, None, None)),
        ("BUG: unable to handle kernel paging request at ff", (K.OOPS, None, None, None)),
        (
            "Oops: general protection fault, probably for non-canonical address 0xdead: "
            "0000 [#1] PREEMPT SMP NOPTI",
            (K.OOPS, None, None, None),
        ),
        (
            "general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
            (K.OOPS, None, None, None),
        ),
        ("Oops: 0002 [#1] SMP", (K.OOPS, None, None, None)),
        ("stack segment: 0000 [#1] SMP", (K.OOPS, None, None, None)),
        ("traps: PANIC: double fault, error_code: 0x0", (K.OOPS, None, None, None)),
        ("BUG: TASK stack guard page was hit at 00000000e1", (K.OOPS, None, None, None)),
        ("Oops: double fault: 0000 [#1] PREEMPT SMP", (K.OOPS, None, None, None)),
        (
            "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: "
            "load_segment+0x2a/0x30",
            (K.PANIC, "load_segment", None, None),
        ),
        ("WARNING: possible circular locking dependency detected", (K.LOCKDEP, None, None, None)),
        ("WARNING: possible recursive locking detected", (K.LOCKDEP, None, None, None)),
        ("WARNING: inconsistent lock state", (K.LOCKDEP, None, None, None)),
        ("WARNING: suspicious RCU usage", (K.LOCKDEP, None, None, None)),
        (
            "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected",
            (K.LOCKDEP, None, None, None),
        ),
        ("[ BUG: Invalid wait context ]", (K.LOCKDEP, None, None, None)),
        ("INFO: trying to register non-static key.", (K.LOCKDEP, None, None, None)),
        (
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            (K.RCU_STALL, None, None, None),
        ),
        ("rcu: INFO: rcu_sched self-detected stall on CPU", (K.RCU_STALL, None, None, None)),
        (
            "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-...D } 30",
            (K.RCU_STALL, None, None, None),
        ),
        ("INFO: rcu_sched detected stall on CPU 0", (K.RCU_STALL, None, None, None)),
        (
            "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [init:1]",
            (K.SOFT_LOCKUP, None, None, None),
        ),
        (
            "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0",
            (K.HARD_LOCKUP, None, None, None),
        ),
        (
            "watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 0",
            (K.HARD_LOCKUP, None, None, None),
        ),
        (
            "watchdog: Watchdog detected hard LOCKUP on cpu 1",
            (K.HARD_LOCKUP, None, None, None),
        ),
        (
            "INFO: task kworker/u8:1:44 blocked for more than 122 seconds.",
            (K.HUNG_TASK, None, None, None),
        ),
    ],
)
@pytest.mark.parametrize("before", ["[    1.234567] ", "[    1.234567][    T1] ", "", "/ # "])
def test_other_headers(line: str, place: Place, before: str) -> None:
    (splat,) = splats_of(f"[ ok ] started\n{before}{line}\n")
    assert places([splat]) == [place]
    assert splat.title == line
    assert splat.log_line == 2


@pytest.mark.parametrize(
    "line",
    [
        "[    0.1] debug: nothing to see",
        "[    1.234567] debug: BUG: is only mentioned",
        "[    1.234567] bug: none",
        "WARNING: foo",
        "[    1.234567] WARNING: this option is deprecated",
        "WARNING: CPU is slow",
        "Oops: the program stumbled",
        "# echo BUG: unable to handle it",
        "grep 'Kernel panic - not syncing: ' log",
        "[    1.234567] ACPI BIOS Error (bug): Could not resolve symbol [\\_SB.PCI0], AE_NOT_FOUND",
        "[    1.234567] [Firmware Bug]: TSC_DEADLINE disabled due to Errata",
        "[    1.234567] ACPI: [Firmware Bug]: BIOS _OSI(Linux) query ignored",
        "[    1.234567] BIOS bug: MTRR wrong",
        "[    1.234567] traps: init[1] general protection fault ip:401000 sp:7ff error:0 in init",
        "[    1.234567] init[35]: segfault at 0 ip 0000000000401000 sp 00007ffd error 4",
        "[    1.234567] Call Trace:",
        "[    1.234567]  dump_stack+0x10/0x20",
        "[    1.234567] RIP: 0010:func+0x1/0x2",
        "[    1.234567] ---[ end trace 0000000000000000 ]---",
        "[    1.234567] ------------[ cut here ]------------",
        "[    1.234567] ==================================================================",
        "[    1.234567] INFO: NMI handler (nmi_cpu_backtrace_handler) took too long: 8 ms",
        "[    1.234567] INFO: lockdep is turned off.",
        "[    1.234567] rcu: Hierarchical RCU implementation.",
        "[    1.234567] rcu: \tRCU CPU stall warnings timeout set to 21",
        "[    1.234567] lkdtm: list_add() corruption not detected!",
        "[    1.234567] Kernel command line: oops=panic panic=-1 softlockup_panic=1",
        "[    1.234567] watchdog: Delayed init of the lockup detector failed: -19",
        "[    1.234567] Lockdep: possible circular locking dependency detected is what it says",
    ],
)
def test_look_alikes_are_no_splats(line: str) -> None:
    assert splats_of(f"[    0.000001] booted\n{line}\n[    2.000000] on it goes\n" * 3) == []


def test_a_program_cannot_fake_a_vague_bug() -> None:
    """Where the kernel stamps its lines, "BUG: " without a stamp is a program's."""
    assert splats_of("[    1.000000] up\nBUG: none found\n") == []
    assert len(splats_of("[    1.000000] up\n[    2.000000] BUG: none found\n")) == 1
    # What only the kernel says counts also if its stamp was lost.
    assert len(splats_of("[    1.000000] up\nBUG: scheduling while atomic: init/1/0x2\n")) == 1


def test_reports_that_follow_each_other_are_told_apart() -> None:
    """Two oopses before any end: each has its own header."""
    log = (
        "[    1.000000] BUG: kernel NULL pointer dereference, address: 0\n"
        "[    1.000001] Oops: Oops: 0002 [#1] SMP\n"
        "[    1.000002] RIP: 0010:first+0x1/0x2\n"
        "[    1.000003] Oops: general protection fault: 0000 [#2] SMP\n"
        "[    1.000004] RIP: 0010:second+0x1/0x2\n"
        "[    1.000005] Kernel panic - not syncing: Fatal exception\n"
    )
    assert places(splats_of(log)) == [
        (K.OOPS, "first", None, None),
        (K.OOPS, "second", None, None),
        FATAL,
    ]


def test_suspicious_rcu_usage_has_its_place() -> None:
    log = (
        "[    1.0] \n=============================\nWARNING: suspicious RCU usage\n"
        "6.12.0 Not tainted\n-----------------------------\n"
        "kernel/kexec.c:12 suspicious rcu_dereference_check() usage!\n"
    )
    (splat,) = splats_of(log)
    assert (splat.file, splat.line) == ("kernel/kexec.c", 12)
    assert splat.text.startswith("=====")


def test_a_kasan_report_goes_to_its_second_rule() -> None:
    """Written by hand: blank lines and hex dumps are inside, the oops after it is not."""
    rule = "=" * 66
    body = (
        f"{rule}\nBUG: KASAN: slab-out-of-bounds in copy_page_list+0x12/0x80\n"
        "Write of size 8 at addr ff11000002345678 by task init/1\n\n"
        "CPU: 0 UID: 0 PID: 1 Comm: init Not tainted 6.12.0 #1\nCall Trace:\n <TASK>\n"
        " kasan_report+0x1/0x2\n caller+0x1/0x2\n </TASK>\n\n"
        "Memory state around the buggy address:\n"
        + ">ff11000002345600: 00 00 00 00 00 00 00 fc\n" * 5
        + f"                                     ^\n{rule}"
    )
    after = (
        "Disabling lock debugging due to kernel taint\nOops: general protection fault: 0000 [#1]\n"
    )
    kasan, oops = splats_of(f"{body}\n{after}")
    assert (kasan.kind, kasan.function) == (K.KASAN, "copy_page_list")
    assert kasan.text == body
    assert (oops.kind, oops.log_line) == (K.OOPS, 21)


def test_a_lockdep_report_goes_to_the_end_of_its_trace() -> None:
    """Written by hand: much prose, then the trace."""
    rule = "=" * 44
    body = (
        f"{rule}\nWARNING: possible recursive locking detected\n6.12.0 #1 Not tainted\n"
        + "-" * 44
        + "\ninit/1 is trying to acquire lock:\n"
        "ffffffff82a1c0d8 (kexec_lock){+.+.}-{3:3}, at: jump_back+0x1f/0x40\n\n"
        "but task is already holding lock:\n"
        "ffffffff82a1c0d8 (kexec_lock){+.+.}-{3:3}, at: jump_there+0xf/0x30\n"
        + "\nprose, prose\n"
        * 10
        + "stack backtrace:\nCPU: 0 UID: 0 PID: 1 Comm: init\nCall Trace:\n <TASK>\n"
        " dump_stack+0x1/0x2\n __lock_acquire+0x1/0x2\n jump_back+0x1f/0x40\n </TASK>"
    )
    (splat,) = splats_of(f"{body}\nmore\n")
    assert (splat.kind, splat.function) == (K.LOCKDEP, "jump_back")
    assert splat.text == body


def test_list_corruption_and_its_bug_are_one_splat() -> None:
    """Written by hand, after lib/list_debug.c: the message comes before BUG()."""
    (splat,) = splats_of(
        "[    1.000000] list_add corruption. next->prev should be prev (1), but was 2.\n"
        "[    1.000001] ------------[ cut here ]------------\n"
        "[    1.000002] kernel BUG at lib/list_debug.c:29!\n"
        "[    1.000003] Oops: invalid opcode: 0000 [#1] PREEMPT SMP\n"
        "[    1.000004] RIP: 0010:__list_add_valid_or_report+0x1/0x2\n"
        "[    1.000005] ---[ end trace 0000000000000000 ]---\n"
    )
    assert places([splat]) == [(K.BUG, "__list_add_valid_or_report", "lib/list_debug.c", 29)]
    assert splat.title.startswith("list_add corruption")


def test_list_corruption_that_warns_is_one_splat() -> None:
    (splat,) = splats_of(
        "[    1.000000] ------------[ cut here ]------------\n"
        "[    1.000001] list_del corruption, 1->next is NULL\n"
        f"[    1.000002] {WARN_619}\n"
        "[    1.000003] ---[ end trace 0000000000000000 ]---\n"
    )
    assert splat.kind is K.WARN
    assert splat.title == f"{WARN_619}: list_del corruption, 1->next is NULL"


def test_the_message_of_a_warn_is_in_its_title() -> None:
    splat = splats_of(read("refcount"))[2]
    assert splat.title == (
        "WARNING: CPU: 0 PID: 40 at lib/refcount.c:28 refcount_warn_saturate+0xe2/0xf0: "
        "refcount_t: underflow; use-after-free."
    )
    assert splat.text.startswith("------------[ cut here ]------------\nrefcount_t: underflow")
    assert splat.text.endswith("---[ end trace 0000000000000000 ]---")


@each_crash
def test_signature_survives_another_run(name: str) -> None:
    """Addresses, offsets, processes, CPUs and line numbers differ from build to build."""
    other = read(name)
    for old, new in (
        (rb"\+0x[0-9a-f]+/0x[0-9a-f]+", b"+0x7/0x777"),
        (rb"PID: \d+", b"PID: 777"),
        (rb"CPU: \d+", b"CPU: 7"),
        (rb"\b[0-9a-f]{16}\b", b"0123456789abcdef"),
        (rb"\.c:\d+", b".c:7"),
        (rb"init:\d+", b"init:777"),
    ):
        other = re.sub(old, new, other)
    assert [signature(s) for s in splats_of(other)] == [signature(s) for s in splats_of(read(name))]


@pytest.mark.parametrize(
    ("splat", "expected"),
    [
        (
            Splat(kind=K.WARN, title="WARNING: x", function="f.isra.0.cold", file="a/b.c", line=7),
            "WARN: f a/b.c",
        ),
        (
            Splat(kind=K.BUG, title="BUG: Bad page state in process init  pfn:01234"),
            "BUG: BUG: Bad page state in process init  pfn:N",
        ),
        (
            Splat(kind=K.PANIC, title="Kernel panic - not syncing: kill! exitcode=0x0000000b"),
            "panic: kill! exitcode=N",
        ),
    ],
)
def test_signature(splat: Splat, expected: str) -> None:
    assert signature(splat) == expected


def test_expected_splats_are_marked() -> None:
    splats = splats_of(read("oops-bug-warn"))
    missed = mark_expected(splats, [r"kernel BUG at .*bugs\.c", "message trigger", "never seen"])
    assert [splat.expected for splat in splats] == [False, True, True]
    assert missed == ["never seen"]


def test_a_bad_expectation_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match="regular expression"):
        mark_expected([], ["("])


def test_an_unreadable_log_is_never_clean(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.log", tmp_path):
        with pytest.raises(HarnessError, match="cannot read"):
            scan(path)


def test_the_name_of_the_log() -> None:
    assert {splat.log for splat in scan(LOGS / "warn.log")} == {"warn.log"}
    assert {s.log for s in scan(LOGS / "warn.log", log_name="1-normal.log")} == {"1-normal.log"}


@pytest.mark.parametrize(
    ("arguments", "code", "lines"),
    [
        (["clean"], 0, 0),
        (["clean", "warn"], 1, 2),
        (["warn", "missing"], 2, 2),
        ([], 2, 0),
        (["page-allocation-failure"], 1, 1),
        (["unstable-tsc"], 1, 3),
        (["unstable-tsc", "--accel=tcg"], 0, 3),
        (["unstable-tsc", "--accel=kvm"], 1, 3),
        # The notes of the folder are no kernel's log, and so not a clean one.
        (["README.md"], 2, 0),
    ],
)
def test_command(arguments: list[str], code: int, lines: int) -> None:
    words = [
        word if word.startswith("-") else str(LOGS / (word if "." in word else f"{word}.log"))
        for word in arguments
    ]
    done = subprocess.run(
        [sys.executable, "-m", "harness.splats", *words],
        cwd=LOGS.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert len(done.stdout.splitlines()) == lines
    if "warn" in arguments:
        assert all("WARN: WARNING: CPU: 0" in line for line in done.stdout.splitlines())
    if "README.md" in arguments:
        assert "hardly a kernel's log" in done.stderr


def test_an_exception_in_a_jump_is_named() -> None:
    """Its title is made of the registers, which are all that it has."""
    log = read("jump-exception").decode()

    def only(text: str) -> Splat:
        (splat,) = splats_of(text)
        assert splat.kind is K.JUMP_EXCEPTION
        return splat

    splat = only(log)
    assert splat.title == "invalid opcode at 0xf00000, error 0x0"
    lines = splat.text.splitlines()
    assert (lines[0], lines[-1]) == ("Exc:0000000000000006", "cr2:0000000000425000")
    assert log.splitlines()[splat.log_line - 1] == lines[0]
    other = only(log.replace("Exc:0000000000000006", "Exc:000000000000000e"))
    assert other.title == "page fault at 0xf00000, error 0x0, address 0x425000"
    assert splats_of(log.replace("Exc:", "Excuse me: ")) == []


def test_an_exception_in_a_jump_that_was_cut_off() -> None:
    scanner = SplatScanner()
    scanner.feed("Exc:000000000000000d\nErr:0000000000000000\n")
    assert scanner.open
    (splat,) = scanner.finish()
    assert splat.title == "general protection fault, error 0x0"
