# SPDX-License-Identifier: GPL-2.0-only
"""Is all of RAM the same after the kernel's own hibernation, as it copied it?"""

from __future__ import annotations

import pytest

from harness.plugin.suite import BASELINE_BUGS, NewCycle
from harness.record.result import Verdict

pytestmark = [pytest.mark.vm]

WAYS = [
    pytest.param("swsusp", marks=pytest.mark.ci),
    "uswsusp",
    pytest.param("test_resume", marks=BASELINE_BUGS["test_resume"]),
]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_differs_without_a_reason(new_cycle: NewCycle, way: str) -> None:
    result = new_cycle(resume_path=way, audit=True).run()
    audit = result.audit
    assert audit is not None
    for found in audit.classes:
        print(f"{found.name}: {found.differ} of {found.pages} differ")
    for page in audit.named:
        print(page.line())
    for field in audit.state:
        if not field.why:
            print(field.line())
    assert not audit.reason
    assert not audit.state_reason
    assert audit.pages
    assert audit.fields
    assert result.verdict is Verdict.PASSED, result.reason
