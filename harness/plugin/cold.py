# SPDX-License-Identifier: GPL-2.0-only
"""Whether the machines of a test boot, or may start from a state that was kept."""

from __future__ import annotations

import pytest

from harness.machine.lab import Lab

MARK = "cold: its machines boot, and do not start from a kept state"
_LAB = pytest.StashKey[Lab]()
_BOOTS = pytest.StashKey[bool]()
"""Whether the test that is run has the mark."""


def add_option(group: pytest.OptionGroup) -> None:
    """Add the option by which all machines boot.

    Args:
        group: The options of the bench.
    """
    group.addoption(
        "--cold",
        action="store_true",
        help="boot each normal kernel; by default it starts from a kept state where it can",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have machines boot where a test wants that: before its first fixture makes one."""
    item.config.stash[_BOOTS] = item.get_closest_marker("cold") is not None
    if made := item.config.stash.get(_LAB, None):
        join(item.config, made)


def join(config: pytest.Config, lab: Lab) -> None:
    """Have the machines of a lab boot or not, as the tests want it.

    Args:
        config: That of the session.
        lab: Where their machines are made.
    """
    config.stash[_LAB] = lab
    lab.warm = lab.options.warm and not config.stash.get(_BOOTS, False)
