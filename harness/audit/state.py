# SPDX-License-Identifier: GPL-2.0-only
"""CPUs and devices, before and after: what may differ, with a reason for each, and what may not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.audit import virtio
from harness.audit.migration import State
from harness.record.result import AuditState

_TIME = "counts on with the time"
_TASK = "of the task that runs there, loaded again as it goes on in user mode"
_PENDING = "an interrupt is on its way, or not yet"
_CALLER_MAY = "a called function need not keep it"
_RINGS = "the driver's restore makes the rings anew, and traffic moves them"
_CONSOLE = (
    "the spawned kernels probe and use the serial ports; with no_console_suspend the normal "
    "kernel does not set those of its consoles again"
)
_MOVED = "interrupts move as a CPU is taken offline, and get a vector anew"
_GIVEN_UP = "the kernel gave these timers up for the local APIC's, and sets them when it uses them"
_POWERED = "set by the firmware of a machine that was off in between"


@dataclass(frozen=True)
class Rule:
    """What may differ.

    Args:
        device: Matches its name, such as "cpu/0".
        field: Matches the path of a field.
        why: The reason.
        bits: Of a field whose other bits have to be the same: those that may differ.
        cleared: Whether these may only have been cleared, and not set.
        when_off: A bit of each byte: where it was set and is not, that byte may be anything.
    """

    device: str
    field: str
    why: str
    bits: int | None = None
    cleared: bool = False
    when_off: int = 0

    def covers(self, device: str, field: str, was: bytes | None, now: bytes | None) -> bool:
        """Whether it explains that a field is not as it was."""
        if not re.fullmatch(self.device, device) or not re.fullmatch(self.field, field):
            return False
        if self.bits is None and not self.when_off:
            return True
        if was is None or now is None or len(was) != len(now):
            return False
        if self.bits is None:
            pairs = zip(was, now, strict=True)
            return all(old == new or old & ~new & self.when_off for old, new in pairs)
        old, new = int.from_bytes(was, "big"), int.from_bytes(now, "big")
        return not (old ^ new) & ~self.bits and not (self.cleared and new & ~old)


_CPU, _ANY = r"cpu/\d+", ".*"

CPU_RULES = (
    # regs: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15.
    Rule(_CPU, r"env\.regs\[(0|1|2|6|7|8|9|10|11)\]", _CALLER_MAY),
    Rule(_CPU, r"env\.eip", "the entry, and where it returns to"),
    Rule(_CPU, r"env\.(eflags|cc_src|cc_dst|cc_op|df|hflags)", "flags of the last instruction"),
    Rule(_CPU, r".*(fpus|fpuc|fptag|fpregs|fpregs_format|fpop|fpip|fpdp|fpcs|fpds)\w*.*", _TASK),
    Rule(_CPU, r".*(xmm_regs|xmmh_regs|Hi16_ZMM|opmask|bndcs|mxcsr|_q_ZMM|_q_XMM|zmm).*", _TASK),
    Rule(_CPU, r".*pkru.*", _TASK),
    Rule(_CPU, r"env\.segs\[[0-5]\]\.flags", "TCG keeps bits of a limit that long mode ignores"),
    # helper_lldt() of a null selector clears base and limit, and leaves the flags.
    Rule(_CPU, r"env\.ldt\.flags", "without an LDT, QEMU keeps those of the last one"),
    Rule(_CPU, r"env\.segs\[(0|3|4|5)\]\.(selector|limit)", _TASK),
    Rule(_CPU, r"env\.segs\[4\]\.base", _TASK),
    Rule(_CPU, r"env\.hflags2", "IGNNE#, a latch of floating point errors", bits=0x80),
    Rule(_CPU, r"env\.cr\[2\]", "the address of the last page fault"),
    Rule(_CPU, r".*(tsc|tsc_deadline|TSC|system_time|steal_time|async_pf).*", _TIME),
    Rule(
        _CPU, r"env\.(exception|interrupt|soft_interrupt|nmi|sipi|halted|old_exception).*", _PENDING
    ),
    Rule(_CPU, r"env\.a20_mask|.*smbase.*|.*smi_count.*", _POWERED),
    Rule(r"cpu_common/\d+", r"interrupt_request|halted", _PENDING),
)

# Another CPU than the one that called runs some task or other, or none.
OTHER_CPU_RULES = (
    Rule(_CPU, r"env\.regs\[\d+\]", "it runs something else"),
    Rule(_CPU, r"env\.segs\[\d\]\..*", "it runs something else, in the kernel or not"),
    Rule(_CPU, r"env\.cr\[3\]", "the page table of what it runs"),
    Rule(_CPU, r"env\.kernelgsbase", "exchanged with GS on entry and exit of the kernel"),
    Rule(_CPU, r"env\.dr\[\d\]", "of what it runs"),
)

DEVICE_RULES = (
    Rule(r".*", r"(.*\.)?config_reg", "port 0xcf8: the address of the last access to PCI"),
    Rule(
        r".*pcie-root-port/\d+",
        r"pci\.config\[0x6c\]",
        "the slot did what it was told",
        bits=0x1000,
    ),
    Rule(
        r".*ahci.*",
        r"ahci\.dev\[\d+\]\..*",
        "libata resumes its ports later, by a thread of its own",
    ),
    Rule(r".*xhci.*", r"xhci\.mfindex_start", _TIME),
    Rule(r"timer/0", _ANY, _TIME),
    Rule(r"slirp/0", _ANY, "QEMU's own network, which is no device"),
    Rule(r"(globalstate|acpi_build|fw_cfg|kvm-tpr-opt|vmmouse|pcspk)/0", _ANY, "QEMU's own"),
    Rule(r"apic/\d+", r"(irr|isr|tmr)\[\d\]|(ppr|apr|tpr).*|arb_id", _PENDING),
    Rule(r"apic/\d+", r"(initial_count|next_time|timer_expiry|count_shift).*", _TIME),
    Rule(
        r"apic/\d+", r"esr|icr\[\d\]|sipi_vector|wait_for_sipi", "the last interrupt between CPUs"
    ),
    Rule(r"ioapic/\d+", r"irr", _PENDING),
    Rule(r"ioapic/\d+", r"ioregsel", "the register that was accessed last"),
    # Vector, delivery status, remote IRR and destination; not mask, trigger and polarity.
    Rule(r"ioapic/\d+", r"ioredtbl\[\d+\]", _MOVED, bits=0xFF00000000005 << 12 | 0xFF),
    # Destination and vector, as the table has them byte by byte; not the mask.
    Rule(
        r".*/virtio-.*", r"msix\.table\[\d+\]", _MOVED, bits=0x00F00F00_00000000_FF000000_00000000
    ),
    # The last byte but one of the device's configuration: the status, little endian.
    Rule(
        r".*/virtio-net/\d+",
        r"config",
        "VIRTIO_NET_S_ANNOUNCE: QEMU asks for it once it has loaded a state, until it is done",
        bits=0x0200,
        cleared=True,
    ),
    # A byte a link; 0x80: off. A kernel turns on those that it uses, by an interrupt of its
    # choice, and off those that it does not.
    Rule(
        r".*(PIIX3|ICH9LPC|ICH9-LPC).*",
        r"pci\.config\[0x(60|68)\]",
        "a spawned kernel turned on a link of PCI interrupts that the normal kernel does not use",
        when_off=0x80,
    ),
    Rule(r"i8259/\d", r"irr|isr|last_irr|priority_add|read_reg_select", _PENDING),
    Rule(r"hpet/\d+", r"hpet_counter|timer\[\d\]\.(cmp|period|qemu_timer|wrap_flag|fsb).*", _TIME),
    Rule(r"hpet/\d+", r"(hpet/)?.*(offset|isr).*", _TIME),
    Rule(
        r"mc146818rtc/\d+",
        r"cmos_data\[(0|2|4|6|7|8|9|12|50)\]|.*_(time|offset|rtc|update).*",
        _TIME,
    ),
    Rule(r"mc146818rtc/\d+", r"irq_.*|base_rtc|last_update|offset|next_.*", _TIME),
    Rule(r"hpet/\d+", r"timer\[\d\]\.config", _GIVEN_UP),
    Rule(r"i8254/\d+", r"channels\[2\]\.count", "a kernel that boots measures the clock by it"),
    Rule(r"mc146818rtc/\d+", r"cmos_index", "half of an access"),
    Rule(r"i8254/\d+", r".*(count_load_time|next_transition_time|irq_timer).*", _TIME),
    Rule(r"i8254/\d+", r"channels\[\d\]\.(latched|status|rw_|read_|write_).*", "half of an access"),
    Rule(r".*(piix4_pm|ICH9-LPC|ICH9LPC).*", r".*(tmr|overflow_time|timer).*", _TIME),
    Rule(r"serial/\d+", _ANY, _CONSOLE),
    Rule(r".*/virtio-.*", r"isr|pci\.interrupts|msix\.pending", _PENDING),
    Rule(r".*/virtio-.*", r"queue\[\d+\]\.(ring|index)|queue_sel|rest", _RINGS),
    Rule(
        r".*(ahci|ich9_ahci|ide).*",
        r".*(cur_cmd|lst_addr|res_fis|cmd_issue|io_buffer|sector|nsector|lcyl|hcyl|feature|select|status|data_ptr|data_end|req_nb|busy|irq|error|scr_|sig|tfdata|done_first).*",
        "the last command of the disk",
    ),
    Rule(
        r".*(i2c|smbus|ps2|pckbd|fdc|uhci|usb|dma|port92).*",
        _ANY,
        "no driver of the normal kernel has it: as the firmware and the spawned kernels leave it",
    ),
)


def _spread(state: State) -> Iterator[tuple[str, str, bytes]]:
    """All fields; those that are several in one taken apart."""
    for device, fields in state.items():
        for field, value in fields.items():
            if field == "virtio":
                for name, part in virtio.fields(value).items():
                    yield device, name, part
            elif field == "cmos_data":
                for i, byte in enumerate(value):
                    yield device, f"{field}[{i}]", bytes([byte])
            elif len(value) in (256, 4096) and re.search(r"config(\[\d\])?$", field):
                for i in range(0, len(value), 4):
                    yield device, f"pci.config[{i:#04x}]", value[i : i + 4]
            else:
                yield device, field, value


def differences(before: State, after: State, *, caller: int, answerer: int) -> list[AuditState]:
    """What differs, explained or not.

    Args:
        before: As the system call that leaves was entered.
        after: As it returned.
        caller: The CPU that it was entered on.
        answerer: The CPU that it returned on.
    """
    old = {(device, field): value for device, field, value in _spread(before)}
    new = {(device, field): value for device, field, value in _spread(after)}
    # A task may go on on another CPU: what it had of its own is compared with that.
    own = {f"cpu/{caller}", f"cpu/{answerer}"} if caller == answerer else set()
    found = []
    for key in dict.fromkeys((*old, *new)):
        was, now = old.get(key), new.get(key)
        if was == now:
            continue
        device, field = key
        rules: tuple[Rule, ...] = (*CPU_RULES, *DEVICE_RULES)
        if device not in own:
            rules = (*OTHER_CPU_RULES, *rules)
        if _only_rsp(field, was, now) and device in own:
            continue
        why = next((rule.why for rule in rules if rule.covers(device, field, was, now)), "")
        found.append(_difference(device, field, was, now, why))
    if caller != answerer:
        found += _moved(old, new, caller, answerer)
    return found


def _only_rsp(field: str, was: bytes | None, now: bytes | None) -> bool:
    """Whether that is the stack pointer, with the return address taken off."""
    if field != "env.regs[4]" or was is None or now is None:
        return False
    return int.from_bytes(now, "big") == int.from_bytes(was, "big") + 8


def _moved(
    old: dict[tuple[str, str], bytes],
    new: dict[tuple[str, str], bytes],
    caller: int,
    answerer: int,
) -> list[AuditState]:
    """The registers that a function keeps, of a task that went on on another CPU."""
    found = []
    for number in (3, 5, 12, 13, 14, 15):
        field = f"env.regs[{number}]"
        was, now = old.get((f"cpu/{caller}", field)), new.get((f"cpu/{answerer}", field))
        if was != now:
            found.append(_difference(f"cpu/{caller}", field, was, now, ""))
    return found


def _difference(
    device: str, field: str, was: bytes | None, now: bytes | None, why: str
) -> AuditState:
    return AuditState(device=device, field=field, before=_shown(was), after=_shown(now), why=why)


def _shown(value: bytes | None) -> str:
    if value is None:
        return "not there"
    return value[:24].hex() + ("…" if len(value) > 24 else "")


def cpu_of(state: State, stack: int) -> int:
    """Which CPU stands with a stack pointer; the first if none does."""
    for device, fields in state.items():
        if device.startswith("cpu/") and fields.get("env.regs[4]") == stack.to_bytes(8, "big"):
            return int(device.removeprefix("cpu/"))
    return 0


def is_cpu(difference: AuditState) -> bool:
    """Whether it is of a CPU, and not of a device."""
    return difference.device.startswith(("cpu/", "cpu_common/"))
