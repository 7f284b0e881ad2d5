# SPDX-License-Identifier: GPL-2.0-only
"""A machine that runs while libvirt still starts it: QEMU is real, its machine is none."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.base.errors import LostVMError
from harness.vm.early import EarlyStart
from harness.vm.emulator import emulator_path
from harness.vm.spec import DomainSpec, Serial
from test_suites.unit.domains import specified

LINE = b"what a machine is told\n"


@pytest.fixture
def status(tmp_path: Path) -> Iterator[socket.socket]:
    """The other end of a serial port."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "status"))
        server.listen(1)
        server.settimeout(10)
        yield server


def early_spec(folder: Path, *, incoming: Path | None = None) -> DomainSpec:
    return specified(
        machine="none",
        serials=[Serial(log=folder / "log"), Serial(socket=folder / "status", told=LINE)],
        incoming=incoming,
        control=folder / "control",
    )


@pytest.fixture
def qemu(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """QEMU as libvirt starts it: it stands still, with a monitor of ours."""
    spec = early_spec(tmp_path, incoming=getattr(request, "param", None))
    command = [emulator_path(), "-S", "-machine", "none", "-nodefaults", "-display", "none"]
    other = ["-qmp", f"unix:{tmp_path / 'other'},server=on,wait=off"]
    with subprocess.Popen(
        [*command, *spec._own_args(), *other], stderr=subprocess.DEVNULL
    ) as process:
        yield process
        process.kill()


def state_of(path: Path) -> str:
    """What QEMU says at the monitor that is libvirt's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(path))
        with client.makefile("rwb") as stream:
            for name in ("qmp_capabilities", "query-status"):
                stream.write(json.dumps({"execute": name}).encode())
                stream.flush()
            answers = [json.loads(stream.readline()) for _ in range(3)]
    return str(answers[-1]["return"]["status"])


@pytest.mark.usefixtures("qemu")
def test_machine_runs_and_is_told(tmp_path: Path, status: socket.socket) -> None:
    with EarlyStart(early_spec(tmp_path), tmp_path) as early:
        port, _ = status.accept()
        with port:
            assert port.recv(100) == LINE
    assert early.done
    assert list(early.sockets) == [tmp_path / "status"]
    assert state_of(tmp_path / "other") == "running"
    early.sockets[tmp_path / "status"].close()


@pytest.mark.parametrize("qemu", [Path("/state")], indirect=True)
def test_what_is_no_state(tmp_path: Path, status: socket.socket, qemu: object) -> None:
    """QEMU refuses it, or ends: both are one line, and nobody is told anything."""
    state = tmp_path / "kept"
    state.write_bytes(b"no state of a machine" * 1000)
    early = EarlyStart(early_spec(tmp_path, incoming=state), tmp_path)
    with pytest.raises(LostVMError, match="QEMU does not"), early:
        pass
    assert early.sockets == {}
    port, _ = status.accept()
    with port:
        assert port.recv(100) == b""


def test_qemu_that_never_starts(tmp_path: Path) -> None:
    """What libvirt says of it comes through, and nothing waits for its sockets."""
    begun = time.monotonic()
    with pytest.raises(ValueError, match="of libvirt"), EarlyStart(early_spec(tmp_path), tmp_path):
        raise ValueError("the reason of libvirt")
    assert time.monotonic() - begun < 10


def test_qemu_that_ends(
    tmp_path: Path, status: socket.socket, qemu: subprocess.Popen[bytes]
) -> None:
    while not (tmp_path / "control").exists():
        time.sleep(0.01)
    qemu.send_signal(signal.SIGSTOP)
    early = EarlyStart(early_spec(tmp_path), tmp_path)
    with pytest.raises(LostVMError, match="QEMU does not answer"), early:
        time.sleep(0.1)
        qemu.kill()
    assert early.sockets == {}
