# SPDX-License-Identifier: GPL-2.0-only
"""Does the audit leave good cycles alone? Fifty of them, by all ways in turn."""

from __future__ import annotations

import pytest

from harness.plugin.suite import NewCycle
from harness.record.result import Verdict

pytestmark = [pytest.mark.vm]

WAYS = (
    *("restricted", "in-place", "conservative", "snapshot", "plain-jump"),
    *("swsusp", "uswsusp"),
)


@pytest.mark.parametrize("number", range(50))
def test_no_false_alarm(new_cycle: NewCycle, number: int) -> None:
    result = new_cycle(resume_path=WAYS[number % len(WAYS)], audit=True).run()
    audit = result.audit
    assert audit is not None
    assert not audit.reason, audit.reason
    assert audit.named == []
    assert [field for field in audit.state if not field.why] == []
    assert result.verdict is Verdict.PASSED, result.reason
