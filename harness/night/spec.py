# SPDX-License-Identifier: GPL-2.0-only
"""The matrix file: axes, exclude and include, expanded to jobs.

The rules of `exclude` and `include` are those of GitHub Actions' matrix: an
exclude drops every combination that it partly describes; an include, which is
looked at after all excludes, adds its keys to every combination of which it
overwrites no value of an axis, and is a combination of its own if there is none.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import (
    ValidationError,
)

from harness.base import paths
from harness.base.errors import SpecError, UsageError
from harness.base.text import cut
from harness.kernel import flavors, kconfig, specs, vmconfig
from harness.night.matrix import (
    ALLOWANCES,
    AXES,
    DEFAULTS,
    OVERHEAD_MIB,
    Include,
    Job,
    Matrix,
    Suite,
    seconds_of,
)
from harness.ways import registry

ROOT = specs.ROOT
_SUITES = ROOT / "test_suites"

Combination = dict[str, Any]


def combine(axes: Mapping[str, Sequence[Any]]) -> list[Combination]:
    """All combinations of the values of the axes, the first axis varying slowest."""
    if not axes:
        return []
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def without(
    combinations: Sequence[Combination], exclude: Sequence[Mapping[str, Any]]
) -> list[Combination]:
    """The combinations that no exclude describes, be it in part."""

    def hit(combination: Combination, entry: Mapping[str, Any]) -> bool:
        return all(key in combination and combination[key] == entry[key] for key in entry)

    return [
        combination
        for combination in combinations
        if not any(hit(combination, entry) for entry in exclude)
    ]


def extended(
    combinations: Sequence[Combination],
    include: Sequence[Mapping[str, Any]],
    axes: Sequence[str],
) -> list[Combination]:
    """The combinations after the includes.

    Args:
        combinations: What is left after the excludes.
        include: In the order of the file: a later one may overwrite what an
            earlier one added, never a value of an axis.
        axes: The names of the axes.
    """
    originals = [(dict(combination), dict(combination)) for combination in combinations]
    added: list[Combination] = []
    for entry in include:
        fits = [
            grown
            for original, grown in originals
            if all(original[key] == entry[key] for key in entry if key in axes and key in original)
        ]
        for grown in fits:
            grown.update(entry)
        if not fits:
            added.append(dict(entry))
    return [grown for _, grown in originals] + added


def expand(matrix: Matrix) -> list[Job]:
    """The jobs of a matrix, in order; those that are the same are one, with the most of each.

    Args:
        matrix: A matrix that was read.

    Raises:
        SpecError: A key or a value is not known, or a job is not whole; the
            line names the file and the field.
    """
    with _naming(specs.shown(matrix._file) if matrix._file else f"matrix {matrix.name}"):
        axes = {key: values for key, values in matrix.matrix.items() if key not in _SPECIAL}
        exclude, include = (_entries(matrix, key) for key in _SPECIAL)
        _check_axes(axes)
        _check_exclude(axes, exclude)
        _check_include(include)
        _check_descriptions(matrix, [*combine(axes), *include])
        left = without(combine(axes), exclude)
        files = _Files()
        jobs = [_job(matrix, found, files) for found in extended(left, include, list(axes))]
        if not jobs:
            raise SpecError("matrix: it has no job, all of them are excluded")
        merged = _merged(jobs)
        _check_names(merged)
    return merged


def _merged(jobs: Sequence[Job]) -> list[Job]:
    """Each job once: as long, as large and as demanding as any description of it."""
    most = (*ALLOWANCES, "kvm")
    same: dict[str, list[Job]] = {}
    for job in jobs:
        same.setdefault(job.model_dump_json(exclude=set(most)), []).append(job)
    return [
        found[0].model_copy(
            update={name: max(getattr(job, name) for job in found) for name in most}
        )
        for found in same.values()
    ]


def _check_names(jobs: Sequence[Job]) -> None:
    """Two jobs of one name would share a folder, and a line in the history."""
    named: dict[str, Job] = {}
    for job in jobs:
        other = named.setdefault(job.slug, job)
        if other is not job:
            theirs, own = other.model_dump(), job.model_dump()
            field = next(name for name in own if own[name] != theirs[name])
            raise SpecError(
                f"matrix: two jobs are called {job.title!r}: "
                f"{field} is {theirs[field]!r} and {own[field]!r}",
                hint="give one of them another name",
            )


_SPECIAL = ("exclude", "include")


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Put a place before the message of a SpecError."""
    try:
        yield
    except SpecError as exc:
        raise SpecError(f"{place}: {exc.message}", hint=exc.hint) from None


def _entries(matrix: Matrix, key: str) -> list[dict[str, Any]]:
    entries = matrix.matrix.get(key, [])
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise SpecError(f"matrix.{key}.{number}: {entry!r} is not a mapping of keys to values")
    return entries


def _check_axes(axes: Mapping[str, Sequence[Any]]) -> None:
    for axis, values in axes.items():
        if axis not in AXES:
            raise SpecError(f"matrix.{axis}: {specs.unknown_key(axis, (*AXES, *_SPECIAL))}")
        if not values:
            raise SpecError(f"matrix.{axis}: the list is empty")
        for value in values:
            if not isinstance(value, str):
                raise SpecError(f"matrix.{axis}: input should be a name, not {value!r}")


def _check_exclude(axes: Mapping[str, Sequence[Any]], exclude: Sequence[Mapping[str, Any]]) -> None:
    for number, entry in enumerate(exclude):
        for key, value in entry.items():
            place = f"matrix.exclude.{number}.{key}"
            if key not in axes:
                raise SpecError(f"{place}: no axis of this matrix (it has: {', '.join(axes)})")
            if value not in axes[key]:
                known = ", ".join(axes[key])
                raise SpecError(f"{place}: {value!r} is no value of the axis (it has: {known})")


