# SPDX-License-Identifier: GPL-2.0-only
"""Is each kind of change named that a kernel could bring about, and nothing else?

Memory, registers and devices are changed behind the kernel's back, just before the
audit looks, and put right again just after.
"""

from __future__ import annotations

import pytest

from harness.audit.classes import PageClass
from harness.audit.gdb import Gdb
from harness.cycle.cycle import Cycle
from harness.image.image import PAGE
from harness.image.vmcore import KERNEL_MAP
from harness.machine.statemachine import StateMachine
from harness.plugin.suite import NewCycle

pytestmark = [pytest.mark.vm]

# By QEMU's i386-64bit.xml.
RBX, KERNEL_GS_BASE, CR4 = 1, 26, 30
_TSD = 1 << 2
_IOAPIC, _MASKED = 0xFEC00000, 1 << 16
_COMMAND = 0x80008004
"""The command register of the network device, by port 0xcf8."""


class Damage:
    """Changes one thing of each kind, and puts it right again once it was seen."""

    def __init__(self) -> None:
        self.low = 0
        self.banner = 0
        self.saved: dict[str, int] = {}
        self.page = b""

    def __call__(self, moment: str, machine: StateMachine, gdb: Gdb) -> None:
        if moment == "back":
            # As if it had not been exchanged.
            self.page = gdb.read_physical(self.low, PAGE)
            gdb.write_physical(self.low, bytes(byte ^ 0xFF for byte in self.page))
        elif moment == "back seen":
            gdb.write_physical(self.low, self.page)
        elif moment == "answered":
            for number in (RBX, KERNEL_GS_BASE, CR4):
                self.saved[str(number)] = gdb.register(number)
            gdb.set_register(RBX, self.saved[str(RBX)] ^ 1)
            gdb.set_register(KERNEL_GS_BASE, self.saved[str(KERNEL_GS_BASE)] ^ 0x1000)
            gdb.set_register(CR4, self.saved[str(CR4)] ^ _TSD)
            self._devices(machine, gdb, alarm=0x17, command="0x107", mask=True)
            self._constant(gdb)
        elif moment == "answered seen":
            for number in (RBX, KERNEL_GS_BASE, CR4):
                gdb.set_register(number, self.saved[str(number)])
            self._devices(machine, gdb, alarm=0, command="0x507", mask=False)
            self._constant(gdb)

    def _constant(self, gdb: Gdb) -> None:
        at = self.banner + 3
        gdb.write_physical(at, bytes([gdb.read_physical(at, 1)[0] ^ 1]))

    def _devices(
        self, machine: StateMachine, gdb: Gdb, *, alarm: int, command: str, mask: bool
    ) -> None:
        monitor = machine.domain.monitor
        monitor("o /b 0x70 0x5")
        monitor(f"o /b 0x71 {alarm:#x}")
        monitor(f"o /w 0xcf8 {_COMMAND:#x}")
        monitor(f"o /h 0xcfc {command}")
        gdb.write_physical(_IOAPIC, (0x10 + 2 * 4).to_bytes(4, "little"))
        low = int.from_bytes(gdb.read_physical(_IOAPIC + 0x10, 4), "little")
        low = low | _MASKED if mask else low & ~_MASKED
        gdb.write_physical(_IOAPIC + 0x10, low.to_bytes(4, "little"))


def test_what_was_changed_is_named(new_cycle: NewCycle) -> None:
    harm = Damage()

    def arrange(cycle: Cycle) -> None:
        assert cycle.moments is not None
        moments = cycle.moments

        def meddle(moment: str, machine: StateMachine, gdb: Gdb) -> None:
            assert moments.left is not None or moment.startswith("called")
            if moments.left is not None and not harm.low:
                of = moments.left.classes.of
                kept = (at for at in range(PAGE, 16 << 20, PAGE) if of(at) is PageClass.KEPT)
                harm.low = next(kept)
                symbols = moments.left.symbols
                moved = gdb.word(symbols["phys_base"]) - KERNEL_MAP
                harm.banner = (symbols["linux_banner"] + moved) % (1 << 64)
            harm(moment, machine, gdb)

        moments.meddle = meddle

    result = new_cycle(resume_path="plain-jump", mutate_running=arrange, audit=True).run()
    audit = result.audit
    assert audit is not None
    assert not audit.reason, audit.reason
    assert [(page.address, page.bytes) for page in audit.named] == [(harm.low, PAGE)]
    wrong = {(field.device, field.field) for field in audit.state if not field.why}
    assert wrong == {
        ("cpu/0", "env.regs[3]"),
        ("cpu/0", "env.kernelgsbase"),
        ("cpu/0", "env.cr[4]"),
        ("ioapic/0", "ioredtbl[4]"),
        ("mc146818rtc/0", "cmos_data[5]"),
        ("0000:00:10.0/virtio-net/0", "pci.config[0x04]"),
        ("kernel", "linux_banner+0x3"),
    }
    failed = {check.name for check in result.checks if not check.ok}
    assert failed == {"audit.memory", "audit.cpu", "audit.devices", "audit.kernel"}
