# SPDX-License-Identifier: GPL-2.0-only
"""Whenever a build or a bisection is killed: is nothing left, and is the next right?

A build has a copy of the tree of the spawned kernel, in which objects are missing, and
makes the guest's programs. A kernel that comes of it afterwards has to be the same, byte
by byte, as the one that was built in peace; a bisection has to find the same commit.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.base import cache
from harness.bisect import trial
from harness.bisect.repository import Range
from harness.bisect.state import State
from harness.machine.lab import Lab
from harness.plugin.faults import Figures
from test_suites.bisect.test_trial import JUMP, history
from test_suites.faults.campaigns import Campaign, machine_options
from test_suites.faults.victims import Place, Shot, command, linked_home, place

pytestmark = [pytest.mark.vm]
# What the victim has for itself.
_OWN = ("guest", "kernels", "logs", "sums", "trees")
_BUILDERS = ("harness", "harness", "make", "ccache", "cc1", "ld")
_BISECTORS = ("harness", "harness", "pytest", "qemu", "git", "make")
# Objects that are missing: more is minutes, and less is over before a shot.
_MISSING = 60
_REGRESSION = "witness"
_SOON = 8.0
_RUN_SECONDS = 1800.0


@dataclass
class Building:
    """A place where the spawned kernel is not built, though nearly all of its objects are.

    Args:
        here: The place.
        lab: Its kernels were built in peace.
    """

    here: Place
    lab: Lab

    @property
    def _folder(self) -> Path:
        return self.here.home / "kernels" / self.lab.kernels.spawned.folder.name

    def lose(self, chosen: random.Random) -> None:
        """Have something to build: take the kernel away, and some of what it is made from."""
        for path in (self._folder, self.here.home / "guest"):
            shutil.rmtree(path, ignore_errors=True)
        tree = self.here.home / "trees" / self.lab.kernels.spawned.tree.name
        objects = sorted(tree.glob("build/**/*.o"))
        for path in chosen.sample(objects, min(_MISSING, len(objects))):
            path.unlink()

    def assert_same(self) -> None:
        """All that was built is what was built in peace."""
        good = self.lab.kernels.spawned
        for name in ("bzImage", "System.map", "config"):
            assert _equal(self._folder / name, good.folder / name), name
        for name, path in self.lab.kernels.guest.items():
            mine = self.here.home / "guest" / path.parent.name / path.name
            # The witness has debug information, which names the folder that it was built in.
            same = mine.stat().st_size > 0 if name == "witness" else _equal(mine, path)
            assert same, name


def _equal(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def _copy(source: Path, target: Path, *options: str) -> bool:
    words: list[str | Path] = ["cp", "-a", *options, source, target]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _copy_tree(source: Path, target: Path) -> None:
    """A tree with objects of its own: its source is not written to, and may be the same files."""
    if not _copy(source, target, "--link"):  # on another filesystem
        shutil.rmtree(target, ignore_errors=True)
        assert _copy(source, target)
        return
    shutil.rmtree(target / "build")
    assert _copy(source / "build", target / "build")


@pytest.fixture
def building(lab: Lab, tmp_path: Path) -> Iterator[Building]:
    """A home that has all but the spawned kernel and the guest's programs."""
    home = tmp_path / "home"
    linked_home(home, but=_OWN)
    assert _copy(cache.home() / "sums", home / "sums")
    (home / "logs").mkdir()
    spawned = lab.kernels.spawned
    for kind, own in (("kernels", spawned.folder.name), ("trees", spawned.tree.name)):
        (home / kind).mkdir()
        for path in cache.entries(kind):
            if path.name != own:
                (home / kind / path.name).symlink_to(path)
    _copy_tree(spawned.tree, home / "trees" / spawned.tree.name)
    with place(home) as here:
        yield Building(here, lab)


def test_shots_at_a_build(building: Building, folder: Path, figures: Figures) -> None:
    # Which objects are missing is another matter than when it is shot at.
    missing = random.Random(figures.seed + 1)
    campaign = Campaign(
        building.here,
        command("build", building.lab.options.kernel),
        _BUILDERS,
        figures,
        folder,
        codes=frozenset({0, 3}),
        reasons="does not build|failed",
        before=lambda: building.lose(missing),
    )
    campaign.go("shots at a build", figures.count)
    building.assert_same()


def _bisection(lab: Lab, folder: Path) -> tuple[Path, list[str]]:
    """The tree, and a bisection of its short history."""
    tree = history(short=True)
    words = command("bisect", "--tree", str(tree), "--kernel", lab.options.kernel)
    words += ["--results", str(folder / "results"), "--json", str(folder / "state.json")]
    return tree, [*words, trial.BASE, _REGRESSION, "--", JUMP, *machine_options(lab)[1:]]


def _found(tree: Path, stored: Path) -> Sequence[str]:
    """The subjects of the commits that a bisection blames."""
    state = State.model_validate_json(stored.read_text())
    assert state.answer is not None
    span = Range(tree, state.settings.good, state.settings.bad)
    return [span.subject(revision) for revision in state.answer.commits]


@pytest.mark.ci
def test_a_shot_at_a_bisection(here: Place, lab: Lab, folder: Path, figures: Figures) -> None:
    """What `./kspawn test` has of it: `test_short_history` is the run after it."""
    _, words = _bisection(lab, folder)
    campaign = Campaign(here, words, ("harness",), figures, folder, codes=frozenset({0}))
    chosen = random.Random(figures.seed)
    campaign.shoot(Shot.choose(chosen, campaign.roles, _SOON))
    figures("a shot at a bisection", **campaign.shots)


def test_shots_at_a_bisection(here: Place, lab: Lab, folder: Path, figures: Figures) -> None:
    """What is run again, where it was not the bisection itself that was hit, finds the same."""
    tree, words = _bisection(lab, folder)
    campaign = Campaign(here, words, _BISECTORS, figures, folder, codes=frozenset({0}))
    # The first one builds what it needs, and takes longer than those that are shot at.
    campaign.run(_RUN_SECONDS)
    campaign.go("shots at a bisection", max(2, figures.count // 4), last=_RUN_SECONDS)
    assert _found(tree, folder / "state.json") == [trial.regressions()[_REGRESSION]]
    assert not (tree / ".git" / "BISECT_LOG").exists()
