# SPDX-License-Identifier: GPL-2.0-only
"""The result of one cycle as JUnit XML, with the names that pytest gives its tests."""

from __future__ import annotations

from pathlib import Path

from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

from harness.base import files
from harness.base.text import shown
from harness.record.result import Check, Result, Verdict

# That of test_suites/restricted: there, a check of the cycle is a test.
_CLASS = "test_suites.restricted.test_cycle.TestCycle"


def complaint_properties(result: Result) -> list[tuple[str, str]]:
    """The complaints of a run as properties in JUnit XML.

    Args:
        result: What the run found.
    """
    words = {True: "expected", False: "unexpected"}
    return [
        (
            "complaint",
            f"{f'tolerated, {each.tolerated}' if each.tolerated else words[each.expected]}: "
            f"{each.line()}",
        )
        for each in result.complaints
    ]


def write_junit(result: Result, path: Path) -> None:
    """Write it: a test for each check that was made or could not be, and one for the verdict.

    Args:
        result: What the cycle found.
        path: The file.
    """
    passed = result.verdict is Verdict.PASSED
    whole = Check(name="test_verdict", ok=passed, detail=result.reason)
    cases = [_case(whole, whole.name)]
    cases[0].time = result.seconds
    cases += [_case(check, f"test_check[{check.name}]") for check in result.checks]
    for name, why in result.not_here.items():
        case = TestCase(f"test_check[{name}]", _CLASS)
        case.result = [Skipped(shown(f"not here: {why}"))]
        cases.append(case)
    suite = TestSuite("kspawn cycle")
    suite.timestamp = result.started.isoformat()
    for key, value in complaint_properties(result):
        suite.add_property(key, shown(value))
    suite.extend(cases)
    xml = JUnitXml()
    xml.append(suite)
    xml.update_statistics()
    files.write(path, xml.tostring().decode())


def _case(check: Check, name: str) -> TestCase:
    case = TestCase(name, _CLASS)
    if not check.ok:
        case.result = [Failure(shown(check.detail), "failed")]
    return case
