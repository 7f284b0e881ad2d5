# SPDX-License-Identifier: GPL-2.0-only
"""Is a machine that starts from a kept state a machine of its own?

One state is kept here, in a cache of the test's own, and machines are started from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.base import cache
from harness.cycle import witness
from harness.cycle.witness import Witness
from harness.machine import warming
from harness.machine.lab import Lab
from harness.machine.lives import Lives
from harness.machine.machine import Machine
from harness.plugin.suite import NewCycle
from harness.record.result import Verdict
from harness.record.timeline import Timeline

Boot = Callable[..., tuple[Machine, dict[str, Any]]]
pytestmark = [pytest.mark.vm, pytest.mark.ci]

# What two machines from one state must not have in common.
_OWN = "cat /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | md5sum; cat /run/key"
_MARK = "only of the first"


@pytest.fixture(scope="module", autouse=True)
def own_kind() -> Iterator[None]:
    """States of these tests alone: others may be in use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warming, "KIND", "warm-test")
        yield
    for entry in cache.entries("warm-test"):
        cache.drop("warm-test", entry.name)


@pytest.fixture
def boot(lab: Lab, folder: Path, new_timeline: Callable[[], Timeline]) -> Iterator[Boot]:
    """Starts one machine after the other, warm where it can be."""
    machines: list[Machine] = []

    def start(*, arm: str = "", **options: Any) -> tuple[Machine, dict[str, Any]]:
        place = folder / str(len(machines))
        machine = lab.machine(place, timeline=new_timeline())
        machine.warm, machine.arm = True, arm
        machines.append(machine)
        return machine, machine.boot(**options)

    yield start
    for machine in machines:
        machine.close()


def own(machine: Machine) -> list[str]:
    key = "dropbearkey -y -f /run/hostkey >/run/key"
    return machine.run(f"{key}; {_OWN}").check().split()


def state() -> Path:
    [entry] = cache.entries(warming.KIND)
    return entry / "machine.state"


def test_two_machines_of_one_state_share_no_secret(
    boot: Callable[..., tuple[Machine, dict[str, Any]]],
) -> None:
    first, ready = boot()
    first.run(f"echo {_MARK} >/run/mark").check()
    second, again = boot()
    assert (first.started_warm, second.started_warm) == (False, True)
    for name in ("boot_id", "hostkey"):
        assert ready[name] != again[name]
    assert ready["release"] == again["release"]
    same = set(own(first)) & set(own(second))
    assert not [word for word in same if len(word) > 16]
    assert _MARK not in second.run("cat /run/mark").out
    keys = [one.run("cat /root/.ssh/authorized_keys").check() for one in (first, second)]
    assert keys[0] != keys[1]
    # The log of the boot is there, and nobody but us may read what was in memory.
    log = second.logs[0].path.read_text()
    assert log.startswith(first.logs[0].path.read_text()[:1000])
    assert state().stat().st_mode & 0o777 == 0o600


def test_time_went_on(boot: Callable[..., tuple[Machine, dict[str, Any]]]) -> None:
    """The RTC is QEMU's: what it said meanwhile is what the kernel has."""
    machine, _ = boot()
    assert machine.started_warm
    [kernel, rtc] = machine.run("date -u +%s; cat /sys/class/rtc/rtc0/since_epoch").check().split()
    assert abs(int(kernel) - int(rtc)) <= 1


def test_what_is_not_usual_boots(boot: Callable[..., tuple[Machine, dict[str, Any]]]) -> None:
    machine, _ = boot(append="kspawn.test=1")
    assert not machine.started_warm
    assert "kspawn.test=1" in machine.run("cat /proc/cmdline").check()


def test_state_that_is_not_whole_is_made_again(
    boot: Callable[..., tuple[Machine, dict[str, Any]]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Cut off, the cache sees it; damaged in its place, QEMU does."""
    good = state().read_bytes()
    state().write_bytes(good[: len(good) // 2])
    machine, _ = boot()
    assert not machine.started_warm
    assert "made again" in capfd.readouterr().err
    data = bytearray(state().read_bytes())
    data[: 1 << 16] = bytes(1 << 16)
    same = state().stat()
    state().write_bytes(data)
    # Its time is all that the cache looks at.
    os.utime(state(), ns=(same.st_atime_ns, same.st_mtime_ns))
    machine, _ = boot()
    assert not machine.started_warm
    assert "a warm machine" in capfd.readouterr().err
    machine, _ = boot()
    assert machine.started_warm


def test_machines_start_warm_unless_the_user_says_cold(lab: Lab, folder: Path) -> None:
    for name in ("first", "second"):
        with lab.machine(folder / name) as machine:
            machine.boot()
    assert machine.started_warm == lab.options.warm


@pytest.mark.cold
def test_test_that_wants_a_boot_gets_one(machine: Machine) -> None:
    machine.boot()
    assert not machine.started_warm
    assert "kspawn.warm" not in machine.run("cat /proc/cmdline").check()


def test_armed_machines_are_their_own_and_hold_what_they_were_armed_with(boot: Boot) -> None:
    """The first of them is armed, the others come from its state: one witness, three times."""
    machines = [boot(arm=witness.command())[0] for _ in range(3)]
    assert [machine.started_warm for machine in machines[1:]] == [True, True]
    holders = [Witness.start(machine) for machine in machines]
    assert len({holder.pid for holder in holders}) == 1
    assert len({tuple(own(machine)) for machine in machines}) == 3
    assert len({machine.host_key for machine in machines}) == 3
    assert all(check.ok for holder in holders for check in holder.check())
    # What befalls one of them is of that one alone, and seen.
    holders[1].damage("anonymous-memory")
    bad = [[check.name for check in holder.check() if not check.ok] for holder in holders]
    assert bad == [[], ["witness.anonymous-memory"], []]


def test_where_qemu_has_only_the_monitor_of_libvirt(
    boot: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with another URI than that of the embedded driver: it takes its state all the same."""
    monkeypatch.setattr(Lives, "_control", None)
    machines = [boot()[0] for _ in range(2)]
    assert machines[1].started_warm
    assert len({machine.host_key for machine in machines}) == 2


def test_command_that_fails_arms_nothing(boot: Boot) -> None:
    machine, _ = boot(arm="false")
    assert machine.armed == ""
    assert machine.run("cat /proc/uptime").exit_code == 0


def test_cycle_of_a_warm_machine(
    lab: Lab, folder: Path, new_cycle: NewCycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lab.machine(folder / "first") as machine:
        machine.warm, machine.arm = True, witness.command()
        machine.boot()
    monkeypatch.setattr(lab, "warm", True)
    result = new_cycle(audit=True).run()
    assert (result.verdict, result.reason, result.warm) == (Verdict.PASSED, "", True)
    assert result.audit is not None
    assert result.audit.unexplained == 0
