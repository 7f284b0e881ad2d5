# SPDX-License-Identifier: GPL-2.0-only
"""Does a kernel hibernate through a kexec jump, and come back whole?

One cycle is run, and each thing that is asserted about it is a test. The way
back is the one of `--resume-path`, by default a resuming kernel in 0-16 MiB.
"""

from __future__ import annotations

import pytest

from harness.plugin.suite import CycleSuite

pytestmark = [pytest.mark.vm, pytest.mark.ci, pytest.mark.short]


class TestCycle(CycleSuite):
    """The cycle of the chosen way back."""
