# SPDX-License-Identifier: GPL-2.0-only
"""What the host saw in the memory of the normal kernel, before and after."""

from __future__ import annotations

from harness.audit.switches import DEVICE
from harness.cycle.checks.check import check
from harness.record.result import AuditInfo, Check

AUDIT_CHECKS = ("audit.memory", "audit.cpu", "audit.devices", "audit.kernel")


def audit_checks(audit: AuditInfo) -> list[Check]:
    """All of its memory and its registers are as they were, but for what the jump owns.

    Args:
        audit: What was found.

    Returns:
        No check where there cannot be an audit: that is in the result, and not green.
    """
    if audit.cannot:
        return []
    if audit.reason:
        return [check(name, False, f"there was no audit: {audit.reason}") for name in AUDIT_CHECKS]
    return [_memory(audit), _cpu(audit), _devices(audit), _kernel(audit)]


def _memory(audit: AuditInfo) -> Check:
    if audit.unexplained:
        first = audit.named[0] if audit.named else None
        what = f"; the first: {first.line()}" if first else ""
        return check("audit.memory", False, f"{audit.unexplained} pages without a reason{what}")
    if audit.bounds:
        return check("audit.memory", False, "; ".join(audit.bounds))
    classes = ", ".join(
        f"{found.differ} of {found.pages} {found.name}" for found in audit.classes if found.differ
    )
    return check(
        "audit.memory", audit.pages > 0, f"of {audit.pages} pages differ: {classes or 'none'}"
    )


def _cpu(audit: AuditInfo) -> Check:
    found = [field for field in audit.state if field.device.startswith("cpu")]
    wrong = audit.registers + [field.line() for field in found if not field.why]
    return _state("audit.cpu", audit, wrong, len(found))


def _devices(audit: AuditInfo) -> Check:
    found = [field for field in audit.state if not field.device.startswith(("cpu", DEVICE))]
    wrong = [field.line() for field in found if not field.why]
    return _state("audit.devices", audit, wrong, len(found))


def _kernel(audit: AuditInfo) -> Check:
    """What a suspend turned off is on again, and the other way round."""
    found = [field for field in audit.state if field.device == DEVICE]
    wrong = [field.line() for field in found if not field.why]
    if wrong or audit.state_reason:
        return _state("audit.kernel", audit, wrong, 0)
    but = f" but {len(found)}, each with a reason" if found else ""
    return check(
        "audit.kernel", audit.switches > 0, f"{audit.switches} switches, all as they were{but}"
    )


def _state(name: str, audit: AuditInfo, wrong: list[str], differ: int) -> Check:
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        return check(name, False, "; ".join(wrong[:5]) + more)
    if audit.state_reason:
        return check(name, False, f"there was no audit: {audit.state_reason}")
    return check(name, audit.fields > 0, f"{differ} fields differ, each with a reason")
