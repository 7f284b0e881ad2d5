# SPDX-License-Identifier: GPL-2.0-only
"""What a night leaves for programs: JUnit XML, KTAP, a KCIDB submission, and a summary."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import kcidb_io
from junitparser import Error, JUnitXml, Skipped, TestCase, TestSuite
from junitparser import Failure as JUnitFailure

from harness.base import files
from harness.base.errors import ExitCode
from harness.night.flakes import Rate
from harness.night.grid import grid
from harness.night.history import WHOLE_JOB, History
from harness.night.matrix import bare
from harness.night.model import Attempt, Outcome, TestRun, TestVerdict, Verdict
from harness.night.store import Night, Store, StoredJob

# What XML 1.0 cannot hold.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_EXCERPT = 16_000
# What may be markup in some Markdown; a backslash makes text of each.
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")


def write_all(store: Store, night: Night, folder: Path, *, origin: str) -> None:
    """Write junit.xml, results.ktap, kcidb.json and summary.md of a night.

    Args:
        store: The store.
        night: The night, finished.
        folder: Where they go.
        origin: The name of the CI system in the submission.
    """
    history = History(store, night.name)
    jobs = store.jobs(night.id)
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / "junit.xml", junit(history, night))
    files.write(folder / "results.ktap", ktap(history, night))
    files.write(folder / "summary.md", summary(history, night))
    files.write(
        folder / "kcidb.json", json.dumps(kcidb(history, night, jobs, origin=origin), indent=1)
    )


def flaky_words(test: TestVerdict, rate: Rate) -> str:
    """What is said of a flaky test, everywhere."""
    return (
        f"flaky: failed in {test.failures} of {test.runs} runs of this night, in all {rate}: "
        f"{test.message}"
    )


# --- Markdown ----------------------------------------------------------------


def summary(history: History, night: Night) -> str:
    """A night in Markdown, for the summary of a CI job: what failed, and a table by kernel.

    Args:
        history: The nights of the matrix.
        night: One of them.

    Returns:
        The text; what a guest said is in it as text.
    """
    jobs = list(history.jobs[night.id].values())
    counts = Counter(job.verdict for job in jobs)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    lines = [f"# {_markdown(night.name)}", "", f"{said} of {len(jobs)} jobs.", ""]
    bad = [job for job in jobs if not job.verdict.green]
    for job in bad:
        lines.append(f"- **{job.verdict}** {_markdown(job.job.title)}: {_markdown(job.reason)}")
    lines += [""] if bad else []
    if table := grid(jobs):
        lines.append(" | ".join(["| job", *map(_markdown, table.columns), ""]).rstrip())
        lines.append("|" + "---|" * (len(table.columns) + 1))
        for what, cells in table.rows:
            words = [cell.words or "not run" for cell in cells]
            lines.append(" | ".join([f"| {_markdown(what)}", *words, ""]).rstrip())
    return "\n".join(lines).rstrip() + "\n"


def _markdown(text: str) -> str:
    """Text that stays text in Markdown, on one line: it may be a guest's."""
    words = " ".join(_NO_XML.sub("", text).split())
    return _PUNCTUATION.sub(r"\\\g<0>", words)


# --- JUnit XML ---------------------------------------------------------------


def junit(history: History, night: Night) -> str:
    """All jobs of a night in one JUnit XML: a job is a test suite.

    A flaky test is a failure there of the type "flaky":
    the format has no verdict for it, and it did not pass.

    Args:
        history: The nights of the matrix.
        night: One of them.
    """
    xml = JUnitXml(night.name)
    for job in history.jobs[night.id].values():
        suite = TestSuite(job.job.title)
        if job.job.attempts:
            suite.timestamp = job.job.attempts[0].started.isoformat()
            suite.hostname = job.job.attempts[0].host
        suite.add_property("key", job.job.key)
        for role, value in job.job.kernels.items():
            suite.add_property(f"kernel.{role}", value)
        # Not one by one: each would be counted with all before it, and compared to them.
        suite.extend([_case(history, job.job.title, test) for test in job.tests])
        xml.append(suite)
    xml.update_statistics()
    return str(xml.tostring().decode())


