# SPDX-License-Identifier: GPL-2.0-only
"""Are the answers of QEMU's gdb stub told from what it says unasked?"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.audit.gdb import Gdb, NoBreakpointsError


@contextmanager
def stub(path: Path, answers: Sequence[Sequence[str]]) -> Iterator[Path]:
    """Something that answers each packet with the packets that are given for it."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen(1)

    def serve() -> None:
        peer, _ = server.accept()
        with peer:
            for given in answers:
                data = b""
                while b"#" not in data:
                    data += peer.recv(4096)
                for text in given:
                    peer.sendall(b"$%s#%02x" % (text.encode(), sum(text.encode()) & 0xFF))
            peer.recv(4096)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield path
    finally:
        server.close()


HELLO = ["T05thread:01;", "PacketSize=1000"]


def test_a_stop_that_is_told_late_is_no_answer(tmp_path: Path) -> None:
    with stub(tmp_path / "gdb", [HELLO, ["T02thread:01;", "OK"], ["0a00000000000000"]]) as path:
        gdb = Gdb(path)
        gdb.stop_at(0x1000)
        assert gdb.read(0x1000, 8) == bytes([10, 0, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("answer", ["", "E22"])
def test_no_hardware_breakpoints(tmp_path: Path, answer: str) -> None:
    with stub(tmp_path / "gdb", [HELLO, [answer]]) as path, pytest.raises(NoBreakpointsError):
        Gdb(path).stop_at(0x1000)
