# SPDX-License-Identifier: GPL-2.0-only
"""Is the result of a cycle the same in JUnit XML, with the names that pytest gives?"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.record.result import Complaint, ComplaintKind, Result, Verdict
from harness.report.junit import write_junit

RUN = Path(__file__).parent / "runs" / "restricted-50.json"


@pytest.fixture
def result() -> Result:
    return Result.model_validate_json(RUN.read_text())


def cases(result: Result, folder: Path) -> dict[str, ET.Element]:
    write_junit(result, folder / "junit.xml")
    root = ET.parse(folder / "junit.xml").getroot()
    return {str(case.get("name")): case for case in root.iter("testcase")}


def test_a_test_for_each_check(result: Result, tmp_path: Path) -> None:
    result.not_here = {"witness.amx": "no AMX\x1b[31m"}
    found = cases(result, tmp_path)
    checks = {f"test_check[{check.name}]" for check in result.checks}
    assert found.keys() == {"test_verdict", "test_check[witness.amx]", *checks}
    assert {case.get("classname") for case in found.values()} == {
        "test_suites.restricted.test_cycle.TestCycle"
    }
    assert [name for name, case in found.items() if case.find("failure") is not None] == []
    skipped = found["test_check[witness.amx]"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == r"not here: no AMX\x1b[31m"


def test_what_failed_says_why(result: Result, tmp_path: Path) -> None:
    result.verdict, result.reason = Verdict.FAILED, "1 of 2 checks: kernel.uptime"
    check = next(check for check in result.checks if check.name == "kernel.uptime")
    check.ok, check.detail = False, "it ran back <&"
    found = cases(result, tmp_path)
    failed = {
        name: failure.get("message")
        for name, case in found.items()
        if (failure := case.find("failure")) is not None
    }
    assert failed == {"test_verdict": result.reason, "test_check[kernel.uptime]": "it ran back <&"}


def test_complaints_are_properties(result: Result, tmp_path: Path) -> None:
    result.complaints = [
        Complaint(
            kind=next(iter(ComplaintKind)),
            title="EXT4-fs error",
            log="1-normal.log",
            log_line=7,
        )
    ]
    write_junit(result, tmp_path / "junit.xml")
    root = ET.parse(tmp_path / "junit.xml").getroot()
    (value,) = [str(one.get("value")) for one in root.iter("property")]
    assert value.startswith("unexpected: ")
    assert "EXT4-fs error" in value
