# SPDX-License-Identifier: GPL-2.0-only
"""Does the audit put each page into the right class, and read RAM as it is?"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from harness.audit import migration, virtio
from harness.audit.classes import HANDOFF_BYTES, Classes, PageClass, first_difference
from harness.audit.facts import Jump, read_list
from harness.audit.kept import Changed, Comparison, _codes
from harness.audit.moments import Moments
from harness.audit.ram import Ram, Space, tables
from harness.audit.state import differences
from harness.audit.switches import turned
from harness.audit.symbols import NoSymbolsError, Symbols, first_handler
from harness.base.errors import HarnessError
from harness.cli.audit import render
from harness.cycle.checks.audit import AUDIT_CHECKS, audit_checks
from harness.record.result import AuditClass, AuditInfo, AuditPage
from harness.vm.memory import Part, layout

PAGE = 4096
MIB = 1 << 20


def ram(folder: Path, pages: dict[int, bytes], *, size: int = 64 * MIB, name: str = "ram") -> Ram:
    path = folder / name
    with path.open("wb") as file:
        file.truncate(size)
        for at, data in pages.items():
            file.seek(at)
            file.write(data)
    return Ram(path, [Part(0, size, 0)])


PAGES = 64 * MIB // PAGE


def classes(**given: object) -> Classes:
    values = {
        "free": [(32 * MIB, 8 * PAGE)],
        "jump": Jump(
            backup={PAGE: 20 * MIB, 2 * PAGE: 20 * MIB + PAGE},
            lists={21 * MIB},
            control={22 * MIB},
            swap={22 * MIB + PAGE},
            tables={23 * MIB},
        ),
        "stack": [(24 * MIB, 0x800)],
        "usable": [(PAGE, 64 * MIB)],
        "handoff": [25 * MIB],
    }
    return Classes(**{**values, **given})  # type: ignore[arg-type]


def test_each_page_has_one_class() -> None:
    made = classes()
    for page, kind in (
        (0, PageClass.FIRMWARE),
        (PAGE, PageClass.KEPT),
        (20 * MIB + PAGE, PageClass.BACKUP),
        (21 * MIB, PageClass.LIST),
        (22 * MIB, PageClass.CONTROL),
        (22 * MIB + PAGE, PageClass.SWAP),
        (23 * MIB, PageClass.TABLES),
        (24 * MIB, PageClass.STACK),
        (25 * MIB, PageClass.HANDOFF),
        (32 * MIB + 7 * PAGE, PageClass.FREE),
        (32 * MIB + 8 * PAGE, PageClass.KEPT),
    ):
        assert made.of(page) is kind, hex(page)
    counts = made.count([(0, 64 * MIB)])
    assert sum(counts.values()) == 64 * MIB // PAGE
    assert (counts[PageClass.FREE], counts[PageClass.BACKUP]) == (8, 2)
    assert counts[PageClass.FIRMWARE] == 1


def test_only_some_bytes_of_a_page_may_differ() -> None:
    made = classes()
    assert made.explained(24 * MIB, 0x7FF, 0xFF)
    assert not made.explained(24 * MIB, 0x800, 1)
    assert made.explained(25 * MIB, HANDOFF_BYTES[0], 0xFF)
    assert not made.explained(25 * MIB, HANDOFF_BYTES[0] - 1, 1)
    assert not made.explained(PAGE, 0, 1)
    # The list is only read; of page tables, the CPU marks what it used.
    assert not made.explained(21 * MIB, 0, 1)
    assert made.explained(23 * MIB, 8, 0x60)
    assert not made.explained(23 * MIB, 8, 0x61)
    assert not made.explained(23 * MIB, 9, 0x20)


def test_a_class_that_grows_is_told() -> None:
    assert classes().bounds(counted=8, tolerance=0, pages=PAGES) == []
    fewer = classes().bounds(counted=20, tolerance=5, pages=PAGES)
    assert "8 pages are in the free lists" in fewer[0]
    above = Jump(backup={16 * MIB: 20 * MIB})
    assert classes(jump=above).bounds(counted=8, tolerance=0, pages=PAGES) == [
        "the jump exchanges pages above 16 MiB"
    ]
    twice = Jump(backup={PAGE: 20 * MIB, 2 * PAGE: 20 * MIB})
    assert "twice" in classes(jump=twice).bounds(counted=8, tolerance=0, pages=PAGES)[0]
    two = classes(handoff=[25 * MIB, 26 * MIB])
    assert "look like the handoff" in two.bounds(counted=8, tolerance=0, pages=PAGES)[0]
    more = PAGES + (1 << 30) // PAGE
    assert "are no RAM" in classes().bounds(counted=8, tolerance=0, pages=more)[0]


def test_a_page_that_was_given_back_is_no_handoff() -> None:
    assert classes(handoff=[32 * MIB]).handoff == []


def test_first_difference() -> None:
    assert first_difference(b"abcd", b"abcd") == (-1, 0)
    assert first_difference(b"abcd", b"aBcD") == (1, 2)
    assert first_difference(b"abcd", b"aBcD", may=lambda at, change: at < 2) == (3, 1)


def test_copy_and_comparison(tmp_path: Path) -> None:
    one = ram(tmp_path, {PAGE: b"a", 40 * MIB: b"b" * PAGE})
    copy = one.copy(tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "copy").stat().st_blocks < 4 * MIB // 512
    assert one.different(copy) == []
    other = ram(tmp_path, {PAGE: b"a", 40 * MIB: b"b" * 4095 + b"c"}, name="other")
    assert one.different(other) == [40 * MIB]
    assert other.different(one) == [40 * MIB]


def test_pages_that_begin_with_something(tmp_path: Path) -> None:
    made = ram(tmp_path, {PAGE: b"MAGIC", 3 * PAGE + 8: b"MAGIC", 33 * MIB: b"MAGIC"})
    assert made.pages_with(b"MAGIC") == [PAGE, 33 * MIB]


def test_memory_above_the_hole(tmp_path: Path) -> None:
    parts = layout(4 << 30, "pc")
    assert [(part.phys, part.offset) for part in parts] == [(0, 0), (4 << 30, 3 << 30)]
    path = tmp_path / "ram"
    with path.open("wb") as file:
        file.truncate(4 << 30)
        file.seek(3 << 30)
        file.write(b"above")
    made = Ram(path, parts)
    assert made.read(4 << 30, 5) == b"above"
    with pytest.raises(HarnessError, match="no RAM at 0xc0000000"):
        made.read(3 << 30, 1)


def table(entries: dict[int, int]) -> bytes:
    return b"".join(struct.pack("<Q", entries.get(i, 0)) for i in range(512))


@pytest.mark.parametrize("levels", [4, 5])
def test_virtual_memory(tmp_path: Path, levels: int) -> None:
    root, *below = (i * PAGE for i in range(1, levels + 1))
    pages, at = {}, root
    for page in below:
        pages[at], at = table({1: page | 0x63}), page
    # The last level: a page, and one level up a large one.
    pages[at] = table({2: 5 * MIB | 0x63})
    directory = below[-2]
    pages[directory] = table({1: below[-1] | 0x63, 3: 6 * MIB | 0xE3})
    pages[5 * MIB] = b"small"
    pages[6 * MIB + 0x12345] = b"large"
    made = ram(tmp_path, pages)
    text = f"CR0=80050033 CR2=0 CR3={root:016x} CR4={0x1000 if levels == 5 else 0:08x}"
    space = Space.of_registers(made, text)
    assert space.levels == levels
    base = sum(1 << (12 + 9 * level) for level in range(2, levels))
    assert space.read(base + (1 << 21) + 2 * PAGE, 5) == b"small"
    assert space.read(base + (3 << 21) + 0x12345, 5) == b"large"
    with pytest.raises(HarnessError, match="is not mapped"):
        space.word(base + (1 << 21))
    assert tables(made, root, levels=levels) == {root, *below}


def test_the_list_of_pages(tmp_path: Path) -> None:
    entries = [PAGE | 1, 20 * MIB | 8, 21 * MIB | 8, 2 * MIB | 2]
    second = [5 * PAGE | 1, 22 * MIB | 8, 4]
    made = ram(
        tmp_path,
        {
            17 * MIB: struct.pack("<4Q", *entries),
            2 * MIB: struct.pack("<3Q", *second),
            3 * MIB: struct.pack("<Q", 0x10),
        },
    )
    jump = Jump()
    read_list(jump, made, 17 * MIB | 2)
    assert jump.backup == {PAGE: 20 * MIB, 2 * PAGE: 21 * MIB, 5 * PAGE: 22 * MIB}
    assert jump.lists == {17 * MIB, 2 * MIB}
    with pytest.raises(HarnessError, match="makes no sense"):
        read_list(Jump(), made, 3 * MIB | 2)


def test_a_linker_that_inlines_leaves_the_system_call() -> None:
    """Of clang's LTO: kernel_kspawn() is there, and nobody calls it."""
    names = ["machine_kexec", "kernel_kexec", "kernel_kspawn", "__x64_sys_reboot"]
    plain = dict.fromkeys(names, 1)
    assert Moments()._first(Symbols(plain)) == names[:3]
    inlined = plain | {"__kernel_kexec.llvm.15123404952600268470": 1}
    assert Moments()._first(Symbols(inlined)) == names
    del plain["kernel_kspawn"]
    assert Moments()._first(Symbols(plain)) == names[:2]


