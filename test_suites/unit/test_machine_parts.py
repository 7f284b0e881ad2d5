# SPDX-License-Identifier: GPL-2.0-only
"""The parts of a machine, each without one: logs, watch, firmware, link."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from harness.base.deadline import Deadline
from harness.base.errors import (
    HarnessError,
    KernelCrashError,
    KernelHangError,
    LostVMError,
    RefusedError,
    StateError,
)
from harness.machine.firmware import Firmware
from harness.machine.link import Link
from harness.machine.lives import Lives
from harness.machine.logs import Logs
from harness.machine.states import Timeouts
from harness.machine.watch import Watch
from harness.record.timeline import Timeline

REAL = Path(__file__).with_name("logs")


class Domain:
    """A QEMU that runs, or that ended in one way or the other."""

    def __init__(self, *, running: bool = True, shut_down: bool = False) -> None:
        self.running, self.shut_down = running, shut_down

    def check_disk(self) -> None:
        """Its disk is well."""

    def wait_stopped(self, deadline: Deadline) -> None:
        """It does not stop by itself."""
        self.running = False


class Status:
    """Status lines that have come already."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        self.lines = lines

    @property
    def waiting(self) -> bool:
        return bool(self.lines)

    def pump(self) -> None:
        """All has been read."""

    def next(self, seconds: float) -> dict[str, Any] | None:
        return self.lines.pop(0) if self.lines else None


class OneLife:
    """What `Watch` asks of the lives of QEMU."""

    def __init__(self, domain: Domain, *lines: dict[str, Any]) -> None:
        self.number, self.was_reset = 1, False
        self.domain, self.status = domain, Status(list(lines))


def watching(
    tmp_path: Path, domain: Domain, *lines: dict[str, Any], log: str = ""
) -> tuple[Watch, Logs]:
    """A watch over one boot, with the log of a real kernel."""
    logs = Logs(tmp_path, expected=[], accel="tcg")
    [path] = logs.add(1, ["normal"])
    if log:
        path.write_bytes((REAL / log).read_bytes())
    lives = cast(Lives, OneLife(domain, *lines))
    return Watch(lives, logs, timeline=Timeline(), timeouts=Timeouts(scale=0.05)), logs


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline(seconds=seconds, what="a test")


def line(event: str, **more: str) -> dict[str, Any]:
    return {"role": "normal", "event": event, **more}


def test_watch_takes_the_line_that_is_waited_for_and_keeps_all(tmp_path: Path) -> None:
    watch, _ = watching(tmp_path, Domain(), line("up"), line("ready", pid="7"), line("later"))
    found = watch.wait_status("normal", "ready", deadline=soon())
    assert found["pid"] == "7"
    assert [(one["event"], one["boot"]) for one in watch.lines] == [("up", 1), ("ready", 1)]
    assert watch.waiting
    assert watch.status_of("normal", "up")["event"] == "up"
    with pytest.raises(HarnessError, match="no 'saved' from the normal kernel"):
        watch.status_of("normal", "saved")


def test_watch_tells_who_refused(tmp_path: Path) -> None:
    refused = line("refused", status="damaged", detail="sector 3")
    watch, _ = watching(tmp_path, Domain(), refused)
    with pytest.raises(RefusedError, match="normal: damaged: sector 3") as caught:
        watch.wait_status("normal", "ready", deadline=soon())
    assert caught.value.status == "damaged"


def test_watch_names_what_did_not_come(tmp_path: Path) -> None:
    watch, _ = watching(tmp_path, Domain(), log="clean.log")
    with pytest.raises(KernelHangError, match=r"no 'ready' .* \(a test\)") as caught:
        watch.wait_status("normal", "ready", deadline=soon(0))
    assert caught.value.log_tail.splitlines()


def test_watch_puts_a_splat_before_the_program_that_gave_up(tmp_path: Path) -> None:
    refused = line("refused", status="failed", detail="it gave up")
    watch, logs = watching(tmp_path, Domain(), refused, log="null-dereference.log")
    with pytest.raises(KernelCrashError, match="NULL") as caught:
        watch.wait_status("normal", "ready", deadline=soon())
    assert caught.value.splat == logs.splats[0]


