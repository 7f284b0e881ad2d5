# SPDX-License-Identifier: GPL-2.0-only
"""What the kernels of a cycle are told on their command lines."""

from __future__ import annotations

SPAWNED_END = 16 << 20
# The e820 map of 0-16 MiB. It ends a page early: where RAM ends exactly at
# 16 MiB, the kernel reserves up to 64 MiB as "RAM buffer", and memory that is
# hot-added there is refused with EEXIST (arch/x86/kernel/e820.c, ram_alignment).
RESTRICTED = "memmap=exactmap memmap=635K@4K memmap=15356K@1M"
# A guest that its host starves for a while is not broken. check_timer() of
# io_apic.c counts ticks in a busy loop, and panics.
STARVED = "no_timer_check"
# no_console_suspend: what a kernel says while its devices are suspended is what
# this bench is for. A panic in a freeze callback would be silent without it.
# A soft lockup or an RCU stall is one of a minute, and not of 20 s.
NORMAL_OPTIONS = (
    "panic=-1 random.trust_cpu=1 no_console_suspend watchdog_thresh=30 "
    f"rcupdate.rcu_cpu_stall_timeout=60 {STARVED}"
)
# Init waits where the state of the machine is kept (harness/guest/renew).
WARM_OPTION = "kspawn.warm"
# Two kernels in one life of QEMU log to two ports, so that neither finds its own
# in a state that it did not leave it in.
NORMAL_LINE, SPAWNED_LINE = "ttyS0", "ttyS2"
_PORTS = {NORMAL_LINE: 0x3F8, SPAWNED_LINE: 0x3E8}


def console(line: str) -> str:
    """The words that send a kernel's log to a serial port.

    Args:
        line: The serial port of its log.
    """
    # earlyprintk: newer kernels tell there of an exception in the jump itself.
    return f"console={line},115200 earlyprintk=serial,{_PORTS[line]:#x},115200"


def normal_cmdline(line: str = NORMAL_LINE) -> str:
    """The command line of a normal kernel.

    Args:
        line: The serial port of its log.
    """
    return f"{console(line)} {NORMAL_OPTIONS}"


NORMAL_CMDLINE = normal_cmdline()


def fill_free_memory(octal: str = "245") -> str:
    """A command for the guest that fills each free byte with a value, and frees it again.

    All but 24 MiB, which the command itself may need.

    Args:
        octal: The value.
    """
    return (
        # What waits in the lists of the CPUs is available, and not counted.
        'size=$(awk \'/MemAvailable/ { n += $2 } $1 == "count:" { n += 4 * $2 }'
        " END { print n - 24576 }' /proc/meminfo /proc/zoneinfo) && mkdir -p /run/fill &&"
        " mount -t tmpfs -o size=${size}k none /run/fill &&"
        f" {{ tr '\\0' '\\{octal}' </dev/zero >/run/fill/all 2>/dev/null; true; }} &&"
        " umount /run/fill"
    )
