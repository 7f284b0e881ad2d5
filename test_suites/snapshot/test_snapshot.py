# SPDX-License-Identifier: GPL-2.0-only
"""Does an image come back through /dev/snapshot, with no kexec and no patch?

A normal kernel with all its memory feeds it to swsusp; docs/resume-snapshot.md
says how. What it refuses, it refuses before anything is touched, and goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.base.errors import RefusedError
from harness.cycle import damage
from harness.kernel.specs import load_vm_config
from harness.machine.machine import Machine
from harness.machine.states import State
from harness.plugin.suite import CycleSuite, Hibernated, NewCycle, assert_only_failed
from harness.record.result import Verdict
from harness.ways import snapshot

pytestmark = pytest.mark.vm


@pytest.mark.ci
@pytest.mark.short
class TestCycle(CycleSuite):
    """One cycle on the chosen machine."""

    resume_path = "snapshot"


@pytest.mark.parametrize(("config", "la57"), [("default", False), ("smp2", True), ("smp2", False)])
def test_paging_depths_and_cpus(new_cycle: NewCycle, config: str, la57: bool) -> None:
    """The entry has page tables of the depth that the kernels run at."""
    features = {"la57": la57}
    cycle = new_cycle(
        config=load_vm_config(config).model_copy(update={"cpu_features": features}),
        resume_path="snapshot",
    )
    result = cycle.run()
    assert result.verdict is Verdict.PASSED, result.reason
    levels = cycle.machine.status_of("resuming", "restored")["levels"]
    assert levels == (5 if la57 else 4)


@pytest.mark.parametrize("memory", ["256MiB", "2GiB"])
def test_sizes_of_memory(new_cycle: NewCycle, memory: str) -> None:
    """Also beyond the GiB that one page directory maps."""
    result = new_cycle(
        config=load_vm_config("default").model_copy(update={"memory": memory}),
        resume_path="snapshot",
    ).run()
    assert result.verdict is Verdict.PASSED, result.reason


def test_image_of_all_memory(new_cycle: NewCycle) -> None:
    """Free pages are in it: most are zero, and the entry clears them."""
    result = new_cycle(
        hibernating_append="kspawn.filter=0",
        resume_path="snapshot",
    ).run()
    assert result.verdict is Verdict.PASSED, result.reason
    assert result.image is not None
    assert result.image.free_bytes == 0


def test_flipped_bit_fails_the_witness(new_cycle: NewCycle) -> None:
    result = new_cycle(
        mutate_image=damage.flip_with_mending,
        resume_path="snapshot",
    ).run()
    assert_only_failed(result, "witness.anonymous-memory")


@pytest.mark.parametrize(
    ("harm", "status"),
    [
        (damage.absent, "absent"),
        (damage.flipped_in_header, "damaged"),
        (damage.flipped_without_mending, "damaged"),
        (damage.truncated, "truncated"),
        (damage.other_ram_size, "foreign"),
        (damage.other_format, "foreign"),
    ],
)
def test_bad_image_is_refused_and_the_loader_lives_on(
    hibernated: Hibernated, harm: Callable[[Path], None], status: str
) -> None:
    """Even when most of the image has been loaded: all of that is given back."""
    machine = hibernated.again()
    harm(machine.disk)
    with pytest.raises(RefusedError) as refusal:
        snapshot.resume(machine)
    assert refusal.value.status == status, refusal.value
    assert_lives_on(machine, hibernated.boot_id)


def assert_lives_on(machine: Machine, hibernated: str) -> None:
    """It is the kernel that was to load the image, whole and with its memory."""
    assert machine.state is State.RUNNING
    text = machine.run("cat /proc/sys/kernel/random/boot_id; free -m | grep Mem:").check()
    boot_id, _, total, _, free, *_ = text.split()
    assert boot_id == machine.status_of("resuming", "init")["boot_id"]
    assert boot_id != hibernated
    assert int(free) > 0.7 * int(total), text
    assert "Freezing" not in machine.run("dmesg").check()


def test_good_image_is_not_refused(hibernated: Hibernated) -> None:
    """The control of the refusals: the same copy, undamaged, resumes."""
    machine = hibernated.again()
    assert snapshot.resume(machine)["outcome"] == "image"
    text = machine.run("cat /proc/sys/kernel/random/boot_id").check()
    assert text.strip() == hibernated.boot_id


def test_image_beyond_free_memory_is_refused(machine: Machine) -> None:
    """It says so before it begins, and `restricted` can still take the image."""
    boot_id = str(machine.boot()["boot_id"])
    machine.run("head -c 1048576 /dev/urandom >/tmp/x").check()
    machine.run("for i in $(seq 240); do cat /tmp/x; done >/dev/shm/x").check()
    before = machine.run("md5sum /dev/shm/x").check()
    machine.hibernate()
    with pytest.raises(RefusedError, match="of free memory") as refusal:
        snapshot.resume(machine, append="mem=256M")
    assert refusal.value.status == "no-memory"
    assert_lives_on(machine, boot_id)
    machine.unplug()
    assert machine.resume()["outcome"] == "image"
    assert machine.run("md5sum /dev/shm/x").check() == before


def test_restore_that_fails_leaves_the_loader_running(machine: Machine) -> None:
    """A device refuses at the last moment: all is thawed, the image is used up."""
    machine.boot()
    machine.hibernate()
    boot_id = machine.boot()["boot_id"]
    machine.load_module("kspawn_fault", mode="fail")
    machine.expected.append("kspawn_fault.0: PM: failed to quiesce")
    # Nobody reads the status port while a command runs: a full one would stall it.
    resume = f"kspawn resume-snapshot -d {machine.disk_name()} -s /dev/null"
    done = machine.run(resume)
    assert done.exit_code == 1
    assert "no-restore: SNAPSHOT_ATOMIC_RESTORE" in done.err
    assert "Restarting tasks" in machine.run("dmesg").check()
    assert machine.run("cat /proc/sys/kernel/random/boot_id").check().strip() == boot_id
    again = machine.run(resume)
    assert (again.exit_code, "absent" in again.err) == (1, True), again.err
