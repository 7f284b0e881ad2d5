# SPDX-License-Identifier: GPL-2.0-only
"""Does an image come back by kexec_load alone, straight to where it belongs?

The resuming kernel, in 0-16 MiB, has no /dev/mem. It writes the memory of the
normal kernel through kexec_load with KEXEC_IN_PLACE, which must refuse all that
the resuming kernel itself uses; docs/resume-in-place.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.base.errors import RefusedError
from harness.cycle import damage
from harness.kernel.specs import load_vm_config
from harness.machine.lab import Lab
from harness.machine.states import State
from harness.plugin.suite import CycleSuite, Hibernated, NewCycle, assert_only_failed
from harness.record.result import Result, Verdict
from harness.ways import in_place

pytestmark = pytest.mark.vm

# Per cent of memory in use, filled by the witness, which checks it afterwards.
FILL = 65

# What kexec_load says, as include/uapi/linux/kexec.h has it.
ANSWERS = {
    # Memory of the kernel that is asked, whole and in part.
    "own_memory": "EADDRNOTAVAIL",
    "end_of_own_memory": "EADDRNOTAVAIL",
    "around_own_memory": "EADDRNOTAVAIL",
    # Devices, and where there is nothing.
    "vga": "EADDRNOTAVAIL",
    "local_apic": "EADDRNOTAVAIL",
    "no_ram": "EADDRNOTAVAIL",
    "end_of_ram": "EADDRNOTAVAIL",
    "unaligned": "EADDRNOTAVAIL",
    "entry_outside": "EADDRNOTAVAIL",
    "no_buffer": "EFAULT",
    "more_alone": "EINVAL",
    "on_crash": "EINVAL",
    # The limit of half the memory, which only a load that is copied has.
    "half_copied": "EINVAL",
    "half_in_place": "ok",
    "end_of_ram_in_place": "ok",
    # Loaded, the place is claimed in /proc/iomem; KEXEC_MORE unloads it.
    "entry_inside": "ok",
    "claimed": "yes",
    "after_more": "ok",
    "claimed_after": "no",
    "jump": "EINVAL",
}


@pytest.mark.ci
class TestCycle(CycleSuite):
    """One cycle, with an image beyond half of RAM, and all that is to be refused tried first."""

    resume_path = "in-place"
    fill = FILL
    resuming_append = "kspawn.probe=1"

    @pytest.fixture(scope="class")
    @staticmethod
    def answers(cycle_result: Result, run_folder: Path) -> dict[str, str]:
        """What kexec_load said before the image was restored."""
        status = run_folder / cycle_result.run / "2-status.log"
        lines = [json.loads(line) for line in status.read_text().splitlines() if line.strip()]
        return next((line for line in lines if line.get("event") == "probed"), {})

    def test_image_is_beyond_half_of_memory(self, cycle_result: Result) -> None:
        assert cycle_result.image is not None
        assert cycle_result.memory_map is not None
        assert cycle_result.image.stored_bytes > cycle_result.memory_map.ram_bytes // 2

    @pytest.mark.parametrize(("question", "answer"), ANSWERS.items())
    def test_answer_of_kexec_load(
        self, answers: dict[str, str], question: str, answer: str
    ) -> None:
        assert answers.get(question) == answer

    def test_strict_devmem_is_on(self, lab: Lab) -> None:
        """In the config; that it bites is part of the check restore.way."""
        config = lab.kernels.spawned.config
        assert (config.get("STRICT_DEVMEM"), config.get("KEXEC_IN_PLACE")) == ("y", "y")


@pytest.mark.parametrize(
    ("harm", "status"),
    [
        # Seen when nearly all of the image has been written already.
        pytest.param(damage.flipped_without_mending, "damaged", marks=pytest.mark.ci),
        (damage.flipped_in_header, "damaged"),
        (damage.truncated, "truncated"),
        (damage.other_ram_size, "foreign"),
        (damage.absent, "absent"),
    ],
)
def test_bad_image_is_refused_without_a_jump(
    hibernated: Hibernated, harm: Callable[[Path], None], status: str
) -> None:
    machine = hibernated.again()
    harm(machine.disk)
    before = len(machine.status_lines)
    with pytest.raises(RefusedError) as refusal:
        in_place.resume(machine)
    assert refusal.value.status == status, refusal.value
    events = [str(line["event"]) for line in machine.status_lines[before:]]
    assert events == ["init", "restoring", "refused", "power-off"]
    assert machine.state is State.HIBERNATED
    assert [splat.title for splat in machine.splats] == []


@pytest.mark.ci
def test_without_dev_mem_the_other_way_is_refused(hibernated: Hibernated) -> None:
    """The control of "/dev/mem is not used": the way that does use it misses it."""
    machine = hibernated.again()
    with pytest.raises(RefusedError) as refusal:
        machine.resume(append="kspawn.dev_mem=0")
    assert refusal.value.status == "no-dev-mem", refusal.value
    assert machine.state is State.HIBERNATED


def test_good_image_is_not_refused(hibernated: Hibernated) -> None:
    """The control of the refusals: the same copy, undamaged, resumes."""
    machine = hibernated.again()
    assert in_place.resume(machine)["outcome"] == "image"


@pytest.mark.parametrize(
    ("config", "features"),
    [
        ("default", {"la57": False}),
        ("default", {"la57": True, "pdpe1gb": False}),
        ("smp2", {"la57": True, "pdpe1gb": True}),
        ("ram256", {}),
        ("ram2g", {}),
        ("q35-sata-smp2", {}),
    ],
)
def test_machines(new_cycle: NewCycle, config: str, features: dict[str, bool]) -> None:
    result = new_cycle(
        config=load_vm_config(config).model_copy(update={"cpu_features": features}),
        resume_path="in-place",
    ).run()
    assert result.verdict is Verdict.PASSED, f"{result.reason}\n{result.log_tail}"


def test_flipped_bit_fails_the_witness(new_cycle: NewCycle) -> None:
    result = new_cycle(
        mutate_image=damage.flip_with_mending,
        resume_path="in-place",
    ).run()
    assert_only_failed(result, "witness.anonymous-memory")
