# SPDX-License-Identifier: GPL-2.0-only
"""The witness, on the host: content when nothing happened, and only then."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.guest import guestbuild
from harness.guest.witnesses import table, witnesses

MEBIBYTES = 4
# The program is asked: it has the only list.
# What is not of a process alone, such as a block device, is armed in a machine only.
CHECKS = (
    [facts.name for facts in witnesses() if not facts.systemwide]
    if shutil.which("musl-gcc")
    else []
)


@dataclass
class Answer:
    """What a call of the witness printed, and its exit code."""

    status: int
    data: dict[str, Any]

    @property
    def failed(self) -> dict[str, str]:
        """The detail of each check that failed."""
        return {c["name"]: c["detail"] for c in self.data["checks"] if not c["ok"]}


@dataclass
class Witness:
    """A witness with its own directory and socket."""

    binary: Path
    directory: Path
    pids: list[int] = field(default_factory=list)
    # What it holds, and why it does not hold the rest.
    armed: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def call(self, command: str, *arguments: str) -> Answer:
        """Calls the program, which must print one line of JSON and nothing else."""
        done = subprocess.run(
            [self.binary, command, "--socket", "socket", *arguments],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == ""
        assert done.stdout.count("\n") == 1
        return Answer(done.returncode, json.loads(done.stdout))

    def run(self, *arguments: str) -> Answer:
        """Starts the witness."""
        size = ("--mebibytes", str(MEBIBYTES), "--no-systemwide")
        answer = self.call("run", "--dir", str(self.directory), *size, *arguments)
        if answer.status == 0:
            self.pids.append(answer.data["pid"])
            self.armed = answer.data["checks"]
            self.missing = answer.data["not_here"]
        return answer

    def kill(self) -> None:
        """Ends it, and waits until it cannot be reached any more."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while self.pids and self.call("check").status != 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        self.pids.clear()


@pytest.fixture(scope="module")
def binary() -> Path:
    if not CHECKS:
        pytest.skip("musl-gcc is not installed")
    return guestbuild.build_guest(["witness"])["witness"]


@pytest.fixture
def witness(binary: Path, tmp_path: Path) -> Iterator[Witness]:
    it = Witness(binary, tmp_path)
    try:
        yield it
    finally:
        it.kill()


def test_the_table_in_the_docs_is_that_of_the_program(binary: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "witnesses.md").read_text()
    assert text.endswith(table())


def test_says_what_it_set_up(witness: Witness) -> None:
    answer = witness.run()
    assert answer.status == 0
    assert sorted([*answer.data["checks"], *answer.data["not_here"]]) == sorted(CHECKS)
    assert answer.data["checks"] == [name for name in CHECKS if name in witness.armed]
    assert int(answer.data["nonce"], 16) >= 0
    physical = answer.data["phys"]
    # Only root is told page frames.
    assert physical is None or (physical["page"] == MEBIBYTES * 128 and physical["pfn"] > 0)


def test_passes_again_and_again(witness: Witness) -> None:
    started = witness.run()
    for turn in range(1, 4):
        answer = witness.call("check")
        assert (answer.status, answer.failed) == (0, {})
        assert [c["name"] for c in answer.data["checks"]] == witness.armed
        assert answer.data["round"] == turn
        assert answer.data["pid"] == started.data["pid"]
        assert answer.data["nonce"] == started.data["nonce"]


def test_passes_after_it_was_stopped_and_continued(witness: Witness) -> None:
    pid = witness.run().data["pid"]
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(pid, signal.SIGCONT)
    assert witness.call("check").failed == {}


@pytest.fixture(scope="module")
def damaged(
    binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Witness, dict[str, str]]]:
    """One witness for all damages, and what its checks have to say by now."""
    it = Witness(binary, tmp_path_factory.mktemp("damaged"))
    try:
        assert it.run().status == 0
        yield it, {}
    finally:
        it.kill()


@pytest.mark.parametrize("name", CHECKS)
def test_damage_fails_its_check_only(damaged: tuple[Witness, dict[str, str]], name: str) -> None:
    witness, known = damaged
    if name not in witness.armed:
        pytest.skip(f"not here: {witness.missing[name]}")
    assert witness.call("check").failed == known
    done = witness.call("damage", name)
    assert (done.status, done.data.get("damaged")) == (0, name), done.data
    answer = witness.call("check")
    assert answer.status == 1
    assert set(answer.failed) - set(known) == {name}
    assert answer.failed[name]
    # It is not forgotten when the check put things right.
    again = witness.call("check")
    assert (again.status, again.failed) == (1, answer.failed)
    known.update(answer.failed)


