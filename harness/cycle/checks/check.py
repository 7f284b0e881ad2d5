# SPDX-License-Identifier: GPL-2.0-only
"""How a check is written down."""

from __future__ import annotations

from harness.record.result import Check


def check(name: str, ok: bool, detail: str) -> Check:
    """A check that was made.

    Args:
        name: Its name, such as "kernel.boot-id".
        ok: Whether it held.
        detail: What was seen.
    """
    return Check(name=name, ok=ok, detail=detail)
