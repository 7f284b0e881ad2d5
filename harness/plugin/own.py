# SPDX-License-Identifier: GPL-2.0-only
"""The options of pytest that name the user's own kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.kernel.own import HELP, Own, given_own


def add_pytest_options(group: pytest.OptionGroup) -> None:
    """Add the options of one's own kernel to pytest.

    Args:
        group: The group of options.
    """
    group.addoption("--kernel-tree", type=Path, help=HELP["kernel_tree"])
    group.addoption(
        "--config-fragment",
        type=Path,
        action="append",
        default=[],
        help=HELP["config_fragment"],
    )
    group.addoption("--flavor", action="append", default=[], help=HELP["flavor"])
    group.addoption("--config", type=Path, dest="kernel_config", help=HELP["config"])
    group.addoption("--apply-patches", action="store_true", help=HELP["apply_patches"])
    group.addoption("--patch", type=Path, action="append", default=[], help=HELP["patch"])
    group.addoption("--bzimage", default="", help=HELP["bzimage"])


def from_pytest(config: pytest.Config) -> Own:
    """What the user said, as options of pytest.

    Args:
        config: That of the session.

    Raises:
        UsageError: A file is not there, or two options contradict each other.
    """
    return given_own(config.getoption)
