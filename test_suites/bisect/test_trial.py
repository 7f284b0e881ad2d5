# SPDX-License-Identifier: GPL-2.0-only
"""Does the bisection find what a kernel was broken by, all by itself?

On a history made from Debian's source, with regressions that are known: one of
eight commits, and five kinds of regressions in 57 commits otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cache, lab
from harness.bisect import trial
from harness.bisect.outcome import Outcome
from harness.bisect.repository import Range
from harness.bisect.state import FILE, Ending, State, Word
from harness.specs import ROOT

pytestmark = [pytest.mark.vm]

# What git bisect asks for on the way to these, and has to skip.
_ON_THE_WAY = {"warn": ["does not boot"], "witness": ["does not build"]}
_JUMP = "test_suites/plain_jump/test_one_jump.py"


def history(*, short: bool) -> Path:
    name = f"trial-{'short' if short else 'long'}"
    with cache.lock("bisect", name):
        return trial.make(cache.home() / "bisect" / name / name, short=short)


def run_bisection(tree: Path, branch: str, folder: Path, options: lab.Options) -> State:
    """Run the command as a user does, unattended; what it leaves is what counts."""
    stored = folder / "state.json"
    # With the config of all other runs, and no fragment: so ccache has nearly all
    # objects. Those of a smaller config are others, if only because of autoconf.h.
    command = [
        *(sys.executable, "-m", "harness", "bisect", "--tree", str(tree)),
        *("--kernel", options.kernel, "--results", str(folder), "--json", str(stored)),
        *(trial.BASE, branch, "--", _JUMP),
        *(f"--vm-config={options.vm_config}", f"--accel={options.accel}"),
        f"--libvirt-uri={options.libvirt_uri}",
    ]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
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
def test_short_history(folder: Path, options: lab.Options) -> None:
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


@pytest.mark.parametrize("branch", sorted(trial.regressions()))
def test_long_history(folder: Path, options: lab.Options, branch: str) -> None:
    """A hang, a WARN, damage, a device left suspended, and one of three runs."""
    tree = history(short=False)
    state = run_bisection(tree, branch, folder, options)
    assert_found(state, tree, branch)
    skipped = [step.why for step in state.steps if step.word is Word.SKIP]
    assert all(why.startswith(("does not build", "does not boot")) for why in skipped), skipped
    # On the way to the others there is none that git bisect asks for.
    for kind in _ON_THE_WAY.get(branch, ()):
        assert any(why.startswith(kind) for why in skipped), kind
