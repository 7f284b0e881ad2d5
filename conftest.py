# SPDX-License-Identifier: GPL-2.0-only
"""Options of pytest, and the registration of the fixtures."""

from __future__ import annotations

pytest_plugins = ["harness.plugin.fixtures"]
