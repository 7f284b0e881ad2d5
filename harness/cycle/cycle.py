# SPDX-License-Identifier: GPL-2.0-only
"""The main job: hibernate a real kernel, power off, resume it, and judge."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.base.errors import CheckFailedError, ExitCode, KernelError, KspawnError, RefusedError
from harness.cycle import verdict, witness
from harness.cycle.verdict import Seen
from harness.cycle.witness import Witness
from harness.image.image import Image
from harness.kernel import needs
from harness.kernel.specs import VMConfig
from harness.machine.lab import Lab
from harness.machine.machine import SPAWNED_END, Machine, Timeouts
from harness.record.result import BY_HAND, Check, MemoryMap, Range, Result, Verdict
from harness.record.timeline import Timeline
from harness.report import report
from harness.ways import baselines

# The ways back.
RESUMES: Mapping[str, Callable[..., dict[str, Any]]] = {
    "restricted": Machine.resume,
    "in-place": Machine.resume_in_place,
    "conservative": Machine.resume_conservative,
    "snapshot": Machine.resume_snapshot,
}
RESUME_PATHS = tuple(RESUMES)
# All ways to leave the normal kernel and to come back to it.
WAYS = (*RESUME_PATHS, *baselines.BASELINES)

# Called with the machine (hibernated or resumed) and the witness, to damage it.
Mutation = Callable[["Cycle"], None]


@dataclass
class Cycle:
    """One hibernation and resume, and what it found.

    Args:
        lab: Where it runs.
        folder: Where its results go.
        timeline: Where its phases go.
        config: The hardware; by default that of the lab.
        resume_path: The way back, or a baseline: one of WAYS.
        mutate_running: Damages the running machine before the hibernation.
        mutate_image: Damages the hibernated machine's image.
        hibernate: False is the control: everything but the hibernation.
        disk_bytes: Size of the disk for the image.
        append: More of the normal kernel's command line.
        hibernating_append: More of the hibernating kernel's command line.
        resuming_append: More of that of the kernel which brings it back.
        grown: The normal kernel is a resuming one that found no image.
        timeouts: Other deadlines than those of the lab.
        expected: Patterns of splats that do not fail the run.
        fill: Per cent of MemTotal that are to be in use, filled by the witness.
    """

    lab: Lab
    folder: Path
    timeline: Timeline = field(default_factory=Timeline)
    config: VMConfig | None = None
    resume_path: str = "restricted"
    mutate_running: Mutation | None = None
    mutate_image: Mutation | None = None
    hibernate: bool = True
    disk_bytes: int | None = None
    append: str = ""
    hibernating_append: str = ""
    resuming_append: str = ""
    grown: bool = False
    timeouts: Timeouts | None = None
    expected: tuple[str, ...] = ()
    fill: int | None = None

    machine: Machine = field(init=False)
    witness: Witness = field(init=False)
    seen: Seen = field(init=False, default_factory=Seen)
    result: Result = field(init=False)
    page: tuple[int, int] = field(init=False, default=(0, 0))
    ranges: list[Range] = field(init=False, default_factory=list)

    def run(self) -> Result:
        """Run it, and leave result.json and report.html.

        Returns:
            The result; whatever went wrong is in it.

        Raises:
            KeyboardInterrupt: The user gave up; the result says so.
        """
        config = self.config or self.lab.config
        self.folder.mkdir(parents=True, exist_ok=True)
        self.result = Result(
            run=self.folder.name,
            started=datetime.now(UTC),
            resume_path=self.resume_path,
            vm_config=config.name,
            cpus=config.cpus,
            kernels=self.lab.kernel_info(),
            accelerator=self.lab.accelerator,
        )
        self.machine = self.lab.machine(
            self.folder,
            timeline=self.timeline,
            config=config,
            disk_bytes=self.disk_bytes,
            expected=self.expected,
            userland_disk=self.grown,
        )
        if self.timeouts is not None:
            self.machine.timeouts = self.timeouts
        try:
            self._run()
            self._judge()
        except KspawnError as exc:
            self._failed(exc)
        except BaseException as exc:
            self.result.reason = f"{type(exc).__name__}: {exc}"
            raise
        finally:
            self._finish()
        return self.result

    def _run(self) -> None:
        spawned = self.lab.kernels.spawned
        needs.check_way(spawned.config, self.resume_path, label=f"{spawned.name} spawned")
        if self.grown:
            self.machine.resume_or_start(append=self.append)
        else:
            self.machine.boot(append=self.append)
        with self.timeline.phase("witness", boot=1, kernel="normal"):
            self._start_witness()
            before = verdict.observe(self.machine)
            self.page = self.witness.locate(17)
        if self.mutate_running:
            self.mutate_running(self)
        baseline = baselines.BASELINES.get(self.resume_path)
        if baseline:
            self._leave_and_return(baseline)
        elif self.hibernate:
            self.machine.hibernate(append=self.hibernating_append)
            self._weigh_disk()
            self._inspect()
            if self.mutate_image:
                self.mutate_image(self)
            resume = RESUMES[self.resume_path]
            self.seen.back = resume(self.machine, append=self.resuming_append)
        with self.timeline.phase("check", boot=self.machine.boot_number, kernel="normal"):
            self.result.checks += verdict.userland_checks(self.machine, self.witness, before)
            if baseline:
                self.result.checks += baselines.checks(self.machine, before, baseline)
            elif self.hibernate:
                self.result.checks += verdict.machine_checks(
                    self.machine, before, self.seen, resume_path=self.resume_path
                )
            else:
                self.result.checks += verdict.kernel_checks(self.machine, before)

    def _start_witness(self) -> None:
        empty = witness.memory_use(self.machine)
        mebibytes = witness.MEBIBYTES
        if self.fill is not None:
            mebibytes = witness.fill_mebibytes(empty, self.fill)
        self.witness = Witness.start(self.machine, mebibytes=mebibytes)
        self.result.memory = witness.memory_use(self.machine).model_copy(
            update={"witness_bytes": mebibytes << 20, "fill": self.fill}
        )

    def _leave_and_return(self, baseline: baselines.Baseline) -> None:
        try:
            baseline.leave(self.machine)
            self._weigh_disk()
            if baseline.read:
                found = baseline.read(self.machine.disk, self.machine.config.memory_bytes)
                self.result.image, self.ranges = found or (None, [])
            if baseline.back:
                baseline.back(self.machine)
        finally:
            if baseline.classic and self.result.image is None:
                self.result.image = baselines.image_info(self.machine)

    def _weigh_disk(self) -> None:
        """Blocks of the sparse file, as stat(2) counts them."""
        self.result.disk_bytes = self.machine.disk.stat().st_blocks * 512

    def _inspect(self) -> None:
        """Look at the image while the power is off."""
        with self.timeline.phase("verify image"):
            self.seen = verdict.inspect(self.machine)
            if self.seen.image is not None:
                self.result.image = self.seen.image.summary()

    def _judge(self) -> None:
        if bad := [check.name for check in self.result.checks if not check.ok]:
            self.machine.keep(f"failed checks: {', '.join(bad[:5])}")
        self.machine.close()
        self.result.checks.append(verdict.log_check(self.machine))
        failed = [check for check in self.result.checks if not check.ok]
        if failed:
            names = ", ".join(check.name for check in failed[:5])
            self._failed(
                CheckFailedError(f"{len(failed)} of {len(self.result.checks)} checks: {names}")
            )
        else:
            self.result.verdict, self.result.exit_code = Verdict.PASSED, int(ExitCode.PASSED)

    def _failed(self, exc: KspawnError) -> None:
        self.result.verdict = Verdict.FAILED
        self.result.exit_code = int(exc.exit_code)
        self.result.reason = str(exc)
        if isinstance(exc, KernelError):
            self.result.log_tail = exc.log_tail
        if isinstance(exc, RefusedError):
            self.result.refused = exc.status

    def _finish(self) -> None:
        result, machine = self.result, self.machine
        machine.close()
        complete(result, machine, image=self.seen.image, saved=self.ranges)
        if any(not splat.expected for splat in result.splats):
            # Never green, and not the fault of what failed besides.
            result.verdict, result.exit_code = Verdict.FAILED, int(ExitCode.KERNEL)
        result.save(self.folder / "result.json")
        report.write_report(result, self.folder)


# What a kernel says of the firmware's map as it begins to boot (arch/x86/kernel/e820.c).
_E820 = re.compile(r"BIOS-e820: \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\] (\w+)")


def firmware_ranges(log: str, ram: int) -> list[Range]:
    """RAM and what is reserved in it, by the firmware's map.

    Args:
        log: The log of a kernel, from its first lines.
        ram: The RAM of the machine, in bytes: far above it devices are reserved.
    """
    found = [(int(start, 16), int(end, 16) + 1, what) for start, end, what in _E820.findall(log)]
    top = max([ram, *(end for _, end, what in found if what == "usable")])
    return [
        Range(start=start, end=end, what="System RAM" if what == "usable" else "reserved")
        for start, end, what in found
        if start < top
    ]


def memory_map(machine: Machine, image: Image | None, saved: Sequence[Range]) -> MemoryMap:
    """What was where, from the kernels' own words and the image.

    Args:
        machine: A machine whose kernels have reported.
        image: The image, if there was one.
        saved: What is in an image of another kind.
    """
    ram = machine.config.memory_bytes
    texts = (log.path.read_text(errors="replace") for log in machine.logs if log.path.exists())
    maps = (firmware_ranges(text, ram) for text in texts)
    ranges: list[Range] = next((found for found in maps if found), [])
    if any(line.get("event") == "init" for line in machine.status_lines):
        ranges.append(Range(start=0, end=SPAWNED_END, what="spawned"))
    for line in machine.status_lines:
        if line.get("event") in ("saving", "plain"):
            ranges += _ranges(line.get("backup", []), "backup")
            break
    ranges += _hot_added(machine)
    ranges += saved
    if image is not None:
        for segment in image.segments:
            if segment.stored:
                stored = segment.phys + segment.stored
                ranges.append(Range(start=segment.phys, end=stored, what="saved"))
            if segment.size > segment.stored:
                ranges.append(
                    Range(
                        start=segment.phys + segment.stored,
                        end=segment.phys + segment.size,
                        what="zero",
                    )
                )
        ranges += [Range(start=start, end=end, what="free") for start, end in image.free_ranges()]
        restored = [line for line in machine.status_lines if line.get("event") == "restored"]
        if restored:
            ranges.append(Range(start=0, end=SPAWNED_END, what="swap_pages"))
            ranges += _restored(image, str(restored[-1].get("by")))
    return MemoryMap(ram_bytes=ram, ranges=ranges)


def _hot_added(machine: Machine) -> list[Range]:
    """Whole blocks of RAM above 16 MiB, where a resuming kernel says that it added them."""
    grown = [line for line in machine.status_lines if line.get("event") == "grown"]
    known = [line for line in machine.status_lines if line.get("firmware_ram")]
    if not grown or not known or grown[-1].get("refused_blocks"):
        return []
    block = int(grown[-1]["block_bytes"])
    found = []
    for start, end in known[-1]["firmware_ram"]:
        first = -(-max(start, SPAWNED_END) // block) * block
        last = end // block * block
        if first < last:
            found.append(Range(start=first, end=last, what="hot-added"))
    return found


def _restored(image: Image, by: str) -> list[Range]:
    """What the image brought back, neighbours joined."""
    ranges: list[Range] = []
    for segment in image.segments:
        if ranges and ranges[-1].end == segment.phys:
            ranges[-1].end = segment.phys + segment.size
        else:
            ranges.append(Range(start=segment.phys, end=segment.phys + segment.size, what=by))
    return ranges


def _ranges(pairs: list[list[int]], what: str) -> list[Range]:
    return [Range(start=start, end=end, what=what) for start, end in pairs]


def passed(result: Result, *names: str) -> bool:
    """Whether all the named checks were made and held."""
    got: dict[str, Check] = {check.name: check for check in result.checks}
    return all(name in got and got[name].ok for name in names)


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
    good = failure is None
    result = Result(
        run=machine.folder.name,
        verdict=Verdict.PASSED if good else Verdict.FAILED,
        exit_code=int(ExitCode.PASSED if good else ExitCode.CHECK_FAILED),
        reason=failure or "",
        resume_path=BY_HAND,
        vm_config=machine.config.name,
        cpus=machine.config.cpus,
        kernels=lab.kernel_info(),
        accelerator=lab.accelerator,
        checks=[Check(name=f"test.{name}", ok=good, detail=failure or "")],
    )
    complete(result, machine)
    result.image = baselines.image_info(machine)
    result.save(machine.folder / "result.json")
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
    result.splats = machine.splats
    result.jump_command = machine.jump_command
    result.phases, result.events = machine.timeline.phases, machine.timeline.events
    result.seconds = machine.timeline.now()
    result.logs = machine.log_files()
    result.memory_map = memory_map(machine, image, saved)
