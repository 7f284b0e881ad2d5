# SPDX-License-Identifier: GPL-2.0-only
"""pytest's reports, before they go to the terminal and into JUnit XML.

An assertion quotes what a guest said, and so may a reason to skip: control characters
are shown there, as everywhere.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from harness.base.text import shown


def show_controls(report: pytest.TestReport) -> None:
    """Show the control characters in all that a report says.

    Args:
        report: The report of a phase of a test.
    """
    report.longrepr = _cleaned(report.longrepr)
    report.sections = _cleaned(report.sections)
    report.user_properties = _cleaned(report.user_properties)
    if hasattr(report, "wasxfail"):
        report.wasxfail = _cleaned(report.wasxfail)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    if type(value) in (list, tuple):
        return type(value)(map(_cleaned, value))
    # The parts of a traceback as pytest shows it; nothing else is ours to change.
    if type(value).__module__ == "_pytest._code.code":
        for name, part in vars(value).items():
            with contextlib.suppress(AttributeError):
                setattr(value, name, _cleaned(part))
    return value
