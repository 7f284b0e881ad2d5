# SPDX-License-Identifier: GPL-2.0-only
"""Cores made of what was kept: pages at their place, VMCOREINFO found, registers in order."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from harness.base.errors import HarnessError, UsageError
from harness.debug import drgn as debug
from harness.image import cpustate, vmcore
from harness.image.core import Core, Piece
from harness.image.header import FILL_SHIFT
from harness.image.vmcore import PAGE
from harness.machine import keep
from harness.vm.memory import ram_ranges
from test_suites.unit import images

MIB = 1 << 20
SIZE = 24 * MIB
INFO = (
    b"OSRELEASE=6.12.1\nSYMBOL(swapper_pg_dir)=ffffffff81200000\nNUMBER(phys_base)=4194304\n"
    b"NUMBER(pgtable_l5_enabled)=0\nKERNELOFFSET=200000\n"
)
DIRECT = 0xFFFF888000000000
# At physical 20 MiB, where phys_base says that symbols are.
IMAGE = 0xFFFFFFFF80000000 + 20 * MIB - 4194304
MAP = (
    "ffffffff81000000 D init_top_pgt\n"
    f"{IMAGE:016x} B kexec_image\n{IMAGE + 8:016x} D page_offset_base\n"
)
# Of the normal kernel, where phys_base puts it; a process has its own with the same last entry.
SWAPPER, PROCESS, USER = 22 * MIB, 23 * MIB, 23 * MIB + PAGE
# Of the exchange, and of a spawned kernel.
IDENTITY, SPAWNED = 21 * MIB, 3 * MIB
REGISTERS = """\
CPU#0
RAX=00000000000000aa RBX=0000000000000001 RCX=0000000000000000 RDX=00000000000bdbd6
RSI=00000007732bf6bb RDI=000000000022cbe3 RBP=ff110000003cfec8 RSP=ff110000003cfe58
R8 =0000000000000008 R9 =ff110000003cfe08 R10=ffffffff8083eaa0 R11=ff110000003cfde8
R12=0000000000000000 R13=00000000000000c8 R14=0000000000000027 R15=0000000000000015
RIP=ffffffff803c22fe RFL=00000287 [--S--PC] CPL=0 II=0 A20=1 SMM=0 HLT=0
CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]
SS =0018 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
GS =0000 ff1100001f000000 00000000 00000000

