# SPDX-License-Identifier: GPL-2.0-only
"""What a user may choose of where something runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harness.kernel.own import Own
from harness.kernel.specs import DEFAULT
from harness.vm.choices import EMBEDDED


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user chose, on the command line or for pytest."""

    kernel: str = DEFAULT
    vm_config: str = "default"
    accel: str = "auto"
    libvirt_uri: str = EMBEDDED
    own: Own = field(default_factory=Own)
    built: Path | None = None
    keep_bytes: int = 0
    audit: bool = True
    warm: bool = False
    userland: Path | None = None
