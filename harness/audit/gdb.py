# SPDX-License-Identifier: GPL-2.0-only
"""A few packets of the gdb remote protocol: what it takes to stop QEMU at an address.

https://sourceware.org/gdb/current/onlinedocs/gdb.html/Remote-Protocol.html. The
libraries that there are drive a gdb, and a gdb is nothing that a run needs.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
import threading
import time
from pathlib import Path

from harness.base.errors import HarnessError

REGISTERS = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip"),
)
CALLEE_SAVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")
_LAYOUT = struct.Struct("<17Q")
_ANSWER_SECONDS = 30.0
# What fits into a packet of QEMU's.
_MOST_BYTES = 1024
# qSupported is answered by this: a stop reply of QEMU's own never begins so.
_HELLO = "PacketSize"
_STOPPED = re.compile(r"[TS][0-9a-f]{2}")


class GdbError(HarnessError):
    """QEMU's gdb stub did not do what it was told."""


class GdbGoneError(GdbError):
    """QEMU's gdb stub is gone, and QEMU with it."""


class NoBreakpointsError(GdbError):
    """The accelerator has no hardware breakpoints."""


class Gdb:
    """A connection to QEMU's gdb stub; the machine stands still as it is made.

    Args:
        path: The socket that QEMU listens on.

    Raises:
        GdbError: Nobody answers there.
    """

    def __init__(self, path: Path) -> None:
        self._buffer = b""
        self._leaving = threading.Lock()
        self._left = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
            self._send("qSupported")
            while not self._receive(_ANSWER_SECONDS).startswith(_HELLO):
                pass
        except OSError as exc:
            self._socket.close()
            raise GdbError(f"QEMU's gdb stub does not answer: {exc}") from exc

    def _send(self, text: str) -> None:
        data = text.encode()
        try:
            self._socket.sendall(b"$" + data + b"#%02x" % (sum(data) & 0xFF))
        except OSError as exc:
            raise GdbGoneError(f"QEMU's gdb stub is gone: {exc}") from exc

    def _packet(self) -> str | None:
        """A whole packet of what came, if there is one."""
        begin = self._buffer.find(b"$")
        end = self._buffer.find(b"#", begin)
        if begin < 0 or end < 0 or len(self._buffer) < end + 3:
            return None
        packet = self._buffer[begin + 1 : end]
        self._buffer = self._buffer[end + 3 :]
        with contextlib.suppress(OSError):
            self._socket.sendall(b"+")
        return packet.decode(errors="replace")

    def _receive(self, seconds: float) -> str:
        until = time.monotonic() + seconds
        while (packet := self._packet()) is None:
            left = until - time.monotonic()
            try:
                if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                    raise GdbError("QEMU's gdb stub says nothing")
                data = self._socket.recv(1 << 16)
            except (OSError, ValueError) as exc:
                raise GdbGoneError(f"QEMU's gdb stub is gone: {exc}") from exc
            if not data:
                raise GdbGoneError("QEMU's gdb stub is gone")
            self._buffer += data
        if packet.startswith(("W", "X")):
            raise GdbGoneError("QEMU has ended")
        return packet

    def ask(self, text: str) -> str:
        """Send a packet, and have its answer.

        Args:
            text: The packet.

        Raises:
            GdbError: There is none, or it says that there was an error.
        """
        self._send(text)
        answer = self._receive(_ANSWER_SECONDS)
        # On a busy host, QEMU tells late that the connection has stopped the machine.
        while _STOPPED.match(answer):
            answer = self._receive(_ANSWER_SECONDS)
        if answer.startswith("E"):
            raise GdbError(f"QEMU's gdb stub refuses {text!r}: {answer}")
        return answer

    def registers(self) -> dict[str, int]:
        """The general registers of the CPU that stopped."""
        data = bytes.fromhex(self.ask("g"))
        return dict(zip(REGISTERS, _LAYOUT.unpack_from(data), strict=True))

    def read(self, address: int, size: int) -> bytes:
        """Memory by a virtual address, of the CPU that stopped."""
        data = b""
        while len(data) < size:
            part = min(_MOST_BYTES, size - len(data))
            data += bytes.fromhex(self.ask(f"m{address + len(data):x},{part:x}"))
        return data

    def word(self, address: int) -> int:
        """Eight bytes of that as a number."""
        return int.from_bytes(self.read(address, 8), "little")

    def read_physical(self, address: int, size: int) -> bytes:
        """Memory by a physical address, devices too."""
        self.ask("Qqemu.PhyMemMode:1")
        try:
            return self.read(address, size)
        finally:
            self.ask("Qqemu.PhyMemMode:0")

    def write_physical(self, address: int, data: bytes) -> None:
        """Write memory by a physical address, devices too."""
        self.ask("Qqemu.PhyMemMode:1")
        try:
            for at in range(0, len(data), _MOST_BYTES):
                part = data[at : at + _MOST_BYTES]
                self.ask(f"M{address + at:x},{len(part):x}:{part.hex()}")
        finally:
            self.ask("Qqemu.PhyMemMode:0")

    def register(self, number: int) -> int:
        """A register by its number in QEMU's i386-64bit.xml."""
        self._ask_for_description()
        return int.from_bytes(bytes.fromhex(self.ask(f"p{number:x}")), "little")

    def set_register(self, number: int, value: int) -> None:
        """Set a register by its number in QEMU's i386-64bit.xml."""
        self._ask_for_description()
        if self.ask(f"P{number:x}={value.to_bytes(8, 'little').hex()}") != "OK":
            raise GdbError(f"QEMU's gdb stub does not set register {number}")

    def _ask_for_description(self) -> None:
        """Have QEMU know that we know its registers: without, it tells of none by number."""
        self.ask("qXfer:features:read:target.xml:0,100")

    def stop_at(self, address: int) -> None:
        """Set a hardware breakpoint.

        Raises:
            NoBreakpointsError: The accelerator has none.
        """
        try:
            said = self.ask(f"Z1,{address:x},1")
        except GdbGoneError:
            raise
        except GdbError as exc:
            raise NoBreakpointsError(f"the accelerator has no hardware breakpoints: {exc}") from exc
        if not said:
            raise NoBreakpointsError("the accelerator has no hardware breakpoints")
        if said != "OK":
            raise GdbError(f"QEMU's gdb stub answers {said!r} to a breakpoint")

    def pass_by(self, address: int) -> None:
        """Remove a breakpoint."""
        self.ask(f"z1,{address:x},1")

    def go(self) -> None:
        """Let the machine run."""
        self._send("c")

    def stopped(self, seconds: float) -> dict[str, int]:
        """Wait until the machine stands still.

        Args:
            seconds: How long at most.

        Returns:
            The registers there.

        Raises:
            GdbError: It did not stop, or QEMU is gone.
        """
        while not self._receive(seconds).startswith(("T", "S")):
            pass
        return self.registers()

    def step_over(self, address: int) -> None:
        """Go past a breakpoint that is where the machine stands."""
        self.pass_by(address)
        self._send("s")
        self.stopped(_ANSWER_SECONDS)
        self.stop_at(address)

    def settle(self) -> dict[str, int]:
        """Have a machine stand still that something else has let run.

        Returns:
            The registers there.
        """
        self.interrupt()
        # Whether QEMU says so by itself depends on its version, and on what was first.
        # Not "?": that removes all breakpoints.
        self._send("qSupported")
        while not self._receive(_ANSWER_SECONDS).startswith(_HELLO):
            pass
        return self.registers()

    def interrupt(self) -> None:
        """Have a machine stop that runs, so that `stopped` returns in another thread.

        Not one that was left: it would stop, and nobody would ever let it run again.
        """
        with self._leaving, contextlib.suppress(OSError):
            if not self._left:
                self._socket.sendall(b"\x03")

    def leave(self) -> None:
        """Remove all breakpoints, let the machine run, and close."""
        with self._leaving:
            self._left = True
        # If it is gone, so is what would have been left behind.
        with contextlib.suppress(GdbError):
            self.ask("D")
        self.close()

    def close(self) -> None:
        """Close the connection, whatever the machine does."""
        self._socket.close()
