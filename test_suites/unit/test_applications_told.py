# SPDX-License-Identifier: GPL-2.0-only
"""What the applications in the Debian are judged by: does it see what it must, and no more?"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.guest import debianimage

sys.path.insert(0, str(debianimage.SOURCE))

from applications import application, journal, timers
from applications.emulator import FACTOR, SUMMAND, Emulator
from applications.threads_load import Worker
from applications.timers import Tick


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([1, 2, 3], []),
        ([], []),
        ([1, 3, 4], ["1 x lost, the first is 2"]),
        ([1, 2, 2, 3], ["1 x are there twice, the first is 2"]),
        ([1, 3, 2], ["x are not in their order"]),
        ([0, 1, 2], ["x that nobody made: 0"]),
    ],
)
def test_a_sequence(numbers: list[int], said: list[str]) -> None:
    assert application.sequence(numbers, what="x") == said


def ticks(every: float, *, away: dict[int, float] | None = None) -> list[Tick]:
    """Ticks of a timer; away says after which of them the kernel slept, and for how long."""
    made, slept = [], 0.0
    for number in range(20):
        awake = 100 + number * every
        made.append(Tick(awake, awake + slept, 1e9 + awake + slept))
        slept += (away or {}).get(number, 0.0)
    return made


def test_ticks_go_on_where_the_kernel_is_awake() -> None:
    assert timers.regular(ticks(8.0), 8.0) == []
    assert timers.regular(ticks(8.0, away={7: 333.3}), 8.0) == []
    assert timers.regular([], 8.0) == []
    stopped = ticks(8.0)
    del stopped[4:9]
    assert timers.regular(stopped, 8.0) == ["48.0 s awake after the tick at 124.0 s"]


def test_ticks_of_a_sleep_come_once() -> None:
    slept = ticks(10.0, away={7: 60.0})
    first = slept[8]
    early = replace(first, monotonic=first.monotonic - 9, boottime=first.boottime - 9)
    assert timers.regular([*slept[:8], early, *slept[8:]], 10.0) == []
    often = [replace(early, monotonic=early.monotonic + n / 10) for n in range(6)]
    said = timers.regular([*slept[:8], *often, *slept[8:]], 10.0)
    assert said == ["26 ticks in 190.0 s awake"]


def test_a_gap_of_the_journal_is_the_time_away() -> None:
    good = [(10.0, 1000.0, 0.0), (10.3, 1000.3, 0.0), (10.6, 1030.6, 30.0), (10.9, 1030.9, 30.0)]
    assert journal.gaps(good) == []
    # One that was sent before, and got there after.
    assert journal.gaps([*good[:2], (10.6, 1030.6, 0.0), good[3]]) == []
    assert journal.gaps([]) == []
    assert journal.gaps([*good[:2], (10.6, 1030.6, 0.0)]) == [
        "its times lack 30.0 s, and 0.0 s were slept"
    ]
    assert journal.gaps([good[0], (30.0, 1020.0, 0.0)]) == [
        "20.0 s of CLOCK_MONOTONIC after 10.0 s"
    ]


def test_a_worker_knows_where_it_must_be() -> None:
    worker = Worker(7920)
    for _ in range(9):
        worker.work()
    assert worker.right()
    worker.value ^= 1 << 33
    assert not worker.right()


def test_the_steps_of_the_machine_in_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, told = 0, []
    for number in range(1, 6):
        value = (value * FACTOR + SUMMAND) & 0xFFFFFFFF
        told.append(f"{number:08x} {value:08x} 00000000 \n")
    monkeypatch.setattr("applications.application.run", lambda *_: "active\n")
    monkeypatch.setattr(Emulator, "folder", tmp_path)

    def judged(text: str) -> list[str]:
        (tmp_path / "serial").write_text(text)
        return Emulator().judge()

    assert judged("".join(told) + "0000") == []
    assert judged("".join(told[:2] + told[3:])) == ["1 steps lost, the first is 3"]
    wrong = told[2].replace("00000000 \n", "00000001 \n")
    assert "1 words wrong" in judged("".join([*told[:2], wrong, *told[3:]]))[0]
    other = told[2].replace(told[2][9:17], "00000000")
    assert "step 3: 0x0 and not" in judged("".join([*told[:2], other, *told[3:]]))[0]


def test_each_application_has_a_damage() -> None:
    sys.modules.setdefault("psycopg2", type(sys)("psycopg2"))
    from applications.__main__ import ALL  # noqa: PLC0415

    names = [one.name for one in ALL]
    assert len(set(names)) == len(names)
    assert [one.name for one in ALL if not one.damages] == []
    known = {path.name for path in (debianimage.SOURCE / "units").iterdir()}
    units = {unit for one in ALL for unit in one.units if unit.startswith("kspawn-")}
    assert units <= known


def test_a_line_is_dropped_where_others_write(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with path.open("w") as writer:
        writer.write("".join(f"{number}\n" for number in range(1, 8)))
        writer.flush()
        application.drop_line(path)
        writer.write("8\n")
    numbers = [int(line) for line in application.lines(path)]
    assert numbers == [1, 2, 3, 3, 5, 6, 7, 8]
    assert application.sequence(numbers, what="x")[0] == "1 x lost, the first is 4"
