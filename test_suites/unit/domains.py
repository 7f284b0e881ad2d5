# SPDX-License-Identifier: GPL-2.0-only
"""Domains that are not started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.vm.spec import DomainSpec


def specified(**other: Any) -> DomainSpec:
    """What a domain looks like; the fields that matter to a test are named."""
    usual: dict[str, Any] = {
        "name": "n",
        "accel": "tcg",
        "memory": 1 << 28,
        "cpus": 1,
        "machine": "pc",
        "cpu": "max",
        "features": {},
        "kernel": Path("/k"),
        "initrd": None,
        "cmdline": "",
        "disk": Path("/d"),
        "disk_bus": "virtio",
        "serials": (),
    }
    return DomainSpec(**(usual | other))
