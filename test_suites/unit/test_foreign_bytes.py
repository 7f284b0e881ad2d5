# SPDX-License-Identifier: GPL-2.0-only
"""Readers of foreign bytes raise the one error that they document, whatever the bytes.

Each is given real files with seeded mutations. KSPAWN_FUZZ has the number of them for
each reader: `KSPAWN_FUZZ=100000 pytest test_suites/unit -k fuzz` takes hours.
"""

from __future__ import annotations

import lzma
import os
import random
import resource
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harness.base import archive
from harness.base.errors import BuildError, HarnessError, PrerequisiteError, UsageError
from harness.image import swap_image, vmcore, zones
from harness.image.core import Core
from harness.image.image import Image, ImageError
from harness.kernel import bzimage, kconfig
from harness.logs import ktap
from harness.vm.console import parse_line
from test_suites.unit import test_memory_map, test_own, test_vmcore
from test_suites.unit.images import HANDOFF, make

LOGS = Path(__file__).parent / "logs"
ROUNDS = int(os.environ.get("KSPAWN_FUZZ", "60"))
# What a reader may take besides what it is given: more is what the bytes asked for.
MEMORY = 2 << 30
EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\x01")


def mutated(data: bytes, seed: random.Random, until: int | None = None) -> bytes:
    """The data with a few places changed: flipped, made extreme, cut out, doubled, cut off.

    Args:
        data: What is real.
        seed: The dice.
        until: Where the interesting part of it ends.
    """
    new = bytearray(data)
    for _ in range(seed.randint(1, 5)):
        at = seed.randrange(min(until or len(new), len(new)) or 1)
        size = seed.choice((1, 2, 4, 8, 8, 64))
        match seed.randrange(6):
            case 0:
                new[at : at + 1] = bytes([(*new[at : at + 1], 0)[0] ^ 1 << seed.randrange(8)])
            case 1:
                new[at : at + size] = seed.choice(EXTREMES) * min(size, len(new) - at)
            case 2:
                new[at : at + size] = seed.randbytes(min(size, len(new) - at))
            case 3 if len(data) < 1 << 20:
                del new[at : at + size]
            case 4 if len(data) < 1 << 20:
                new[at:at] = new[at : at + size] * seed.randint(1, 9)
            case 5 if seed.random() < 0.3:
                del new[seed.randrange(len(new) or 1) :]
    return bytes(new)


@contextmanager
def bounded() -> Iterator[None]:
    """No more memory than a sane reader needs."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    (now,) = [
        int(line.split()[1]) << 10
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmSize:")
    ]
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def read_image(path: Path) -> None:
    image = Image(path)
    image.written_bytes()
    image.free_ranges()
    image.summary()
    image.header_bytes  # noqa: B018
    with suppress(ImageError):
        image.verify()
    with suppress(ImageError):
        image.sums()
    with suppress(ImageError):
        image.word(HANDOFF)
    with suppress(HarnessError):
        zones.counted_free(image)


def read_core(path: Path) -> None:
    core = Core.of(path)
    with suppress(HarnessError):
        core.number(20 << 20)
    with suppress(HarnessError):
        core.info("SYMBOL(swapper_pg_dir)")
    vmcore.running(core, test_vmcore.REGISTERS.replace("CR", "CR3=00000000001aa000 CR"))
    vmcore.exchanged_pages(core, path.with_name("System.map"))


def read_swap(path: Path) -> None:
    for read in (swap_image.read_swsusp, swap_image.read_uswsusp):
        with suppress(ImageError):
            read(path, 64 << 20)


def read_bzimage(path: Path) -> None:
    bzimage.release(path)
    bzimage.read_config(path)


def read_archive(path: Path) -> None:
    archive.unpack(path.read_bytes(), path.with_name("unpacked"))


def read_kconfig(path: Path) -> None:
    text = path.read_bytes().decode(errors="replace")
    tree = path.with_name("tree")
    tree.mkdir(exist_ok=True)
    (tree / "Kconfig").write_text(text)
    kconfig.check(text + "\nCONFIG_A=y\nCONFIG_B=m\n", text, tree=tree)
    kconfig.holds(text, {"A": "y"})


def read_ktap(path: Path) -> None:
    for test in ktap.parse(path.read_bytes().decode(errors="replace")):
        for name, case in test.cases():
            ktap.from_property(*ktap.to_property(name, case))
    ktap.from_property("ktap: x", path.read_bytes()[:40])


def read_status(path: Path) -> None:
    for line in path.read_bytes().splitlines():
        with suppress(ValueError):
            parse_line(line)


def real_image(tmp_path: Path) -> bytes:
    return make(tmp_path / "real").path.read_bytes()


def real_core(tmp_path: Path) -> bytes:
    (tmp_path / "System.map").write_text(test_vmcore.MAP)
    data = test_vmcore.with_tables(test_vmcore.memory(exchanged=True))
    core = test_vmcore.core(tmp_path, data)
    vmcore.write(core, tmp_path / "real")
    return (tmp_path / "real").read_bytes()


def real_bzimage(pack: Callable[[bytes], bytes]) -> Callable[[Path], bytes]:
    def write(tmp_path: Path) -> bytes:
        packed = pack(test_own.kernel("CONFIG_A=y\n"))
        return test_own.write(tmp_path / "real", packed).read_bytes()

    return write


def real_archive(tmp_path: Path) -> bytes:
    folder = tmp_path / "packed"
    (folder / "sub").mkdir(parents=True)
    (folder / "result.json").write_text("{}" * 500)
    (folder / "sub" / "1.log").write_bytes(bytes(range(256)) * 20)
    return archive.pack(folder)


KCONFIG = """\
mainmenu "Linux"
source "Kconfig"
config A
    bool "a" if B || (C && !D)
    depends on (B = y || C) && !(D != "x")
    select B
    help
    What it is.
