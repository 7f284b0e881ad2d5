# SPDX-License-Identifier: GPL-2.0-only
"""What commands and fixtures leave for each other in the configuration of pytest."""

from __future__ import annotations

import pytest

from harness.base.progress import ProgressLine

# Where the command that starts pytest leaves its progress line.
PROGRESS = pytest.StashKey[ProgressLine]()
