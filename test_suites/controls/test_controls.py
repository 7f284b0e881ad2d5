# SPDX-License-Identifier: GPL-2.0-only
"""Can the verdict be trusted? Control runs pass, mutation runs fail.

Nothing done must pass; state that is damaged on purpose must be noticed, by
the witness where the image looks right, and by the resuming kernel where it
does not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.base.errors import RefusedError
from harness.cycle import damage
from harness.machine.states import State
from harness.plugin.suite import Hibernated, NewCycle, assert_only_failed
from harness.record.result import Verdict

pytestmark = [pytest.mark.vm, pytest.mark.ci]


def test_no_hibernation_passes(new_cycle: NewCycle) -> None:
    result = new_cycle(hibernate=False).run()
    assert result.verdict is Verdict.PASSED, result.reason
    assert len(result.checks) > 20


@pytest.mark.short
def test_flipped_bit_fails_the_witness(new_cycle: NewCycle) -> None:
    result = new_cycle(mutate_image=damage.flip_with_mending).run()
    failed = assert_only_failed(result, "witness.anonymous-memory")
    assert "page 17 word 1" in failed["witness.anonymous-memory"]


@pytest.mark.parametrize(
    ("harm", "status"),
    [
        (damage.absent, "absent"),
        (damage.half_written, "absent"),
        (damage.flipped_without_mending, "damaged"),
        (damage.flipped_in_header, "damaged"),
        (damage.truncated, "truncated"),
        (damage.other_ram_size, "foreign"),
        (damage.other_format, "foreign"),
        (damage.other_program, "foreign"),
    ],
)
def test_bad_image_is_refused(
    hibernated: Hibernated, harm: Callable[[Path], None], status: str
) -> None:
    machine = hibernated.again()
    harm(machine.disk)
    with pytest.raises(RefusedError) as refusal:
        machine.resume()
    assert refusal.value.status == status, refusal.value
    assert machine.state is State.HIBERNATED


def test_good_image_is_not_refused(hibernated: Hibernated) -> None:
    """The control of the refusals: the same copy, undamaged, resumes."""
    machine = hibernated.again()
    assert machine.resume()["outcome"] == "image"
    assert machine.state is State.RUNNING
