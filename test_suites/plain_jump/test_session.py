# SPDX-License-Identifier: GPL-2.0-only
"""Does a session of SSH from the host stay open over a plain jump, and lose nothing?

A program in the machine sends back each line that it gets. The host goes on sending while
the kernel is away: TCP keeps that until somebody answers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from harness.machine.machine import Machine
from harness.ways import plain_jump

pytestmark = [pytest.mark.vm]

EVERY = 0.05
ANSWER_SECONDS = 30.0


@dataclass
class Talk:
    """What was sent to the machine, and what came back."""

    sent: list[str] = field(default_factory=list)
    heard: str = ""


@contextmanager
def talking(machine: Machine) -> Iterator[Talk]:
    """Talk to the machine in a session of its own, until the end of the block."""
    shell = machine.link.another(machine.timeouts.deadline("ssh", "another session"))
    channel = shell.session(seconds=ANSWER_SECONDS)
    channel.settimeout(ANSWER_SECONDS)
    channel.exec_command("echo $$; exec cat")
    talk, over = Talk(), threading.Event()
    talk.heard = channel.recv(64).decode()

    def send() -> None:
        while not over.wait(EVERY):
            talk.sent.append(f"{len(talk.sent)}\n")
            try:
                channel.sendall(talk.sent[-1].encode())
            except OSError:
                return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield talk
        over.set()
        thread.join()
        channel.shutdown_write()
        while data := channel.recv(65536):
            talk.heard += data.decode()
    finally:
        over.set()
        thread.join()
        shell.close()


@pytest.mark.ci
def test_a_session_stays_open(machine: Machine) -> None:
    machine.boot()
    with talking(machine) as talk:
        before = len(talk.sent)
        assert plain_jump.jump(machine)["outcome"] == "plain"
        assert len(talk.sent) > before
        process = talk.heard.split()[0]
        assert machine.run(f"cat /proc/{process}/comm").check() == "cat\n"
        time.sleep(4 * EVERY)
    assert talk.heard == f"{process}\n" + "".join(talk.sent)


def test_a_session_that_ended_is_seen(machine: Machine) -> None:
    """The mutation: the other side of the session ends while the kernel is there."""
    machine.boot()
    with talking(machine) as talk:
        assert plain_jump.jump(machine)["outcome"] == "plain"
        machine.run(f"kill -9 {talk.heard.split()[0]}").check()
        time.sleep(4 * EVERY)
    assert len(talk.heard.split()) - 1 < len(talk.sent)
