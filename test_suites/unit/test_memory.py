# SPDX-License-Identifier: GPL-2.0-only
"""The memory of a machine as the host has it: QEMU is real, its machine is none."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from harness.vm.domain import Domain
from harness.vm.emulator import emulator_path
from harness.vm.memory import Populating, memory_file, offsets

MIB = 1 << 20
SIZE = 32 * MIB


def domain_of(pid: int, *, memory: int = SIZE, machine: str = "pc") -> Domain:
    spec = SimpleNamespace(memory=memory, machine=machine)
    return cast("Domain", SimpleNamespace(pid=pid, spec=spec))


@pytest.fixture
def qemu() -> Iterator[Domain]:
    backend = f"memory-backend-memfd,id=ram,size={SIZE},share=on"
    command = [emulator_path(), "-S", "-machine", "none", "-nodefaults", "-display", "none"]
    with subprocess.Popen([*command, "-object", backend]) as process:
        domain = domain_of(process.pid)
        while memory_file(domain) is None:
            assert process.poll() is None
            time.sleep(0.01)
        yield domain
        process.kill()


def data(path: Path) -> list[tuple[int, int]]:
    """What of a file is no hole: first byte and size of each range."""
    found: list[tuple[int, int]] = []
    with path.open("rb") as file:
        at = 0
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return found
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            found.append((at, end - at))
            at = end


def populated(domain: Domain, ranges: list[tuple[int, int]]) -> int:
    thread = Populating(domain, ranges)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()
    return thread.made


def test_just_what_was_asked_for_is_there(qemu: Domain) -> None:
    path = memory_file(qemu)
    assert path is not None
    assert data(path) == []
    # The last one is longer than RAM.
    ranges = [(4 * MIB, 8192), (10 * MIB, 5 * MIB), (SIZE - MIB, SIZE)]
    assert populated(qemu, ranges) == 8192 + 6 * MIB
    assert data(path) == [(4 * MIB, 8192), (10 * MIB, 5 * MIB), (SIZE - MIB, MIB)]


def test_what_is_there_stays_as_it_is(qemu: Domain) -> None:
    path = memory_file(qemu)
    assert path is not None
    with path.open("r+b") as file:
        file.seek(MIB)
        file.write(b"of the guest")
        file.flush()
        populated(qemu, [(0, SIZE)])
        file.seek(MIB)
        assert file.read(12) == b"of the guest"


@pytest.mark.parametrize("ranges", [[(4097, 4096)], [(0, 100), (MIB + 1, MIB)]])
def test_ranges_of_no_whole_pages_are_no_failure(
    qemu: Domain, ranges: list[tuple[int, int]]
) -> None:
    assert populated(qemu, ranges) <= 100


def test_a_machine_that_is_gone() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
        domain = domain_of(process.pid)
        assert memory_file(domain) is None
        assert populated(domain, [(0, SIZE)]) == 0


def test_memory_above_4_gib() -> None:
    domain = domain_of(1, memory=4 << 30, machine="q35")
    whole = [(0, 8 << 30)]
    assert offsets(domain, whole) == [(0, 2 << 30), (2 << 30, 2 << 30)]
    assert offsets(domain, [((4 << 30) + MIB, MIB)]) == [((2 << 30) + MIB, MIB)]
    assert offsets(domain, [(3 << 30, MIB)]) == []