def _case(history: History, job: str, test: TestVerdict) -> TestCase:
    file, _, name = test.name.partition("::")
    case = TestCase(name or file, f"{job}.{file.removesuffix('.py').replace('/', '.')}")
    case.time = test.seconds
    message = _NO_XML.sub("?", test.message)
    entry: Any = None
    if test.verdict is Verdict.FLAKY:
        rate = history.tests[job, test.name].rate
        entry = JUnitFailure(_NO_XML.sub("?", flaky_words(test, rate)), "flaky")
    elif test.verdict is Verdict.FAILED and test.exit_code in _BROKEN:
        entry = Error(message, ExitCode(test.exit_code).name.lower())
    elif test.verdict is Verdict.FAILED:
        entry = JUnitFailure(message, "failed")
    elif test.verdict is Verdict.SKIPPED:
        entry = Skipped(message)
    elif test.verdict is Verdict.XFAILED:
        entry = Skipped(f"expected failure: {message}", "xfail")
    if entry is not None:
        entry.text = _NO_XML.sub("?", test.detail)
        case.result = [entry]
    return case


_BROKEN = (int(ExitCode.USAGE), int(ExitCode.PREREQUISITE), int(ExitCode.HARNESS))


# --- KTAP --------------------------------------------------------------------


def ktap(history: History, night: Night) -> str:
    """A night as KTAP, version 1: a job is a test with subtests.

    Args:
        history: The nights of the matrix.
        night: One of them.
    """
    jobs = list(history.jobs[night.id].values())
    lines = ["KTAP version 1", f"1..{len(jobs)}"]
    for number, job in enumerate(jobs, 1):
        lines += ["  KTAP version 1", f"  1..{len(job.tests)}"]
        for index, test in enumerate(job.tests, 1):
            lines += [f"  {line}" for line in _ktap_test(history, job.job.title, index, test)]
        fine = "ok" if job.verdict.green else "not ok"
        skip = " # SKIP" if job.verdict is Verdict.SKIPPED else ""
        lines.append(f"{fine} {number} {_ktap_name(job.job.title)}{skip}")
    return "\n".join(lines) + "\n"


def _ktap_test(history: History, job: str, number: int, test: TestVerdict) -> Iterator[str]:
    name = _ktap_name(test.name)
    message = " ".join(test.message.split())
    match test.verdict:
        case Verdict.SKIPPED:
            yield f"ok {number} {name} # SKIP {message}".rstrip()
        case Verdict.XFAILED:
            yield f"ok {number} {name} # XFAIL {message}".rstrip()
        case Verdict.PASSED:
            yield f"ok {number} {name}"
        case Verdict.FLAKY:
            rate = history.tests[job, test.name].rate
            yield f"# {name}: {' '.join(flaky_words(test, rate).split())}"
            yield f"not ok {number} {name}"
        case _:
            yield f"# {name}: {message}"
            yield f"not ok {number} {name}"


def _ktap_name(name: str) -> str:
    """A name without what begins a directive."""
    return " ".join(name.replace("#", "_").replace(" · ", "/").split())


# --- KCIDB -------------------------------------------------------------------

_STATUS = {
    Outcome.PASSED: "PASS",
    Outcome.FAILED: "FAIL",
    Outcome.ERROR: "ERROR",
    Outcome.SKIPPED: "SKIP",
    # It did fail: that it was expected is said besides.
    Outcome.XFAILED: "FAIL",
}


def kcidb(
    history: History, night: Night, jobs: Sequence[StoredJob], *, origin: str
) -> dict[str, Any]:
    """A KCIDB submission of a night, valid by kcidb-io's latest schema.

    Each run of a test is a test object, so that a flaky one has both a FAIL
    and a PASS.

    Args:
        history: The nights of the matrix.
        night: One of them.
        jobs: Its jobs.
        origin: The name of the CI system.

    Raises:
        jsonschema.ValidationError: It is not valid: a bug.
    """
    writer = _Submission(history, night, origin)
    for job in jobs:
        writer.add(job)
    schema = kcidb_io.schema.LATEST
    data = {
        "version": {"major": schema.major, "minor": schema.minor},
        "checkouts": list(writer.checkouts.values()),
        "builds": list(writer.builds.values()),
        "tests": writer.tests,
    }
    valid: dict[str, Any] = schema.validate(data)
    return valid


