# SPDX-License-Identifier: GPL-2.0-only
"""What is remembered of the trials whether KVM runs a guest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from harness.kernel.built import BuiltKernel
from harness.vm import accel
from harness.vm.hypervisor import Hypervisor

HANGS = "a guest did not boot under it within 20 s"
Trial = Callable[[str], str]


@pytest.fixture
def tried() -> list[str]:
    """The kernels that were tried."""
    return []


@pytest.fixture
def problem_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: list[str]) -> Trial:
    """What is said of a kernel; one whose name begins with "bad" does not boot."""

    def try_guest(_: Hypervisor, kernel: BuiltKernel) -> str:
        tried.append(kernel.bzimage.name)
        return HANGS if kernel.bzimage.name.startswith("bad") else ""

    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("KSPAWN_HOME", str(home))
    monkeypatch.setattr(accel, "try_guest", try_guest)
    monkeypatch.setattr(accel, "emulator_path", lambda: sys.executable)

    def ask(name: str) -> str:
        path = tmp_path / name
        path.write_text(name)
        kernel = cast(BuiltKernel, SimpleNamespace(bzimage=path))
        return accel._remembered(cast(Hypervisor, None), kernel)

    return ask


def test_each_kernel_is_tried_once(problem_of: Trial, tried: list[str]) -> None:
    for name in ("good", "bad", "good", "bad", "another"):
        assert problem_of(name) == (HANGS if name == "bad" else "")
    assert tried == ["good", "bad", "another"]


def test_where_no_kernel_runs_it_is_the_host(problem_of: Trial, tried: list[str]) -> None:
    for name in ("bad", "bad as well", "good", "another"):
        assert problem_of(name) == HANGS
    assert tried == ["bad", "bad as well"]


def test_one_broken_kernel_is_not_the_host(problem_of: Trial, tried: list[str]) -> None:
    assert [problem_of(name) for name in ("bad", "good", "bad as well", "more")] == [
        HANGS,
        "",
        HANGS,
        "",
    ]
    assert tried == ["bad", "good", "bad as well", "more"]


def test_another_qemu_is_tried_anew(
    problem_of: Trial, tried: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem_of("good")
    qemu = tmp_path / "qemu"
    qemu.write_text("another")
    monkeypatch.setattr(accel, "emulator_path", lambda: str(qemu))
    problem_of("good")
    assert tried == ["good", "good"]