def test_expected_splat_ends_nothing(tmp_path: Path) -> None:
    watch, logs = watching(tmp_path, Domain(), line("ready"), log="warn.log")
    logs.expected.append(".*")
    watch.check_alive()
    assert logs.splats
    assert logs.splats[0].expected
    assert watch.wait_status("normal", "ready", deadline=soon())["event"] == "ready"


@pytest.mark.parametrize(
    ("domain", "error"),
    [
        (Domain(running=False), LostVMError),
        (Domain(running=False, shut_down=True), KernelCrashError),
    ],
)
def test_watch_tells_a_lost_machine_from_one_that_ended(
    tmp_path: Path, domain: Domain, error: type[HarnessError]
) -> None:
    watch, _ = watching(tmp_path, domain)
    with pytest.raises(error):
        watch.check_alive()


class Ending(Domain):
    """A QEMU that the guest switches off between two looks at it."""

    def __init__(self, looks: int) -> None:
        self._looks = looks

    @property
    def running(self) -> bool:  # type: ignore[override]
        self._looks -= 1
        return self._looks >= 0

    @property
    def shut_down(self) -> bool:  # type: ignore[override]
        return not self.running


def test_machine_that_ends_while_it_is_looked_at(tmp_path: Path) -> None:
    watch, _ = watching(tmp_path, Ending(2))
    watch.wait_off(soon())
    watch, _ = watching(tmp_path, Ending(1))
    watch.check_alive()
    with pytest.raises(KernelCrashError):
        watch.check_alive()


def test_power_off_is_fine_where_it_is_waited_for(tmp_path: Path) -> None:
    watch, _ = watching(tmp_path, Domain(running=False, shut_down=True))
    watch.wait_off(soon())
    watch, _ = watching(tmp_path, Domain())
    with pytest.raises(KernelHangError, match="power is still on"):
        watch.wait_off(soon(0))


def test_logs_know_their_boot_and_who_wrote(tmp_path: Path) -> None:
    logs = Logs(tmp_path, expected=[], accel="tcg")
    first = logs.add(1, ["normal", "hibernating"])
    second = logs.add(2, ["resuming-2"])
    first[0].write_bytes((REAL / "warn.log").read_bytes())
    second[0].write_bytes((REAL / "clean.log").read_bytes())
    logs.scan(1)
    logs.scan(2)
    assert logs.unexpected(1) is logs.unexpected() is logs.splats[0]
    assert logs.unexpected(2) is None
    found = [(one.path, one.kernel, one.boot) for one in logs.files(2)]
    assert found == [("1-normal.log", "normal", 1), ("2-resuming-2.log", "resuming", 2)]
    assert logs.tail(2).splitlines()[-1] in (REAL / "clean.log").read_text().replace("\r", "")


def test_firmware_offers_a_kernel_and_holds_the_next_boot(tmp_path: Path) -> None:
    kernel, initrd = tmp_path / "bzImage", tmp_path / "cpio"
    kernel.write_bytes(b"kernel")
    initrd.write_bytes(b"userland")
    firmware = Firmware(tmp_path / "tftp")
    firmware.offer(2, kernel=kernel, initrd=initrd, cmdline="console=ttyS0 quiet")
    script = firmware.folder / "next.ipxe"
    assert not script.exists(), "the firmware is not to have it before it is released"
    firmware.release(2)
    server = "tftp://10.0.2.2"
    assert script.read_text().splitlines() == [
        "#!ipxe",
        f"kernel {server}/kernel-2 console=ttyS0 quiet",
        f"initrd {server}/initrd-2",
        "boot",
    ]
    assert (firmware.folder / "kernel-2").read_bytes() == b"kernel"
    firmware.hold()
    firmware.hold()
    assert not script.exists()


def test_link_that_is_not_there_says_so(tmp_path: Path) -> None:
    watch, _ = watching(tmp_path, Domain())
    link = Link(cast(Lives, OneLife(Domain())), watch, key=cast(Any, None))
    assert not link.open
    with pytest.raises(StateError, match="no connection"):
        _ = link.shell
    link.hang_up()
