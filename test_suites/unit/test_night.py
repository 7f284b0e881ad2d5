# SPDX-License-Identifier: GPL-2.0-only
"""The night: expansion, what is left to do, flakes, and a real run of small jobs."""

from __future__ import annotations

import dataclasses
from io import StringIO
from itertools import product
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from harness.base.errors import HarnessError, PrerequisiteError, SpecError, UsageError
from harness.base.files import only_one
from harness.kernel import specfiles, vmconfig
from harness.night import local, matrix, record, runner, spec
from harness.night.board import Board
from harness.night.command import Request, run
from harness.night.flakes import Rate
from harness.night.local import Capacity
from harness.night.matrix import Job
from harness.night.model import (
    Attempt,
    Outcome,
    TestRun,
    Verdict,
    judge,
    judge_tests,
    night_exit_code,
    to_repeat,
)
from harness.night.runner import Order, Stop
from harness.night.store import Store
from harness.ways import registry
from test_suites.unit.nights import make_plan, small_job

ROOT = Path(__file__).resolve().parent.parent.parent


# --- Expansion -----------------------------------------------------------------


def test_include_as_in_the_documentation_of_github() -> None:
    """The example that GitHub's documentation spells out."""
    axes = {"fruit": ["apple", "pear"], "animal": ["cat", "dog"]}
    include = [
        {"color": "green"},
        {"color": "pink", "animal": "cat"},
        {"fruit": "apple", "shape": "circle"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]
    assert spec.extended(spec.combine(axes), include, list(axes)) == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]


def test_exclude_needs_to_match_in_part_only() -> None:
    axes = {"os": ["a", "b"], "version": ["1", "2"], "env": ["x", "y"]}
    exclude = [{"os": "a", "version": "1", "env": "y"}, {"os": "b", "version": "1"}]
    left = spec.without(spec.combine(axes), exclude)
    assert {tuple(found.values()) for found in left} == {
        ("a", "1", "x"),
        ("a", "2", "x"),
        ("a", "2", "y"),
        ("b", "2", "x"),
        ("b", "2", "y"),
    }


def test_include_brings_back_what_an_exclude_dropped() -> None:
    axes = {"os": ["a", "b"]}
    left = spec.without(spec.combine(axes), [{"os": "a"}])
    assert spec.extended(left, [{"os": "a"}], ["os"]) == [{"os": "b"}, {"os": "a"}]


MATRIX = """\
name: mine
matrix:
  kernel: [linux-6.12, linux-6.1]
  vm-config: [default, ram2g]
  way: [restricted, snapshot]
  suite: [restricted, snapshot]
  exclude:
    - {kernel: linux-6.1, vm-config: ram2g}
  include:
    - {kernel: linux-6.12, suite: unit}
    - {vm-config: ram2g, timeout: 2h}
suites:
  snapshot: {ignores: [way], args: [-k, TestCycle]}
  unit: {ignores: [way, vm-config], machines: 0}
"""


def load(folder: Path, text: str) -> list[Job]:
    path = folder / "mine.yaml"
    path.write_text(text)
    return spec.expand(spec.load(path))


def test_expansion(tmp_path: Path) -> None:
    jobs = load(tmp_path, MATRIX)
    # Suite `restricted`: 3 machines by 2 ways; `snapshot`: 3, the way apart; and `unit`.
    assert [job.suite for job in jobs].count("restricted") == 6
    assert [job.suite for job in jobs].count("snapshot") == 3
    assert [job.suite for job in jobs].count("unit") == 1
    large = [job for job in jobs if job.vm_config == "ram2g"]
    assert {job.timeout for job in large} == {7200}
    assert {job.memory for job in large} == {2048 + matrix.OVERHEAD_MIB}
    assert len({job.title for job in jobs}) == len({job.slug for job in jobs}) == len(jobs)


def test_a_job_that_is_described_twice_is_one_with_the_most_of_each(tmp_path: Path) -> None:
    text = """\
name: mine
matrix:
  kernel: [linux-6.12]
  way: [restricted, snapshot]
  suite: [endurance]
  include:
    - {way: snapshot, timeout: 4h}
    - {way: restricted, memory: 4000, kvm: true}
suites:
  endurance: {ignores: [way]}
"""
    (job,) = load(tmp_path, text)
    assert (job.timeout, job.memory, job.kvm) == (4 * 3600, 4000, True)


