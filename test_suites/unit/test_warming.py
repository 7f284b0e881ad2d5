# SPDX-License-Identifier: GPL-2.0-only
"""Which machines may start from a kept state, and which state is theirs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.base import cache
from harness.kernel.specs import load_vm_config
from harness.machine import warming
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
    def key(**other: Any) -> str:
        machine = parts(tmp_path, **other)
        return warming._key(cast(Parts, machine), tmp_path / "initrd")

    same = key()
    assert same == key()
    others = [
        key(bzImage=b"another"),
        key(initrd=b"another"),
        key(disk=b"of another size"),
        key(versions="10000000 11000000"),
        key(accel="kvm"),
        key(panic_option="panic=0"),
        key(config=load_vm_config("smp2")),
    ]
    assert len({same, *others}) == len(others) + 1
    slower = load_vm_config("default").model_copy(update={"timeout_scale": 3.0})
    assert key(config=slower) == same


@pytest.mark.parametrize("trouble", ["splats", "complaints", "clock", "timer"])
def test_boot_with_trouble_goes_on_and_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """What happened once, by chance, would be in all machines from then on."""
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path))
    monkeypatch.setattr(warming, "_SETTLE_SECONDS", 0)
    said: list[str] = []
    machine = parts(tmp_path)
    machine.splats, machine.complaints = [], []
    log = tmp_path / "1-normal.log"
    if trouble == "timer":
        log.write_text("[    0.255689] APIC timer disabled due to verification failure\n")
    machine.logs = [SimpleNamespace(path=log)]
    machine.power_on = lambda **_: said.append("power on")
    machine.timeouts = SimpleNamespace(deadline=lambda *_, **__: None)

    def wait_status(*_: object, **__: object) -> dict[str, str]:
        said.append("warm")
        return {"uptime": "84.73" if trouble == "clock" else "0.10"}

    def scan() -> None:
        if trouble != "timer":
            setattr(machine, trouble, [object()])

    machine.watch = SimpleNamespace(wait_status=wait_status, scan=scan)
    assert not warming._start(machine, tmp_path / "initrd", "key", b"line\n")
    assert said == ["power on", "warm"]
    assert cache.entries(warming.KIND) == []


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
