# SPDX-License-Identifier: GPL-2.0-only
"""The pytest plugin: options, and the fixtures that boot machines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.base.blame import as_error
from harness.base.errors import ExitCode, KernelError, KspawnError, UsageError
from harness.base.files import new_run
from harness.base.progress import ProgressLine, StepLines
from harness.cycle import cycle, verdict
from harness.cycle.checks.log import COMPLAINTS_CHECK
from harness.cycle.record import record
from harness.kernel import known_bugs
from harness.kernel.specs import DEFAULT, load_kernel, load_vm_config
from harness.machine import keep
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.machine.options import Options
from harness.plugin import cold, defaults, faults, own
from harness.plugin.cold import pytest_runtest_setup
from harness.plugin.faults import figures
from harness.plugin.options import chosen, pytest_addoption
from harness.plugin.reports import show_controls
from harness.plugin.stash import PROGRESS
from harness.plugin.suite import CycleSuite, Hibernated, NewCycle
from harness.record.result import Result
from harness.record.timeline import Timeline
from harness.report.junit import complaint_properties

__all__ = ["figures", "pytest_addoption", "pytest_runtest_setup"]

# Those that tests outside of the checkout have a use for.
_MARKS = (
    "vm: boots real kernels in virtual machines",
    "userland_disk: the machine has a second disk, with the normal userland",
    cold.MARK,
    "known_bug(name): fails on the kernels that kernels/facts/versions.yaml names for the bug",
)
_wrong_defaults = pytest.StashKey[UsageError]()


def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Put what a file beside the tests says before what the user says."""
    try:
        args[:0] = defaults.options(args, early_config.invocation_params.dir)
    except UsageError as exc:
        early_config.stash[_wrong_defaults] = exc  # pytest cannot end in order here


def pytest_configure(config: pytest.Config) -> None:
    """Check what the user chose before anything is built."""
    for mark in _MARKS:
        config.addinivalue_line("markers", mark)
    try:
        if _wrong_defaults in config.stash:
            raise config.stash[_wrong_defaults]
        # What stands for it is looked up, even in an archive, where there is a use of it.
        if config.getoption("--kernel") != DEFAULT:
            load_kernel(config.getoption("--kernel"))
        load_vm_config(config.getoption("--vm-config"))
        own.from_pytest(config)
        keep.parse_size(config.getoption("--keep-memory"))
    except UsageError as exc:
        pytest.exit(f"kspawn: {exc}", returncode=int(ExitCode.USAGE))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Expect the failures that are known of the kernel under test."""
    try:
        given = own.from_pytest(config)
        if given.bzimage:
            return  # nothing is known of the user's own kernel
        marked = [item for item in items if item.get_closest_marker(known_bugs.MARK)]
        if not marked:
            return  # such as the tests of somebody else
        spec = given.spec(config.getoption("--kernel"))
        tree = given.kernel_tree
        for item in marked:
            known_bugs.expect(item, spec, tree=tree, patched=not tree or given.apply_patches)
    except UsageError as exc:
        pytest.exit(f"kspawn: {exc}", returncode=int(ExitCode.USAGE))


# What an assertion is not: it has an exit code of its own.
_KNOWN = (KspawnError, OSError, MemoryError)
_worst = pytest.StashKey[int]()
FAILURES = pytest.StashKey[list[str]]()
"""Why a test failed, in a line, for the report of its machine."""
_folder = pytest.StashKey[Path]()
# Keys of what the workers of pytest-xdist are given and give back.
_WORST = "kspawn_worst"
_RUN_FOLDER = "kspawn_run_folder"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the worst outcome: a lost machine is not a failed test."""
    report = yield
    if report.failed and call.excinfo is not None:
        error = call.excinfo.value
        code = int(as_error(error).exit_code) if isinstance(error, _KNOWN) else 1
        item.config.stash[_worst] = max(code, item.config.stash.get(_worst, 0))
        item.stash.setdefault(FAILURES, []).append(str(error).partition("\n")[0])
        if isinstance(error, KernelError) and error.log_tail:
            report.sections.append(("the end of the kernel's log", error.log_tail))
    elif call.excinfo is not None and hasattr(report, "wasxfail"):
        # For the report of its machine: the test may pass, what it shows does not.
        item.stash.setdefault(FAILURES, []).append(f"expected to fail: {report.wasxfail}")
    show_controls(report)
    return report


def note_outcome(config: pytest.Config, result: Result) -> None:
    """Let the outcome of a cycle, and not only its checks, set the exit code.

    Args:
        config: That of the session.
        result: What a cycle found.
    """
    config.stash[_worst] = max(result.exit_code, config.stash.get(_worst, 0))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """End with the exit codes of docs/exit-codes.md where tests failed."""
    worst = session.config.stash.get(_worst, 0)
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_WORST] = worst
    elif exitstatus == pytest.ExitCode.TESTS_FAILED:
        session.exitstatus = worst or int(exitstatus)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures of campaigns, a line each."""
    reports = [
        report
        for kind in ("passed", "failed", "xfailed")
        for report in terminalreporter.getreports(kind)
    ]
    if lines := faults.lines_of(reports):
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """All workers of pytest-xdist share one folder for the run."""
    node.workerinput[_RUN_FOLDER] = str(_new_run_folder(node.config))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The worst outcome of any worker of pytest-xdist is that of the run."""
    worst = getattr(node, "workeroutput", {}).get(_WORST, 0)
    stash = node.config.stash
    stash[_worst] = max(worst, stash.get(_worst, 0))