def test_where_the_kernel_was_moved() -> None:
    symbols = Symbols({"asm_exc_divide_error": 0xFFFFFFFF81000850, "other": 0xFFFFFFFF81000000})
    handler = 0xFFFFFFFF9F000850
    gate = struct.pack("<HHHHII", handler & 0xFFFF, 0x10, 0x8E00, handler >> 16 & 0xFFFF,
                       handler >> 32, 0)  # fmt: skip
    read = first_handler(0xFFFFFE0000000000, lambda at, size: gate[:size])
    assert read == handler
    moved = symbols.moved(read)
    assert moved["other"] == 0xFFFFFFFF9F000000
    with pytest.raises(NoSymbolsError, match="not that of the kernel that runs"):
        symbols.moved(handler + 16)
    with pytest.raises(NoSymbolsError, match="not that of the kernel that runs"):
        symbols.moved(0xFFFFFFFF80200850)
    with pytest.raises(NoSymbolsError, match="no symbol nowhere"):
        symbols["nowhere"]


def info(**given: object) -> AuditInfo:
    kept = AuditClass(name="kept", pages=10, differ=0)
    return AuditInfo.model_validate(
        {"pages": 12, "differ": 2, "fields": 9, "switches": 3, "classes": [kept], **given}
    )


def test_the_checks_of_an_audit() -> None:
    assert [(check.name, check.ok) for check in audit_checks(info())] == [
        (name, True) for name in AUDIT_CHECKS
    ]
    page = AuditPage(address=PAGE, offset=8, bytes=1, before="00", after="08", owner="slab dentry")
    memory, *_ = audit_checks(info(unexplained=1, named=[page]))
    assert not memory.ok
    assert "0x1008" in memory.detail
    assert "slab dentry" in memory.detail
    assert not audit_checks(info(bounds=["too much"]))[0].ok
    assert not audit_checks(info(registers=["rbx was 1 and is 2"]))[1].ok


