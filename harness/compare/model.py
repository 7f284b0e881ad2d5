# SPDX-License-Identifier: GPL-2.0-only
"""The comparison: every way on one machine, with memory filled more and less.

A benchmark: its figures are ratios within one run, and none of them passes or
fails. `compare.json` has the schema of `Comparison`, documented in
docs/compare.md; `compare.html` draws it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.base.errors import ExitCode, UsageError
from harness.base.files import Stored
from harness.cycle.cycle import Cycle
from harness.machine.lab import Lab
from harness.record.result import Accelerator, KernelInfo, Result, Verdict
from harness.record.timeline import Phase, Timeline
from harness.ways import registry

SCHEMA_VERSION = 1
DEFAULT_FILLS = (10, 50, 90)
WAYS = (*registry.resume_paths(), *registry.baselines())
"""All ways that can be compared."""

# What surrounds a way, and is no part of it.
_AROUND = ("witness", "verify image", "check")
MIB = 1 << 20

Part = Literal["leave", "return", "both"]
Notify = Callable[[str], None]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PhaseTime(_Model):
    """A phase of a way."""

    name: str
    kernel: str
    part: Part = Field(description="'leave', 'return', or 'both' where it cannot be told apart")
    seconds: float
    ok: bool = True


class Outcome(_Model):
    """One way with one fill: how it went, how long it took, and what it wrote."""

    way: str
    baseline: bool = Field(description="whether its failure is an outcome, and no error")
    title: str = Field(default="", description="what a baseline is")
    fill: int = Field(description="per cent of MemTotal that were to be in use")
    run: str = Field(description="folder with its result.json and report.html")
    passed: bool
    exit_code: int
    reason: str = ""
    limit: str = Field(default="", description="the limit of the way that it met, in a line")
    total_bytes: int | None = Field(default=None, description="MemTotal of the normal kernel")
    used_bytes: int | None = Field(default=None, description="of these, in use before it was left")
    witness_bytes: int | None = Field(default=None, description="known pages that were checked")
    stored_bytes: int | None = Field(default=None, description="pages in the image, with content")
    zero_bytes: int | None = Field(default=None, description="pages of one byte, marked only")
    file_bytes: int | None = Field(default=None, description="the image, compressed if it is")
    disk_bytes: int | None = Field(default=None, description="the disk: image and swapped out")
    phases: list[PhaseTime] = Field(default_factory=list)
    leave_seconds: float | None = Field(default=None, description="until the power was off")
    return_seconds: float | None = Field(default=None, description="from power on")
    seconds: float | None = Field(default=None, description="both; null unless it came back")
    ratio: float | None = Field(default=None, description="its seconds, of the reference's")
    checks: dict[str, bool] = Field(default_factory=dict, description="what was asserted")

    @property
    def is_error(self) -> bool:
        """Whether it failed, and is neither a baseline that did not nor a limit that was met."""
        forgiven = self.baseline or bool(self.limit)
        return not self.passed and (self.exit_code == ExitCode.HARNESS or not forgiven)


class Comparison(Stored):
    """What a run of `./kspawn compare` found."""

    schema_version: int = SCHEMA_VERSION
    run: str
    started: datetime
    seconds: float = 0.0
    vm_config: str
    ram_bytes: int
    cpus: int
    kernels: list[KernelInfo] = Field(default_factory=list)
    accelerator: Accelerator | None = None
    ways: list[str]
    fills: list[int]
    references: dict[int, str] = Field(
        default_factory=dict, description="by fill: the way that has the ratio 1"
    )
    outcomes: list[Outcome] = Field(default_factory=list)
    finished: bool = Field(default=False, description="whether all of them are there")

    @property
    def failed(self) -> list[Outcome]:
        """What is an error."""
        return [one for one in self.outcomes if one.is_error]

    def of(self, way: str, fill: int) -> Outcome | None:
        """The outcome of a way with a fill."""
        found = (one for one in self.outcomes if (one.way, one.fill) == (way, fill))
        return next(found, None)

    @property
    def exit_code(self) -> int:
        """The worst of what is an error."""
        return max((one.exit_code for one in self.failed), default=int(ExitCode.PASSED))


def chosen_ways(names: Sequence[str]) -> list[str]:
    """The ways to compare, in the order of WAYS.

    Args:
        names: What the user named; nothing is all that are compared by default.

    Raises:
        UsageError: There is no such way.
    """
    for name in names:
        if name not in WAYS:
            raise UsageError(f"there is no way {name!r}", hint=f"there are: {', '.join(WAYS)}")
    chosen = names or [way for way in WAYS if registry.get(way).by_default]
    return [way for way in WAYS if way in chosen]


def parse_fills(text: str) -> list[int]:
    """The fills, as they are written on the command line.

    Args:
        text: Such as "10,50,90".

    Raises:
        UsageError: It is no list of per cents.
    """
    fills = []
    for word in text.split(","):
        try:
            fill = int(word)
        except ValueError:
            fill = 0
        if not 1 <= fill <= 95:
            raise UsageError(
                f"--fill: {word.strip()!r} is no per cent from 1 to 95",
                hint="write it as 10,50,90",
            )
        fills.append(fill)
    return sorted(set(fills))


def times(phases: Sequence[Phase]) -> list[PhaseTime]:
    """What of a run's phases is the way itself.

    Args:
        phases: The phases of a cycle.
    """
    names = [phase.name for phase in phases]
    if "witness" not in names:
        return []
    own = [p for p in phases[names.index("witness") :] if p.name not in _AROUND]
    last = max((p.boot for p in own), default=0)
    found, back = [], False
    whole = {way.whole for way in registry.every() if way.whole}
    for phase in own:
        # With the power on, only coming back is marked as such.
        back = back or phase.boot > own[0].boot or (last == 1 and phase.name == "jump back")
        both = phase.name in whole
        part: Part = "both" if both else "return" if back else "leave"
        found.append(
            PhaseTime(
                name=phase.name,
                kernel=phase.kernel,
                part=part,
                seconds=phase.seconds,
                ok=phase.outcome == "ok",
            )
        )
        back = back or both
    return found


def outcome_of(result: Result, fill: int) -> Outcome:
    """What a result says for the comparison.

    Args:
        result: The result of a cycle.
        fill: How full memory was to be, in per cent.
    """
    way = registry.get(result.resume_path)
    phases = times(result.phases)
    came_back = bool(phases) and all(phase.ok for phase in phases) and bool(result.checks)
    apart = all(phase.part != "both" for phase in phases) and came_back

    def total(*parts: Part) -> float:
        return sum(phase.seconds for phase in phases if phase.part in parts)

    image, memory = result.image, result.memory
    return Outcome(
        way=result.resume_path,
        baseline=not way.resumes,
        title="" if way.resumes else way.title,
        fill=fill,
        run=result.run,
        passed=result.verdict is Verdict.PASSED,
        exit_code=result.exit_code,
        reason=result.reason,
        limit=way.limits.get(result.refused or "", ""),
        total_bytes=memory.total_bytes if memory else None,
        used_bytes=memory.used_bytes if memory else None,
        witness_bytes=memory.witness_bytes if memory else None,
        stored_bytes=image.stored_bytes if image else None,
        zero_bytes=image.zero_bytes if image else None,
        file_bytes=image.file_bytes if image else None,
        disk_bytes=result.disk_bytes,
        phases=phases,
        leave_seconds=total("leave") if apart else None,
        return_seconds=total("return") if apart else None,
        seconds=total("leave", "return", "both") if came_back else None,
        checks={check.name: check.ok for check in result.checks},
    )


def relate(comparison: Comparison) -> None:
    """Fill in the ratios, each within its fill.

    The reference is the way that is marked as such, where it passed; else the first way that did.
    """
    for fill in comparison.fills:
        good = [one for one in comparison.outcomes if one.fill == fill and one.seconds]
        if not good:
            continue
        first = next((one for one in good if registry.get(one.way).reference), good[0])
        comparison.references[fill] = first.way
        for one in good:
            assert one.seconds is not None
            assert first.seconds is not None
            one.ratio = one.seconds / first.seconds


def run(
    lab: Lab,
    folder: Path,
    *,
    ways: Sequence[str],
    fills: Sequence[int],
    listener: Callable[[str, float | None], None],
    notify: Notify = lambda _: None,
    keep: Callable[[Comparison], object] = lambda _: None,
) -> Comparison:
    """Run every way with every fill, one after another.

    Args:
        lab: Where they run.
        folder: Where the results go, a folder for each.
        ways: Which ways.
        fills: How full memory is to be, in per cent of MemTotal.
        listener: Told of each phase.
        notify: Told of each way as it begins.
        keep: Given what is there after each: a run of an hour may be interrupted.

    Returns:
        What was found; whatever went wrong with a way is in it.

    Raises:
        KeyboardInterrupt: The user gave up.
    """
    timeline = Timeline()
    comparison = _begin(lab, folder, ways, fills)
    for fill in fills:
        for way in ways:
            notify(f"{way} at {fill} %")
            result = Cycle(
                lab=lab,
                folder=folder / f"{way}-{fill}",
                timeline=Timeline(listener),
                resume_path=way,
                fill=fill,
            ).run()
            comparison.outcomes.append(outcome_of(result, fill))
            comparison.finished = len(comparison.outcomes) == len(ways) * len(fills)
            comparison.seconds = timeline.now()
            relate(comparison)
            keep(comparison)
    return comparison


def _begin(lab: Lab, folder: Path, ways: Sequence[str], fills: Sequence[int]) -> Comparison:
    return Comparison(
        run=folder.name,
        started=datetime.now(UTC),
        vm_config=lab.config.name,
        ram_bytes=lab.config.memory_bytes,
        cpus=lab.config.cpus,
        kernels=lab.kernel_info(),
        accelerator=lab.accelerator,
        ways=list(ways),
        fills=list(fills),
    )


# What is printed


def asserted(outcome: Outcome) -> str:
    """What a way asserts, in a line: how many checks of each group held."""
    groups = Counter(name.partition(".")[0] for name in outcome.checks)
    held = Counter(name.partition(".")[0] for name, ok in outcome.checks.items() if ok)
    return ", ".join(
        f"{group} {count}" if held[group] == count else f"{group} {held[group]} of {count}"
        for group, count in groups.items()
    )