def test_two_kernels_of_one_name_are_refused(tmp_path: Path) -> None:
    own = tmp_path / "linux-6.12.yaml"
    own.write_text((ROOT / "kernels" / "linux-6.12.yaml").read_text())
    matrix = f"name: x\nmatrix:\n  kernel: [linux-6.12, {own}]\n  suite: [restricted]\n"
    with pytest.raises(SpecError, match=r"two jobs are called 'linux-6.12 · .* kernel is 'linux-6"):
        load(tmp_path, matrix)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  way:", "  ways:", "matrix.ways: unknown key, is it 'way'? (known are: kernel, "),
        ("{kernel: linux-6.1, ", "{kernal: linux-6.1, ", "matrix.exclude.0.kernal: no axis"),
        (
            "{kernel: linux-6.1, ",
            "{kernel: linux-6.2, ",
            "exclude.0.kernel: 'linux-6.2' is no value",
        ),
        ("timeout: 2h", "timeout: soon", "matrix.include.1.timeout: 'soon' is no duration"),
        ("timeout: 2h", "timeout: 2", "matrix.include.1.timeout: input should be a valid string"),
        ("timeout: 2h", "memory: 2GiB", "matrix.include.1.memory: input should be a valid integer"),
        ("timeout: 2h", "args: x", "matrix.include.1.args: input should be a valid list, not 'x'"),
        ("timeout: 2h", "colour: red", "matrix.include.1.colour: unknown key (known are: kernel"),
        (
            "[restricted, snapshot]\n  suite",
            "[sideways]\n  suite",
            "matrix.way: 'sideways' is none of",
        ),
        ("suite: unit}", "suite: none-such}", "suites.unit: neither the axis 'suite' nor"),
        ("  unit: {", "  unti: {", "suites.unti: neither the axis 'suite' nor an include names it"),
        ("ignores: [way],", "path: nowhere,", "suites.snapshot.path: there is no nowhere"),
        (
            "ignores: [way],",
            "ignors: [way],",
            "suites.snapshot.ignors: unknown key, is it 'ignores'?",
        ),
        (
            "{kernel: linux-6.12, suite: u",
            "{kernel: linux-9, suite: u",
            "kernel: there is no kernel 'linux-9'",
        ),
        (
            "[default, ram2g]\n  way",
            "[smp3, ram2g]\n  way",
            "matrix.vm-config: there is no VM config 'smp3'",
        ),
        ("ignores: [way],", "ignores: [suite],", "'suite' cannot be ignored"),
        ("[linux-6.12, linux-6.1]", "linux-6.12", "matrix.kernel"),
        ("[linux-6.12, linux-6.1]", "[6.12]", "matrix.kernel: input should be a name, not 6.12"),
        ("name: mine\n", "", "name: missing"),
        ("name: mine\n", "nmae: mine\n", "nmae: unknown key, is it 'name'?"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MATRIX
    with pytest.raises(SpecError) as caught:
        load(tmp_path, MATRIX.replace(old, new))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/mine.yaml: ")
    assert "\n" not in str(caught.value)


def test_a_kernel_of_a_matrix_with_a_mistake_is_named_with_its_file(tmp_path: Path) -> None:
    text = (ROOT / "kernels" / "linux-6.12.yaml").read_text()
    (tmp_path / "own.yaml").write_text(
        text.replace("name: linux-6.12", "name: own")
        + "configs: {normal: [nomal.config], spawned: [spawned.config]}\n"
    )
    matrix = f"name: x\nmatrix:\n  kernel: [{tmp_path}/own.yaml]\n  suite: [restricted]\n"
    expected = r"mine\.yaml: matrix\.kernel: .*own\.yaml: configs\.normal: no file 'nomal\.config'"
    with pytest.raises(SpecError, match=expected):
        load(tmp_path, matrix)


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "ci").glob("*.matrix.yaml")))
def test_matrices_of_the_checkout_expand(path: Path) -> None:
    assert spec.expand(spec.load(path))


def test_the_sample_of_a_night_has_every_way_on_every_machine() -> None:
    """A way or a machine that is new is not to be missing from it."""
    jobs = spec.expand(spec.load(ROOT / "docs" / "ci" / "nightly.matrix.yaml"))
    assert {job.kernel for job in jobs if job.suite == "kernel_selftests"} == {
        *("linux-7.3", "linux-6.12", "linux-6.1")
    }
    cycles = {(job.kernel, job.way, job.vm_config) for job in jobs if job.suite == "restricted"}
    # q35-sata-smp2 stands for q35 as well, and ram2g and smp2 for both in one.
    machines = set(specfiles.names(vmconfig.VM_CONFIGS)) - {"q35", "ram2g-smp2"}
    kernels = ("linux-7.3", "linux-6.12", "linux-6.1")
    assert cycles == set(product(kernels, registry.resume_paths(), machines))
    others = ("no_image", "plain_jump", "baselines")
    ran = {(job.suite, job.kernel, job.vm_config) for job in jobs if job.suite in others}
    assert ran == set(product(others, kernels, machines))


