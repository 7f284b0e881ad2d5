# SPDX-License-Identifier: GPL-2.0-only
"""Does an image come back by way of a normal kernel that starts the resuming one?

A normal kernel boots with all its memory, as on any machine, finds the image,
and starts a resuming kernel in 0-16 MiB by a plain kexec.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.base.errors import RefusedError
from harness.cycle import damage
from harness.kernel.specs import load_vm_config
from harness.machine.states import State
from harness.plugin.suite import CycleSuite, Hibernated, NewCycle, assert_only_failed
from harness.record.result import Verdict
from harness.ways import conservative

pytestmark = pytest.mark.vm


@pytest.mark.ci
@pytest.mark.short
class TestCycle(CycleSuite):
    """One cycle on the chosen machine."""

    resume_path = "conservative"


@pytest.mark.parametrize(("config", "la57"), [("default", False), ("smp2", True)])
def test_paging_depths_and_cpus(new_cycle: NewCycle, config: str, la57: bool) -> None:
    result = new_cycle(
        config=load_vm_config(config).model_copy(update={"cpu_features": {"la57": la57}}),
        resume_path="conservative",
    ).run()
    assert result.verdict is Verdict.PASSED, result.reason


def test_flipped_bit_fails_the_witness(new_cycle: NewCycle) -> None:
    result = new_cycle(
        mutate_image=damage.flip_with_mending,
        resume_path="conservative",
    ).run()
    assert_only_failed(result, "witness.anonymous-memory")


@pytest.mark.parametrize(
    ("harm", "status", "state"),
    [
        # What the header says is seen before the kexec: the first kernel lives on.
        (damage.absent, "absent", State.RUNNING),
        (damage.flipped_in_header, "damaged", State.RUNNING),
        (damage.other_ram_size, "foreign", State.RUNNING),
        # What is wrong with the data is seen by the resuming kernel, which switches off.
        (damage.flipped_without_mending, "damaged", State.HIBERNATED),
    ],
)
def test_bad_image_is_refused(
    hibernated: Hibernated, harm: Callable[[Path], None], status: str, state: State
) -> None:
    machine = hibernated.again()
    harm(machine.disk)
    with pytest.raises(RefusedError) as refusal:
        conservative.resume(machine)
    assert refusal.value.status == status, refusal.value
    assert machine.state is state
    if state is State.RUNNING:
        assert machine.run("uname -s").check().strip() == "Linux"


def test_good_image_is_not_refused(hibernated: Hibernated) -> None:
    """The control of the refusals: the same copy, undamaged, resumes."""
    machine = hibernated.again()
    assert conservative.resume(machine)["outcome"] == "image"
