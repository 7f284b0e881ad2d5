# SPDX-License-Identifier: GPL-2.0-only
"""The lines of a kernel's log: who wrote each, and what it says without its prefix.

Read are the raw console, `dmesg` (also -T, -H, -d, -x and --time-format iso),
/dev/kmsg, and what syslog and `journalctl -k` make of it in any of their formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_ANSI = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[0-~])")

_MONTH_DAY = r"[A-Z][a-z]{2} [ \d]\d"
_CLOCK = r"\d\d:\d\d:\d\d(?:\.\d+)?"
_ZONE = r"(?:Z|[+-]\d\d:?\d\d)?"
_HOST_TAG = r" (?P<host>[\w.-]+) (?P<tag>[\w./@-]+)(?:\[\d+\])?: "
# Syslog's and journald's time (short, short-precise, short-full, short-iso, short-unix,
# rsyslog's RFC 3339), the host, and who wrote the line.
_SYSLOG = re.compile(
    rf"(?:{_MONTH_DAY} {_CLOCK}|[A-Z][a-z]{{2}} \d{{4}}-\d\d-\d\d {_CLOCK} [A-Z]{{3,5}}"
    rf"|\d{{4}}-\d\d-\d\dT{_CLOCK}{_ZONE}|\d{{9,11}}\.\d{{6}}){_HOST_TAG}"
)
# Prefixes of a kernel's line, of which one says that the kernel wrote it:
_LEADING = re.compile(
    # dmesg -x, before the time.
    r"(?:(?:kern|user|daemon) *:(?:emerg|alert|crit|err|warn|notice|info|debug) *: )?"
    # /dev/kmsg; the level that printk() gives, and no time; dmesg --time-format iso; a bare tag.
    r"(?P<sure>\d+,\d+,\d+,[-c+][^;]{0,40};|<\d+>(?!\[)"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{6}[+-]\d\d:\d\d |kernel: )?"
)
# "[   12.345678]" with a caller's id in "[   12.345678][    T1]"; or what `dmesg` has there
# with -H ("[  +0.000001]", "[Nov26 18:00]"), -d ("[   12.3 <    0.1>]") and -T; and the host
# that `journalctl -o short-monotonic` puts behind it.
_STAMP = re.compile(
    r"(?:<\d+>)?"
    r"(?:\[ *\+?\d+\.\d{6}(?: < *\+?\d+\.\d{6}>)?\]"
    r"|\[[A-Z][a-z]{2} ?[ \d]\d \d\d:\d\d\]"
    r"|\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\])"
    r"(?: ?\[ *(?P<caller>[TC]\d+)\])? ?"
    r"(?:(?:[\w.-]+ )?kernel: )?"
)

# What kernels say that do not stamp their lines, and little else does.
_TALK = re.compile(
    r"Linux version \d|(?:Kernel c|C)ommand line: |BIOS-e820: |(?:ACPI|PCI|PM|NET|pci \S+|acpi \S+"
    r"|rcu|smpboot|clocksource|x86/\w+|random|tsc|e820|Memory|printk|EXT4-fs \S+|virtio_\w+ \S+"
    r"|serial8250|watchdog|RIP|Code|CPU|Call Trace|Modules linked in|Hardware name|Zone ranges"
    r"|sched_clock|NMI backtrace\b.*|INFO|WARNING|BUG|Kernel panic\b.*|Oops): ?"
    r"|Run /\S+ as init process|Freeing unused kernel|-+\[ (?:cut here|end )"
    r"| *(?:\? )?[A-Za-z_][\w.$]*\+0x[0-9a-f]+/0x[0-9a-f]+| </?[A-Z]+>$"
    r"|(?:Exc|Err|cr2|r[a-z0-9 ]{2}):[0-9a-f]{16}$"
)
# Of a hundred lines, so few that look like a kernel's are none.
_HARDLY_PERCENT = 5


class Line(NamedTuple):
    """A line of the kernel, or what a program wrote between them."""

    number: int
    text: str
    stamped: bool
    caller: str | None


class LineReader:
    """Takes the prefixes off the lines of one log, and counts what it saw."""

    def __init__(self) -> None:
        self.stamps = False
        """Whether the kernel stamps its lines: then it stamps all of them."""
        self.lines = 0
        """Lines that are not empty."""
        self.kernel_lines = 0
        """Those of them that look like a kernel's."""

    @property
    def hardly_kernel(self) -> bool:
        """Whether this is hardly the log of a kernel: it then says nothing that it is clean."""
        return self.kernel_lines * 100 < self.lines * _HARDLY_PERCENT or not self.lines

    def read(self, raw: bytes, number: int) -> Iterator[Line]:
        """The line, in two where the kernel wrote into a line of a program.

        Args:
            raw: The bytes of the line.
            number: Its number in the log.
        """
        text = _ANSI.sub(b"", raw).replace(b"\0", b"").decode(errors="replace").rstrip("\r")
        if not text.strip():
            yield Line(number, text, False, None)
            return
        self.lines += 1
        found = list(self._split(text, number))
        self.kernel_lines += any(line.stamped or _TALK.match(line.text) for line in found)
        yield from found

    def _split(self, text: str, number: int) -> Iterator[Line]:
        sure = False
        if syslog := _SYSLOG.match(text):
            self.stamps = True
            if syslog["tag"] != "kernel":
                yield Line(number, text, False, None)
                return
            text, sure = text[syslog.end() :], True
        elif leading := _LEADING.match(text):
            text, sure = text[leading.end() :], leading["sure"] is not None
        stamps = list(_STAMP.finditer(text))
        self.stamps = self.stamps or sure or bool(stamps)
        begin = text[: stamps[0].start()] if stamps else text
        if begin or not stamps:
            yield Line(number, begin, sure, None)
        ends = [stamp.start() for stamp in stamps[1:]] + [len(text)]
        for stamp, end in zip(stamps, ends, strict=False):
            yield Line(number, text[stamp.end() : end], True, stamp["caller"])