def _check_include(include: Sequence[Mapping[str, Any]]) -> None:
    for number, entry in enumerate(include):
        try:
            Include.model_validate(entry)
        except ValidationError as exc:
            message = specs.first_error(exc, Include)
            raise SpecError(f"matrix.include.{number}.{message}") from None


def _check_descriptions(matrix: Matrix, used: Sequence[Combination]) -> None:
    """What is described and never named is most often a name with a typo."""
    for kind, axis, described in (
        ("suites", "suite", matrix.suites),
        ("configs", "config", matrix.configs),
    ):
        named = {str(found[axis]) for found in used if axis in found}
        for name in described:
            if name not in named:
                raise SpecError(
                    f"{kind}.{name}: neither the axis {axis!r} nor an include names it",
                    hint=f"they name: {', '.join(sorted(named)) or 'none'}",
                )


class _Files:
    """The files that combinations name, each read once: a matrix may have thousands."""

    def __init__(self) -> None:
        self._kernels: set[str] = set()
        self._machines: dict[str, vmconfig.VMConfig] = {}

    def check_kernel(self, name: str) -> None:
        """What a spec names is looked for as well: else it would come out after hours."""
        if name not in self._kernels:
            specs.load_kernel(name)
            self._kernels.add(name)

    def machine(self, name: str) -> vmconfig.VMConfig:
        """The machine of a name."""
        if name not in self._machines:
            self._machines[name] = specs.load_vm_config(name)
        return self._machines[name]


def _job(matrix: Matrix, found: Combination, files: _Files) -> Job:
    place = ", ".join(f"{key}: {found[key]}" for key in AXES if key in found)
    for key in ("kernel", "suite"):
        if key not in found:
            raise SpecError(f"matrix: the combination ({place}) has no {key}")
    suite = matrix.suites.get(found["suite"]) or Suite()
    values = {key: str(found.get(key, default)) for key, default in DEFAULTS.items()}
    for axis in suite.ignores:
        values[axis] = DEFAULTS[axis]
    with _naming("matrix.kernel"):
        files.check_kernel(found["kernel"])
    with _naming("matrix.flavor"):
        flavors.check(flavors.split(values["flavor"]))
    with _naming("matrix.vm-config"):
        config = files.machine(values["vm-config"])
    if values["way"] not in registry.resume_paths():
        known = ", ".join(registry.resume_paths())
        raise SpecError(f"matrix.way: {values['way']!r} is none of {known}")
    if values["config"] != "default" and values["config"] not in matrix.configs:
        raise SpecError(f"matrix.config: {values['config']!r} is not described in `configs`")
    memory = suite.machines * (config.memory_bytes // vmconfig.MIB) + OVERHEAD_MIB
    return Job(
        kernel=found["kernel"],
        flavor=values["flavor"],
        config=values["config"],
        vm_config=values["vm-config"],
        way=values["way"],
        suite=found["suite"],
        path=_suite_path(found["suite"], suite),
        args=(*suite.args, *found.get("args", ())),
        fragments=tuple(
            _fragment(values["config"], name) for name in matrix.configs.get(values["config"], ())
        ),
        ignores=tuple(suite.ignores),
        timeout=seconds_of(found.get("timeout", suite.timeout)),
        memory=found.get("memory", 0) or suite.memory or memory,
        cpus=max(1, suite.machines * config.cpus),
        kvm=found.get("kvm", suite.kvm),
    )


def _suite_path(name: str, suite: Suite) -> str:
    place = f"suites.{cut(name)}.path" if suite.path else "matrix.suite"
    with _naming(place):
        path = _given(suite.path) if suite.path else _SUITES / _given(name)
    whole = path if path.is_absolute() else ROOT / path
    available = ", ".join(sorted(f.name for f in _SUITES.iterdir() if f.is_dir()))
    hint = f"test_suites/ has: {available}"
    if not os.path.lexists(whole):
        raise SpecError(f"{place}: there is no {specs.shown(whole)}", hint=hint)
    # With `..` or a link in it, it may lie anywhere.
    real = whole.resolve()
    inside = real.is_relative_to(_SUITES) or (suite.path and path.is_absolute())
    tests = real.rglob("test_*.py") if real.is_dir() else [real]
    if not inside or not any(file.suffix == ".py" and file.is_file() for file in tests):
        raise SpecError(f"{place}: {specs.shown(whole)} holds no tests of the bench", hint=hint)
    return str(whole.relative_to(ROOT)) if whole.is_relative_to(ROOT) else str(whole)


def _given(text: str) -> Path:
    """A path of the file, as `paths.given`; what is wrong with it is a SpecError."""
    try:
        return paths.given(text)
    except UsageError as exc:
        raise SpecError(exc.message) from None


def _fragment(config: str, name: str) -> str:
    with _naming(f"configs.{config}"):
        path = ROOT / _given(name)
        if not paths.is_file(path):
            raise SpecError(f"there is no file {specs.shown(path)}")
        try:
            kconfig.read_options(path)
        except UsageError as exc:
            raise SpecError(exc.message, hint=exc.hint) from None
    return str(path)


def load(path: Path) -> Matrix:
    """Read a matrix file.

    Raises:
        SpecError: It is not there, or wrong; the line names the field.
    """
    if not paths.is_file(path):
        raise SpecError(f"there is no matrix file {cut(str(path))}")
    data = specs.read_yaml(path)
    try:
        matrix = Matrix.model_validate(data)
    except ValidationError as exc:
        raise SpecError(f"{specs.shown(path)}: {specs.first_error(exc, Matrix)}") from None
    matrix._file = path
    return matrix
