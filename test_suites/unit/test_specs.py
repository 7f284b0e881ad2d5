# SPDX-License-Identifier: GPL-2.0-only
"""Specs: what is in the checkout loads, and each mistake is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.base.errors import SpecError
from harness.kernel import specfiles, specs, vmconfig

KERNEL = """\
name: mine
source: {kind: directory, path: ../linux}
version: "6.12"
configs: {normal: [normal.config], spawned: [spawned.config]}
"""


def write(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def vm_error(folder: Path, text: str) -> str:
    with pytest.raises(SpecError) as caught:
        specs.load_vm_config(write(folder, text))
    message = str(caught.value)
    assert "\n" not in message
    return message


def kernel_error(folder: Path, text: str) -> str:
    with pytest.raises(SpecError) as caught:
        specs.load_kernel(write(folder, text))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", specfiles.names(specs.KERNELS))
def test_kernels_of_the_checkout_load(name: str) -> None:
    spec = specs.load_kernel(name)
    assert spec.fragments("normal")
    assert spec.fragments("spawned")
    for role in ("normal", "spawned"):
        spec.patch_files(role)


@pytest.mark.parametrize("name", specfiles.names(vmconfig.VM_CONFIGS))
def test_vm_configs_of_the_checkout_load(name: str) -> None:
    assert specs.load_vm_config(name).memory_bytes >= vmconfig.MINIMUM_MEMORY


def test_sizes_are_binary(tmp_path: Path) -> None:
    assert specs.load_vm_config(write(tmp_path, "name: mine\nmemory: 2GiB\n")).memory_bytes == 2**31


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("memroy: 512MiB", "memroy: unknown key, is it 'memory'? (known are: name, descr"),
        ("colour: red", "colour: unknown key (known are: name, description, memory"),
        ("cpus: 1\ncpus: 2", "line 3: the key 'cpus' is there twice"),
        ("memory: 63MiB", "memory: 63MiB is below the minimum of 64MiB"),
        ("memory: 512MB", "memory: '512MB' is no size"),
        ("memory: 512", "memory: input should be a valid string, not 512"),
        ("cpus: two", "cpus: input should be a valid integer, not 'two'"),
        ("cpus: 9", "cpus: input should be less than or equal to 8, not 9"),
        ("machine: microvm", "machine: input should be 'pc' or 'q35', not 'microvm'"),
        ("cpu_features: {la57: maybe}", "cpu_features.la57: input should be a valid boolean"),
        ("timeout_scale: 0", "timeout_scale: input should be greater than or equal to 0.1"),
    ],
)
def test_wrong_vm_config_names_file_and_field(tmp_path: Path, line: str, expected: str) -> None:
    message = vm_error(tmp_path, f"name: mine\n{line}\n")
    assert f"mine.yaml: {expected}" in message


def test_yaml_error_names_the_line(tmp_path: Path) -> None:
    assert "mine.yaml: line 3: " in vm_error(tmp_path, "name: mine\ncpus: 1\n\tmemory: 1GiB\n")


def test_file_without_mapping(tmp_path: Path) -> None:
    assert "not a mapping" in vm_error(tmp_path, "- name\n")


def test_name_is_that_of_the_file(tmp_path: Path) -> None:
    assert "mine.yaml: name: 'other'" in vm_error(tmp_path, "name: other\n")


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(SpecError) as caught:
        specs.load_vm_config("nosuch")
    assert "'nosuch'" in str(caught.value)
    for name in specfiles.names(vmconfig.VM_CONFIGS):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("kind: directory, ", "", "source: kind: missing"),
        ("kind: directory", "kind: svn", "source: kind: 'svn' is none of 'debian'"),
        ("path: ../linux", "paht: x", "source.paht: unknown key, is it 'path'? (known are: kind"),
        ("path: ../linux", "path: x, rev: y", "source.rev: unknown key (known are: kind, path)"),
        ("configs:", "confgs:", "confgs: unknown key, is it 'configs'?"),
        ("spawned: [", "spwaned: [", "configs.spwaned: unknown key, is it 'spawned'?"),
        ("[normal.config]", "[]", "configs.normal: list should have at least 1 item"),
        ("name: mine\n", "", "name: missing"),
    ],
)
def test_wrong_kernel_names_file_and_field(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert f"mine.yaml: {expected}" in kernel_error(tmp_path, KERNEL.replace(old, new))


def test_paths_are_taken_from_the_file(tmp_path: Path) -> None:
    spec = specs.load_kernel(write(tmp_path, KERNEL))
    assert spec.path("../linux") == (tmp_path / "../linux").resolve()
    assert spec.path("/usr/src") == Path("/usr/src").resolve()


def test_unknown_patches_and_fragments_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, KERNEL + "patches: {common: [nosuch]}\n")
    with pytest.raises(SpecError, match=r"patches\.common: 'nosuch' names no patch"):
        specs.load_kernel(path)
    path = write(tmp_path, KERNEL.replace("normal.config", "nosuch.config"))
    with pytest.raises(SpecError, match=r"configs\.normal: no file 'nosuch\.config'"):
        specs.load_kernel(path)


def test_series_are_in_order() -> None:
    spec = specs.load_kernel("linux-6.12")
    spec.patches = specs.Patches(common=["linux-6.12"])
    names = [path.name for path in spec.patch_files("spawned")]
    assert names == sorted(names)
    assert len(names) >= 2


def test_a_key_that_a_file_gets_from_a_merge_may_be_there_again(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: &a {one: 1, two: 2}\nb:\n  <<: *a\n  two: 3\n")
    assert specs.read_yaml(path)["b"] == {"one": 1, "two": 3}
