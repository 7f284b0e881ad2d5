# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own tests of kexec, in the normal kernel: what do they say?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cycle import selftests
from harness.cycle.selftests import SELFTESTS
from harness.kernel import versions
from harness.logs import ktap
from harness.logs.ktap import Status
from harness.machine.lab import Lab, build_kernels
from harness.machine.machine import Machine
from harness.record.timeline import Timeline

pytestmark = pytest.mark.vm

Record = Callable[[str, object], None]


def judge(tests: list[ktap.Test], record: Record) -> None:
    """Note each case, for JUnit's report and that of a night, and fail if one is not good."""
    cases = [case for test in tests for case in test.cases()]
    assert cases, "no test reported"
    for path, case in cases:
        record(*ktap.to_property(path, case))
    bad = [f"{path}: {case.reason or case.log[-3:]}" for path, case in cases if not case.good]
    assert not bad, "; ".join(bad)


def announce(lab: Lab, machine: Machine) -> None:
    """test_kexec_jump jumps into an int3: where the kernel tells of exceptions, it does."""
    if versions.facts().can("jump-exceptions", lab.spec.kernel_version()):
        machine.expected.append("^breakpoint at 0x")


def source(lab: Lab) -> Path:
    tree = lab.kernels.normal.tree
    if not (tree / SELFTESTS / selftests.KEXEC).is_dir():
        pytest.skip(f"{lab.kernels.normal.name}: no source with {SELFTESTS}")
    return tree


@pytest.mark.ci
def test_kexec_selftests(lab: Lab, machine: Machine, folder: Path, record_property: Record) -> None:
    source(lab)
    announce(lab, machine)
    machine.boot()
    tests = selftests.run_selftests(machine, lab.kernels.normal, folder)
    judge(tests, record_property)
    ran = [test.name for test in tests if test.status is Status.PASSED]
    assert ran, f"all were skipped: {[test.reason for test in tests]}"
    # Mainline's own jump: where there is such a test, it has to run.
    if (lab.kernels.normal.tree / SELFTESTS / selftests.KEXEC / "test_kexec_jump.sh").exists():
        assert "selftests: kexec: test_kexec_jump.sh" in ran
        assert bool(machine.expected) is any(splat.expected for splat in machine.splats)


@pytest.mark.ci
def test_a_selftest_that_fails_is_seen(lab: Lab, machine: Machine, folder: Path) -> None:
    """The control: kexec_load of something that is no kernel."""
    source(lab)
    announce(lab, machine)
    machine.boot()
    kernel = folder / "kernel"
    kernel.mkdir()
    (kernel / "bzImage").write_bytes(bytes(4096))
    (kernel / "release").write_text(lab.kernels.normal.release)
    tests = selftests.run_selftests(machine, replace(lab.kernels.normal, folder=kernel), folder)
    bad = [test for test in tests if not test.good]
    assert [test.name for test in bad] == ["selftests: kexec: test_kexec_load.sh"]
    assert bad[0].reason == "exit=1"
    assert "kexec_load failed [FAIL]" in bad[0].log


def test_kunit(
    lab: Lab,
    folder: Path,
    new_timeline: Callable[[], Timeline],
    record_property: Record,
) -> None:
    options = selftests.kunit_options(source(lab))
    if not options:
        pytest.skip(f"{lab.kernels.normal.name} has no KUnit suite for kexec")
    fragment = folder / "kunit.config"
    fragment.write_text(selftests.kunit_fragment(options))
    own = lab.options.own
    kernels = build_kernels(
        lab.spec, own=replace(own, fragments=(*own.fragments, fragment.absolute()))
    )
    with lab.machine(folder, timeline=new_timeline(), kernels=kernels) as machine:
        # Built in they are off, unless KUNIT_DEFAULT_ENABLED is set; and since v6.16 they
        # do not run by themselves, unless KUNIT_AUTORUN_ENABLED is.
        machine.boot(append="kunit.enable=1 kunit.autorun=1")
        command = "cat /sys/kernel/debug/kunit/*/results"
        (folder / "kunit.ktap").write_text(machine.run(command).check())
        log = (folder / "1-normal.log").read_bytes().decode(errors="replace")
    tests = ktap.parse(log)
    judge(tests, record_property)
    # By two ways, the same: the log, and debugfs.
    again = ktap.parse((folder / "kunit.ktap").read_text())
    assert {path for test in again for path, _ in test.cases()} == {
        path for test in tests for path, _ in test.cases()
    }
