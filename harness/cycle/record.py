# SPDX-License-Identifier: GPL-2.0-only
"""What a machine went through, written down as a result and a report."""

from __future__ import annotations

from collections.abc import Sequence

from harness.base.errors import ExitCode
from harness.cycle.checks.log import no_complaints
from harness.cycle.memorymap import memory_map
from harness.image.image import Image
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.record.result import BY_HAND, Check, Range, Result, Verdict
from harness.ways.swsusp import image_info


def record(lab: Lab, machine: Machine, *, name: str, failure: str | None) -> Result:
    """Leave result.json and report.html of a machine that was driven by hand.

    Args:
        lab: Where it ran.
        machine: The machine; it is switched off.
        name: What drove it, such as the name of a test.
        failure: Why that failed, in one line, or None.

    Returns:
        The result.
    """
    machine.close()
    no_complaint = no_complaints(machine)
    good = failure is None and no_complaint.ok
    result = Result(
        run=machine.folder.name,
        verdict=Verdict.PASSED if good else Verdict.FAILED,
        exit_code=int(ExitCode.PASSED if good else ExitCode.CHECK_FAILED),
        reason=failure or ("" if good else f"{no_complaint.name}: {no_complaint.detail}"),
        warm=machine.started_warm,
        resume_path=BY_HAND,
        vm_config=machine.config.name,
        cpus=machine.config.cpus,
        kernels=lab.kernel_info(),
        accelerator=lab.accelerator,
        checks=[Check(name=f"test.{name}", ok=failure is None, detail=failure or ""), no_complaint],
    )
    complete(result, machine)
    result.image = image_info(machine)
    result.save(machine.folder / "result.json")
    # Late, as in `Cycle`.
    from harness.report import report  # noqa: PLC0415

    report.write_report(result, machine.folder)
    return result


def complete(
    result: Result, machine: Machine, *, image: Image | None = None, saved: Sequence[Range] = ()
) -> None:
    """Note in a result what a machine went through.

    Args:
        result: The result.
        machine: A machine that is switched off.
        image: The image, if there was one.
        saved: What is in an image of another kind.
    """
    result.splats, result.complaints = machine.splats, machine.complaints
    result.jump_command = machine.jump_command
    result.phases, result.events = machine.timeline.phases, machine.timeline.events
    result.seconds = machine.timeline.now()
    result.logs = machine.log_files()
    result.memory_map = memory_map(machine, image, saved)
