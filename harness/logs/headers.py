# SPDX-License-Identifier: GPL-2.0-only
"""The headers of splats: the line that opens each kind of report, and the mark that ends it."""

from __future__ import annotations

import re
from typing import NamedTuple

from harness.record.result import SplatKind

# So many lines in a row that look like no report end it: few where a report is
# made of lines that are easily told, many where it holds prose or hex dumps.
FEW = 3
MANY = 40

SYMBOL = r"(?P<function>[A-Za-z_][\w.$]*)\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?"
_NAME = r"(?P<name>[A-Za-z_][\w.$]*)"
SOURCE = r"(?P<file>[\w./+-]+\.\w+):(?P<line>\d+)"

PANIC = "Kernel panic - not syncing: "
CUT_HERE = re.compile(r"-+\[ cut here \]-+")
RULE = re.compile(r"={20,}$")

_END_PANIC = re.compile(r"---\[ end Kernel panic|Rebooting in \d+ seconds")
_END_TRACE = re.compile(r"---\[ end trace\b")
_END_TASK = re.compile(r" *</TASK>")
_END_REGISTERS = re.compile(r"cr2:[0-9a-f]{16}$")
# Some reports have no mark at all.
_END_NONE = re.compile(r"(?!)")


class Header(NamedTuple):
    """What opens a report of one kind, and what ends it."""

    kind: SplatKind
    pattern: re.Pattern[str]
    end: re.Pattern[str]
    slack: int
    # Also right if a program could have written it: only where the kernel
    # wrote it for sure.
    vague: bool = False


def _header(
    kind: SplatKind, pattern: str, end: re.Pattern[str], slack: int, vague: bool = False
) -> Header:
    return Header(kind, re.compile(pattern), end, slack, vague)


LIST = _header(SplatKind.BUG, r"list_(?:add|del)\w* (?:corruption|double add)\b", _END_TRACE, FEW)
KERNEL_BUG = _header(
    SplatKind.BUG, rf"[Kk]ernel BUG at (?:{SOURCE}!|{SYMBOL}|0x)", _END_TRACE, MANY
)
OOPS = _header(
    SplatKind.OOPS,
    r"(?:Oops|Oops: [^\[]*|[a-z][^\[]*): [0-9a-f]{4} \[#(?P<number>\d+)\]",
    _END_TRACE,
    MANY,
)
# The first that matches counts.
HEADERS = (
    _header(
        SplatKind.PANIC,
        rf"{PANIC}(?:.*corrupted in: (?P<function>[\w.$]+))?",
        _END_PANIC,
        MANY,
    ),
    _header(SplatKind.WARN, rf"WARNING: CPU: \d+ PID: \d+ at {SYMBOL}", _END_TRACE, MANY),
    _header(
        SplatKind.WARN,
        rf"WARNING: CPU: \d+ PID: \d+ at (?:{SOURCE}(?: {SYMBOL})?)?",
        _END_TRACE,
        MANY,
    ),
    # 6.19 moved the CPU and the process behind the place.
    _header(SplatKind.WARN, rf"WARNING: {SOURCE} at (?:{SYMBOL}|0x)", _END_TRACE, MANY),
    _header(SplatKind.WARN, rf"WARNING: at {SYMBOL}", _END_TRACE, MANY),
    _header(SplatKind.WARN, r"WARNING: kernel stack (?:regs|frame pointer) at ", _END_NONE, FEW),
    _header(SplatKind.KASAN, rf"BUG: KASAN: \S+(?: in {SYMBOL})?", RULE, MANY),
    _header(SplatKind.KFENCE, rf"BUG: KFENCE: [^:]+? in {SYMBOL}", RULE, MANY),
    # Of a race between two it has the names only, without offsets.
    _header(SplatKind.KCSAN, rf"BUG: KCSAN: .*? in (?:{SYMBOL}|{_NAME})", RULE, MANY),
    _header(SplatKind.BUG, rf"BUG: K[A-Z]+: .*? in {SYMBOL}", RULE, MANY),
    _header(SplatKind.UBSAN, rf"UBSAN: [\w-]+ in {SOURCE}", _END_TRACE, MANY),
    # What ends it is the oops of BUG(), or the WARN of a permissive kernel (kernel/cfi.c).
    _header(SplatKind.CFI, rf"CFI failure at {SYMBOL} \(target: ", _END_TRACE, MANY),
    KERNEL_BUG,
    LIST,
    _header(
        SplatKind.LOCKDEP,
        r"(?:WARNING|INFO): (?:"
        r"possible (?:circular|recursive) locking|possible irq lock inversion"
        r"|inconsistent lock state|suspicious RCU usage|\S+-safe -> \S+-unsafe lock order"
        r"|chain_key collision|Nested lock was not taken|bad unlock balance|bad contention"
        r"|held lock freed|lock held when returning to user space|.+/\d+ still has locks held"
        r"|trying to register non-static key)",
        _END_TASK,
        MANY,
    ),
    _header(SplatKind.LOCKDEP, r"\[ BUG: Invalid wait context \]", _END_TASK, MANY),
    _header(
        SplatKind.RCU_STALL,
        r"(?:rcu: )?INFO: rcu\w* (?:self-)?detected (?:expedited )?stalls?\b",
        _END_NONE,
        FEW,
    ),
    _header(SplatKind.SOFT_LOCKUP, r"(?:watchdog: )?BUG: soft lockup - ", _END_TASK, FEW),
    _header(
        SplatKind.HARD_LOCKUP,
        r"(?:NMI )?watchdog: .*\bhard LOCKUP on cpu \d+",
        _END_TASK,
        FEW,
    ),
    _header(
        SplatKind.HUNG_TASK,
        r"INFO: task .+:\d+ blocked (?:in I/O wait )?for more than \d+ seconds",
        _END_TASK,
        FEW,
    ),
    _header(
        SplatKind.OOPS,
        r"BUG: (?:unable to handle |kernel NULL pointer|\w+ stack guard page was hit)",
        _END_TRACE,
        MANY,
    ),
    _header(SplatKind.OOPS, r"(?:traps: )?PANIC: double fault", _END_TRACE, MANY),
    OOPS,
    _header(
        SplatKind.BUG,
        rf"BUG: sleeping function called from invalid context at {SOURCE}",
        _END_TASK,
        FEW,
    ),
    _header(
        SplatKind.BUG,
        r"BUG: (?:scheduling while atomic|Bad page|workqueue l|spinlock |rwlock |using \w+\(\) in)",
        _END_TASK,
        FEW,
    ),
    # What the control page prints itself (relocate_kernel_64.S, since 6.15).
    _header(SplatKind.JUMP_EXCEPTION, r"Exc:(?P<number>[0-9a-f]{16})$", _END_REGISTERS, FEW),
    _header(SplatKind.BUG, r"BUG \S+ \((?:Not tainted|Tainted)", _END_TASK, MANY),
    _header(SplatKind.BUG, r"BUG: \S", _END_TASK, FEW, vague=True),
)