CPU#1
RAX=00000000000000bb RIP=ffffffff80000000
"""


def content(phys: int) -> bytes:
    """What the normal kernel has in a page."""
    return struct.pack("<Q", phys) * (PAGE // 8)


def put_note(data: bytearray, at: int, text: bytes) -> None:
    note = struct.pack("<III", 11, len(text), 0) + b"VMCOREINFO\0\0" + text
    data[at : at + len(note)] = note


def memory(*, exchanged: bool) -> bytearray:
    """24 MiB of a machine; the first MiB of the normal kernel is at 17 MiB, or at its place."""
    data = bytearray(SIZE)
    for page in range(0, SIZE, PAGE):
        data[page : page + PAGE] = content(page)
    put_note(data, 19 * MIB, INFO)
    kimage, tail = 18 * MIB, 18 * MIB + PAGE
    struct.pack_into("<QQ", data, 20 * MIB, DIRECT + kimage, DIRECT)
    # The head leads to a page; this one to another, by its last word.
    entries = [0x1000 | 1]
    for number in range(1, 256):
        page, at = number * PAGE, 17 * MIB + (number * 7 % 256) * PAGE
        entries.append(at | 8)
        if exchanged:
            data[at : at + PAGE] = content(page)
            data[page : page + PAGE] = b"\xee" * PAGE
    entries.append(4)
    struct.pack_into("<Q", data, kimage, tail | 2)
    first = entries[:100]
    struct.pack_into(f"<{len(first)}Q", data, tail, *first)
    struct.pack_into("<Q", data, tail + 8 * len(first), (tail + PAGE) | 2)
    rest = entries[100:]
    struct.pack_into(f"<{len(rest)}Q", data, tail + PAGE, *rest)
    return data


@pytest.fixture
def symbols(tmp_path: Path) -> Path:
    path = tmp_path / "System.map"
    path.write_text(MAP)
    return path


def core(tmp_path: Path, data: bytes | bytearray, symbols: Path | None = None) -> Core:
    raw = tmp_path / "raw"
    raw.write_bytes(data)
    pieces = [Piece(0, 2 * MIB, 0), Piece(2 * MIB, len(data) - 2 * MIB, 2 * MIB)]
    return Core(raw, pieces, symbols=symbols)


def loads(path: Path) -> dict[int, bytes]:
    with path.open("rb") as file:
        return {
            segment["p_paddr"]: segment.data() for segment in ELFFile(file).iter_segments("PT_LOAD")
        }


def test_vmcoreinfo_is_found_in_memory(tmp_path: Path) -> None:
    found = core(tmp_path, memory(exchanged=False))
    assert found.vmcoreinfo == INFO
    assert found.info("NUMBER(phys_base)") == 4194304
    assert found.info("SYMBOL(swapper_pg_dir)") == 0xFFFFFFFF81200000
    assert found.info("KERNELOFFSET") == 0x200000
    assert found.info("SYMBOL(nosuch)", 7) == 7


def test_the_note_of_a_spawned_kernel_is_passed_over(tmp_path: Path, symbols: Path) -> None:
    """It lies lower in memory, and is as whole as that of the normal kernel."""
    data = memory(exchanged=True)
    put_note(data, MIB, INFO.replace(b"=ffffffff81200000", b"=ffffffff8057a000"))
    assert core(tmp_path, data, symbols).vmcoreinfo == INFO
    data[19 * MIB : 20 * MIB] = bytes(MIB)
    assert core(tmp_path, data, symbols).vmcoreinfo == b""


def test_a_copy_that_was_written_over_is_passed_over(tmp_path: Path, symbols: Path) -> None:
    """A core of a crashed kernel had one, with other bytes in the middle of it."""
    data = memory(exchanged=False)
    put_note(data, MIB, INFO.replace(b"NUMBER(phys_base)", b"NUMBER(ph\xd0\0\0\0base)"))
    assert core(tmp_path, data, symbols).vmcoreinfo == INFO


def test_a_kernel_without_symbols_has_the_first_note(tmp_path: Path) -> None:
    found = core(tmp_path, memory(exchanged=False), tmp_path / "nosuch")
    assert found.vmcoreinfo == INFO


def registers(table: int, rip: int = 0xFFFFFFFF81000000, *, name: str = "RIP") -> str:
    """Those of two CPUs; the second one is parked in the normal kernel."""
    cpus = [(rip, table), (0xFFFFFFFF81000000, SWAPPER)]
    return "".join(
        f"CPU#{number}\n{name}={at:016x} RFL=00000246\nCR0=80050033 CR2=0 CR3={cr3:016x} CR4=0\n"
        for number, (at, cr3) in enumerate(cpus)
    )


def with_tables(data: bytearray) -> bytearray:
    """The page tables of all that runs on the first CPU in turn."""
    for at, entry in [
        (SWAPPER, 22 * MIB + PAGE | 0x67),
        # The flag "accessed" is the only difference.
        (PROCESS, 22 * MIB + PAGE | 0x47),
        (USER, 22 * MIB + 3 * PAGE | 0x67),
        (SPAWNED, 3 * MIB + PAGE | 0x67),
        (IDENTITY, 21 * MIB + PAGE | 0x67),
    ]:
        struct.pack_into("<Q", data, at + 511 * 8, entry)
    return data


@pytest.mark.parametrize(
    ("table", "rip", "role"),
    [
        (SWAPPER, 0xFFFFFFFF81000000, "normal"),
        (PROCESS | 0x123, 0x401000, "normal"),
        (USER | 0x123, 0x401000, "normal"),
        (SPAWNED, 0xFFFFFFFF80200000, "spawned"),
        (IDENTITY, 0x3000, "spawned"),
        (IDENTITY, 18 * MIB, None),
    ],
)
def test_which_kernel_runs(
    tmp_path: Path, symbols: Path, table: int, rip: int, role: str | None
) -> None:
    data = with_tables(memory(exchanged=role == "spawned"))
    found = core(tmp_path, data, symbols)
    assert vmcore.running(found, registers(table, rip)) == role


@pytest.mark.parametrize(
    ("table", "rip", "name", "role"),
    [
        (22 * MIB, 0, "RIP", "normal"),
        (SPAWNED, 0, "RIP", "spawned"),
        (0, 0xF0000, "EIP", "spawned"),
    ],
)
def test_which_kernel_runs_before_the_normal_one_has_come_up(
    tmp_path: Path, symbols: Path, table: int, rip: int, name: str, role: str
) -> None:
    found = core(tmp_path, bytes(SIZE), symbols)
    assert vmcore.running(found, registers(table, rip, name=name)) == role


def kept_run(folder: Path, data: bytearray, said: str) -> keep.Kept:
    """What a run kept that was taken for hibernating."""
    kept = keep.Kept(state="hibernating", reason="x", memory="memory.elf", image="image.raw")
    (folder / "kept").mkdir()
    symbols = folder / "System.map"
    symbols.write_text(MAP)
    kept.kernels["normal"] = keep.KeptKernel(
        folder=folder, name="x", role="normal", tree=folder, build=""
    )
    vmcore.write(core(folder, data, symbols), folder / "kept" / "memory.elf")
    (folder / "kept" / "registers.txt").write_text(said)
    (folder / "kept" / "kept.json").write_text(kept.model_dump_json())
    return keep.load(folder)


@pytest.mark.parametrize("exchanged", [False, True])
def test_pages_are_put_back_only_where_they_were_exchanged(tmp_path: Path, exchanged: bool) -> None:
    data = with_tables(memory(exchanged=exchanged))
    kept = kept_run(tmp_path, data, registers(SPAWNED if exchanged else PROCESS))
    assert Core.of(debug.core_of(kept)).read(5 * PAGE, PAGE) == content(5 * PAGE)


def test_amid_the_exchange_there_is_no_core(tmp_path: Path) -> None:
    data = with_tables(memory(exchanged=False))
    kept = kept_run(tmp_path, data, registers(IDENTITY, 18 * MIB))
    with pytest.raises(HarnessError, match="amid a jump") as caught:
        debug.core_of(kept)
    assert caught.value.hint == "try --image"
    assert not kept.path("memory.vmcore").exists()


def test_registers_that_are_not_whole(tmp_path: Path, symbols: Path) -> None:
    with pytest.raises(HarnessError, match="not whole"):
        vmcore.running(core(tmp_path, memory(exchanged=False), symbols), REGISTERS)


def test_half_a_note_is_passed_over(tmp_path: Path) -> None:
    data = memory(exchanged=False)
    torn = struct.pack("<III", 11, 64, 0) + b"VMCOREINFO\0\0OSRELEASE=5.4\n"
    data[MIB : MIB + len(torn)] = torn
    assert core(tmp_path, data).vmcoreinfo == INFO
    data[19 * MIB : 20 * MIB] = bytes(MIB)
    assert core(tmp_path, data).vmcoreinfo == b""


def test_exchanged_pages_are_put_back(tmp_path: Path, symbols: Path) -> None:
    found = core(tmp_path, memory(exchanged=True))
    pages = vmcore.exchanged_pages(found, symbols)
    assert len(pages) == 255
    assert sorted(pages) == [number * PAGE for number in range(1, 256)]
    target = tmp_path / "core"
    vmcore.write(found, target, pages=pages)
    got = loads(target)
    for number in range(1, 256):
        phys = number * PAGE
        start = max(at for at in got if at <= phys)
        assert got[start][phys - start : phys - start + PAGE] == content(phys)
    # Page 0 was not exchanged, so nobody knows it; from 16 MiB on all is there.
    assert min(got) == PAGE
    assert got[16 * MIB][:PAGE] == content(16 * MIB)
    assert sum(len(data) for data in got.values()) == 255 * PAGE + SIZE - 16 * MIB


def test_without_the_exchange_memory_stays_as_it_is(tmp_path: Path) -> None:
    data = memory(exchanged=False)
    target = tmp_path / "core"
    vmcore.write(core(tmp_path, data), target)
    assert b"".join(loads(target).values()) == bytes(data)
    again = Core.of(target)
    assert again.vmcoreinfo == INFO
    with target.open("rb") as file:
        (segment,) = ELFFile(file).iter_segments("PT_NOTE")
        assert isinstance(segment, NoteSegment)
        (note,) = segment.iter_notes()
    assert note["n_name"] == "VMCOREINFO"


@pytest.mark.parametrize(
    ("at", "word", "message"),
    [
        (20 * MIB, 0, "has no image loaded"),
        (18 * MIB, 0, "makes no sense"),
        (18 * MIB, (30 * MIB) | 2, "does not have the memory"),
    ],
)
def test_a_list_that_makes_no_sense(
    tmp_path: Path, symbols: Path, at: int, word: int, message: str
) -> None:
    data = memory(exchanged=True)
    struct.pack_into("<Q", data, at, word)
    with pytest.raises(HarnessError, match=message):
        vmcore.exchanged_pages(core(tmp_path, data), symbols)


def test_zero_pages_become_holes(tmp_path: Path) -> None:
    data = memory(exchanged=False)
    data[4 * MIB : 16 * MIB] = bytes(12 * MIB)
    target = tmp_path / "core"
    vmcore.write(core(tmp_path, data), target)
    assert target.stat().st_size > SIZE
    assert target.stat().st_blocks * 512 <= SIZE - 11 * MIB
    assert b"".join(loads(target).values()) == bytes(data)


def filled(tmp_path: Path, data: bytearray, at: dict[int, int]) -> Core:
    """Memory of which some pages, by their address, are full of a byte, and not in the file."""
    raw = tmp_path / "raw"
    raw.write_bytes(data)
    pieces = []
    for page in range(0, len(data), PAGE):
        pieces.append(Piece(page, PAGE, 0 if page in at else page, at.get(page)))
    return Core(raw, pieces)


def test_pages_of_one_byte_are_there(tmp_path: Path, symbols: Path) -> None:
    """Of an image: it stores none of them, and some of them were exchanged."""
    data = memory(exchanged=True)
    pages = vmcore.exchanged_pages(core(tmp_path, data, symbols), symbols)
    bytes_of = {pages[3 * PAGE]: 0xAA, pages[9 * PAGE]: 0, 21 * MIB: 0xAA, 22 * MIB: 0}
    found = filled(tmp_path, data, bytes_of)
    assert found.read(21 * MIB, PAGE) == b"\xaa" * PAGE
    target = tmp_path / "core"
    vmcore.write(found, target, pages=pages)
    again = Core.of(target)
    for phys, value in ((3 * PAGE, 0xAA), (9 * PAGE, 0), (21 * MIB, 0xAA), (22 * MIB, 0)):
        assert again.read(phys, PAGE) == bytes([value]) * PAGE
        assert again.read(phys + PAGE, PAGE) == content(phys + PAGE)


def test_an_image_has_its_pages_of_one_byte(tmp_path: Path) -> None:
    path = tmp_path / "image"
    segments = images.make(path).segments
    filled = next(at for at, one in enumerate(segments) if one.size > one.stored)
    with path.open("r+b") as file:
        file.seek(images.PHDR + filled * 56 + 4)
        file.write((7 | 0xAA << FILL_SHIFT).to_bytes(4, "little"))
    found = [piece for piece in Core.of(path).pieces if piece.fill is not None]
    expected = [
        Piece(one.phys + one.stored, one.size - one.stored, 0, 0xAA if at == filled else 0)
        for at, one in enumerate(segments)
        if one.size > one.stored
    ]
    assert found == expected


def test_a_header_that_claims_more_than_the_disk_has(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(PAGE))
    claimed = Core(raw, [Piece(0, PAGE, 0), Piece(PAGE, 1 << 50, 0, 0xAA)])
    with pytest.raises(HarnessError, match="claims 1073741824 MiB of pages of one byte"):
        vmcore.write(claimed, tmp_path / "core")
    assert sorted(tmp_path.iterdir()) == [raw]
    # What is zero takes no room, however much of it there is.
    vmcore.write(Core(raw, [Piece(PAGE, 1 << 50, 0, 0)]), tmp_path / "core")


def test_more_pieces_than_a_core_names(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(PAGE))
    pieces = [Piece(2 * PAGE * number, PAGE, 0, 0) for number in range(0xFFFE)]
    with pytest.raises(HarnessError, match="raw has 65534 pieces"):
        vmcore.write(Core(raw, pieces), tmp_path / "core")


def test_registers_become_notes(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(PAGE))
    target = tmp_path / "core"
    vmcore.write(Core(raw, [Piece(0, PAGE, 0)], cpustate.prstatus(REGISTERS)), target)
    with target.open("rb") as file:
        (segment,) = ELFFile(file).iter_segments("PT_NOTE")
        assert isinstance(segment, NoteSegment)
        notes = [(note["n_name"], note["n_type"]) for note in segment.iter_notes()]
        data = segment.data()
    assert notes == [("CORE", "NT_PRSTATUS")] * 2
    first = struct.unpack_from("<27Q", data, 12 + 8 + 112)
    # struct user_regs_struct of arch/x86/include/asm/user_64.h
    assert first[0] == 0x15
    assert first[4] == 0xFF110000003CFEC8
    assert first[10] == 0xAA
    assert first[16] == 0xFFFFFFFF803C22FE
    assert first[17] == 0x10
    assert first[18] == 0x287
    assert first[19] == 0xFF110000003CFE58
    assert first[22] == 0xFF1100001F000000


@pytest.mark.parametrize("data", [b"", b"\x7fELF", bytes(5000)])
def test_a_file_that_is_no_core(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UsageError, match="is no core"):
        Core.of(tmp_path / "x")


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512MiB", 512 * MIB), ("1 GiB", 1 << 30), ("4096", 4096)]
)
def test_sizes(text: str, size: int) -> None:
    assert keep.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "1G", "-1", "1.5GiB", "all"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        keep.parse_size(text)


@pytest.mark.parametrize(
    ("size", "machine", "expected"),
    [
        (512 * MIB, "pc", [(0, 512 * MIB)]),
        (3 << 30, "pc", [(0, 3 << 30)]),
        (4 << 30, "pc", [(0, 3 << 30), (4 << 30, 1 << 30)]),
        (2 << 30, "q35", [(0, 2 << 30)]),
        (3 << 30, "q35", [(0, 2 << 30), (4 << 30, 1 << 30)]),
    ],
)
def test_where_memory_is(size: int, machine: str, expected: list[tuple[int, int]]) -> None:
    assert ram_ranges(size, machine) == expected


def test_a_run_that_kept_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run"):
        keep.load(tmp_path / "nosuch")
    with pytest.raises(UsageError, match=r"kept no memory: it passed.*--keep-memory"):
        keep.load(tmp_path)
    kept = keep.Kept(state="running", reason="x", not_kept="too large")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "kept.json").write_text(kept.model_dump_json())
    with pytest.raises(Exception, match="neither memory nor an image: too large"):
        keep.load(tmp_path)


def test_an_image_that_was_used_is_one_again(tmp_path: Path) -> None:
    disk, target = tmp_path / "disk", tmp_path / "image"
    disk.write_bytes(b"USED" + bytes(PAGE))
    assert keep.keep_image(disk, target)
    assert target.read_bytes() == b"\x7fELF" + bytes(PAGE)
    disk.write_bytes(bytes(PAGE))
    assert not keep.keep_image(disk, tmp_path / "none")
    assert not (tmp_path / "none").exists()
