# SPDX-License-Identifier: GPL-2.0-only
"""The main job: hibernate a real kernel, power off, resume it, and judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.audit import audit
from harness.audit.moments import Moments
from harness.base.errors import (
    CheckFailedError,
    ExitCode,
    KernelCrashError,
    KernelError,
    KspawnError,
    RefusedError,
)
from harness.cycle import verdict, witness
from harness.cycle.checks.audit import audit_checks
from harness.cycle.checks.kernel import goes_on_check, kernel_checks
from harness.cycle.checks.log import log_checks
from harness.cycle.record import complete
from harness.cycle.script import Script
from harness.cycle.seen import Before, Seen, inspect, observe
from harness.cycle.witness import Witness
from harness.image.image import PAGE
from harness.kernel.vmconfig import VMConfig
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.machine.states import Timeouts
from harness.record.result import AGAIN, Check, Range, Result, Verdict
from harness.record.timeline import Timeline
from harness.ways import registry
from harness.ways.swsusp import image_info
from harness.ways.way import Way

# A kernel that loses everything is not to be asked for each thing.
MOST_ALONE = 3
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
        resume_path: The name of the way; see `harness.ways.registry`.
        mutate_running: Damages the running machine before the hibernation.
        mutate_image: Damages the hibernated machine's image.
        hibernate: False is the control: everything but the hibernation.
        disk_bytes: Size of the disk for the image.
        append: More of the normal kernel's command line.
        hibernating_append: More of the hibernating kernel's command line.
        resuming_append: More of that of the kernel which brings it back.
        timeouts: Other deadlines than those of the lab.
        expected: Patterns of splats and complaints that do not fail the run.
        only: The one kind of state that the witness holds; empty for all.
        damages: Kinds of state that are damaged once they are held, to see that the checks
            of just these fail.
        script: A user's script for sh, run in the machine. It calls `cycle` to have the
            machine go through the cycle. Its exit code is a check.
        fill: Per cent of MemTotal that are to be in use, filled by the witness.
        audit: Whether the host reads all of RAM before and after.
        trace: Whether QEMU logs exceptions, which takes several times as long. A cycle in
            which the machine is reset silently is run once more like that.
        root_image: An ext4 filesystem for the root of the machine; by default that of the lab.
    """

    lab: Lab
    folder: Path
    timeline: Timeline = field(default_factory=Timeline)
    config: VMConfig | None = None
    resume_path: str = registry.DEFAULT
    mutate_running: Mutation | None = None
    mutate_image: Mutation | None = None
    hibernate: bool = True
    disk_bytes: int | None = None
    append: str = ""
    hibernating_append: str = ""
    resuming_append: str = ""
    timeouts: Timeouts | None = None
    expected: tuple[str, ...] = ()
    only: str = ""
    damages: tuple[str, ...] = ()
    script: str = ""
    fill: int | None = None
    audit: bool = False
    trace: bool = False
    root_image: Path | None = None

    machine: Machine = field(init=False)
    witness: Witness = field(init=False)
    seen: Seen = field(init=False, default_factory=Seen)
    result: Result = field(init=False)
    page: tuple[int, int] = field(init=False, default=(0, 0))
    ranges: list[Range] = field(init=False, default_factory=list)
    moments: Moments | None = field(init=False, default=None)
    guest_script: Script | None = field(init=False, default=None)

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
            userland_disk=self.way.userland_disk,
            root_image=self.root_image,
        )
        if self.fill is None and not self.only:
            self.machine.arm = witness.command()
        if self.trace:
            self.machine.qemu.trace_exceptions()
        if self.audit and self.hibernate:
            self.moments = audit.watch(self.machine, at=self.way.audited)
        if self.timeouts is not None:
            self.machine.timeouts = self.timeouts
        try:
            self._run()
            self._judge()
        except KspawnError as exc:
            self._failed(exc)
            self._ask_why(exc)
        except BaseException as exc:
            self.result.reason = f"{type(exc).__name__}: {exc}"
            raise
        finally:
            self._finish()
        return self.result

    @property
    def way(self) -> Way:
        """The way that it takes."""
        return registry.get(self.resume_path)

    def _run(self) -> None:
        spawned = self.lab.kernels.spawned
        self.way.check_needs(spawned.config, label=f"{spawned.name} spawned")
        self.way.start(self.machine, self.append)
        self.result.warm = self.machine.started_warm
        with self.timeline.phase("witness", boot=1, kernel="normal"):
            self._start_witness()
            if self.script:
                self.guest_script = Script.start(self.machine, self.script)
            self.result.not_here = {
                f"witness.{name}": why for name, why in self.witness.not_here.items()
            }
            before = observe(self.machine)
            self.page = self.witness.locate(17)
        if self.mutate_running:
            self.mutate_running(self)
        if self.hibernate:
            self._leave_and_return()
            self._judge_audit()
        with self.timeline.phase("check", boot=self.machine.boot_number, kernel="normal"):
            self.result.checks += verdict.userland_checks(self.machine, self.witness, before)
            if self.guest_script is not None:
                self.result.checks.append(self.guest_script.finish())
            self.result.checks += self._machine_checks(before)

    def _machine_checks(self, before: Before) -> list[Check]:
        if not self.hibernate:
            return kernel_checks(self.machine, before)
        if self.way.resumes:
            return verdict.machine_checks(self.machine, before, self.seen, way=self.way)
        return verdict.baseline_checks(self.machine, before, self.way)

    def _judge_audit(self) -> None:
        if self.moments is not None:
            with self.timeline.phase("audit"):
                self.result.audit = audit.found_by(self.moments, self.machine.running)
            self.result.checks += audit_checks(self.result.audit)

    def _start_witness(self) -> None:
        mebibytes = witness.MEBIBYTES
        if self.fill is not None:
            mebibytes = witness.fill_mebibytes(witness.memory_use(self.machine), self.fill)
        self.witness = Witness.start(self.machine, mebibytes=mebibytes, only=self.only)
        # Before /proc is looked at: there is no change in it that is not of the way.
        self.witness.damage(*self.damages)
        self.result.memory = witness.memory_use(self.machine).model_copy(
            update={"witness_bytes": mebibytes << 20, "fill": self.fill}
        )

    def _leave_and_return(self) -> None:
        way, machine = self.way, self.machine
        try:
            way.leave(machine, self.hibernating_append)
            self._weigh_disk()
            if way.resumes:
                self._inspect()
            if self.mutate_image:
                self.mutate_image(self)
            if way.read:
                found = way.read(machine.disk, machine.config.memory_bytes)
                self.result.image, self.ranges = found or (None, [])
            if way.back:
                self.seen.back = way.back(machine, self.resuming_append)
        finally:
            if way.classic and self.result.image is None:
                self.result.image = image_info(machine)

    def _weigh_disk(self) -> None:
        """Blocks of the sparse file, as stat(2) counts them."""
        self.result.disk_bytes = self.machine.disk.stat().st_blocks * 512

    def _inspect(self) -> None:
        """Look at the image while the power is off."""
        with self.timeline.phase("verify image"):
            self.seen = inspect(self.machine)
            if self.seen.image is not None:
                self.result.image = self.seen.image.summary()

    def _judge(self) -> None:
        if bad := [check.name for check in self.result.checks if not check.ok]:
            self.machine.keep(f"failed checks: {', '.join(bad[:5])}")
        self.machine.close()
        self._ask_alone()
        self.result.checks += [*log_checks(self.machine), goes_on_check(self.machine)]
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

    def _ask_alone(self) -> None:
        """Run each witness that failed once more, alone, in a cycle of its own."""
        if self.only or not self._repeatable:
            return
        failed = [each for each in self.result.checks if not each.ok]
        lone = [each for each in failed if each.name.startswith("witness.")][:MOST_ALONE]
        for each in lone:
            name = each.name.partition(".")[2]
            with self.timeline.phase(f"alone: {name}"):
                again = replace(
                    self,
                    folder=self.folder / f"alone-{name}",
                    timeline=Timeline(),
                    only=name,
                    script="",
                ).run()
            held = all(check.ok for check in again.checks if check.name == each.name)
            ended = again.reason if not held or again.reason else "it held"
            each.detail += f"; alone in a cycle of its own: {ended}"

    @property
    def _repeatable(self) -> bool:
        """Whether another cycle would go through the same: nothing was damaged on purpose."""
        damaged = self.damages or self.mutate_running or self.mutate_image
        return self.hibernate and not damaged

    def _ask_why(self, exc: KspawnError) -> None:
        """Run once more what ended in a silent reset, with QEMU's log of exceptions.

        Before 6.15 a kernel jump has no handler of exceptions, and each resets the machine.
        """
        silent = isinstance(exc, KernelCrashError) and exc.splat is None
        if not silent or self.trace or self.lab.accelerator.name != "tcg":
            return
        self.machine.close()
        with self.timeline.phase("trace"):
            again = replace(
                self, folder=self.folder / "traced", timeline=Timeline(), trace=True, audit=False
            ).run()
        self.result.last_exception = again.last_exception
        seen = again.last_exception or "no CPU had a triple fault"
        self.result.reason += f"{AGAIN}{seen}"

    def _finish(self) -> None:
        result, machine = self.result, self.machine
        if self.moments is not None:
            if result.audit is None:
                result.audit = audit.found_by(self.moments, self.machine.running)
            self.moments.close()
        machine.close()
        if trace := machine.qemu.trace:
            trace.close()
            result.last_exception = str(trace.last or "")
            (self.folder / "exceptions.log").write_text(trace.text)
        complete(result, machine, image=self.seen.image, saved=self.ranges)
        if result.audit is not None and result.memory_map is not None:
            result.memory_map.ranges += [
                Range(start=page.address, end=page.address + PAGE, what="unexplained")
                for page in result.audit.named
            ]
        if any(not splat.expected for splat in result.splats):
            # Never green, and not the fault of what failed besides.
            result.verdict, result.exit_code = Verdict.FAILED, int(ExitCode.KERNEL)
        result.save(self.folder / "result.json")
        # Late: a machine is to boot first.
        from harness.report import report  # noqa: PLC0415

        report.write_report(result, self.folder)


def passed(result: Result, *names: str) -> bool:
    """Whether all the named checks were made and held."""
    got: dict[str, Check] = {check.name: check for check in result.checks}
    return all(name in got and got[name].ok for name in names)