def test_all_damages_at_once_are_named(witness: Witness) -> None:
    """None hides another one, and none waits for a check that came before it."""
    witness.run()
    for name in witness.armed:
        done = witness.call("damage", name)
        assert done.status == 0, done.data
    assert sorted(witness.call("check").failed) == sorted(witness.armed)


def test_detail_says_what_differs(witness: Witness) -> None:
    witness.run()
    witness.call("damage", "anonymous-memory")
    detail = witness.call("check").failed["anonymous-memory"]
    assert detail.startswith("page 17 word 3: 0x")
    assert detail.endswith("1 of 1024 pages differ")


def test_locates_a_page(witness: Witness) -> None:
    nonce = int(witness.run().data["nonce"], 16)
    answer = witness.call("locate", "5")
    assert answer.status == 0
    assert answer.data["page"] == 5
    assert int(answer.data["vaddr"], 16) % 4096 == 0
    assert int(answer.data["word0"], 16) == 0x4B57 << 48 | (nonce & 0xFFFFFF) << 24 | 5
    assert answer.data["pfn"] is None or answer.data["pfn"] > 0


def test_refuses_what_it_does_not_have(witness: Witness) -> None:
    witness.run("--no-spin")
    for request in (("locate", "1024"), ("locate", "x"), ("damage", "x"), ("damage", "registers")):
        answer = witness.call(*request)
        assert answer.status == 2
        assert "error" in answer.data
    assert [c["name"] for c in witness.call("check").data["checks"]] == [
        name for name in witness.armed if name != "registers"
    ]


def test_there_is_one_witness_a_socket(witness: Witness) -> None:
    witness.run()
    second = witness.run()
    assert second.status == 3
    assert "another witness" in second.data["error"]
    assert witness.call("check").failed == {}


def test_stops_and_leaves_nothing(witness: Witness) -> None:
    witness.run()
    assert witness.call("stop").status == 0
    assert list(witness.directory.iterdir()) == []
    assert witness.call("check").status == 4


def test_a_dead_witness_is_unreachable(witness: Witness) -> None:
    witness.run()
    witness.kill()
    answer = witness.call("check")
    assert answer.status == 4
    assert "error" in answer.data
    # Its socket is still there, and in nobody's way.
    assert witness.run().status == 0


def test_a_dead_child_is_noticed(witness: Witness) -> None:
    pid = witness.run().data["pid"]
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    if not listing.exists():
        pytest.skip("this kernel does not list children in /proc")
    # In the order in which they were armed: futex-shared is one of the first.
    children = [int(child) for child in listing.read_text().split()]
    assert len(children) > 1
    for child in children:
        if "R (running)" not in Path(f"/proc/{child}/status").read_text():
            os.kill(child, signal.SIGKILL)
    time.sleep(0.1)
    failed = witness.call("check").failed
    assert "ended with status" in failed["futex-shared"]
    assert "anonymous-memory" not in failed


def test_a_setup_that_fails_says_why(witness: Witness) -> None:
    answer = witness.call("run", "--dir", str(witness.directory / "none"))
    assert answer.status == 3
    assert "No such file or directory" in answer.data["error"]


def test_one_alone(witness: Witness) -> None:
    """It arms that one, and no other; its damage is seen; no other can be damaged."""
    answer = witness.run("--only", "tcp")
    assert answer.data["checks"] == ["tcp"]
    assert witness.call("check").status == 0
    assert witness.call("damage", "eventfd").status != 0
    assert witness.call("damage", "tcp").status == 0
    assert list(witness.call("check").failed) == ["tcp"]


@pytest.mark.parametrize("name", CHECKS)
def test_each_stands_alone(witness: Witness, name: str) -> None:
    """None counts on another one that was armed before it."""
    answer = witness.run("--only", name)
    assert answer.status == 0, answer.data
    assert [*answer.data["checks"], *answer.data["not_here"]] == [name]
    assert witness.call("check").status == 0
