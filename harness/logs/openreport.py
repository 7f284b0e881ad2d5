# SPDX-License-Identifier: GPL-2.0-only
"""A report that has begun: which lines are its own, where it ends, and what it names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.logs.headers import FEW, SOURCE, SYMBOL, Header
from harness.logs.lines import Line
from harness.record.result import Splat, SplatKind

# A report whose end was lost must not swallow the rest of the log.
_MAX_LINES = 1000

# Vectors of the CPU that the control page has handlers for.
_EXCEPTIONS = (
    *("divide error", "debug", "NMI", "breakpoint", "overflow", "bound range", "invalid opcode"),
    *("no FPU", "double fault", "coprocessor segment", "invalid TSS", "segment not present"),
    *("stack segment fault", "general protection fault", "page fault", "reserved"),
)
_REGISTER = re.compile(r"(?P<name>Exc|Err|rip|cr2|r[a-z0-9]{1,2} ?):(?P<value>[0-9a-f]{16})$")

# What a line of a report looks like.
_REPORT_LINE = re.compile(
    r"(?:Exc|Err|cr2|r[a-z0-9 ]{2}):[0-9a-f]{16}$"
    r"| *(?:\? )?[A-Za-z_][\w.$]*\+0x[0-9a-f]+/0x[0-9a-f]+"
    r"| *</?[A-Z#]\w*>$"
    r"|(?:Call Trace|Code|RIP|RSP|R[A-D]X|RBP|R\d\d|FS|CS|CR2|DR[03]|PKRU|CPU|Hardware name"
    r"|Modules linked in|Workqueue|task|Oops|Kernel Offset|Dumping ftrace buffer|Tainted"
    r"|irq event stamp|(?:hard|soft)irqs last +\w+|in_atomic\(\)|preempt_count|RCU nest depth"
    r"|Preemption disabled at|NMI backtrace for cpu|page|flags|raw|page dumped because)\b.*:? ?"
    r"|Sending NMI|rcu: |#PF: |PGD |\[<[0-9a-f]+>\]"
    r"|(?:no|\d+) locks? held by | *#\d+: | +(?:Not tainted|Tainted: )|\"echo 0 > "
)
_RIP = re.compile(rf"RIP: 0010:{SYMBOL}")
_TRACE_ENTRY = re.compile(rf" *{SYMBOL}")
_LOCK_AT = re.compile(rf".*, at: {SYMBOL}")
_RCU_AT = re.compile(rf"{SOURCE} (?:suspicious|\S.* (?:usage|section))")
# The way from what went wrong to the report: no name for it.
_PANIC_PLUMBING = re.compile(
    r"dump_stack|show_stack|v?panic\b|nmi_panic|check_panic_on_warn|__warn"
)
_PLUMBING = re.compile(
    r"dump_stack|show_stack|print_|report_bug|die\b|oops_|make_task_dead|asm_exc_|exc_"
    r"|__might_|(?:__|io_|preempt_)?schedule|lockdep_|mark_lock|validate_chain|check_"
    r"|(?:__)?lock_(?:acquire|release)|register_lock_class|debug_check_"
    r"|ubsan_|__ubsan_|kasan_|__asan_|bad_page|(?:spin|rwlock)_(?:dump|bug)|do_raw_|_raw_"
    r"|watchdog|nmi_|rcu_|kthread\b|ret_from_fork"
)


@dataclass
class OpenReport:
    """A report that has begun."""

    header: Header
    title: str
    first: Line
    file: str | None = None
    line: int | None = None
    function: str | None = None
    oops: int | None = None
    lines: list[Line] = field(default_factory=list)
    # Lines at the end that look like no part of it.
    misses: int = 0

    def foreign(self, line: Line) -> bool:
        """Whether a line is not from the context that writes this report."""
        if self.first.stamped and not line.stamped:
            return True
        return None not in (self.first.caller, line.caller) and self.first.caller != line.caller

    def fill(self, match: re.Match[str]) -> None:
        """Take the place from a match, as far as it is not known."""
        found = match.groupdict()
        if self.file is None and found.get("file"):
            self.file, self.line = found["file"], int(found["line"])
        if self.function is None:
            self.function = found.get("function") or found.get("name")

    def add(self, line: Line) -> bool:
        """Take one more line; true if the report ends with it."""
        self.lines.append(line)
        if self.foreign(line):
            return len(self.lines) >= _MAX_LINES
        self._place(line.text)
        if self.header.end.match(line.text):
            self.misses = 0
            return True
        self.misses = 0 if _REPORT_LINE.match(line.text) else self.misses + 1
        return self.misses > self.header.slack or len(self.lines) >= _MAX_LINES

    def _place(self, text: str) -> None:
        kind = self.header.kind
        if kind is SplatKind.LOCKDEP:
            if self.file is None and (match := _RCU_AT.match(text)):
                self.fill(match)
            if self.function is None and (match := _LOCK_AT.match(text)):
                self.fill(match)
        if self.function is not None:
            return
        # A panic's trace may pass registers of what it interrupted.
        if kind is not SplatKind.PANIC and (match := _RIP.match(text)):
            self.fill(match)
        elif match := _TRACE_ENTRY.match(text):
            plumbing = _PANIC_PLUMBING if kind is SplatKind.PANIC else _PLUMBING
            if not plumbing.match(match["function"]):
                self.fill(match)

    def splat(self, log_name: str, *, before: int | None = None) -> Splat:
        """The finished report; `before` is the line from which it is no more its own."""
        lines = self.lines
        if self.misses > self.header.slack or self.header.slack == FEW:
            while self.misses and lines[-1] is not self.first:
                self.misses -= not self.foreign(lines.pop())
        if before is not None:
            lines = [line for line in lines if line.number < before or line is self.first]
        title = self.title
        if self.header.kind is SplatKind.JUMP_EXCEPTION:
            title = _title_of_exception([line.text for line in lines])
        return Splat(
            kind=self.header.kind,
            title=title,
            file=self.file,
            line=self.line,
            function=self.function,
            log=log_name,
            log_line=self.first.number,
            text="\n".join(line.text for line in lines),
        )


def _title_of_exception(lines: Sequence[str]) -> str:
    """Which exception, and at which instruction: the control page prints registers only."""
    found = (_REGISTER.match(line) for line in lines)
    values = {match["name"]: int(match["value"], 16) for match in found if match}
    vector = values.get("Exc", 0)
    name = _EXCEPTIONS[vector] if vector < len(_EXCEPTIONS) else f"vector {vector}"
    where = f" at {values['rip']:#x}" if "rip" in values else ""
    address = f", address {values['cr2']:#x}" if name == "page fault" and "cr2" in values else ""
    return f"{name}{where}, error {values.get('Err', 0):#x}{address}"