# --- What attempts come to ---------------------------------------------------------


def runs(**outcomes: str) -> list[TestRun]:
    return [
        TestRun(
            name=f"test_x.py::{name}",
            outcome=Outcome(outcome),
            exit_code=4 if outcome == "failed" else 0,
            message="it broke" if outcome in ("failed", "error") else "",
        )
        for name, outcome in outcomes.items()
    ]


def attempt(number: int, code: int = 0, **outcomes: str) -> Attempt:
    return Attempt(job="k", number=number, exit_code=code, tests=runs(**outcomes))


def test_pass_after_fail_is_flaky_and_not_green() -> None:
    attempts = [attempt(0, 4, a="passed", b="failed"), attempt(1, b="passed")]
    verdict, code, reason = judge(attempts)
    assert (verdict, code) == (Verdict.FLAKY, 6)
    assert not verdict.green
    assert "test_x.py::b: it broke" in reason
    found = {test.name[-1]: test for test in judge_tests(attempts)}
    assert (found["b"].verdict, found["b"].failures, found["b"].runs) == (Verdict.FLAKY, 1, 2)
    assert (found["a"].verdict, found["a"].runs) == (Verdict.PASSED, 1)


def test_one_test_that_stays_red_keeps_the_job_red() -> None:
    attempts = [attempt(0, 4, a="failed", b="failed"), attempt(1, 4, a="passed", b="failed")]
    assert judge(attempts)[:2] == (Verdict.FAILED, 4)
    assert to_repeat(attempts) == ["test_x.py::b"]


def test_control_what_passes_at_once_is_green_and_not_repeated() -> None:
    attempts = [attempt(0, a="passed", b="xfailed", c="skipped")]
    assert judge(attempts)[:2] == (Verdict.PASSED, 0)
    assert to_repeat(attempts) is None


def test_tests_of_a_class_are_run_again_together() -> None:
    found = attempt(0, 1)
    found.tests = [
        TestRun(name=name, outcome=Outcome.FAILED, exit_code=1)
        for name in ("d/test_x.py::TestCycle::test_a", "d/test_x.py::TestCycle::test_b[x::y]")
    ]
    assert to_repeat([found])[:1] == ["d/test_x.py::TestCycle"]  # type: ignore[index]


KTAP = """\
from harness.logs import ktap

TEXT = \'\'\'KTAP version 1
1..4
ok 1 good
# expected 1, is 2
not ok 2 bad # exit=1
ok 3 left # SKIP no root
not ok 4 known # XFAIL old
\'\'\'

def test_kernel(record_property):
    record_property("other", "is no case")
    cases = [case for test in ktap.parse(TEXT) for case in test.cases("suite.")]
    for path, case in cases:
        record_property(*ktap.to_property(path, case))
    assert all(case.good for _, case in cases)
"""


def test_a_case_of_ktap_is_a_test_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "test_kernel.py").write_text(KTAP)
    order = Order(job=small_job(tmp_path / "test_kernel.py"), key="k")
    found = runner.run(order, tmp_path / "run", stop=Stop())
    node = f"{tmp_path}/test_kernel.py::test_kernel"
    assert [(test.name, test.outcome, test.message) for test in found.tests[1:]] == [
        (f"{node}::suite.good", Outcome.PASSED, ""),
        (f"{node}::suite.bad", Outcome.FAILED, "exit=1"),
        (f"{node}::suite.left", Outcome.SKIPPED, "no root"),
        (f"{node}::suite.known", Outcome.XFAILED, "old"),
    ]
    assert (found.tests[0].name, found.tests[0].outcome) == (node, Outcome.FAILED)
    # It is run again once, by the test that has it.
    assert to_repeat([found]) == [node]


