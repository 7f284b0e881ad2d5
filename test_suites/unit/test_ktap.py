# SPDX-License-Identifier: GPL-2.0-only
"""KTAP, as KUnit and kselftest write it: nothing is lost, nothing is taken for good that is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.logs.ktap import Status, parse

LOGS = Path(__file__).parent / "logs"

# What the real ones below do not do: failures, skips, nesting, and a line in between.
KUNIT = """\
[    0.585403] Freeing SMP alternatives memory: 32K
[    0.603221] KTAP version 1
[    0.603300] 1..2
[    0.603330]     KTAP version 1
[    0.603336]     # Subtest: resource
[    0.603340]     # module: resource_kunit
[    0.603345]     1..3
[    0.603990]     ok 1 resource_test_union
[    0.604100] random: crng init done
[    0.604200]     # resource_test_intersection: EXPECTATION FAILED at kernel/resource_kunit.c:77
[    0.604200]     Expected a == b
[    0.604210]     # resource_test_intersection.speed: slow
[    0.604400]     not ok 2 resource_test_intersection
[    0.604500]     ok 3 resource_test_region # SKIP no such memory
[    0.604600] # resource: pass:1 fail:1 skip:1 total:3
[    0.604700] # Totals: pass:1 fail:1 skip:1 total:3
[    0.604800] not ok 1 resource
[    0.604900]     KTAP version 1
[    0.604910]     # Subtest: sysctl_test
[    0.604920]     1..2
[    0.604930]         KTAP version 1
[    0.604940]         # Subtest: sysctl_param
[    0.604950]         ok 1 one
[    0.604960]         ok 2 two
[    0.604965]     # sysctl_param: pass:2 fail:0 skip:0 total:2
[    0.604970]     ok 1 sysctl_param
[    0.604980]     ok 2 sysctl_other
[    0.604990] ok 2 sysctl_test
[    0.700000] Run /init as init process
"""

# What those of kexec do not do: nesting, and a test that takes too long.
KSELFTEST = """\
TAP version 13
1..3
# selftests: x: nested
# TAP version 13
# 1..2
# ok 1 one
# # a remark
# not ok 2 two # TODO not yet
ok 1 selftests: x: nested
not ok 2 selftests: x: slow # TIMEOUT 45 seconds
not ok 3 selftests: x: bad # exit=1
"""


def cases(text: str) -> dict[str, tuple[Status, str]]:
    return {path: (case.status, case.reason) for test in parse(text) for path, case in test.cases()}


def test_kunit_in_the_log_of_a_kernel() -> None:
    assert cases(KUNIT) == {
        "resource.resource_test_union": (Status.PASSED, ""),
        "resource.resource_test_intersection": (Status.FAILED, ""),
        "resource.resource_test_region": (Status.SKIPPED, "no such memory"),
        "sysctl_test.sysctl_param.one": (Status.PASSED, ""),
        "sysctl_test.sysctl_param.two": (Status.PASSED, ""),
        "sysctl_test.sysctl_other": (Status.PASSED, ""),
    }
    resource, sysctl = parse(KUNIT)
    assert not resource.good
    assert sysctl.good
    log = resource.subtests[1].log
    assert "resource_test_intersection: EXPECTATION FAILED at kernel/resource_kunit.c:77" in log
    assert "Expected a == b" in log


@pytest.mark.parametrize("name", ["kunit-boot.txt", "kunit.ktap"])
def test_a_suite_of_kunit_as_6_12_ran_it(name: str) -> None:
    """In the log of the boot, and in debugfs: the same."""
    passed = (Status.PASSED, "")
    assert cases((LOGS / name).read_bytes().decode()) == {
        "resource.resource_test_union": passed,
        "resource.resource_test_intersection": passed,
        "resource.resource_test_region_intersects": passed,
    }


def test_kselftest() -> None:
    assert cases(KSELFTEST) == {
        "selftests: x: nested.one": (Status.PASSED, ""),
        "selftests: x: nested.two": (Status.EXPECTED, "not yet"),
        "selftests: x: slow": (Status.ERROR, "45 seconds"),
        "selftests: x: bad": (Status.FAILED, "exit=1"),
    }


def test_the_selftests_of_kexec_as_6_12_ran_them() -> None:
    text = (LOGS / "kselftest.ktap").read_text()
    skipped = (Status.SKIPPED, "kexec_file_load is not enabled")
    assert cases(text) == {
        "selftests: kexec: test_kexec_load.sh": (Status.PASSED, ""),
        "selftests: kexec: test_kexec_file_load.sh": skipped,
    }
    assert "kexec_load succeeded [PASS]" in parse(text)[0].log


def test_a_selftest_of_kexec_that_failed() -> None:
    """The same with a file of zeros as /boot/vmlinuz."""
    failed, _ = parse((LOGS / "kselftest-failed.ktap").read_text())
    assert failed.name == "selftests: kexec: test_kexec_load.sh"
    assert failed.reason == "exit=1"
    assert failed.status is Status.FAILED
    assert "kexec_load failed [FAIL]" in failed.log


@pytest.mark.parametrize("cut", range(1, KUNIT.count("\n") - 3))
def test_a_log_that_was_cut_off_is_never_good(cut: int) -> None:
    lines = KUNIT.replace("not ok", "ok").splitlines()
    text = "\n".join(lines[:-cut])
    tests = parse(text)
    begun = any("KTAP" in line for line in lines[:-cut])
    whole = any("ok 2 sysctl_test" in line for line in lines[:-cut])
    assert bool(tests) == begun
    assert all(test.good for test in tests) == (whole or not begun)


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("KTAP version 1\n1..2\nok 1 a\n", "plan", "2 tests planned, 1 reported"),
        ("KTAP version 1\n1..1\nok 1 a\nok 2 b\n", "plan", "1 tests planned, 2 reported"),
        (
            "KTAP version 1\n1..2\nok 1 a\nok 3 b\n",
            "order",
            "b has the number 3 where 2 was expected",
        ),
        ("KTAP version 1\n", "plan", "no test was reported"),
        ("KTAP version 1\n1..2\nok 1 a\nBail out! no memory\n", "bail out", "no memory"),
        (
            "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  not ok 1 b\nok 1 a\n",
            "a.b",
            "",
        ),
        (
            "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: a\n  1..2\n  ok 1 b\nok 1 a\n",
            "a.plan",
            "2 tests planned, 1 reported",
        ),
    ],
)
def test_what_makes_no_sense_is_an_error(text: str, path: str, reason: str) -> None:
    found = cases(text)
    assert found[path][0] in (Status.ERROR, Status.FAILED)
    assert found[path][1] == reason
    assert not all(test.good for test in parse(text))


def test_a_suite_that_is_ok_with_a_test_that_is_not() -> None:
    text = "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  not ok 1 b\nok 1 a\n"
    (test,) = parse(text)
    assert test.status is Status.ERROR
    assert "a test in it is not" in test.reason


def test_a_log_without_tests() -> None:
    assert parse("[    0.1] ok then\nhello\n") == []


def test_a_plan_of_nothing_is_a_skip() -> None:
    assert cases("KTAP version 1\n1..0 # SKIP no such device\n") == {
        "nothing": (Status.SKIPPED, "no such device")
    }


def test_two_documents_in_one_log() -> None:
    text = "KTAP version 1\n1..1\nok 1 a\nhello\nKTAP version 1\n1..1\nnot ok 1 b\n"
    assert cases(text) == {"a": (Status.PASSED, ""), "b": (Status.FAILED, "")}


def test_a_result_without_a_name() -> None:
    assert cases("TAP version 14\n1..2\nok\nok 2\n") != {}
    assert len(parse("TAP version 14\n1..2\nok\nok 2\n")) == 2


@pytest.mark.parametrize(
    ("line", "status", "name", "reason"),
    [
        ("ok 1 quick # time=0.5ms", Status.PASSED, "quick", ""),
        ("ok 1 quick # duration_ms=12", Status.PASSED, "quick", ""),
        ("ok 1 - quick # time 0.5 ms", Status.PASSED, "quick", ""),
        ("not ok 1 quick # duration_ms=12", Status.FAILED, "quick", ""),
        ("not ok 1 quick # exit=1 # time=0.5ms", Status.FAILED, "quick", "exit=1"),
        ("ok 1 quick # SKIP no disk # time=0.5ms", Status.SKIPPED, "quick", "no disk"),
        ("ok 1 quick # time=0.5ms # SKIP no disk", Status.SKIPPED, "quick", "no disk"),
        ("ok 1 quick # skip no disk", Status.SKIPPED, "quick", "no disk"),
        ("ok 1 quick#SKIP", Status.SKIPPED, "quick", ""),
        ("ok 1 # time=0.5ms", Status.PASSED, "unnamed", ""),
        ("not ok 1 quick # TIMEOUT 45 seconds", Status.ERROR, "quick", "45 seconds"),
        ("not ok 1 quick # 3 of 4 pages", Status.FAILED, "quick", "3 of 4 pages"),
        # No comment begins there.
        (r"ok 1 a \# b", Status.PASSED, r"a \# b", ""),
        ("ok 1 part #2 of C#", Status.PASSED, "part #2 of C#", ""),
        ("ok 1 time=0.5ms", Status.PASSED, "time=0.5ms", ""),
    ],
)
def test_the_name_is_the_same_each_time(line: str, status: Status, name: str, reason: str) -> None:
    (test,) = parse(f"TAP version 13\n1..1\n{line}\n")
    assert (test.status, test.name, test.reason) == (status, name, reason)


@pytest.mark.parametrize("text", [KSELFTEST, KUNIT], ids=["kselftest", "kunit"])
def test_durations_change_nothing(text: str) -> None:
    timed = re.sub(
        r"(?m)^(.*\b(?:not ok|ok) \d+ \S.*)$", lambda m: f"{m[1]} # time={len(m[1])}.5ms", text
    )
    assert timed != text
    assert [(name, case.status) for test in parse(timed) for name, case in test.cases()] == [
        (name, case.status) for test in parse(text) for name, case in test.cases()
    ]


@pytest.mark.parametrize(
    "text",
    [
        "1..2\nok 1 one\nnot ok 2 two\n",
        # The plan may come last.
        "ok 1 one\nnot ok 2 two\n1..2\n",
        "starting\nok is what follows\n1..2\n# a remark\nok 1 one\nnot ok 2 two\n",
        "[    1.000000] 1..2\n[    1.000001] ok 1 one\n[    1.000002] not ok 2 two\n",
    ],
)
def test_without_a_version_line_it_is_read(text: str) -> None:
    found = [(test.name, test.status) for test in parse(text)]
    assert found == [("one", Status.PASSED), ("two", Status.FAILED)]
    (missing,) = [test.name for test in parse(text.replace("not ok 2 two\n", ""))][1:]
    assert missing == "plan"


def test_what_is_no_tap_is_nothing() -> None:
    assert parse("ok, let us begin\nall is ok\nnot ok at all\nok\n") == []
    # Where there is a version line, nothing before it counts.
    assert [test.name for test in parse("ok 1 of the boot\nTAP version 13\n1..1\nok 1 x\n")] == [
        "x"
    ]
