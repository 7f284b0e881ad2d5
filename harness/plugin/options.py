# SPDX-License-Identifier: GPL-2.0-only
"""The options of the bench in pytest, and what the user chose by them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.guest import debianimage
from harness.kernel.specs import DEFAULT
from harness.machine import keep
from harness.machine.options import Options
from harness.plugin import cold, faults, own
from harness.vm import choices
from harness.ways import registry


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the bench."""
    group = parser.getgroup("kspawn")
    group.addoption("--kernel", default=DEFAULT, help="name or YAML file of the kernel")
    group.addoption("--vm-config", default="default", help="name or YAML file of the machine")
    own.add_pytest_options(group)
    group.addoption(
        "--keep-memory",
        default="0",
        metavar="SIZE",
        help="keep the memory of machines that break, if it is not above this size",
    )
    group.addoption(
        "--no-audit",
        action="store_true",
        help="do not have the host read all of RAM before and after a cycle",
    )
    group.addoption(
        "--userland",
        type=Path,
        metavar="DIR|IMAGE|debian",
        help="a folder that is added to the userland of the normal kernel, or an ext4 root of it",
    )
    cold.add_option(group)
    group.addoption(
        "--witness", default="", metavar="NAME", help="hold only this kind of state in a cycle"
    )
    group.addoption(
        "--run", default="", metavar="SCRIPT", help="a script for sh that calls `cycle`"
    )
    group.addoption("--accel", choices=choices.ACCELERATORS, default="auto", help="accelerator")
    group.addoption("--libvirt-uri", default=choices.EMBEDDED, help="where the machines run")
    group.addoption(
        "--resume-path",
        choices=registry.resume_paths(),
        default=registry.DEFAULT,
        help="the way back",
    )
    faults.add_options(group)
    group.addoption("--built", type=Path, help="list of kernels that were built elsewhere")
    group.addoption("--results", type=Path, default=Path("results"), help="folder of the results")
    group.addoption("--run-folder", type=Path, help="folder of this run; by default a new one")


def chosen(pytestconfig: pytest.Config) -> Options:
    """What the user chose.

    Raises:
        UsageError: A folder or a file that is named is none.
    """
    return Options(
        kernel=pytestconfig.getoption("--kernel"),
        vm_config=pytestconfig.getoption("--vm-config"),
        accel=pytestconfig.getoption("--accel"),
        libvirt_uri=pytestconfig.getoption("--libvirt-uri"),
        own=own.from_pytest(pytestconfig),
        built=pytestconfig.getoption("--built"),
        keep_bytes=keep.parse_size(pytestconfig.getoption("--keep-memory")),
        audit=not pytestconfig.getoption("--no-audit"),
        warm=not pytestconfig.getoption("--cold"),
        userland=debianimage.given(pytestconfig.getoption("--userland")),
    )