@pytest.fixture(scope="session")
def options(pytestconfig: pytest.Config) -> Options:
    """What the user chose."""
    return chosen(pytestconfig)


@pytest.fixture(scope="session")
def progress_line(pytestconfig: pytest.Config) -> ProgressLine | None:
    """The progress line of the command that started pytest."""
    return pytestconfig.stash.get(PROGRESS, None)


@pytest.fixture(scope="session")
def lab(
    options: Options, progress_line: ProgressLine | None, pytestconfig: pytest.Config
) -> Iterator[Lab]:
    """The kernels, the hypervisor and the accelerator."""
    with StepLines(partial(_say, pytestconfig)) as steps:
        made = Lab(options, progress=(progress_line or steps).build)
    cold.join(pytestconfig, made)
    with made:
        yield made


def _say(config: pytest.Config, line: str) -> None:
    """Say something now, and not only where a test fails: a first build takes minutes."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        print(f"kspawn: {line}", file=sys.stderr, flush=True)


@pytest.fixture(scope="session")
def run_folder(pytestconfig: pytest.Config) -> Path:
    """The folder of this run of pytest."""
    given = getattr(pytestconfig, "workerinput", {}).get(_RUN_FOLDER)
    return Path(given) if given else _new_run_folder(pytestconfig)


def _new_run_folder(config: pytest.Config) -> Path:
    if _folder not in config.stash:
        given: Path | None = config.getoption("--run-folder")
        results: Path = config.getoption("--results")
        config.stash[_folder] = given or new_run(results.absolute(), "pytest")
    return config.stash[_folder]


@pytest.fixture(scope="session")
def new_timeline(progress_line: ProgressLine | None) -> Callable[[], Timeline]:
    """Makes timelines that are drawn on the progress line."""
    return lambda: Timeline(progress_line.phase if progress_line else None)


@pytest.fixture
def folder(run_folder: Path, request: pytest.FixtureRequest) -> Path:
    """A folder for the results of one test."""
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in request.node.name)
    path = run_folder / f"{request.path.stem}-{name}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def failures_of(request: pytest.FixtureRequest) -> list[str]:
    """Why tests failed that had a fixture, a line each, when it ends.

    Args:
        request: That of the fixture.
    """
    return [
        failure
        for item in request.session.items
        if request.node in item.listchain()
        and isinstance(item, pytest.Function)
        and request.fixturename in item.fixturenames
        for failure in item.stash.get(FAILURES, list[str]())
    ]


@contextmanager
def recorded(lab: Lab, machine: Machine, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine that leaves a report at its end, and whose kernels may not complain.

    Args:
        lab: Where it runs.
        machine: The machine, switched off.
        request: That of the fixture that makes it.

    Raises:
        CheckFailedError: All went well, but a kernel complained.
    """
    failures: list[str] = []
    try:
        with machine:
            yield machine
    except BaseException as exc:
        failures.append(str(exc).partition("\n")[0] or type(exc).__name__)
        raise
    finally:
        failures += failures_of(request)
        name = request.node.name if request.scope == "function" else machine.folder.name
        result = record(lab, machine, name=name, failure=failures[0] if failures else None)
        if request.scope == "function":
            request.node.user_properties += complaint_properties(result)
    if not failures:
        verdict.require([check for check in result.checks if check.name == COMPLAINTS_CHECK])


@pytest.fixture
def machine(
    lab: Lab,
    folder: Path,
    new_timeline: Callable[[], Timeline],
    request: pytest.FixtureRequest,
) -> Iterator[Machine]:
    """A machine, switched off; at the end it leaves a report.

    The mark `userland_disk` gives it a second disk, with the normal userland.
    """
    second = request.node.get_closest_marker("userland_disk") is not None
    made = lab.machine(folder, timeline=new_timeline(), userland_disk=second)
    with recorded(lab, made, request):
        yield made


@pytest.fixture
def new_cycle(lab: Lab, folder: Path, new_timeline: Callable[[], Timeline]) -> NewCycle:
    """Makes the cycle of a test, which says what is special about it."""
    return partial(cycle.Cycle, lab=lab, folder=folder, timeline=new_timeline())


@pytest.fixture(scope="class")
def cycle_result(
    lab: Lab,
    run_folder: Path,
    new_timeline: Callable[[], Timeline],
    request: pytest.FixtureRequest,
) -> Result:
    """The result of one cycle, by the way back that the suite names or the user chose."""
    suite: type[CycleSuite] = request.cls
    named = suite.resume_path
    option = request.config.getoption
    parts = ("cycle", named)
    folder = run_folder / "-".join(part for part in parts if part)
    if named is None and option("--run-folder"):
        folder = run_folder
    result = cycle.Cycle(
        lab=lab,
        folder=folder,
        timeline=new_timeline(),
        resume_path=named or option("--resume-path"),
        fill=suite.fill,
        resuming_append=suite.resuming_append,
        audit=lab.options.audit,
        only=option("--witness"),
        script=option("--run"),
    ).run()
    note_outcome(request.config, result)
    return result


@pytest.fixture(scope="module")
def hibernated(
    lab: Lab,
    run_folder: Path,
    new_timeline: Callable[[], Timeline],
    request: pytest.FixtureRequest,
) -> Iterator[Hibernated]:
    """A hibernated machine for the tests of a module that damage its image."""
    folder = run_folder / f"{request.path.stem}-hibernated"
    with recorded(lab, lab.machine(folder, timeline=new_timeline()), request) as made:
        yield Hibernated.from_boot(made)