class _Submission:
    def __init__(self, history: History, night: Night, origin: str) -> None:
        self.history = history
        self.night = night
        self.origin = origin
        self.checkouts: dict[str, dict[str, Any]] = {}
        self.builds: dict[str, dict[str, Any]] = {}
        self.tests: list[dict[str, Any]] = []

    def _id(self, *parts: str) -> str:
        return f"{self.origin}:{':'.join((self.night.folder, *parts))}"

    def add(self, job: StoredJob) -> None:
        """Add a job: its kernel, its build, and each run of each test."""
        kernel = bare(job.spec.kernel)
        checkout, build = self._id(kernel), self._id(kernel, job.spec.config)
        began = self.night.started.isoformat()
        self.checkouts.setdefault(
            kernel,
            {
                "id": checkout,
                "origin": self.origin,
                "tree_name": kernel,
                "comment": f"{kernel} {job.kernels.get('release', '')}".strip(),
                "start_time": began,
                "valid": True,
                "misc": {"matrix": self.night.name, "harness": self.night.harness},
            },
        )
        self.builds.setdefault(
            build,
            {
                "id": build,
                "origin": self.origin,
                "checkout_id": checkout,
                "architecture": "x86_64",
                "config_name": job.spec.config,
                "start_time": began,
                "status": "PASS" if job.kernels else "FAIL",
                "misc": {"build_hashes": job.kernels},
            },
        )
        verdicts = {t.name: t.verdict for t in self.history.jobs[self.night.id][job.title].tests}
        for attempt in job.attempts:
            for run in attempt.tests:
                self.tests.append(self._test(job, build, attempt, run, verdicts[run.name]))
            if attempt.broke:
                self.tests.append(self._whole(job, build, attempt))

    def _test(
        self, job: StoredJob, build: str, attempt: Attempt, run: TestRun, verdict: Verdict
    ) -> dict[str, Any]:
        status = _STATUS[run.outcome]
        if run.outcome.bad and run.exit_code in _BROKEN:
            status = "ERROR"
        test = self._base(job, build, attempt, run.name)
        test |= {"status": status, "duration": run.seconds}
        if run.message:
            test["comment"] = run.message.replace("\0", "?")
        if run.detail:
            test["log_excerpt"] = run.detail.replace("\0", "?")[-_EXCERPT:]
        if verdict is Verdict.FLAKY:
            rate = self.history.tests[job.title, run.name].rate
            test["misc"] |= {"flake_rate": rate.value, "flake_runs": rate.runs}
        test["misc"]["verdict"] = verdict.value
        return test

    def _whole(self, job: StoredJob, build: str, attempt: Attempt) -> dict[str, Any]:
        test = self._base(job, build, attempt, WHOLE_JOB)
        missing = attempt.exit_code in (int(ExitCode.USAGE), int(ExitCode.PREREQUISITE))
        test |= {"status": "MISS" if missing else "ERROR", "duration": attempt.seconds}
        test["comment"] = attempt.reason.replace("\0", "?") or f"exit code {attempt.exit_code}"
        return test

    def _base(self, job: StoredJob, build: str, attempt: Attempt, name: str) -> dict[str, Any]:
        spec = job.spec
        return {
            "id": self._id(job.key, str(attempt.number), name),
            "origin": self.origin,
            "build_id": build,
            "environment": {
                "comment": f"QEMU, {bare(spec.vm_config)}",
                "misc": {"vm_config": spec.vm_config, "way": spec.way, "host": attempt.host},
            },
            "path": _path(spec.suite, name),
            "start_time": attempt.started.isoformat(),
            "misc": {"job": job.title, "key": job.key, "attempt": attempt.number},
        }


def _path(suite: str, name: str) -> str:
    """A dotted path, of the characters that the schema allows."""
    tail = name.partition("::")[2] or name
    words = [suite, *tail.split("::")]
    return ".".join(
        ["kspawn", *(re.sub(r"[^A-Za-z0-9_-]+", "_", word).strip("_") for word in words)]
    )
