# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's log of exceptions: the one that a triple fault began with."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.logs.exceptions import LastException, last_exception
from harness.machine.tracing import ExceptionTrace

REAL = Path(__file__).with_name("logs") / "qemu-triple-fault.txt"


def test_real_log_names_the_first_of_the_chain() -> None:
    """A kernel's own undefined instruction without a table of interrupts, by reboot=t."""
    found = last_exception(REAL.read_text())
    assert found == LastException(vector=13, error=0x32, address=0xFFFFFFFF810391F2)
    assert str(found).startswith("#GP (error code 0x32, for #UD has no handler) in the instr")


PAGE_FAULT = "5: v=0e e=0002 i=0 cpl=0 IP=0010:ffffffff81000010 pc=0 SP=0018:0 CR2=0000000018\n"
GP = "6: v=0d e=0000 i=0 cpl=0 IP=0010:ffffffff81000020 pc=0 SP=0018:0 env->regs[R_EAX]=0\n"
TIMER = "7: v=ec e=0000 i=0 cpl=0 IP=0010:ffffffff81000030 pc=0 SP=0018:0 env->regs[R_EAX]=0\n"
CALL = "8: v=80 e=0000 i=1 cpl=3 IP=0033:401000 pc=0 SP=002b:0 env->regs[R_EAX]=0\n"
FIRST = "check_exception old: 0xffffffff new 0xe\n"
NESTED = "check_exception old: 0xe new 0xd\n"
DOUBLE = "check_exception old: 0x8 new 0xd\n"


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", None),
        (FIRST + PAGE_FAULT, None),
        (PAGE_FAULT + "CPU Reset (CPU 0)\n", None),
        (FIRST + PAGE_FAULT + TIMER + CALL + "Triple fault\n", (14, 2, 0x18)),
        (FIRST + PAGE_FAULT + NESTED + GP + DOUBLE + "Triple fault\n", (14, 2, 0x18)),
        (FIRST + PAGE_FAULT + GP + "Triple fault\n", (13, 0, None)),
        ("Triple fault\n", None),
    ],
)
def test_only_what_led_to_a_triple_fault_counts(
    log: str, expected: tuple[int, int, int | None] | None
) -> None:
    found = last_exception(log)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (found.vector, found.error, found.cr2) == expected


def test_page_fault_says_where() -> None:
    text = str(LastException(vector=14, error=2, address=0x1000, cr2=0x18))
    assert text == "#PF (error code 0x2) in the instruction at 0x1000, at the address 0x18"


def test_only_the_end_of_a_long_log_is_kept(tmp_path: Path) -> None:
    """A pipe is read as fast as QEMU writes, and two QEMUs may write one after the other."""
    trace = ExceptionTrace(tmp_path)
    assert trace.arguments[:3] == ("-d", "int,cpu_reset", "-D")
    pipe = Path(trace.arguments[3])
    assert pipe.stat().st_mode & 0o777 == 0o600
    for text in (TIMER * 40_000, FIRST + PAGE_FAULT + "Triple fault\n"):
        with pipe.open("w") as file:
            file.write(text)
    trace.close()
    assert trace.last == LastException(vector=14, error=2, address=0xFFFFFFFF81000010, cr2=0x18)
    assert not pipe.exists()
    assert not list(tmp_path.iterdir())
