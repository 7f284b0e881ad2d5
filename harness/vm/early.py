# SPDX-License-Identifier: GPL-2.0-only
"""Lets a machine run while libvirt still gets to know it.

Before libvirt lets a machine run it asks QEMU for each property of its CPU, one after the
other: 400 of them, 0.3 s (qemuMonitorJSONGetCPUProperties() of src/qemu/qemu_monitor_json.c).
So QEMU has a monitor of ours as well, which takes a kept state and says "cont".
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.base.deadline import Deadline
from harness.base.errors import LostVMError
from harness.vm.spec import DomainSpec

_STATE_SECONDS = 120.0
_START_SECONDS = 30.0
_POLL = 0.002


class _Monitor:
    """A monitor of QEMU, as docs/interop/qmp-spec.rst of its source describes it."""

    def __init__(self, client: socket.socket) -> None:
        client.settimeout(_START_SECONDS)
        self._client, self._stream = client, client.makefile("rb")
        self._answer()
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: str) -> Any:
        """Have QEMU do something.

        Raises:
            OSError: It does not answer.
            LostVMError: It does not do it.
        """
        self._client.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
        answer = self._answer()
        if "error" in answer:
            raise LostVMError(f"QEMU does not do {name}: {answer['error'].get('desc')}")
        return answer.get("return")

    def _answer(self) -> dict[str, Any]:
        while line := self._stream.readline():
            answer: dict[str, Any] = json.loads(line)
            if "event" not in answer:
                return answer
        raise ConnectionResetError("QEMU is gone")

    def close(self) -> None:
        """Leave it."""
        self._stream.close()
        self._client.close()


def take_state(command: Callable[..., Any], source: Path, path: Path) -> None:
    """Have a QEMU that waits for a state take it.

    Args:
        command: Has that QEMU do something: the name, and arguments by theirs.
        source: The state, as `Domain.save_state` wrote it.
        path: A socket, for as long as it takes.

    Raises:
        OSError: QEMU does not read it.
        LostVMError: It is no state of such a machine.
    """
    try:
        command("migrate-incoming", uri=f"unix:{path}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, source.open("rb") as file:
            client.connect(str(path))
            client.sendfile(file)
    finally:
        path.unlink(missing_ok=True)
    deadline = Deadline(seconds=_STATE_SECONDS, what="the state of the machine")
    while not deadline.expired:
        status = command("query-migrate").get("status")
        if status == "completed":
            return
        if status == "failed":
            break
        time.sleep(_POLL)
    raise LostVMError("QEMU does not take the state of a machine")


def tell(spec: DomainSpec, sockets: Mapping[Path, socket.socket]) -> None:
    """Say at the serial ports of a machine what it is to be told.

    Args:
        spec: The machine.
        sockets: Those of its serial ports.
    """
    for serial in spec.serials:
        if serial.socket is not None and serial.told:
            sockets[serial.socket].sendall(serial.told)


class EarlyStart(threading.Thread):
    """Connects to a machine's sockets and lets it run, in a thread, while libvirt starts it.

    Args:
        spec: The machine; it has a control socket.
        runtime: The folder for sockets.
    """

    def __init__(self, spec: DomainSpec, runtime: Path) -> None:
        super().__init__(name="early-start", daemon=True)
        self.sockets: dict[Path, socket.socket] = {}
        self.done = False
        self._problem: LostVMError | None = None
        self._spec, self._runtime = spec, runtime
        self._given_up = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if value is not None:
            self._given_up.set()
        self.join()
        if not self.done:
            for client in self.sockets.values():
                client.close()
            self.sockets.clear()
        if value is None and self._problem is not None:
            raise self._problem

    def run(self) -> None:
        """What the thread does."""
        try:
            self._start_machine()
        except LostVMError as exc:
            self._problem = exc
        except (OSError, ValueError) as exc:
            self._problem = LostVMError(f"QEMU does not answer: {exc}")

    def _start_machine(self) -> None:
        assert self._spec.control is not None
        monitor = _Monitor(self._connected(self._spec.control))
        with contextlib.closing(monitor):
            for serial in self._spec.serials:
                if serial.socket is not None:
                    self.sockets[serial.socket] = self._connected(serial.socket)
            if self._spec.incoming is not None:
                take_state(monitor.command, self._spec.incoming, self._runtime / "state")
            monitor.command("cont")
            tell(self._spec, self.sockets)
        self.done = True

    def _connected(self, path: Path) -> socket.socket:
        deadline = Deadline(seconds=_START_SECONDS, what=path.name)
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        while True:
            try:
                client.connect(str(path))
                return client
            except OSError:
                if deadline.expired or self._given_up.wait(_POLL):
                    client.close()
                    raise
