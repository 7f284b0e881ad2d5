# SPDX-License-Identifier: GPL-2.0-only
"""Find the splats in a kernel's log, live or stored.

    python -m harness.splats LOG...

exits with 0 if there is none, 1 if there are some, 2 if a log cannot be read.

The scanner goes by lines. A *header* (`_HEADERS`) opens a report, which takes
all that follows until the mark that ends this kind of report. Where there is
no such mark, or it was lost, lines that look like no part of a report end it.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import click

from harness.base.errors import HarnessError, UsageError
from harness.base.terminal import close_streams, echo, open_streams
from harness.record.result import Splat, SplatKind

_CHUNK = 65536
# Garbage without a line end is cut here, so that memory stays bounded.
_MAX_LINE = 65536
# A report whose end was lost must not swallow the rest of the log.
_MAX_LINES = 1000
# From the line that announces a report to its header, at most.
_MAX_BEFORE = 10
# So many lines in a row that look like no report end it: few where a report is
# made of lines that are easily told, many where it holds prose or hex dumps.
_FEW = 3
_MANY = 40

_ANSI = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[0-~])")
# "[   12.345678]" with a caller's id in "[   12.345678][    T1]", or what
# "dmesg -T" and syslog put there.
_STAMP = re.compile(
    r"(?:<\d+>)?"
    r"(?:\[ *\d+\.\d{6}\]|\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\])"
    r"(?: ?\[ *(?P<caller>[TC]\d+)\])? ?"
)
_PROMPT = re.compile(r"(?:\S{0,40} ?[#$>]|\S+ login:) ")

_SYMBOL = r"(?P<function>[A-Za-z_][\w.$]*)\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?"
_SOURCE = r"(?P<file>[\w./+-]+\.\w+):(?P<line>\d+)"

_PANIC = "Kernel panic - not syncing: "
_CUT_HERE = re.compile(r"-+\[ cut here \]-+")
_RULE = re.compile(r"={20,}$")

_END_PANIC = re.compile(r"---\[ end Kernel panic|Rebooting in \d+ seconds")
_END_TRACE = re.compile(r"---\[ end trace\b")
_END_TASK = re.compile(r" *</TASK>")
_END_REGISTERS = re.compile(r"cr2:[0-9a-f]{16}$")
# Some reports have no mark at all.
_END_NONE = re.compile(r"(?!)")


class _Header(NamedTuple):
    kind: SplatKind
    pattern: re.Pattern[str]
    end: re.Pattern[str]
    slack: int
    # Also right if a program could have written it: only where the kernel
    # wrote it for sure.
    vague: bool = False


def _header(
    kind: SplatKind, pattern: str, end: re.Pattern[str], slack: int, vague: bool = False
) -> _Header:
    return _Header(kind, re.compile(pattern), end, slack, vague)


_LIST = _header(SplatKind.BUG, r"list_(?:add|del)\w* (?:corruption|double add)\b", _END_TRACE, _FEW)
_KERNEL_BUG = _header(
    SplatKind.BUG, rf"[Kk]ernel BUG at (?:{_SOURCE}!|{_SYMBOL}|0x)", _END_TRACE, _MANY
)
_OOPS = _header(
    SplatKind.OOPS,
    r"(?:Oops|Oops: [^\[]*|[a-z][^\[]*): [0-9a-f]{4} \[#(?P<number>\d+)\]",
    _END_TRACE,
    _MANY,
)
# The first that matches counts.
_HEADERS = (
    _header(
        SplatKind.PANIC,
        rf"{_PANIC}(?:.*corrupted in: (?P<function>[\w.$]+))?",
        _END_PANIC,
        _MANY,
    ),
    _header(SplatKind.WARN, rf"WARNING: CPU: \d+ PID: \d+ at {_SYMBOL}", _END_TRACE, _MANY),
    _header(
        SplatKind.WARN,
        rf"WARNING: CPU: \d+ PID: \d+ at (?:{_SOURCE}(?: {_SYMBOL})?)?",
        _END_TRACE,
        _MANY,
    ),
    # 6.19 moved the CPU and the process behind the place.
    _header(SplatKind.WARN, rf"WARNING: {_SOURCE} at (?:{_SYMBOL}|0x)", _END_TRACE, _MANY),
    _header(SplatKind.WARN, rf"WARNING: at {_SYMBOL}", _END_TRACE, _MANY),
    _header(SplatKind.WARN, r"WARNING: kernel stack (?:regs|frame pointer) at ", _END_NONE, _FEW),
    _header(SplatKind.KASAN, rf"BUG: KASAN: \S+(?: in {_SYMBOL})?", _RULE, _MANY),
    _header(SplatKind.BUG, rf"BUG: K[A-Z]+: .*? in {_SYMBOL}", _RULE, _MANY),
    _header(SplatKind.BUG, rf"UBSAN: [\w-]+ in {_SOURCE}", _END_TRACE, _MANY),
    _KERNEL_BUG,
    _LIST,
    _header(
        SplatKind.LOCKDEP,
        r"(?:WARNING|INFO): (?:"
        r"possible (?:circular|recursive) locking|possible irq lock inversion"
        r"|inconsistent lock state|suspicious RCU usage|\S+-safe -> \S+-unsafe lock order"
        r"|chain_key collision|Nested lock was not taken|bad unlock balance|bad contention"
        r"|held lock freed|lock held when returning to user space|.+/\d+ still has locks held"
        r"|trying to register non-static key)",
        _END_TASK,
        _MANY,
    ),
    _header(SplatKind.LOCKDEP, r"\[ BUG: Invalid wait context \]", _END_TASK, _MANY),
    _header(
        SplatKind.RCU_STALL,
        r"(?:rcu: )?INFO: rcu\w* (?:self-)?detected (?:expedited )?stalls?\b",
        _END_NONE,
        _FEW,
    ),
    _header(SplatKind.SOFT_LOCKUP, r"(?:watchdog: )?BUG: soft lockup - ", _END_TASK, _FEW),
    _header(
        SplatKind.SOFT_LOCKUP,
        r"(?:NMI )?watchdog: .*\bhard LOCKUP on cpu \d+",
        _END_TASK,
        _FEW,
    ),
    _header(
        SplatKind.HUNG_TASK,
        r"INFO: task .+:\d+ blocked (?:in I/O wait )?for more than \d+ seconds",
        _END_TASK,
        _FEW,
    ),
    _header(
        SplatKind.OOPS,
        r"BUG: (?:unable to handle |kernel NULL pointer|\w+ stack guard page was hit)",
        _END_TRACE,
        _MANY,
    ),
    _header(SplatKind.OOPS, r"(?:traps: )?PANIC: double fault", _END_TRACE, _MANY),
    _OOPS,
    _header(
        SplatKind.BUG,
        rf"BUG: sleeping function called from invalid context at {_SOURCE}",
        _END_TASK,
        _FEW,
    ),
    _header(
        SplatKind.BUG,
        r"BUG: (?:scheduling while atomic|Bad page|workqueue l|spinlock |rwlock |using \w+\(\) in)",
        _END_TASK,
        _FEW,
    ),
    # What the control page prints itself (relocate_kernel_64.S, since 6.15).
    _header(SplatKind.JUMP_EXCEPTION, r"Exc:(?P<number>[0-9a-f]{16})$", _END_REGISTERS, _FEW),
    _header(SplatKind.BUG, r"BUG \S+ \((?:Not tainted|Tainted)", _END_TASK, _MANY),
    _header(SplatKind.BUG, r"BUG: \S", _END_TASK, _FEW, vague=True),
)

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
_RIP = re.compile(rf"RIP: 0010:{_SYMBOL}")
_TRACE_ENTRY = re.compile(rf" *{_SYMBOL}")
_LOCK_AT = re.compile(rf".*, at: {_SYMBOL}")
_RCU_AT = re.compile(rf"{_SOURCE} (?:suspicious|\S.* (?:usage|section))")
_SUFFIX = re.compile(r"\.(?:cold|isra|part|constprop|llvm|lto_priv)\b.*")
_NUMBER = re.compile(r"\b(?:0x)?[0-9a-f]*\d[0-9a-f]*\b")
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


class _Line(NamedTuple):
    """A line of the kernel, or what a program wrote between them."""

    number: int
    text: str
    stamped: bool
    caller: str | None


@dataclass
class _Report:
    """A report that has begun."""

    header: _Header
    title: str
    first: _Line
    file: str | None = None
    line: int | None = None
    function: str | None = None
    oops: int | None = None
    lines: list[_Line] = field(default_factory=list)
    # Lines at the end that look like no part of it.
    misses: int = 0

    def foreign(self, line: _Line) -> bool:
        """Whether a line is not from the context that writes this report."""
        if self.first.stamped and not line.stamped:
            return True
        return None not in (self.first.caller, line.caller) and self.first.caller != line.caller

    def fill(self, match: re.Match[str]) -> None:
        """Take the place from a match, as far as it is not known."""
        found = match.groupdict()
        if self.file is None and found.get("file"):
            self.file, self.line = found["file"], int(found["line"])
        if self.function is None and found.get("function"):
            self.function = found["function"]

    def add(self, line: _Line) -> bool:
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
        if self.misses > self.header.slack or self.header.slack == _FEW:
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


class SplatScanner:
    """Finds splats in a log that grows.

    Whatever the pieces are in which the log comes, the same splats are found.
    A report without an end mark (an RCU stall, or any that was torn) stays open
    until other lines follow: wait for its end against a deadline, then call
    `finish()`.

    Args:
        log_name: The name of the log, copied into the splats.
    """

    def __init__(self, *, log_name: str = "") -> None:
        self._log_name = log_name
        self._reset()

    def _reset(self) -> None:
        self._rest = b""
        self._number = 1
        self._stamps = False
        self._before: list[_Line] = []
        self._report: _Report | None = None
        self._found: list[Splat] = []

    @property
    def open(self) -> bool:
        """Whether a splat has begun and not yet ended."""
        return self._report is not None

    def feed(self, data: bytes | str) -> list[Splat]:
        """Take the next piece of the log.

        Args:
            data: The piece; it may end anywhere, also inside a character.

        Returns:
            The splats that ended in it.
        """
        if isinstance(data, str):
            data = data.encode(errors="replace")
        self._rest += data
        start = 0
        while True:
            end = self._rest.find(b"\n", start, start + _MAX_LINE)
            if end >= 0:
                self._take(self._rest[start:end])
                self._number += 1
                start = end + 1
            elif len(self._rest) - start >= _MAX_LINE:
                self._take(self._rest[start : start + _MAX_LINE])
                start += _MAX_LINE
            else:
                break
        self._rest = self._rest[start:]
        found, self._found = self._found, []
        return found

    def finish(self) -> list[Splat]:
        """End the log, and with it the splat that is open.

        The scanner can then be fed another log.

        Returns:
            The last splats.
        """
        if self._rest:
            self._take(self._rest)
        self._close()
        found = self._found
        self._reset()
        return found

    def _take(self, raw: bytes) -> None:
        text = _ANSI.sub(b"", raw).replace(b"\0", b"").decode(errors="replace").rstrip("\r")
        for line in self._split(text):
            self._one(line)

    def _split(self, text: str) -> Iterator[_Line]:
        """The line, in two where the kernel wrote into a line of a program."""
        stamps = list(_STAMP.finditer(text))
        begin = text[: stamps[0].start()] if stamps else text
        if begin or not stamps:
            yield _Line(self._number, begin, False, None)
        ends = [stamp.start() for stamp in stamps[1:]] + [len(text)]
        for stamp, end in zip(stamps, ends, strict=False):
            self._stamps = True
            yield _Line(self._number, text[stamp.end() : end], True, stamp["caller"])

    def _one(self, line: _Line) -> None:
        report = self._report
        # The end comes first: the rule that ends a KASAN report looks like one
        # that announces a report.
        if report is not None and not report.foreign(line) and report.header.end.match(line.text):
            report.add(line)
            self._close()
            return
        if _CUT_HERE.match(line.text) or _RULE.match(line.text):
            self._before = [line]
            if _CUT_HERE.match(line.text) and not (report and report.header is _LIST):
                self._close()
        elif found := self._match(line):
            self._open(line, *found)
            return
        elif self._before:
            self._before.append(line)
            if len(self._before) > _MAX_BEFORE:
                self._before = []
        if self._report is not None and self._report.add(line):
            self._close()

    def _match(self, line: _Line) -> tuple[_Header, re.Match[str]] | None:
        text = line.text
        if not line.stamped and (prompt := _PROMPT.match(text)):
            text = text[prompt.end() :]
        for header in _HEADERS:
            # A kernel that stamps its lines stamps all of them.
            if header.vague and self._stamps and not line.stamped:
                continue
            if match := header.pattern.match(text):
                break
        else:
            return None
        # Announced like this, it is the message of the WARN that follows.
        if header is _LIST and self._before and _CUT_HERE.match(self._before[0].text):
            return None
        return header, match

    def _open(self, line: _Line, header: _Header, match: re.Match[str]) -> None:
        report = self._report
        if report is not None and self._continues(report, header):
            # Its first half came before: BUG() ends in an oops, an oops begins
            # with the fault, and a broken list is reported before BUG().
            report.header = report.header._replace(end=header.end, slack=header.slack)
            report.fill(match)
            report.oops = int(match["number"]) if header is _OOPS else None
            report.misses = 0
            report.lines.append(line)
            self._before = []
            return
        self._close(before=self._before[0].number if self._before else None)
        message = ""
        if header.kind is SplatKind.WARN:
            # What WARN() was given to say stands between the announcement and the header.
            own = [m.text for m in self._before[1:] if m.stamped == line.stamped and m.text]
            message = f": {own[0]}" if own else ""
        self._report = _Report(header, match.string + message, line, lines=[*self._before, line])
        self._report.fill(match)
        self._report.oops = int(match["number"]) if header is _OOPS else None
        self._before = []

    @staticmethod
    def _continues(report: _Report, header: _Header) -> bool:
        if header is _OOPS:
            return report.header.kind in (SplatKind.OOPS, SplatKind.BUG) and report.oops is None
        return header is _KERNEL_BUG and report.header.pattern is _LIST.pattern

    def _close(self, *, before: int | None = None) -> None:
        if self._report is not None:
            self._found.append(self._report.splat(self._log_name, before=before))
            self._report = None


def scan(path: Path, *, log_name: str = "") -> list[Splat]:
    """Find the splats of a stored log.

    Args:
        path: The log.
        log_name: The name to give it in the splats; the file's name by default.

    Returns:
        The splats, in the order of the log.

    Raises:
        HarnessError: The log cannot be read.
    """
    scanner = SplatScanner(log_name=log_name or path.name)
    found: list[Splat] = []
    try:
        with path.open("rb") as log:
            while data := log.read(_CHUNK):
                found += scanner.feed(data)
    except OSError as error:
        raise HarnessError(f"cannot read the log {path}: {error.strerror}") from error
    return found + scanner.finish()


def signature(splat: Splat) -> str:
    """What stays the same when the same bug shows in another kernel or run.

    Args:
        splat: The splat.

    Returns:
        Its kind with function and file. A panic, and where the log names
        neither, also with the title less all numbers.
    """
    function = _SUFFIX.sub("", splat.function or "")
    parts = [part for part in (function, splat.file) if part]
    # A panic is called from few places, for many reasons.
    if not parts or splat.kind is SplatKind.PANIC:
        parts.append(_NUMBER.sub("N", splat.title.removeprefix(_PANIC)))
    return f"{splat.kind}: {' '.join(parts)}"


@dataclass(frozen=True)
class Expectation:
    """A splat that is provoked on purpose.

    Args:
        pattern: A regular expression, searched for in the title.

    Raises:
        UsageError: It is not a regular expression.
    """

    pattern: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise UsageError(f"no regular expression: {self.pattern!r}: {error}") from error

    def matches(self, splat: Splat) -> bool:
        """Whether this is the splat."""
        return re.search(self.pattern, splat.title) is not None


def mark_expected(splats: Sequence[Splat], patterns: Sequence[str]) -> list[str]:
    """Mark the splats that were provoked on purpose.

    Args:
        splats: The splats; those that match get `expected` set.
        patterns: Regular expressions, searched for in the titles.

    Returns:
        The patterns that no splat matched.
    """
    missed = []
    for expectation in [Expectation(pattern) for pattern in patterns]:
        matching = [splat for splat in splats if expectation.matches(splat)]
        for splat in matching:
            splat.expected = True
        if not matching:
            missed.append(expectation.pattern)
    return missed


@click.command()
@click.argument("logs", nargs=-1, required=True, metavar="LOG...", type=click.Path(path_type=Path))
@click.option("--text", is_flag=True, help="Print the whole reports.")
def main(logs: tuple[Path, ...], text: bool) -> None:
    """List the splats in stored kernel logs.

    Exits with 0 if there is none, 1 if there are some, 2 if a log cannot be read.
    """
    open_streams()
    problem: HarnessError | None = None
    code = 0
    for step in (lambda: _list(logs, text), close_streams):
        try:
            code = step() or code
        except HarnessError as error:
            problem = problem or error
    if problem is not None:
        code = problem.exit_code
        with contextlib.suppress(OSError):
            print(problem, file=sys.stderr)
    sys.exit(code)


def _list(logs: Sequence[Path], text: bool) -> int:
    splats: list[Splat] = []
    unreadable = False
    for log in logs:
        try:
            splats += scan(log, log_name=str(log))
        except HarnessError as error:
            echo(str(error), to_stderr=True)
            unreadable = True
    for splat in splats:
        echo(f"{splat.log}:{splat.log_line}: {splat.kind}: {splat.title}")
        if text:
            echo(splat.text)
    return 2 if unreadable else 1 if splats else 0


if __name__ == "__main__":
    main()
