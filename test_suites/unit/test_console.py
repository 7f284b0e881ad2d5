# SPDX-License-Identifier: GPL-2.0-only
"""Is every status line read whole, in order, and kept?"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.base.errors import HarnessError
from harness.vm.console import Prompt, StatusPort


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_lines_come_whole_and_in_order(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    ours, guest = pair
    log = tmp_path / "status.log"
    port = StatusPort(ours, log=log)
    sent = b'{"event":"one","n":1}\r\n{"event":"two","text":"a}b"}\n'
    for byte in sent:
        guest.send(bytes([byte]))
    assert [port.next(1), port.next(1)] == [
        {"event": "one", "n": 1},
        {"event": "two", "text": "a}b"},
    ]
    assert port.next(0.05) is None
    port.close()
    assert log.read_bytes() == sent


def test_noise_before_a_line_is_skipped(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, guest = pair
    guest.send(b"\x00\xff garbage\r\n" + b'{"event":"init"}\n')
    line = StatusPort(ours).next(1)
    assert line == {"event": "init"}


def test_torn_line_is_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, guest = pair
    port = StatusPort(ours)
    guest.send(b'{"event":"in')
    assert port.next(0.05) is None
    guest.send(b'it"}\n')
    assert port.next(1) == {"event": "init"}


def test_what_came_is_known_before_it_is_taken(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, guest = pair
    port = StatusPort(ours)
    guest.send(b'{"role":"normal","event":"jump"}\n')
    port.pump()
    assert port.has("normal", "jump")
    assert not port.has("hibernating", "jump")
    assert port.next(0) == {"role": "normal", "event": "jump"}
    assert not port.has("normal", "jump")


def test_a_guest_that_ends_with_unread_data_is_gone(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Its socket is reset then, and not closed."""
    ours, guest = pair
    ours.send(b"nobody reads this")
    guest.close()
    assert StatusPort(ours).next(1) is None


def test_line_that_is_not_json_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, guest = pair
    guest.send(b"{event: init}\n")
    with pytest.raises(HarnessError, match="not JSON"):
        StatusPort(ours).next(1)


def test_end_of_the_port_is_no_line(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, guest = pair
    guest.close()
    assert StatusPort(ours).next(1) is None


def echoing_shell(guest: socket.socket) -> None:
    """A console as a guest has it: it echoes, and then answers."""
    line = guest.recv(4096)
    guest.send(line.replace(b"\n", b"\r\n"))
    time.sleep(0.05)
    guest.send(b"Linux\r\nkspawn-prompt-1:3\r\n")


def test_prompt_tells_output_and_exit_code(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, guest = pair
    shell = threading.Thread(target=echoing_shell, args=(guest,))
    shell.start()
    assert Prompt(ours).run("uname; (exit 3)", seconds=5) == (3, "Linux")
    shell.join()


def test_prompt_that_does_not_answer_is_an_error(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    with pytest.raises(HarnessError, match="did not end"):
        Prompt(pair[0]).run("sleep 100", seconds=0.1)


def test_descriptors_are_left_alone(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    StatusPort(ours).next(0)
    os.fstat(ours.fileno())


def test_pumped_lines_are_not_lost(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, guest = pair
    port = StatusPort(ours)
    guest.send(b'{"n":1}\n{"n":2}\n')
    port.pump()
    guest.send(b'{"n":3}\n')
    assert [port.next(1) for _ in range(3)] == [{"n": 1}, {"n": 2}, {"n": 3}]