def test_a_switch_that_was_not_turned_back() -> None:
    before = {"oom_killer_disabled": b"\0", "tick_freeze_depth": bytes(4)}
    assert turned(before, before, why={}) == []
    (found,) = turned(before, {**before, "oom_killer_disabled": b"\1"}, why={})
    failed = [check for check in audit_checks(info(state=[found])) if not check.ok]
    assert [check.name for check in failed] == ["audit.kernel"]
    assert failed[0].detail == "kernel oom_killer_disabled: 00 → 01"
    assert not audit_checks(info(switches=0))[3].ok


def test_an_audit_that_broke_is_not_green_and_one_that_cannot_be_is_no_check() -> None:
    assert audit_checks(AuditInfo(reason="there are no symbols", cannot=True)) == []
    broken = audit_checks(AuditInfo(reason="QEMU's gdb stub says nothing"))
    assert broken
    assert not any(check.ok for check in broken)
    # Nothing was looked at: that is no pass either.
    assert not audit_checks(AuditInfo())[0].ok


def test_a_copy_is_nobody_elses(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        ram(tmp_path, {}).copy(tmp_path / "copy")
    finally:
        os.umask(old)
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0


def kept_pair(folder: Path) -> tuple[Ram, Ram]:
    before = ram(folder, {17 * MIB: b"\x01" * PAGE, 20 * MIB: b"\x02" * PAGE})
    after = ram(
        folder,
        {17 * MIB: b"\x01" * 4095 + b"\x09", 20 * MIB: b"\x03" * PAGE},
        name="after",
    )
    return before, after


def test_runs_of_classes_cover_all_pages(tmp_path: Path) -> None:
    before, after = kept_pair(tmp_path)
    made = classes()
    runs = _codes(before, made, set(before.different(after)))
    assert sum(count for _, count in runs) == 64 * MIB // PAGE
    kinds = list(PageClass)
    # One page in use changed, and one of the backup area.
    assert runs.count((100 + kinds.index(PageClass.KEPT), 1)) == 1
    assert runs.count((100 + kinds.index(PageClass.BACKUP), 1)) == 1


def test_the_picture_of_ram_holds_what_was_found() -> None:
    page = Changed(
        address=17 * MIB, kind="kept", offset=4095, bytes=1, before="01", after="09",
        owner="</script><b>x</b> (1) at 0x1",
    )  # fmt: skip
    found = Comparison(
        first="a", second="b<", pages=4, classes={"kept": (4, 1)}, owners={"x": 1},
        changed=[page], ranges=[(0, 4 * PAGE)], codes=[(0, 3), (100, 1)],
    )  # fmt: skip
    text = render(found)
    data = text.partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(data)["changed"][0]["owner"] == page.owner
    assert "<b>x" not in text
    assert "b&lt;" in text


def section(name: str, data: bytes, *, number: int = 1) -> bytes:
    head = b"\x04" + number.to_bytes(4, "big") + bytes([len(name)]) + name.encode()
    return head + bytes(4) + (1).to_bytes(4, "big") + data + b"\x7e" + number.to_bytes(4, "big")


def stream(devices: list[dict[str, object]], body: bytes) -> bytes:
    described = json.dumps({"page_size": 4096, "devices": devices}).encode()
    name = b"pc-i440fx"
    head = struct.pack(">II", 0x5145564D, 3) + b"\x07" + struct.pack(">I", len(name)) + name
    return head + body + b"\0\x06" + struct.pack(">I", len(described)) + described


def test_a_stream_describes_itself() -> None:
    inner = {"vmsd_name": "inner", "version": 1, "fields": [{"name": "y", "size": 1}]}
    device = {
        "name": "thing",
        "instance_id": 0,
        "fields": [
            {"name": "x", "size": 2},
            {"name": "many", "size": 1, "array_len": 2},
            {"name": "s", "size": 1, "struct": inner},
        ],
        "subsections": [{"vmsd_name": "thing/more", "fields": [{"name": "z", "size": 1}]}],
    }
    body = section("thing", b"\x01\x02\x03\x04\x05" + b"\x05\x0athing/more\0\0\0\x01\x06")
    # RAM: a block of a page that is shared, then a page with a fill byte.
    blocks = struct.pack(">Q", 4096 | 4) + b"\x06pc.ram" + struct.pack(">QQ", 4096, 0)
    page = struct.pack(">Q", 2) + b"\x06pc.ram" + b"\0"
    memory = section("ram", blocks + page + struct.pack(">Q", 0x10), number=2)
    read = migration.read(stream([device], memory + body), shared=True)
    assert read == {
        "thing/0": {
            "x": b"\x01\x02",
            "many[0]": b"\x03",
            "many[1]": b"\x04",
            "s.y": b"\x05",
            "thing/more:z": b"\x06",
        }
    }
    with pytest.raises(migration.StreamError, match="lacks thing/more"):
        migration.read(stream([device], section("thing", b"")), shared=True)
    with pytest.raises(migration.StreamError, match="does not describe other"):
        migration.read(stream([device], section("other", b"")), shared=True)
    with pytest.raises(migration.StreamError, match="no state of a machine"):
        migration.read(b"\0" * 64, shared=True)


def cpu(**given: int) -> dict[str, bytes]:
    registers = {f"env.regs[{i}]": bytes(8) for i in range(16)}
    return {**registers, **{name: value.to_bytes(8, "big") for name, value in given.items()}}


def changed(before: dict[str, bytes], after: dict[str, bytes], device: str) -> list[str]:
    found = differences({device: before}, {device: after}, caller=0, answerer=0)
    return [field.field for field in found if not field.why]


@pytest.mark.parametrize(
    ("field", "fails"),
    [
        ("env.regs[3]", True),
        ("env.regs[0]", False),
        ("env.cr[4]", True),
        ("env.cr[2]", False),
        ("env.lstar", True),
        ("env.kernelgsbase", True),
        ("env.tsc", False),
        ("env.gdt.base", True),
        ("env.hflags", False),
    ],
)
def test_what_of_a_cpu_may_differ(field: str, fails: bool) -> None:
    before, after = cpu(), cpu() | {field: b"\0\0\0\0\0\0\0\x40"}
    before.setdefault(field, bytes(8))
    assert changed(before, after, "cpu/0") == ([field] if fails else [])


def test_the_stack_pointer_lacks_the_return_address() -> None:
    before = cpu() | {"env.regs[4]": (0x1000).to_bytes(8, "big")}
    good, bad = ((0x1000 + by).to_bytes(8, "big") for by in (8, 16))
    assert changed(before, cpu() | {"env.regs[4]": good}, "cpu/0") == []
    assert changed(before, cpu() | {"env.regs[4]": bad}, "cpu/0") == ["env.regs[4]"]


def test_a_task_that_went_on_elsewhere_has_its_registers() -> None:
    here, there = cpu() | {"env.regs[3]": b"\x07" * 8}, cpu()
    before = {"cpu/0": there, "cpu/1": here}
    same = differences(before, {"cpu/0": here, "cpu/1": there}, caller=1, answerer=0)
    assert all(field.why for field in same)
    lost = differences(before, {"cpu/0": there, "cpu/1": there}, caller=1, answerer=0)
    assert [field.field for field in lost if not field.why] == ["env.regs[3]"]


@pytest.mark.parametrize(
    ("before", "after", "fails"),
    [
        (0x0000000000008020, 0x0100000000008022, False),
        (0x0000000000000024, 0x0000000000010024, True),
        (0x0000000000008024, 0x0000000000000024, True),
    ],
)
def test_an_interrupt_may_move_but_not_be_masked(before: int, after: int, fails: bool) -> None:
    was, now = ({"ioredtbl[4]": value.to_bytes(8, "big")} for value in (before, after))
    assert bool(changed(was, now, "ioapic/0")) is fails


@pytest.mark.parametrize(
    ("before", "after", "fails"),
    [
        # Turned on by the spawned kernel, also by another interrupt; turned off: the normal
        # kernel's is lost; moved, off or on.
        ("8a8a8b8b", "8a0a8b0b", False),
        ("8a8a8b8b", "8a0b8b0a", False),
        ("8a0a8b0b", "8a8a8b8b", True),
        ("8a8a8b8b", "8b8a8b8b", True),
        ("8a0a8b8b", "8a0b8b8b", True),
    ],
)
def test_a_link_of_interrupts_is_not_lost(before: str, after: str, fails: bool) -> None:
    was, now = ({"config": bytes(0x60) + bytes.fromhex(v) + bytes(0x9C)} for v in (before, after))
    named = ["pci.config[0x60]"] if fails else []
    assert changed(was, now, "0000:00:01.0/PIIX3/0") == named


@pytest.mark.parametrize(
    ("before", "after", "fails"),
    [
        ("5254006b73700300", "5254006b73700100", False),
        ("5254006b73700100", "5254006b73700300", True),
        ("5254006b73700100", "5254006b73700000", True),
        ("5254006b73700100", "5254006b73710100", True),
    ],
)
def test_of_a_network_device_only_the_announcement_ends(
    before: str, after: str, fails: bool
) -> None:
    was, now = ({"config": bytes.fromhex(v)} for v in (before, after))
    assert changed(was, now, "0000:00:10.0/virtio-net/0") == (["config"] if fails else [])


def test_the_alarm_is_no_clock() -> None:
    was, ticked, lost = bytearray(128), bytearray(128), bytearray(128)
    ticked[0], lost[5] = 1, 1
    fields = ({"cmos_data": bytes(data)} for data in (was, ticked, lost))
    old, later, bad = fields
    assert changed(old, later, "mc146818rtc/0") == []
    assert changed(old, bad, "mc146818rtc/0") == ["cmos_data[5]"]


def test_a_virtio_device_is_taken_apart() -> None:
    config = bytearray(256)
    config[:2], config[4] = b"\xf4\x1a", 7
    rest = b"\0\0\0\x02ab" + struct.pack(">I", 1) + struct.pack(">IQHH", 256, 77, 5, 0xFFFF)
    tail = b"virtio/64bit_features" + struct.pack(">IQ", 1, 0x130006E54)
    data = struct.pack(">I", 2) + bytes(config) + bytes(16) + b"\x0f\x01\0\0\0\0\0\x09" + rest
    fields = virtio.fields(data + tail)
    assert fields["status"] == b"\x0f"
    assert fields["features64"] == (0x130006E54).to_bytes(8, "big")
    assert fields["queue[0].ring"] == (77).to_bytes(8, "big")
    assert fields["pci.config[0x04]"] == b"\x07\0\0\0"
    assert virtio.fields(b"something else") == {"virtio": b"something else"}
