# SPDX-License-Identifier: GPL-2.0-only
"""Commands in the normal kernel's userland, over SSH."""

from __future__ import annotations

import base64
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from harness.base.deadline import Deadline
from harness.base.errors import HarnessError, KernelHangError
from harness.base.lazy import lazily

if TYPE_CHECKING:
    import paramiko
else:
    paramiko = lazily("paramiko")

_EXPLAIN_SECONDS = 3.0
_POLL = 0.25
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class KeyPair:
    """A key made for one run: the file paramiko reads, and the line sshd reads."""

    private: Path
    public: str


def make_key(folder: Path) -> KeyPair:
    """Make an Ed25519 key.

    Args:
        folder: Where the private key goes.
    """
    key = ed25519.Ed25519PrivateKey.generate()
    private = folder / "id_ed25519"
    private.touch(mode=0o600)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return KeyPair(private=private, public=public.decode())


def host_key() -> bytes:
    """A new Ed25519 key for sshd: its secret half, then its public one."""
    key = ed25519.Ed25519PrivateKey.generate()
    return key.private_bytes_raw() + key.public_key().public_bytes_raw()


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    command: str
    exit_code: int
    out: str
    err: str

    def check(self) -> str:
        """Its output, if it succeeded.

        Raises:
            HarnessError: It failed.
        """
        if self.exit_code:
            raise HarnessError(
                f"`{self.command}` ended with {self.exit_code} in the guest: "
                f"{(self.err or self.out).strip()[-400:]}"
            )
        return self.out


class Shell:
    """An SSH connection to the normal kernel.

    Args:
        port: The loopback port that QEMU forwards.
        key: The key made for this run.
        host_key: The guest's host key, as its ready line gave it.
        alive: Raises when there is no use in waiting any longer.
    """

    def __init__(
        self, *, port: int, key: KeyPair, host_key: str, alive: Callable[[], None]
    ) -> None:
        self._port = port
        self._key = key
        self._alive = alive
        kind, _, blob = host_key.partition(" ")
        self._host_key = (kind, paramiko.PKey.from_type_string(kind, base64.b64decode(blob)))
        self._client: paramiko.SSHClient | None = None
        self._started: paramiko.Channel | None = None

    def _connect_once(self, deadline: Deadline) -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        kind, host_key = self._host_key
        client.get_host_keys().add(f"[127.0.0.1]:{self._port}", kind, host_key)
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        # One that hangs in the middle must leave time for others.
        limit = max(5.0, min(deadline.remaining, deadline.seconds / 3))
        client.connect(
            "127.0.0.1",
            port=self._port,
            username="root",
            key_filename=str(self._key.private),
            look_for_keys=False,
            allow_agent=False,
            timeout=limit,
            banner_timeout=limit,
            auth_timeout=limit,
        )
        return client

    def connect(self, deadline: Deadline) -> None:
        """Connect, trying again until the deadline.

        Args:
            deadline: By when.

        Raises:
            KernelHangError: No connection was had in time.
        """
        last: Exception | None = None
        while not deadline.expired:
            self._alive()
            try:
                self._client = self._connect_once(deadline)
                return
            except (OSError, EOFError, paramiko.SSHException) as exc:
                last = exc
                time.sleep(0.2)
        raise KernelHangError(
            f"no SSH connection to the guest within {deadline.seconds:.0f} s: {last}"
        )

    def run(self, command: str, deadline: Deadline, *, stdin: bytes = b"") -> Done:
        """Run a command with the guest's shell.

        Args:
            command: The command line; dropbear takes at most 9000 bytes.
            deadline: By when it must have ended.
            stdin: What it reads.

        Raises:
            KernelHangError: It had not ended in time.
            HarnessError: The connection broke.
        """
        with self._explained():
            channel = self._open(command, deadline)
            if stdin:
                channel.settimeout(max(1.0, deadline.remaining))
                channel.sendall(stdin)
                channel.shutdown_write()
                channel.settimeout(_POLL)
            out, err = self._collect(channel, command, deadline)
            status = channel.recv_exit_status()
            if status < 0:
                raise EOFError("the guest closed it")
            return Done(command=command, exit_code=status, out=out, err=err)

    def start(self, command: str, deadline: Deadline) -> None:
        """Start a program that may freeze sshd: no answer is waited for once it runs.

        A shell in the guest has answered, and waits for a line from here. sshd
        passes it on, so the connection is to stay until the kernel is gone.

        Args:
            command: The program with its arguments; its output is dropped.
            deadline: By when the shell must have answered.

        Raises:
            KernelHangError: It had not answered in time.
            HarnessError: The connection broke.
        """
        line = f"echo ready; read -r go && exec setsid {command} </dev/null >/dev/null 2>&1"
        with self._explained():
            channel = self._open(line, deadline)
            answer = b""
            while not answer:
                with contextlib.suppress(socket.timeout):
                    answer = channel.recv(64)
                    if not answer:
                        raise EOFError("the guest closed it")
                self._alive()
                if deadline.expired and not answer:
                    raise KernelHangError(
                        f"`{command}` could not be started within {deadline.seconds:.0f} s"
                    )
            channel.sendall(b"go\n")
        # paramiko closes a channel that nobody refers to.
        self._started = channel

    def _open(self, command: str, deadline: Deadline) -> paramiko.Channel:
        """A channel in which a command runs."""
        if self._client is None:
            self.connect(deadline)
        channel = self.session(seconds=max(1.0, deadline.remaining))
        channel.settimeout(_POLL)
        channel.exec_command(command)
        return channel

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """A connection that breaks is often the first to know of a dead machine."""
        try:
            yield
        except (OSError, EOFError, paramiko.SSHException) as exc:
            end = Deadline(seconds=_EXPLAIN_SECONDS, what="why the connection broke")
            while not end.expired:
                self._alive()
                time.sleep(0.1)
            raise HarnessError(f"the SSH connection to the guest broke: {exc!r}") from exc

    def _collect(
        self, channel: paramiko.Channel, command: str, deadline: Deadline
    ) -> tuple[str, str]:
        out, err = bytearray(), bytearray()
        while True:
            with contextlib.suppress(socket.timeout):
                data = channel.recv(65536)
                out += data
                if not data:
                    break
            while channel.recv_stderr_ready():
                err += channel.recv_stderr(65536)
            self._alive()
            if deadline.expired:
                channel.close()
                raise KernelHangError(
                    f"`{command}` did not end within {deadline.seconds:.0f} s in the guest"
                )
        while data := channel.recv_stderr(65536):
            err += data
        return out.decode(errors="replace"), err.decode(errors="replace")

    def put(self, data: bytes, path: str, deadline: Deadline, *, mode: str = "644") -> None:
        """Write a file in the guest.

        Args:
            data: Its content.
            path: Its path in the guest.
            deadline: By when.
            mode: Its mode, as chmod takes it.
        """
        self.run(f"cat > {path} && chmod {mode} {path}", deadline, stdin=data).check()

    def session(self, *, seconds: float) -> paramiko.Channel:
        """A channel of the connection, for what goes on longer than a command.

        Args:
            seconds: How long to wait for it.

        Raises:
            HarnessError: The connection is closed or broke.
        """
        transport = self._client.get_transport() if self._client else None
        if transport is None:
            raise HarnessError("the SSH connection to the guest is closed")
        with self._explained():
            return transport.open_session(timeout=seconds)

    def close(self) -> None:
        """Close the connection; the guest may be long gone."""
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._client.close()
            self._client = None
