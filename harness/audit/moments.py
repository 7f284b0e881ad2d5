# SPDX-License-Identifier: GPL-2.0-only
"""Where the normal kernel leaves and where it is back: breakpoints, and what is read there."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Protocol

from harness.audit import facts
from harness.audit.classes import LOOKED_INTO
from harness.audit.gdb import Gdb, GdbError, GdbGoneError, NoBreakpointsError
from harness.audit.migration import StreamError, read
from harness.audit.ram import live, taken
from harness.audit.seen import Back, Held, Left, read_left
from harness.audit.switches import switches
from harness.audit.symbols import NoSymbolsError, Symbols, first_handler, of_kernel
from harness.audit.text import text_of
from harness.base.errors import HarnessError, KspawnError
from harness.image.image import PAGE
from harness.machine.statemachine import StateMachine

AWAY_SECONDS = 3600.0
"""How long it is waited for a machine to stop; its own deadlines are shorter."""
_JOIN_SECONDS = 120.0
MOST_PAGES = 4096
"""Of so many pages that differ and may not in all of their bytes, what is in them is kept."""
NOT_SHARED = "the host cannot read QEMU's memory, and its state has too much in it"
_IDT = re.compile(r"^IDT=\s+([0-9a-f]+)", re.MULTILINE)
# include/linux/kexec.h: where struct kimage has control_code_page.
_CONTROL_CODE_PAGE = 4 * 8


class Meddle(Protocol):
    """Damages a machine on purpose at a moment, for the tests of what must notice it."""

    def __call__(self, moment: str, machine: StateMachine, gdb: Gdb) -> None:
        """The machine stands still, and is about to be looked at, or was.

        Args:
            moment: "back", "back seen", "answered" or "answered seen".
            machine: The machine.
            gdb: What it is told through.
        """


class Moments:
    """Stops a machine as its normal kernel leaves, and as it is back.

    It is an observer of the machine. What it cannot do is the reason why there is
    no audit; the machine goes on all the same.
    """

    LEAVES: ClassVar[str] = "jumps"
    TURNED: ClassVar[Mapping[str, str]] = {}
    """Switches of the kernel that are not as they were, and why that may be."""

    def __init__(self) -> None:
        self.meddle: Meddle | None = None
        # A QEMU listens once, for one connection after the other.
        self._stubs: dict[int, Path] = {}
        self._forget()

    def _forget(self) -> None:
        self.left: Left | None = None
        self.returned: Back | None = None
        # CPUs and devices; and why they are not known.
        self.called: Held | None = None
        self.answered: Held | None = None
        self.not_held = "the system call that leaves was not seen"
        self.reason = "the normal kernel was not left"
        # Whether that is so because it cannot be had, and not because something broke.
        self.cannot = False
        self.seconds = 0.0
        self._gdb: Gdb | None = None
        self._thread: threading.Thread | None = None
        self._qemu = 0
        self.over = False

    # What the machine tells.

    def leaving(self, machine: StateMachine) -> None:
        """The normal kernel is about to be told to go: it is stopped where it does."""
        self.close()
        self._forget()
        with self._reason_of(f"the normal kernel did not come to where it {self.LEAVES}"):
            symbols = of_kernel(machine.running)
            gdb = self._connect(machine)
            with _or_let_go(gdb):
                found = _IDT.search(machine.domain.monitor("info registers"))
                if found is None:
                    raise HarnessError("the registers of the machine are not whole")
                symbols = symbols.moved(first_handler(int(found[1], 16), gdb.read))
                for name in self._first(symbols):
                    gdb.stop_at(symbols[name])
                gdb.go()
            self._start(gdb, lambda: self._watch_both(machine, gdb, symbols))

    def returning(self, machine: StateMachine) -> None:
        """What brings it back runs: it is stopped where the normal kernel goes on."""
        if self._qemu == machine.domain.pid:
            return  # the same QEMU: its breakpoint is where it was
        self._join()
        left = self.left
        if left is None:
            return
        with self._reason_of("the normal kernel did not come back to where it left"):
            gdb = self._connect(machine)
            with _or_let_go(gdb):
                gdb.stop_at(left.back)
                gdb.go()
            self._start(gdb, lambda: self._watch_back(machine, gdb, left))

    def back(self, machine: StateMachine) -> None:
        """The normal kernel said that it is back: there is nothing more to come."""
        self._end()

    def close(self) -> None:
        """Let the machine go on, if there is one, and forget the copy of its memory."""
        self._end()
        if self.left is not None:
            self.left.ram.close()
            self.left = None

    # How it is done.

    def _first(self, symbols: Symbols) -> list[str]:
        """Where it is stopped on the way out, before its memory is read."""
        return ["machine_kexec", *_callers(symbols)]

    @contextmanager
    def _reason_of(self, reason: str) -> Iterator[None]:
        """Why there is no audit, if this does not come to its end."""
        self.reason = reason
        try:
            yield
        except (NoSymbolsError, NoBreakpointsError) as exc:
            self.reason, self.cannot = str(exc), True
        except GdbGoneError:
            pass  # so is QEMU: what was waited for did not come
        except (KspawnError, OSError) as exc:
            self.reason = str(exc)
        except (ArithmeticError, LookupError, RuntimeError, ValueError) as exc:
            # What was read makes no sense; the machine is to go on all the same.
            self.reason = f"{type(exc).__name__}: {exc}"

    def _connect(self, machine: StateMachine) -> Gdb:
        self._qemu = machine.domain.pid
        path = self._stubs.get(self._qemu)
        if path is None:
            runtime = machine.qemu.hardware.hypervisor.runtime
            path = runtime / f"g{machine.boot_number}-{machine.disk.parent.name[-4:]}"
            path.unlink(missing_ok=True)
            said = machine.domain.monitor(f"gdbserver unix:{path},server=on,wait=off").strip()
            if not path.exists():
                raise GdbError(f"QEMU has no gdb stub: {said}")
            self._stubs[self._qemu] = path
        return Gdb(path)

    def _start(self, gdb: Gdb, work: Callable[[], None]) -> None:
        def run() -> None:
            with self._reason_of(self.reason):
                try:
                    work()
                finally:
                    gdb.leave()

        self._gdb, self.over = gdb, False
        self._thread = threading.Thread(target=run, name="audit", daemon=True)
        self._thread.start()

    def _end(self) -> None:
        if self._thread is not None and self._thread.is_alive() and self._gdb is not None:
            self.over = True
            self._gdb.interrupt()
        self._join()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)
            self._thread = None

    def _watch_both(self, machine: StateMachine, gdb: Gdb, symbols: Symbols) -> None:
        registers = gdb.stopped(AWAY_SECONDS)
        if self.over:
            return
        for name in _callers(symbols):
            gdb.pass_by(symbols[name])
        if registers["rip"] != symbols["machine_kexec"]:
            with self._timed():
                back = gdb.word(registers["rsp"])
                self.called = self._hold(machine, gdb, registers, symbols, back=back)
            registers = go_to(gdb, symbols["machine_kexec"])
        if self.over:
            return
        gdb.pass_by(symbols["machine_kexec"])
        entry = symbols["relocate_kernel"]
        if facts.in_control_page(symbols):
            page = gdb.word(registers["rdi"] + _CONTROL_CODE_PAGE)
            entry += _direct(gdb, symbols, page) - symbols["__relocate_kernel_start"]
        gdb.stop_at(entry)
        gdb.go()
        registers = gdb.stopped(AWAY_SECONDS)
        if self.over:
            return
        with self._timed():
            text = machine.domain.monitor("info registers -a")
            ram = taken(machine.domain, machine.disk.with_name("audit.ram"))
            back = gdb.word(registers["rsp"])
            gdb.pass_by(entry)
            gdb.stop_at(back)
            gdb.go()
        self.left = left = read_left(ram, symbols, registers, text=text, back=back)
        with self._reason_of("the normal kernel did not come back to where it left"):
            self._watch_back(machine, gdb, left)

    def _watch_back(self, machine: StateMachine, gdb: Gdb, left: Left) -> None:
        while (registers := gdb.stopped(AWAY_SECONDS))["rsp"] != left.stack:
            if self.over:
                return
            # Another kernel may have something else there.
            gdb.step_over(left.back)
            gdb.go()
        gdb.pass_by(left.back)
        if self.called is not None:
            gdb.stop_at(self.called.back)
        with self._timed(), self._meddled("back", machine, gdb):
            text = machine.domain.monitor("info registers -a")
            ram = live(machine.domain)
            if ram is None:
                ram = taken(machine.domain, machine.disk.with_name("audit-back.ram"))
            try:
                different = left.ram.different(ram)
                pages: dict[int, bytes] = {}
                for page in different:
                    if left.classes.of(page) in LOOKED_INTO and len(pages) < MOST_PAGES:
                        pages[page] = ram.read(page, PAGE)
            finally:
                ram.close()
        self.returned = Back(registers=registers, text=text, different=different, pages=pages)
        self.reason = ""
        if self.called is not None:
            self._watch_answer(machine, gdb, self.called, left.symbols)

    def _watch_answer(
        self, machine: StateMachine, gdb: Gdb, called: Held, symbols: Symbols
    ) -> None:
        while True:
            gdb.go()
            registers = gdb.stopped(AWAY_SECONDS)
            if self.over:
                return
            if registers["rsp"] == called.registers["rsp"] + 8:
                break
            gdb.step_over(called.back)
        with self._timed():
            gdb.pass_by(called.back)
            self.answered = self._hold(machine, gdb, registers, symbols)
        if self.answered is not None:
            self.not_held = ""

    def _hold(
        self,
        machine: StateMachine,
        gdb: Gdb,
        registers: dict[str, int],
        symbols: Symbols,
        *,
        back: int = 0,
    ) -> Held | None:
        """Have the state of CPUs and devices; the machine stands still, a bit later."""
        ram = live(machine.domain)
        if ram is None:
            self.not_held = NOT_SHARED
            return None
        deadline = machine.timeouts.deadline("save", "the state of CPUs and devices")
        try:
            with self._meddled("called" if back else "answered", machine, gdb):
                turned = switches(symbols, gdb)
                constant = text_of(ram, symbols, gdb.word(symbols["phys_base"]))
                data = machine.domain.devices_state(deadline)
        finally:
            ram.close()
            # This, and not the gdb stub, gives QEMU its disks back.
            machine.domain.monitor("cont")
            gdb.settle()
        try:
            state = read(data, shared=True)
            return Held(registers=registers, state=state, switches=turned, text=constant, back=back)
        except StreamError as exc:
            self.not_held = str(exc)
            return None

    @contextmanager
    def _meddled(self, moment: str, machine: StateMachine, gdb: Gdb) -> Iterator[None]:
        if self.meddle is not None:
            self.meddle(moment, machine, gdb)
        yield
        if self.meddle is not None:
            self.meddle(f"{moment} seen", machine, gdb)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - began


def go_to(gdb: Gdb, address: int) -> dict[str, int]:
    """Go on to a breakpoint, where the machine may stand already.

    It does if it came there before the state of CPUs and devices was had: QEMU has let it
    run for that, and `Gdb.settle` has stopped it again, a bit later.

    Returns:
        The registers there, or where it was stopped because all is over.
    """
    registers = gdb.registers()
    if registers["rip"] == address:
        return registers
    gdb.go()
    return gdb.stopped(AWAY_SECONDS)


@contextmanager
def _or_let_go(gdb: Gdb) -> Iterator[None]:
    """If this goes wrong, the machine goes on without breakpoints."""
    try:
        yield
    except BaseException:
        with suppress(GdbError):
            gdb.leave()
        raise


def _callers(symbols: Symbols) -> list[str]:
    """The functions that a system call leaves by.

    clang's LTO makes them a part of the system call, which then counts as a whole.
    """
    names = ["kernel_kexec", "kernel_kspawn"]
    if any(".llvm." in name for name in symbols.linked):
        names.append("__x64_sys_reboot")
    return [name for name in names if name in symbols]


def _direct(gdb: Gdb, symbols: Symbols, page: int) -> int:
    """The address in the direct map of the page that a struct page is of."""
    # struct page: 64 bytes wherever there is KEXEC_JUMP.
    pfn = (page - gdb.word(symbols["vmemmap_base"])) // 64
    return gdb.word(symbols["page_offset_base"]) + pfn * PAGE
