# SPDX-License-Identifier: GPL-2.0-only
"""Does the bisection find what a kernel was broken by, all by itself?

On a history made from Debian's source, with regressions that are known: one of
eight commits, and five kinds of regressions in 57 commits otherwise.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.base import cache, processes
from harness.bisect import trial
from harness.bisect.outcome import Outcome
from harness.bisect.repository import Range
from harness.bisect.state import FILE, Ending, State, Word
from harness.kernel.specs import ROOT
from harness.machine.options import Options

pytestmark = [pytest.mark.vm]

# What git bisect asks for on the way to these, and has to skip.
_ON_THE_WAY = {"warn": ["does not boot"], "witness": ["does not build"]}
# What a bisection of the long history is to take.
_GOAL_MINUTES = 25
_FIX = """\
--- a/kernel/notifier.c
+++ b/kernel/notifier.c
@@ -16,2 +16,3 @@
  */
+static atomic_t notifier_calls = ATOMIC_INIT(0); /* {nonce} */
 BLOCKING_NOTIFIER_HEAD(reboot_notifier_list);
"""
JUMP = "test_suites/plain_jump/test_one_jump.py"


def history(*, short: bool) -> Path:
    name = f"trial-{'short' if short else 'long'}"
    with cache.lock("bisect", name):
        return trial.make(cache.home() / "bisect" / name / name, short=short)


def run(command: Sequence[str | Path], cwd: Path = ROOT) -> str:
    """Run a command as a user does, unattended."""
    env = processes.git_environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def machine_options(options: Options) -> list[str]:
    return [
        *(f"--vm-config={options.vm_config}", f"--accel={options.accel}"),
        f"--libvirt-uri={options.libvirt_uri}",
    ]


def run_bisection(
    tree: Path, branch: str, folder: Path, options: Options, *more: str | Path
) -> State:
    """What the command leaves is what counts."""
    stored = folder / "state.json"
    # With the config of all other runs, and no fragment: so ccache has nearly all
    # objects. Those of a smaller config are others, if only because of autoconf.h.
    command = [
        *(sys.executable, "-m", "harness", "bisect", "--tree", tree, *more),
        *("--kernel", options.kernel, "--results", folder, "--json", stored),
        *(trial.BASE, branch, "--", JUMP, *machine_options(options)),
    ]
    run(command)
    return State.model_validate_json(stored.read_text())


def assert_found(state: State, tree: Path, branch: str) -> None:
    answer = state.answer
    assert answer is not None
    assert answer.ending is Ending.FOUND, answer.text
    span = Range(tree, state.settings.good, state.settings.bad)
    assert [span.subject(rev) for rev in answer.commits] == [trial.regressions()[branch]]
    assert answer.probability >= state.settings.confidence
    failed = [run for run in state.of(answer.commits[0]) if run.outcome is Outcome.BAD]
    assert len(failed) >= 2, "not on one run"
    for parent in answer.parents:
        passed = [run for run in state.of(parent) if run.outcome is Outcome.GOOD]
        assert len(passed) >= 2


@pytest.mark.ci
def test_short_history(folder: Path, options: Options) -> None:
    """Damage that only the witness sees, among commits of which two do not build."""
    tree = history(short=True)
    before = (tree / ".git" / "HEAD").read_text()
    state = run_bisection(tree, "witness", folder, options)
    assert_found(state, tree, "witness")
    assert "check witness.signal" in state.sought
    assert (tree / ".git" / "HEAD").read_text() == before
    (left,) = [path.parent for path in folder.rglob(FILE)]
    names = {path.name for path in left.iterdir()}
    assert {"report.html", "mail.eml", "bisect.log"} <= names
    assert "#regzbot introduced" in (left / "mail.eml").read_text()


def test_a_fix_is_tried_where_it_does_not_build(folder: Path, options: Options) -> None:
    """The same history, with a patch for the commits that do not build: none is skipped."""
    tree = history(short=True)
    fix = folder / "fix.patch"
    # Not one that an earlier run has built: it is to be tried.
    fix.write_text(_FIX.format(nonce=time.time_ns()))
    state = run_bisection(tree, "witness", folder, options, "--fix", fix)
    assert_found(state, tree, "witness")
    assert [step.why for step in state.steps if step.word is Word.SKIP] == []
    fixed = [build for build in state.builds if build.fix]
    assert fixed
    assert all(build.ok for build in state.builds)


def test_a_step_of_git_bisect_run(folder: Path, options: Options) -> None:
    """Git itself drives, in a clone of a user; our command says what each commit is."""
    # Always at one place: its mirror in the cache is found again.
    tree = cache.home() / "scratch" / "git-bisect-run"
    with cache.lock("scratch", tree.name):
        shutil.rmtree(tree, ignore_errors=True)
        tree.parent.mkdir(parents=True, exist_ok=True)
        try:
            drive_git_bisect(tree, folder, options)
        finally:
            shutil.rmtree(tree, ignore_errors=True)


def drive_git_bisect(tree: Path, folder: Path, options: Options) -> None:
    run(["git", "clone", "-q", "--branch", "witness", history(short=True), tree])
    run(["git", "bisect", "start", "HEAD", f"origin/{trial.BASE}"], tree)
    step: list[str | Path] = [sys.executable, "-m", "harness", "bisect-step"]
    step += ["--kernel", options.kernel, "--results", folder, "--", ROOT / JUMP]
    step += machine_options(options)
    said = run(["git", "bisect", "run", *step], tree)
    (folder / "git-bisect-run.log").write_text(said)
    found = run(["git", "log", "-1", "--format=%s", "refs/bisect/bad"], tree).strip()
    assert found == trial.regressions()["witness"]
    assert "is the first bad commit" in said
    assert "check witness.signal" in said
    assert run(["git", "status", "--porcelain"], tree) == ""


@pytest.mark.parametrize("branch", sorted(trial.regressions()))
def test_long_history(
    folder: Path,
    options: Options,
    branch: str,
    record_property: Callable[[str, object], None],
) -> None:
    """A hang, a WARN, damage, a device left suspended, and one of three runs."""
    tree = history(short=False)
    state = run_bisection(tree, branch, folder, options)
    # Of no limit: it depends on what else the host does. The report has it.
    record_property("minutes", f"{state.seconds / 60:.1f} (goal: {_GOAL_MINUTES})")
    print(f"{branch}: {state.seconds / 60:.1f} minutes (goal: {_GOAL_MINUTES})")
    assert_found(state, tree, branch)
    skipped = [step.why for step in state.steps if step.word is Word.SKIP]
    assert all(why.startswith(("does not build", "does not boot")) for why in skipped), skipped
    # On the way to the others there is none that git bisect asks for.
    for kind in _ON_THE_WAY.get(branch, ()):
        assert any(why.startswith(kind) for why in skipped), kind
