# SPDX-License-Identifier: GPL-2.0-only
"""A pytest plugin that writes the outcome of each test as it ends, a JSON line each.

pytest's own JUnit XML is written at the end only, and does not keep node IDs.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.base import processes
from harness.base.blame import as_error
from harness.base.errors import KspawnError
from harness.logs import ktap
from harness.night.model import Outcome, TestRun

_MESSAGE = 400
_DETAIL = 12_000
_END = '{"end": true}'
_INTERRUPTED = '{"interrupted": true}'


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --record."""
    parser.getgroup("kspawn").addoption(
        "--record", type=Path, help="file for the outcome of each test, a JSON line each"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start the recording where it was asked for."""
    path: Path | None = config.getoption("--record")
    # Under pytest-xdist, the one that starts the workers hears of all their tests.
    if path is not None and not hasattr(config, "workerinput"):
        processes.heed_interrupts()
        config.pluginmanager.register(Recorder(path), "kspawn-recorder")


class Recorder:
    """Writes a line when the last phase of a test is over.

    Args:
        path: The file, which is added to.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._codes: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._phases: dict[str, list[pytest.TestReport]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, Any]:
        """Note which exit code an error stands for."""
        report = yield
        self._names[item.nodeid] = _name(item)
        if report.failed and call.excinfo is not None:
            error = call.excinfo.value
            known = isinstance(error, (KspawnError, OSError, MemoryError))
            code = int(as_error(error).exit_code) if known else 1
            self._codes[item.nodeid] = max(code, self._codes.get(item.nodeid, 0))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the phases of a test; the last one completes it."""
        phases = self._phases.setdefault(report.nodeid, [])
        phases.append(report)
        if report.when == "teardown":
            del self._phases[report.nodeid]
            run = summarise(phases, code=self._codes.pop(report.nodeid, 0))
            run.name = self._names.pop(report.nodeid, run.name)
            self._write(run)
            for case in cases(run.name, report.user_properties):
                self._write(case)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported is an error like another."""
        if report.failed:
            text = str(report.longrepr)
            self._write(
                TestRun(
                    name=report.nodeid or "collection",
                    outcome=Outcome.ERROR,
                    exit_code=1,
                    message=_last_line(text),
                    detail=text[-_DETAIL:],
                )
            )

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Mark the record of a run that a signal ended: pytest's exit code is that of a mistake.

        It is called for `pytest.exit` as well, and for a collection that failed
        (`Interrupted`, which is a KeyboardInterrupt): these are no interrupts.
        """
        error = excinfo.value
        if isinstance(error, KeyboardInterrupt) and not isinstance(
            error, pytest.Session.Interrupted
        ):
            self._file.write(_INTERRUPTED + "\n")
            self._file.flush()

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Mark the record as whole: pytest came to its end by itself."""
        if exitstatus != pytest.ExitCode.INTERNAL_ERROR:
            self._file.write(_END + "\n")
            self._file.flush()

    def _write(self, run: TestRun) -> None:
        self._file.write(run.model_dump_json() + "\n")
        self._file.flush()


def _name(item: pytest.Item) -> str:
    """The node ID, also where the file is not below the root: there pytest's lacks it."""
    if item.path.is_relative_to(item.config.rootpath):
        return item.nodeid
    return f"{item.path}::{item.nodeid.partition('::')[2]}"


def summarise(phases: list[pytest.TestReport], *, code: int = 0) -> TestRun:
    """One outcome from the reports of setup, call and teardown.

    Args:
        phases: The reports.
        code: The exit code that its error stands for.
    """
    seconds = sum(phase.duration for phase in phases)
    failed = next((phase for phase in phases if phase.failed), None)
    skipped = next((phase for phase in phases if phase.skipped), None)
    run = TestRun(name=phases[0].nodeid, outcome=Outcome.PASSED, seconds=round(seconds, 3))
    if failed is not None:
        run.outcome = Outcome.FAILED if failed.when == "call" else Outcome.ERROR
        run.exit_code = code or 1
        run.message = _message(failed)
        run.detail = failed.longreprtext[-_DETAIL:]
    elif skipped is not None:
        reason = getattr(skipped, "wasxfail", None)
        run.outcome = Outcome.SKIPPED if reason is None else Outcome.XFAILED
        if isinstance(skipped.longrepr, tuple):
            reason = str(skipped.longrepr[2])
        run.message = (reason or "")[:_MESSAGE]
    return run


_OUTCOMES = {
    ktap.Status.PASSED: Outcome.PASSED,
    ktap.Status.FAILED: Outcome.FAILED,
    ktap.Status.SKIPPED: Outcome.SKIPPED,
    ktap.Status.EXPECTED: Outcome.XFAILED,
    ktap.Status.ERROR: Outcome.ERROR,
}


def cases(name: str, properties: Sequence[tuple[str, object]]) -> list[TestRun]:
    """The KTAP cases that a test noted, each a run below that of the test.

    Args:
        name: That of the test.
        properties: Those of its report.
    """
    runs: dict[str, TestRun] = {}
    for found in (ktap.from_property(*each) for each in properties):
        if found is None:
            continue
        path, status, reason = found
        run = TestRun(name=f"{name}::{path.replace('::', ':')}", outcome=_OUTCOMES[status])
        run.exit_code, run.message = int(run.outcome.bad), reason[:_MESSAGE]
        # Of two that have one name, the one that is worse.
        if run.name not in runs or run.outcome.bad:
            runs[run.name] = run
    return list(runs.values())


def _message(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message) if crash is not None else report.longreprtext
    return (_first_line(text) if crash is not None else _last_line(text))[:_MESSAGE]


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_MESSAGE] if lines else ""


def read(path: Path) -> list[TestRun]:
    """What a run wrote, also one that was ended: half a line is left out.

    Args:
        path: The file.
    """
    if not path.exists():
        return []
    runs = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            runs.append(TestRun.model_validate_json(line))
        except ValueError:
            continue
    return runs


def ended(path: Path) -> bool:
    """Whether the run that wrote a record came to its end: all it had to run is in it.

    Args:
        path: The file.
    """
    return path.exists() and path.read_bytes().endswith(f"{_END}\n".encode())


def interrupted(path: Path) -> bool:
    """Whether a signal ended the run that wrote a record.

    Args:
        path: The file.
    """
    return path.exists() and f"{_INTERRUPTED}\n".encode() in path.read_bytes()
