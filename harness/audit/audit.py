# SPDX-License-Identifier: GPL-2.0-only
"""What an audit found, from the two moments: classes, bounds, and pages without a reason."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from harness.audit.classes import LOOKED_INTO, REASONS, PageClass, first_difference
from harness.audit.gdb import CALLEE_SAVED
from harness.audit.hibernation import HibernationMoments
from harness.audit.moments import Moments
from harness.audit.seen import Back, Left
from harness.audit.state import cpu_of, differences
from harness.audit.switches import DEVICE, turned
from harness.audit.text import rewritten
from harness.image.image import PAGE
from harness.kernel.built import BuiltKernel
from harness.machine.statemachine import StateMachine
from harness.record.result import AuditClass, AuditInfo, AuditPage, AuditState


class Moment(StrEnum):
    """Where an audit looks first."""

    JUMP = "jump"
    COPY = "copy"
    """The kernel's own hibernation copies its memory."""
    NONE = "none"


MOST_NAMED = 64
"""So many pages without a reason are named, one by one."""
_SHOWN = 16


def watch(machine: StateMachine, *, at: Moment) -> Moments:
    """Have a machine stopped where its normal kernel leaves, and where it is back.

    Args:
        machine: A machine that is switched off.
        at: Where that is, on the way that it takes.
    """
    moments = HibernationMoments() if at is Moment.COPY else Moments()
    if at is Moment.NONE:
        moments.reason, moments.cannot = "nothing is left on this way, and nothing comes back", True
        return moments
    machine.observers.append(moments)
    return moments


def found_by(moments: Moments, kernel: BuiltKernel) -> AuditInfo:
    """What was found.

    Args:
        moments: What stopped the machine; the machine is back.
        kernel: The normal kernel.

    Returns:
        It; where there was no audit, with the reason for that.
    """
    left, back = moments.left, moments.returned
    if left is None or back is None:
        return AuditInfo(reason=moments.reason, cannot=moments.cannot, seconds=moments.seconds)
    differ = Counter(left.classes.of(page) for page in back.different)
    counts = left.classes.count([(part.phys, part.size) for part in left.ram.parts])
    unexplained, named = _unexplained(left, back)
    if named:
        named = _with_owners(left, named, kernel)
    called = moments.called
    return AuditInfo(
        state_reason=moments.not_held,
        fields=sum(len(fields) for fields in called.state.values()) if called else 0,
        switches=len(called.switches) if called else 0,
        state=_changed(moments, left),
        seconds=moments.seconds,
        pages=left.ram.pages,
        differ=len(back.different),
        classes=[
            AuditClass(name=kind, why=REASONS[kind], pages=counts[kind], differ=differ[kind])
            for kind in PageClass
        ],
        bounds=left.classes.bounds(
            counted=left.counted, tolerance=left.tolerance, pages=left.ram.pages
        ),
        unexplained=unexplained,
        named=named,
        registers=[
            f"{name} was {left.registers[name]:#x} and is {back.registers[name]:#x}"
            for name in CALLEE_SAVED
            if left.registers[name] != back.registers[name]
        ],
    )


def _changed(moments: Moments, left: Left) -> list[AuditState]:
    """What of CPUs, devices and the kernel itself is not as it was, explained or not."""
    called, answered = moments.called, moments.answered
    if called is None or answered is None:
        return []
    changed = differences(
        called.state,
        answered.state,
        caller=cpu_of(called.state, called.registers["rsp"]),
        answerer=cpu_of(answered.state, answered.registers["rsp"]),
    )
    changed += turned(called.switches, answered.switches, why=moments.TURNED)
    changed += rewritten(called.text, answered.text, left.symbols, device=DEVICE)
    return changed


def _with_owners(left: Left, named: list[AuditPage], kernel: BuiltKernel) -> list[AuditPage]:
    """Say whose the pages are; where that cannot be told, why."""
    # Late: drgn takes a fifth of a second, and good cycles have no use for it.
    from harness.audit.owner import owners_of  # noqa: PLC0415

    whose = owners_of(left, [(page.address, page.offset) for page in named], kernel)
    return [
        page.model_copy(update={"owner": owner}) for page, owner in zip(named, whose, strict=True)
    ]


def _unexplained(left: Left, back: Back) -> tuple[int, list[AuditPage]]:
    """How many pages have no reason to differ, and the first of them."""
    count = 0
    named: list[AuditPage] = []
    for page in back.different:
        kind = left.classes.of(page)
        if kind not in LOOKED_INTO:
            continue
        after = back.pages.get(page)
        if after is None:
            count += 1  # there are so many that not all were kept
            continue
        before = left.ram.read(page, PAGE)

        def may(at: int, change: int, page: int = page) -> bool:
            return left.classes.explained(page, at, change)

        at, length = first_difference(before, after, may=may)
        if not length:
            continue
        count += 1
        if len(named) < MOST_NAMED:
            named.append(
                AuditPage(
                    address=page,
                    offset=at,
                    bytes=length,
                    before=before[at : at + _SHOWN].hex(),
                    after=after[at : at + _SHOWN].hex(),
                )
            )
    return count, named
