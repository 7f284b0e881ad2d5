# SPDX-License-Identifier: GPL-2.0-only
"""Where the command line writes: results to stdout, all else to stderr."""

from __future__ import annotations

from rich.console import Console

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