if C
menuconfig B
    tristate "b"
    depends on $(cc-option,-x) && A < 0x10
endif
choice
    prompt "c"
config C
    bool
endchoice
CONFIG_A=y
# CONFIG_B is not set
"""

READERS: dict[
    str, tuple[Callable[[Path], bytes], Callable[[Path], None], tuple[type[Exception], ...]]
] = {
    "image": (real_image, read_image, (ImageError,)),
    "core": (real_core, read_core, (UsageError, HarnessError)),
    "swsusp": (lambda _: bytes(test_memory_map.swsusp([1, 2, 5], [7])), read_swap, ()),
    "uswsusp": (lambda _: bytes(test_memory_map.image([1, 2, 5], [7])), read_swap, ()),
    "bzimage-gz": (
        real_bzimage(lambda data: zlib.compress(data, wbits=31)),
        read_bzimage,
        (UsageError, PrerequisiteError),
    ),
    "bzimage-xz": (real_bzimage(test_own.xz), read_bzimage, (UsageError, PrerequisiteError)),
    "bzimage-lzma": (
        real_bzimage(lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE)),
        read_bzimage,
        (UsageError, PrerequisiteError),
    ),
    "archive": (real_archive, read_archive, (HarnessError,)),
    "kconfig": (lambda _: KCONFIG.encode(), read_kconfig, (BuildError,)),
    "kunit": (lambda _: (LOGS / "kunit.ktap").read_bytes()[:6000], read_ktap, ()),
    "kselftest": (lambda _: (LOGS / "kselftest.ktap").read_bytes()[:6000], read_ktap, ()),
    "status": (lambda _: (LOGS / "cycle-status.jsonl").read_bytes()[:6000], read_status, ()),
}
# Where the part of a large file ends that readers interpret.
HEADS = {"image": 3000, "core": 1200}


@pytest.mark.parametrize("name", READERS)
def test_fuzz(tmp_path: Path, name: str) -> None:
    make_real, read, documented = READERS[name]
    real = make_real(tmp_path)
    seed = random.Random(f"{name} 9")
    path = tmp_path / "mutated"
    with bounded():
        for _ in range(ROUNDS):
            data = mutated(real, seed, HEADS.get(name))
            path.write_bytes(data)
            try:
                read(path)
            except documented:
                continue
            except Exception as exc:
                kept = tmp_path / "kept"
                kept.write_bytes(data)
                raise AssertionError(f"{kept}: {exc!r}") from exc


@pytest.mark.parametrize("name", READERS)
def test_what_is_real_is_read(tmp_path: Path, name: str) -> None:
    """The control: without a mutation there is something to read."""
    make_real, read, _ = READERS[name]
    path = tmp_path / "mutated"
    path.write_bytes(make_real(tmp_path))
    with suppress(BuildError, HarnessError):
        read(path)


def test_a_payload_of_4_gib_is_not_allocated(tmp_path: Path) -> None:
    path = test_own.write(tmp_path / "bzImage", zlib.compress(test_own.kernel(None), wbits=31))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 0x24C, 0xFFFFFFFF)
    path.write_bytes(data)
    with bounded():
        assert bzimage.payload(path).startswith(b"\x7fELF")


@pytest.mark.parametrize("cut", [0, 3, 64, 200, 5000, 20 << 20])
def test_a_core_that_was_cut_off(tmp_path: Path, cut: int) -> None:
    data = real_core(tmp_path)
    path = tmp_path / "cut"
    path.write_bytes(data[:cut])
    with pytest.raises((UsageError, HarnessError)):
        Core.of(path).read(23 << 20, 4096)


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 600, b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd" + bytes(600)],
)
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(HarnessError, match=r"not whole|cannot be unpacked"):
        archive.unpack(data, tmp_path / "folder")


def test_an_archive_with_a_file_where_a_folder_is(tmp_path: Path) -> None:
    data = real_archive(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot be unpacked"):
        archive.unpack(data, tmp_path / "file" / "folder")


@pytest.mark.parametrize("nested", ["(" * 5000, "!" * 5000, "(A && " * 3000])
def test_an_expression_that_nests_without_end(nested: str) -> None:
    assert kconfig.holds(nested, {"A": "y"}) in (True, False)


def test_a_log_that_nests_without_end() -> None:
    text = "KTAP version 1\n" + "".join(
        f"{' ' * i}KTAP version 1\n{' ' * i}1..1\n" for i in range(3000)
    )
    assert all(not case.good for test in ktap.parse(text) for _, case in test.cases())


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b'{"role": 1, "event": "x"}',
        b'{"role": "x", "event": [1]}',
        b'{"a":' * 5000,
        b'"\xff"',
    ],
)
def test_what_is_no_status_line(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_line(line)


@pytest.mark.parametrize("flags", [2, 4])
@pytest.mark.parametrize("word", [b"\xff" * 8, b"\0" * 7 + b"\x80", b"\xff" * 7 + b"\x7f"])
def test_an_extreme_word_anywhere_in_a_swap_area(tmp_path: Path, flags: int, word: bytes) -> None:
    """Such as the length of a part that is compressed, or a page far above all memory."""
    real = bytes(test_memory_map.swsusp([1, 2, 5], [7], flags=flags))
    path = tmp_path / "mutated"
    with bounded():
        for at in [*range(0, len(real), 4096), *range(4096 - 40, 4096, 8)]:
            path.write_bytes(real[:at] + word + real[at + 8 :])
            with suppress(ImageError):
                swap_image.read_swsusp(path, 64 << 20)
