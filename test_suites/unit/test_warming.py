# SPDX-License-Identifier: GPL-2.0-only
"""Which machines may start from a kept state, and which state is theirs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.base import cache
from harness.base.errors import LostVMError
from harness.kernel.specs import load_vm_config
from harness.machine import warming
from harness.machine.lives import Incoming
from harness.machine.parts import Parts


def parts(tmp_path: Path, **other: Any) -> Any:
    """What is asked of a machine; the parts that differ are named."""
    files = {}
    for name in ("bzImage", "disk", "initrd"):
        files[name] = tmp_path / name
        files[name].write_bytes(other.pop(name, name.encode()))
    hardware = SimpleNamespace(
        resets=other.pop("resets", False),
        hypervisor=SimpleNamespace(versions=other.pop("versions", "7002022 9000000")),
    )
    qemu = SimpleNamespace(
        trace=other.pop("trace", None),
        disk_filter=other.pop("disk_filter", None),
        hardware=hardware,
    )
    known = {
        "boot_number": 0,
        "userland_disk": False,
        "data_disk": None,
        "qemu": qemu,
        "kernels": SimpleNamespace(normal=SimpleNamespace(bzimage=files["bzImage"])),
        "config": load_vm_config("default"),
        "accel": "tcg",
        "panic_option": "panic=-1",
        "disk": files["disk"],
    }
    return SimpleNamespace(**(known | other))


@pytest.mark.parametrize(
    "other",
    [
        {"boot_number": 1},
        {"userland_disk": True},
        {"data_disk": Path("data")},
        {"resets": True},
        {"trace": object()},
        {"disk_filter": object()},
    ],
    ids=lambda other: next(iter(other)),
)
def test_only_a_usual_boot_is_left_out(tmp_path: Path, other: dict[str, Any]) -> None:
    assert warming.possible(cast(Parts, parts(tmp_path)), append="")
    assert not warming.possible(cast(Parts, parts(tmp_path)), append="quiet")
    assert not warming.possible(cast(Parts, parts(tmp_path, **other)), append="")


def test_each_thing_that_makes_a_state_is_in_its_key(tmp_path: Path) -> None:
    def key(arm: str = "", **other: Any) -> str:
        machine = parts(tmp_path, **other)
        return warming._key(cast(Parts, machine), tmp_path / "initrd", arm)

    same = key()
    assert same == key()
    others = [
        key(bzImage=b"another"),
        key(initrd=b"another"),
        key(disk=b"of another size"),
        key(versions="10000000 11000000"),
        key(accel="kvm"),
        key(arm="witness run"),
        key(panic_option="panic=0"),
        key(config=load_vm_config("smp2")),
    ]
    assert len({same, *others}) == len(others) + 1
    slower = load_vm_config("default").model_copy(update={"timeout_scale": 3.0})
    assert key(config=slower) == same


class Warmed:
    """A machine that notes what is done with it.

    Args:
        folder: Where its files are.
        armed: The exit code of the command that arms it.
    """

    def __init__(self, folder: Path, *, armed: int = 0) -> None:
        self.folder, self.armed = folder, armed
        self.did: list[str] = []
        self.parts = parts(folder)
        self.log = folder / "1-normal.log"
        self.log.write_text("")
        self.parts.splats, self.parts.complaints = [], []
        self.parts.logs = [SimpleNamespace(path=self.log)]
        self.parts.timeouts = SimpleNamespace(deadline=lambda *_, **__: None)
        self.parts.power_on = self.power_on
        self.parts.watch = SimpleNamespace(wait_status=self.wait_status, scan=lambda: None)
        self.parts.domain = SimpleNamespace(monitor=self.did.append, save_state=self.save_state)
        self.parts.qemu.tell = lambda line: self.did.append(f"told {line.decode().strip()}")
        self.parts.qemu.forget = lambda: self.did.append("forget")

    def power_on(self, *, incoming: Incoming | None = None, **_: object) -> None:
        told = incoming.told.decode().strip() if incoming else ""
        state = incoming.state.read_text() if incoming else ""
        self.did.append(f"from {state} told {told}" if incoming else "boot")

    def wait_status(self, role: str, event: str, **_: object) -> dict[str, object]:
        self.did.append(event)
        return {"uptime": "0.10", "exit": self.armed}

    def save_state(self, file: Path, deadline: object) -> None:
        file.write_text(self.did[-1])
        self.did.append("kept")

    def come(self, arm: str = "") -> warming._Came:
        """Have it come to its own part of the boot; what was done before is forgotten."""
        self.did.clear()
        return warming._come(self.parts, self.folder / "initrd", arm, b"own\n")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(warming, "_SETTLE_SECONDS", 0)
    return tmp_path


@pytest.mark.parametrize("arm", ["", "witness run"])
@pytest.mark.parametrize("trouble", ["splats", "complaints", "clock", "timer"])
def test_boot_with_trouble_goes_on_and_is_not_kept(home: Path, trouble: str, arm: str) -> None:
    """What happened once, by chance, would be in all machines from then on."""
    machine = Warmed(home)

    def wait_status(role: str, event: str, **_: object) -> dict[str, object]:
        machine.did.append(event)
        return {"uptime": "84.73" if trouble == "clock" else "0.10"}

    def scan() -> None:
        if trouble in ("splats", "complaints"):
            setattr(machine.parts, trouble, [object()])

    if trouble == "timer":
        machine.log.write_text("[    0.255689] APIC timer disabled due to verification failure\n")
    machine.parts.watch = SimpleNamespace(wait_status=wait_status, scan=scan)
    assert machine.come(arm) == warming._UNFIT
    assert machine.did == ["boot", "warm"]
    assert cache.entries(warming.KIND) == []


def test_a_state_is_kept_before_and_after_it_is_armed(home: Path) -> None:
    machine = Warmed(home)
    assert machine.come("witness run") == (True, False, False)
    plain = ["boot", "warm", "kept", "cont"]
    assert machine.did == [*plain, "told run witness run", "armed", "kept", "cont"]
    # The next one comes from the last of these, and one that is not armed from the first.
    assert machine.come("witness run") == (True, True, True)
    assert machine.did == ["from armed told own"]
    assert machine.come() == (True, True, True)
    assert machine.did == ["from warm told own"]
    # Another command has its own, and begins with the one that is there.
    assert machine.come("another") == (True, False, True)
    assert machine.did == ["from warm told run another", "armed", "kept", "cont"]


def test_a_command_that_fails_is_not_kept(home: Path) -> None:
    machine = Warmed(home, armed=1)
    machine.come()
    assert machine.come("witness run") == warming._UNFIT
    assert machine.did == ["from warm told run witness run", "armed"]
    assert len(cache.entries(warming.KIND)) == 1


def test_a_state_that_qemu_refuses_is_made_again(home: Path) -> None:
    machine = Warmed(home)
    machine.come()

    def refuse(**_: object) -> None:
        machine.parts.power_on = machine.power_on
        raise LostVMError("QEMU does not take the state of a machine")

    machine.parts.power_on = refuse
    assert machine.come() == (True, False, False)
    assert machine.did == ["forget", "boot", "warm", "kept", "cont"]


def test_dropped_entry_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path))

    def build(part: Path) -> None:
        (part / "file").write_text("x")

    cache.entry(warming.KIND, "a", build)
    cache.entry(warming.KIND, "b", build)
    cache.drop(warming.KIND, "a")
    cache.drop(warming.KIND, "never")
    assert [path.name for path in cache.entries(warming.KIND)] == ["b"]
    assert warming.KIND in cache.KINDS
