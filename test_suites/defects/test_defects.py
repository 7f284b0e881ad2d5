# SPDX-License-Identifier: GPL-2.0-only
"""Is a kernel that is broken on purpose seen to be, and is it said where?

Each defect is a patch of its own, and defects.yaml says what must see it. All of them are
built in one tree, one after the other, so that each compiles a file and links.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.base import cache
from harness.base.errors import BuildError
from harness.cycle.cycle import Cycle
from harness.kernel import patching, tree
from harness.kernel.checkout import fetch
from harness.kernel.specs import load_vm_config
from harness.kernel.yamlfile import read_yaml
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.record.result import Verdict
from harness.record.timeline import Timeline
from test_suites.plain_jump.leaks import lost_pages

# A kernel of its own for each test.
pytestmark = [pytest.mark.vm, pytest.mark.cold]

HERE = Path(__file__).parent
PATCHES = HERE / "patches"
# What CI builds, in one kernel: two that only a new check sees, each another one.
SAMPLE = ("xmm", "oom-killer")


class Defect(BaseModel):
    """A defect, and what must see it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    what: str
    machine: str = ""
    append: str = ""
    checks: list[str] = Field(default_factory=list)
    ends: str = ""
    leaks: bool = False

    @property
    def patch(self) -> Path:
        return PATCHES / f"{self.name}.patch"

    @model_validator(mode="after")
    def _is_seen(self) -> Defect:
        if bool(self.checks) + bool(self.ends) + self.leaks != 1:
            raise ValueError(f"{self.name}: one of checks, ends and leaks")
        return self


DEFECTS = [Defect.model_validate(one) for one in read_yaml(HERE / "defects.yaml")["defects"]]


@pytest.fixture(scope="module")
def source(lab: Lab) -> Iterator[Path]:
    """The source of the kernel with our patches, always at one place: its objects are kept."""
    place = cache.home() / "scratch" / f"defects-{lab.spec.kernel_version().series}"
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    fetch(lab.spec, cache.quiet).copy(place)
    patching.apply_series(lab.spec.patch_files("normal"), place)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def broken(
    request: pytest.FixtureRequest, lab: Lab, source: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Defect]:
    """A defect; the normal kernel of the lab has it."""
    defect: Defect = request.param
    with built(lab, source, monkeypatch, [defect]):
        yield defect


@contextmanager
def built(
    lab: Lab, source: Path, monkeypatch: pytest.MonkeyPatch, defects: Sequence[Defect]
) -> Iterator[None]:
    """The normal kernel of the lab has these defects."""
    for defect in defects:
        if not patching.applies(defect.patch, source):
            pytest.skip(f"{defect.name}.patch is not for Linux {lab.spec.kernel_version()}")
    patches = [defect.patch for defect in defects]
    patching.apply_patches(patches, source)
    try:
        kernel = tree.build_tree(source, "normal", spec=lab.spec)
        monkeypatch.setattr(lab, "kernels", replace(lab.kernels, normal=kernel))
        yield
    finally:
        patching.take_back(patches, source)


def _params(*, leaks: bool) -> list[object]:
    return [pytest.param(one, id=one.name) for one in DEFECTS if one.leaks == leaks]


@pytest.mark.ci
def test_a_sample_is_seen(
    lab: Lab,
    folder: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    new_timeline: Callable[[], Timeline],
) -> None:
    """Two at once: neither hides the other."""
    sample = [one for one in DEFECTS if one.name in SAMPLE]
    assert len(sample) == len(SAMPLE)
    with built(lab, source, monkeypatch, sample):
        result = Cycle(lab=lab, folder=folder, timeline=new_timeline(), audit=True).run()
    failed = {check.name for check in result.checks if not check.ok}
    assert {name for one in sample for name in one.checks} <= failed, result.reason


@pytest.mark.parametrize("broken", _params(leaks=False), indirect=True)
def test_it_is_seen(
    lab: Lab, folder: Path, broken: Defect, new_timeline: Callable[[], Timeline]
) -> None:
    result = Cycle(
        lab=lab,
        folder=folder,
        timeline=new_timeline(),
        config=load_vm_config(broken.machine) if broken.machine else None,
        append=broken.append,
        audit=True,
    ).run()
    failed = {check.name: check.detail for check in result.checks if not check.ok}
    print(f"{broken.name}: exit {result.exit_code}: {result.reason}")
    for name, detail in failed.items():
        print(f"  {name}: {detail}")
    assert result.verdict is Verdict.FAILED
    assert set(broken.checks) <= set(failed), result.reason
    assert broken.ends in result.reason


@pytest.mark.parametrize("broken", _params(leaks=True), indirect=True)
def test_its_leak_is_counted(broken: Defect, machine: Machine) -> None:
    machine.boot()
    lost = lost_pages(machine)
    assert 0.5 < lost < 1.5, broken.name


def test_each_patch_is_told_of() -> None:
    assert {path.stem for path in PATCHES.glob("*.patch")} == {one.name for one in DEFECTS}


def test_a_patch_that_does_not_apply_ends_in_a_line(source: Path, tmp_path: Path) -> None:
    text = (PATCHES / "frozen.patch").read_text()
    wrong = tmp_path / "wrong.patch"
    wrong.write_text(text.replace("WARN_ON", "WARN_OFF"))
    with pytest.raises(BuildError, match=r"wrong\.patch does not apply: kernel/power/process\.c"):
        patching.apply_patches([wrong], source)
