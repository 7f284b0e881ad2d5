# SPDX-License-Identifier: GPL-2.0-only
"""Does each check of the verdict fail alone when its own thing is wrong?

The status lines are those of a real cycle (logs/cycle-status.jsonl); a
mutation changes one thing of what was seen.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.cycle import verdict
from harness.cycle.checks import kernel
from harness.cycle.seen import Clocks
from harness.cycle.verdict import Before, Seen
from harness.kernel.specs import load_vm_config
from harness.kernel.vmconfig import VMConfig
from harness.machine.logs import KernelLog
from harness.machine.machine import Machine
from harness.record.result import Complaint, ComplaintKind, Splat, SplatKind
from harness.vm.ssh import Done
from harness.ways import registry

LOG = Path(__file__).parent / "logs" / "cycle-status.jsonl"
LINES: list[dict[str, Any]] = [json.loads(line) for line in LOG.read_text().splitlines()]
READY = LINES[0]
KERNEL_TEXT = (Path(__file__).parent / "logs" / "clean.log").read_bytes()
COUNTED = next(line["free_pages"] for line in LINES if line["event"] == "filtered")
STORED = next(line["stored_bytes"] for line in LINES if line["event"] == "saved")


@dataclass
class Recorded:
    """What a machine showed at the end of a cycle."""

    boot_id: str = str(READY["boot_id"])
    uptime: float = 30.0
    cpus: str = "0-1"
    frozen: str = ""
    clocks: str = "12.0 20.0 1020.0"
    stood_still: float = 0.0
    register_lost: str | None = ""
    lives: list[tuple[int, int]] = field(default_factory=lambda: [(100, 7), (200, 9)])
    status_lines: list[dict[str, Any]] = field(default_factory=lambda: copy.deepcopy(LINES))
    outcome: str = "image"
    image_error: str = ""
    image_boot_id: str = str(READY["boot_id"])
    written_bytes: int = STORED
    qemu_runs: bool = False
    free_pages: int = 0
    counted: int | None = COUNTED
    cmdline: str = "console=ttyS0,115200 panic=-1\n"
    saved_with: str = ""
    levels: int = 5
    resume_path: str = "restricted"
    config: VMConfig = field(default_factory=lambda: load_vm_config("default"))

    running = SimpleNamespace(config={"KEXEC_JUMP": "y"})
    kernels = SimpleNamespace(normal=running)

    @property
    def logs(self) -> list[Any]:
        """The log of a kernel whose console works."""
        path = SimpleNamespace(name="2-normal.log", read_bytes=kernel.MARK.encode)
        return [SimpleNamespace(kernel="normal", written=True, path=path)]

    def run(self, command: str) -> Done:
        """Answer from what was recorded."""
        out = f"{self.clocks}\n{self.boot_id}\n{self.uptime} 1.0\n{self.cpus}\n{self.frozen}"
        return Done(command=command, exit_code=0, out=out, err="")

    def line(self, role: str, event: str) -> dict[str, Any]:
        """One of its status lines, to be changed."""
        return next(
            one for one in self.status_lines if (one["role"], one["event"]) == (role, event)
        )

    def failed(self) -> list[str]:
        """The checks that fail."""
        filtered = next(one for one in LINES if one["event"] == "filtered")
        info = SimpleNamespace(
            stored_bytes=STORED,
            chunks=450,
            boot_id=self.image_boot_id,
            release=READY["release"],
            free_bytes=(filtered["free_pages"] - filtered["below_pages"] + self.free_pages) * 4096,
            memfree_pages=filtered["memfree_pages"],
        )
        image = SimpleNamespace(
            info=info,
            segments=[None] * 90,
            vmcoreinfo={"NUMBER(pgtable_l5_enabled)": str(self.levels - 4)},
        )
        seen = Seen(
            image=cast(Any, image),
            image_error=self.image_error,
            written_bytes=self.written_bytes,
            qemu_runs=self.qemu_runs,
            counted=self.counted,
            back={"outcome": self.outcome, "register_lost": self.register_lost},
        )
        before = Before(
            processes={},
            boot_id=str(READY["boot_id"]),
            release=str(READY["release"]),
            uptime=20.0,
            cmdline=self.cmdline,
            lives=1,
            cpus="0-1",
            frozen=frozenset({"9/9"}),
            clocks=Clocks(10.0, 10.0, 1010.0, host=time.monotonic() - 10),
        )
        checks = verdict.machine_checks(
            cast(Machine, self), before, seen, way=registry.get(self.resume_path)
        )
        assert [check.name for check in checks] == list(verdict.MACHINE_CHECKS)
        return [check.name for check in checks if not check.ok]


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def test_real_cycle_passes(recorded: Recorded) -> None:
    assert recorded.failed() == []


def init_of_itself(r: Recorded, boot: int) -> None:
    """A normal kernel that was a resuming one has an init line of its own."""
    own = {**r.line("resuming", "init"), "boot_id": r.boot_id, "boot": boot}
    r.status_lines.insert(0, own)


def test_normal_kernel_that_was_a_resuming_one_passes(recorded: Recorded) -> None:
    init_of_itself(recorded, 1)
    assert recorded.failed() == []


def test_normal_kernel_that_is_seen_again_later_does_not(recorded: Recorded) -> None:
    init_of_itself(recorded, 2)
    assert recorded.failed() == ["spawned.boot-ids"]


def another_boot(r: Recorded) -> None:
    r.boot_id = "another"


def clock_back(r: Recorded) -> None:
    r.uptime = 5.0


def one_cpu(r: Recorded) -> None:
    r.cpus = "0"


def init_in_the_refrigerator(r: Recorded) -> None:
    r.frozen = "9/task/9/status\n1/task/1/status"


def sleep_not_added(r: Recorded) -> None:
    r.clocks = "12.0 12.0 1012.0"


def boot_time_alone(r: Recorded) -> None:
    r.clocks = "12.0 20.0 1012.0"


def device_that_sleeps_on(r: Recorded) -> None:
    r.frozen = "./pci0000:00/0000:00:02.0/power/runtime_enabled"


def register_not_kept(r: Recorded) -> None:
    r.register_lost = "xmm3: 0x1 instead of 0x2"


def nobody_looked_at_registers(r: Recorded) -> None:
    r.register_lost = None


def plain_jump(r: Recorded) -> None:
    r.outcome = "plain"


def same_kernel_twice(r: Recorded) -> None:
    r.line("resuming", "init")["boot_id"] = r.line("hibernating", "init")["boot_id"]


def no_boot_id(r: Recorded) -> None:
    r.line("resuming", "init")["boot_id"] = ""


def too_much_memory_saving(r: Recorded) -> None:
    r.line("hibernating", "init")["system_ram"].append([16 << 20, 512 << 20])


def too_much_memory_resuming(r: Recorded) -> None:
    r.line("resuming", "init")["system_ram"].append([16 << 20, 32 << 20])


def normal_kernel_of_four_levels(r: Recorded) -> None:
    r.levels = 4


def resuming_kernel_of_four_levels(r: Recorded) -> None:
    r.line("resuming", "init")["levels"] = 4


def feature_that_did_not_go(r: Recorded) -> None:
    r.config = load_vm_config("pdpe1gb-off")


def no_pages_of_1_gib_there(r: Recorded) -> None:
    r.line("resuming", "init")["pdpe1gb"] = 0


def restored_otherwise(r: Recorded) -> None:
    r.line("resuming", "restored")["by"] = "/dev/snapshot"


def one_life(r: Recorded) -> None:
    r.lives = [(100, 7), (100, 7)]


def no_power_off(r: Recorded) -> None:
    r.lives = r.lives[:1]


def bad_checksum(r: Recorded) -> None:
    r.image_error = "checksums wrong"


def hole_in_the_file(r: Recorded) -> None:
    r.written_bytes -= 4096


def memory_lives_on(r: Recorded) -> None:
    r.qemu_runs = True


def other_kernel(r: Recorded) -> None:
    r.image_boot_id = "another"


def pages_missing(r: Recorded) -> None:
    r.free_pages = 500


def others_counted(r: Recorded) -> None:
    """A tenth less than what is left out, which a recorded run had for MemFree."""
    r.counted = COUNTED * 9 // 10


def not_counted(r: Recorded) -> None:
    r.counted = None


def all_kept(r: Recorded, reason: str = "content") -> None:
    """As the hibernating kernel says it; the image leaves nothing out then."""
    line = r.line("hibernating", "filtered")
    r.free_pages = line["below_pages"] - line["free_pages"]
    line.update(status="kept", reason=reason, detail="its log says of init_on_free: unknown")


@pytest.mark.parametrize(
    ("mutation", "name"),
    [
        (another_boot, "kernel.boot-id"),
        (clock_back, "kernel.uptime"),
        (one_cpu, "kernel.cpus"),
        (init_in_the_refrigerator, "kernel.frozen"),
        (device_that_sleeps_on, "kernel.devices"),
        (sleep_not_added, "kernel.clocks"),
        (boot_time_alone, "kernel.clocks"),
        (plain_jump, "jump.outcome"),
        (register_not_kept, "jump.registers"),
        (nobody_looked_at_registers, "jump.registers"),
        (same_kernel_twice, "spawned.boot-ids"),
        (no_boot_id, "spawned.boot-ids"),
        (too_much_memory_saving, "spawned.hibernating-memory"),
        (too_much_memory_resuming, "spawned.resuming-memory"),
        (normal_kernel_of_four_levels, "spawned.paging"),
        (resuming_kernel_of_four_levels, "spawned.paging"),
        (feature_that_did_not_go, "spawned.paging"),
        (no_pages_of_1_gib_there, "spawned.paging"),
        (restored_otherwise, "restore.way"),
        (one_life, "power.off-in-between"),
        (no_power_off, "power.off-in-between"),
        (bad_checksum, "image.whole"),
        (hole_in_the_file, "image.outside-ram"),
        (memory_lives_on, "image.outside-ram"),
        (other_kernel, "image.normal-kernel"),
        (pages_missing, "image.free-pages"),
        (others_counted, "image.free-pages"),
        (not_counted, "image.free-pages"),
        (all_kept, "image.free-pages"),
    ],
)
def test_mutation_fails_its_check_alone(
    recorded: Recorded, mutation: Callable[[Recorded], None], name: str
) -> None:
    mutation(recorded)
    assert recorded.failed() == [name]


@pytest.mark.parametrize(
    ("cmdline", "saved_with", "reason"),
    [("init_on_free=1", "", "content"), ("", "kspawn.filter=0", "off")],
)
def test_all_pages_are_kept_where_that_was_asked_for(
    recorded: Recorded, cmdline: str, saved_with: str, reason: str
) -> None:
    all_kept(recorded, reason)
    assert recorded.failed() == ["image.free-pages"]
    recorded.cmdline, recorded.saved_with = cmdline, saved_with
    assert recorded.failed() == []


@pytest.mark.parametrize(
    ("dev_mem", "there", "by", "failed"),
    [
        ("strict", 0, "kexec_load", []),
        ("open", 0, "kexec_load", ["restore.way"]),
        ("strict", 1, "kexec_load", ["restore.way"]),
        ("strict", 0, "/dev/mem", ["restore.way"]),
    ],
)
def test_in_place_is_without_dev_mem(
    recorded: Recorded, dev_mem: str, there: int, by: str, failed: list[str]
) -> None:
    recorded.resume_path = "in-place"
    recorded.line("resuming", "init").update(dev_mem=dev_mem, dev_mem_there=there)
    recorded.line("resuming", "restored").update(by=by, calls=200)
    assert recorded.failed() == failed


def test_what_the_kernel_prints_afterwards_is_in_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "PRINT_SECONDS", 0.1)
    said: list[str] = []

    def run(command: str) -> Done:
        said.append(command)
        out = "2.0 2.0 2.0\nid\n5.0 1.0\n0\n"
        return Done(command=command, exit_code=0, out=out, err="")

    log = KernelLog(path=tmp_path / "2-normal.log", kernel="normal", boot=2)
    machine = cast(Machine, SimpleNamespace(run=run, logs=[log], stood_still=0.0))
    before = Before(processes={}, boot_id="id", release="", uptime=1.0, cmdline="", cpus="0")
    before.clocks = Clocks(2.0, 2.0, 2.0, host=time.monotonic())
    assert all(check.ok for check in verdict.kernel_checks(machine, before))
    assert not verdict.goes_on_check(machine).ok
    log.path.write_text("[    1.0] something else\n")
    assert not verdict.goes_on_check(machine).ok
    printed = said[-1].partition("<3>")[2].partition("'")[0]
    log.path.write_text(f"[    9.0] {printed}\n")
    assert verdict.goes_on_check(machine).ok


def test_every_check_was_seen_to_fail() -> None:
    marks = list(test_mutation_fails_its_check_alone.pytestmark)  # type: ignore[attr-defined]
    seen = {name for _, name in marks[0].args[1]}
    assert seen == set(verdict.MACHINE_CHECKS)


def looked_through(
    *, splats: Sequence[Splat] = (), complaints: Sequence[Complaint] = (), text: bytes = KERNEL_TEXT
) -> dict[str, bool]:
    """What the checks of the logs say of a machine with one log."""
    log = KernelLog(path=Path("1-normal.log"), kernel="normal", boot=1)
    log.position = len(text)
    log.scanner.feed(text)
    machine = SimpleNamespace(splats=splats, complaints=complaints, logs=[log])
    return {check.name: check.ok for check in verdict.log_checks(cast(Machine, machine))}


@pytest.mark.parametrize(
    ("splats", "text", "ok"),
    [
        ([], KERNEL_TEXT, True),
        ([], b"", False),
        ([Splat(kind=SplatKind.WARN, title="WARNING: x")], KERNEL_TEXT, False),
        ([Splat(kind=SplatKind.WARN, title="WARNING: x", expected=True)], KERNEL_TEXT, True),
        # No kernel wrote that: nothing can be said of it.
        ([], b"a job is done\n" * 100, False),
        ([], b"a job is done\n" * 5, True),
    ],
)
def test_splats_fail_the_log_check(splats: list[Splat], text: bytes, ok: bool) -> None:
    assert looked_through(splats=splats, text=text) == {
        "log.no-splats": ok,
        "log.no-complaints": True,
    }


@pytest.mark.parametrize(
    ("change", "ok"),
    [({}, False), ({"expected": True}, True), ({"tolerated": "of the emulator"}, True)],
)
def test_complaints_fail_their_check(change: dict[str, object], ok: bool) -> None:
    complaint = Complaint(kind=ComplaintKind.IO, title="I/O error, dev vda").model_copy(
        update=change
    )
    assert looked_through(complaints=[complaint]) == {
        "log.no-splats": True,
        "log.no-complaints": ok,
    }


def test_a_reset_leaves_the_memory(recorded: Recorded) -> None:
    recorded.config = load_vm_config("reset")
    recorded.lives, recorded.qemu_runs = [(100, 7), (100, 7)], True
    assert recorded.failed() == []
    recorded.written_bytes = 0
    assert recorded.failed() == ["image.outside-ram"]
