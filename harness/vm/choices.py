# SPDX-License-Identifier: GPL-2.0-only
"""What a user may choose of where machines run; cheap to import."""

from __future__ import annotations

ACCELERATORS = ("auto", "kvm", "tcg")
EMBEDDED = "embed"