INTERRUPTED = """\
import os, signal

def test_first():
    pass

def test_second():
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_job_whose_pytest_was_interrupted_is_no_mistake_in_a_file(tmp_path: Path) -> None:
    """Of it nothing is known, so it is made again; a wrong option is so the next time, too."""
    (tmp_path / "test_ends.py").write_text(INTERRUPTED)
    order = Order(job=small_job(tmp_path / "test_ends.py"), key="k")
    found = runner.run(order, tmp_path / "run", stop=Stop())
    assert (found.exit_code, found.reason) == (5, "pytest was interrupted")
    assert to_repeat([found]) == []
    wrong = Order(job=small_job(tmp_path / "test_ends.py", args=("--vm-config=none",)), key="k")
    found = runner.run(wrong, tmp_path / "wrong", stop=Stop())
    assert found.exit_code == 2
    assert to_repeat([found]) is None


def test_a_case_is_run_again_with_the_class_of_its_test() -> None:
    found = attempt(0, 1)
    names = ("x.py::TestA::test_k::suite.bad", "x.py::TestA::test_k", "x.py::test_b")
    found.tests = [TestRun(name=name, outcome=Outcome.FAILED, exit_code=1) for name in names]
    assert to_repeat([found]) == ["x.py::TestA", "x.py::test_b"]


def test_of_two_cases_of_one_name_the_worse_counts() -> None:
    properties = [("ktap: a", text) for text in ("passed", "failed: no", "passed")]
    (found,) = record.cases("x.py::t", properties)
    assert (found.outcome, found.message) == (Outcome.FAILED, "no")


def test_a_job_that_broke_without_a_failed_test() -> None:
    broken = [attempt(0, 5, a="passed")]
    assert judge(broken)[:2] == (Verdict.FAILED, 5)
    assert to_repeat(broken) == []
    assert judge([*broken, attempt(1, a="passed")])[0] is Verdict.FLAKY


def test_a_job_that_broke_after_a_failed_test_is_run_again_whole() -> None:
    """What it had left to run was not run: that the failed test passes says nothing of that."""
    first = attempt(0, 5, a="failed")
    first.reason = "it did not end within 5 s"
    verdict, code, reason = judge([first])
    assert (verdict, code) == (Verdict.FAILED, 5)
    assert first.reason in reason
    assert "test_x.py::a: it broke" in reason
    assert to_repeat([first]) == []
    again = attempt(1, 4, a="passed", b="failed")
    assert judge([first, again])[:2] == (Verdict.FAILED, 4)
    # The whole was run now: what is left is a part.
    assert to_repeat([first, again]) == ["test_x.py::b"]
    assert judge([first, again, attempt(2, b="passed")])[0] is Verdict.FLAKY
    hung = attempt(1, 5, a="passed")
    assert judge([first, hung])[:2] == (Verdict.FAILED, 5)
    assert to_repeat([first, hung]) == []


def test_a_skip_after_a_failure_is_no_pass() -> None:
    attempts = [attempt(0, 4, a="failed"), attempt(1, a="skipped")]
    assert judge(attempts)[:2] == (Verdict.FAILED, 4)
    assert to_repeat(attempts) == ["test_x.py::a"]
    assert judge([*attempts, attempt(2, a="passed")])[0] is Verdict.FLAKY


@pytest.mark.parametrize("code", [2, 3])
def test_what_is_wrong_in_a_file_is_not_tried_again(code: int) -> None:
    assert to_repeat([attempt(0, code)]) is None


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([0, 0], 0), ([0, 6], 6), ([6, 1, 0], 1), ([4, 6, 1], 4), ([5, 4], 5), ([], 0)],
)
def test_exit_code_of_a_night(codes: list[int], expected: int) -> None:
    assert night_exit_code(codes) == expected


# --- Flakes ---------------------------------------------------------------------


def test_rate_and_its_interval() -> None:
    rate = Rate(failures=1, runs=10)
    assert rate.value == pytest.approx(0.1)
    # Wilson's interval for 1 of 10, as published tables have it.
    assert rate.interval == pytest.approx((0.0179, 0.4042), abs=1e-4)
    assert str(rate) == "10 % (1 of 10 runs, 95 %: 2-40 %)"


def test_rate_of_no_failures_is_not_certainty() -> None:
    low, high = Rate(failures=0, runs=20).interval
    assert low == 0.0
    assert high == pytest.approx(0.1611, abs=1e-4)
    assert Rate(failures=0, runs=0).interval == (0.0, 1.0)


def test_rate_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="5 failures of 4"):
        Rate(failures=5, runs=4)


# --- The store -------------------------------------------------------------------


def test_an_attempt_that_comes_twice_counts_once(tmp_path: Path) -> None:
    with Store(tmp_path / "n.sqlite") as store:
        plan = make_plan(store, tmp_path, [small_job(tmp_path / "a.py")])
        first = Attempt(job=plan.jobs[0].key, number=0, exit_code=0, tests=runs(a="passed"))
        again = first.model_copy(update={"exit_code": 1, "tests": runs(a="failed")})
        assert plan.add(first)
        assert not plan.add(again)
        stored = store.jobs(plan.night)[0].attempts
        assert [(at.number, at.exit_code) for at in stored] == [(0, 0)]
        assert judge(stored)[0] is Verdict.PASSED
        assert len(plan.jobs[0].attempts) == 1


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "n.sqlite"
    path.write_text("this is no database, and long enough to be seen as none" * 20)
    with pytest.raises(HarnessError, match="no store of nights"):
        Store(path)


def test_a_finished_night_is_not_taken_up_again(tmp_path: Path) -> None:
    with Store(tmp_path / "n.sqlite") as store:
        number = store.begin(name="n", folder="f", harness="h")
        unfinished = store.unfinished("n")
        assert unfinished is not None
        assert unfinished.id == number
        assert store.unfinished("other") is None
        store.finish(number, 0)
        assert store.unfinished("n") is None


def test_a_second_command_leaves_a_night_that_runs_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MATRIX)
    matrix = spec.load(path)
    request = Request(
        matrix=matrix,
        jobs=[],
        results=tmp_path / "results",
        retries=0,
        # There is no such protocol: what gets past the lock ends with another error.
        scheduler="none://here",
    )
    with only_one(tmp_path / "results" / ".mine.lock", what="it"):
        with pytest.raises(UsageError, match="at work on the matrix 'mine' in ") as caught:
            run(request)
        assert "--results" in (caught.value.hint or "")
        other = matrix.model_copy(update={"name": "other"})
        with pytest.raises(PrerequisiteError, match="no Dask scheduler"):
            run(dataclasses.replace(request, matrix=other))
    with pytest.raises(PrerequisiteError, match="no Dask scheduler"):
        run(request)


def test_a_job_that_cannot_begin_does_not_end_the_night(tmp_path: Path) -> None:
    """Its folder cannot be made, as where the disk is full."""
    for name in ("a", "b"):
        (tmp_path / f"test_{name}.py").write_text("def test_it():\n    pass\n")
    with Store(tmp_path / "n.sqlite") as store:
        jobs = [small_job(tmp_path / f"test_{name}.py") for name in ("a", "b")]
        plan = make_plan(store, tmp_path / "night", jobs, retries=0)
        (tmp_path / "night").mkdir()
        (tmp_path / "night" / jobs[0].slug).touch()
        board = Board(plan, Console(quiet=True))
        local.run(plan, Capacity(memory=1000, cpus=2), board, Stop())
        (broken, fine) = (judge(planned.attempts) for planned in plan.jobs)
    assert broken[:2] == (Verdict.FAILED, 5)
    assert "NotADirectoryError" in broken[2]
    assert fine[0] is Verdict.PASSED


def test_capacity() -> None:
    def order(memory: int, cpus: int = 1) -> Order:
        job = small_job(Path("x.py"), memory=memory, cpus=cpus)
        return Order(job=job, key="k")

    capacity = Capacity(memory=1000, cpus=3)
    assert capacity.fits(order(600), [order(400)])
    assert not capacity.fits(order(601), [order(400)])
    assert not capacity.fits(order(1, 2), [order(1, 2)])
    # What is too large for the machine runs alone.
    assert capacity.fits(order(5000, 9), [])


@pytest.mark.parametrize(("width", "reason"), [(80, "the wit"), (120, "the witness lost its pipe")])
def test_jobs_can_be_told_apart_on_a_narrow_terminal(
    tmp_path: Path, width: int, reason: str
) -> None:
    (tmp_path / "a.py").touch()
    with Store(tmp_path / "n.sqlite") as store:
        jobs = [
            small_job(tmp_path / "a.py", way=way, vm_config=machine)
            for way in ("restricted", "conservative")
            for machine in ("default", "q35-sata-smp2")
        ]
        plan = make_plan(store, tmp_path, jobs)
        failed = Attempt(
            job=plan.jobs[3].key, number=0, exit_code=1, reason="the witness lost its pipe"
        )
        plan.add(failed)
        console = Console(width=width, height=24, file=StringIO(), force_terminal=True)
        board = Board(plan, console)
        board.begin(Order(job=jobs[0], key=plan.jobs[0].key))
        with console.capture() as captured:
            console.print(board.render())
    lines = [line.rstrip() for line in Text.from_ansi(captured.get()).plain.splitlines()]
    assert max(map(len, lines)) <= width
    # The kernel and the suite are those of all jobs, and say nothing.
    assert lines[1].startswith("default · restricted ")
    assert "running" in lines[1]
    assert lines[2].startswith("q35-sata-smp2 · conservative ")
    assert reason in lines[2]
    assert lines[-1].endswith("1 running  3 waiting  1 failed")
