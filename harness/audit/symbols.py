# SPDX-License-Identifier: GPL-2.0-only
"""The symbols of a kernel, and by how much KASLR moved them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.base.errors import HarnessError
from harness.base.lazy import lazily
from harness.kernel.built import BuiltKernel

if TYPE_CHECKING:
    from elftools.elf import elffile, sections
else:
    elffile = lazily("elftools.elf.elffile")
    sections = lazily("elftools.elf.sections")

# The kernel is moved by multiples of this (CONFIG_PHYSICAL_ALIGN).
_ALIGN = 0x200000
# KASLR moves it up, and within the map of the kernel's image. The spawned kernel,
# which may be the one that runs, is linked below.
_MOST = 1 << 30
# What the first entry of the IDT leads to, since v5.8.
_FIRST_HANDLER = "asm_exc_divide_error"


class NoSymbolsError(HarnessError):
    """There are no symbols of a kernel, or not those that it takes."""


@dataclass
class Symbols:
    """Addresses by name, as a kernel was linked.

    Args:
        linked: The addresses.
        offset: By how much the kernel runs elsewhere.
        small: Whether the kernel was built with BASE_SMALL, and has smaller tables.
    """

    linked: dict[str, int]
    offset: int = 0
    small: bool = False

    def __contains__(self, name: str) -> bool:
        return name in self.linked

    def __getitem__(self, name: str) -> int:
        try:
            return self.linked[name] + self.offset
        except KeyError:
            raise NoSymbolsError(f"the kernel has no symbol {name}") from None

    @cached_property
    def _by_address(self) -> list[tuple[int, str]]:
        return sorted((at + self.offset, name) for name, at in self.linked.items())

    def nearest(self, address: int) -> str:
        """An address by the symbol at or below it, such as "linux_banner+0x3".

        Args:
            address: Where the kernel runs; below all of them it stays a number.
        """
        i = bisect_right(self._by_address, (address, "\x7f")) - 1
        if i < 0:
            return f"{address:#x}"
        at, name = self._by_address[i]
        return f"{name}+{address - at:#x}"

    def moved(self, handler: int) -> Symbols:
        """The same, where the kernel runs.

        Args:
            handler: Where the first entry of its IDT leads.

        Raises:
            NoSymbolsError: These are not its symbols.
        """
        offset = handler - self[_FIRST_HANDLER] + self.offset
        if offset % _ALIGN or not 0 <= offset < _MOST:
            raise NoSymbolsError("System.map is not that of the kernel that runs")
        return replace(self, offset=offset)


def of_kernel(kernel: BuiltKernel) -> Symbols:
    """The symbols of a kernel, from System.map or from vmlinux.

    Raises:
        NoSymbolsError: It has neither.
    """
    # A number before v6.10.
    small = kernel.config.get("BASE_SMALL", "0") in ("y", "1")
    if kernel.symbols.is_file():
        return Symbols(_system_map(kernel.symbols), small=small)
    if kernel.vmlinux.is_file():
        with kernel.vmlinux.open("rb") as file:
            section = elffile.ELFFile(file).get_section_by_name(".symtab")
            if isinstance(section, sections.SymbolTableSection):
                linked = {symbol.name: symbol["st_value"] for symbol in section.iter_symbols()}
                return Symbols(linked, small=small)
    raise NoSymbolsError("the kernel has neither System.map nor a vmlinux with symbols")


def _system_map(path: Path) -> dict[str, int]:
    fields = (line.split() for line in path.read_text().splitlines())
    return {name: int(address, 16) for address, _, name in fields}


def first_handler(idt: int, read: Callable[[int, int], bytes]) -> int:
    """Where the first entry of an IDT leads (struct gate_struct).

    Args:
        idt: The address of the IDT.
        read: Reads by a virtual address.
    """
    data = read(idt, 16)
    low, high = int.from_bytes(data[:2], "little"), int.from_bytes(data[6:12], "little")
    return low | high << 16
