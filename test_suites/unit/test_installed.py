# SPDX-License-Identifier: GPL-2.0-only
"""The wheel, in an environment of its own: does it work without the checkout?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEST = """
import pytest
from harness.machine.options import Options
from harness.machine.machine import Machine

def test_options(options: Options, pytestconfig: pytest.Config) -> None:
    print("tree", options.own.kernel_tree, "flavours", options.own.flavors)
    print("machine", options.vm_config, "way", pytestconfig.getoption("--resume-path"))
    print("results", pytestconfig.getoption("--results"))

@pytest.mark.vm
def test_boot(machine: Machine) -> None:
    machine.boot()
"""
TREE = {
    "Makefile": "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 0\nEXTRAVERSION =\n",
    "Kconfig": "",
    "arch/x86/Makefile": "",
    "Kbuild": "",
}


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and a folder that has nothing to do with the checkout."""

    wheel: Path
    bin: Path
    folder: Path

    def run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of it, elsewhere."""
        words = ("PYTHON", "KSPAWN_PYTHON", "PYTEST_", "VIRTUAL_ENV", "COV_")
        env = {name: value for name, value in os.environ.items() if not name.startswith(words)}
        return subprocess.run(
            [self.bin / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=env | {"KSPAWN_HOME": str(self.folder / "home"), "COLUMNS": "200"},
            timeout=300,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built from the tracked files; its dependencies are those of this environment."""
    # A path with spaces, as people have it.
    folder = tmp_path_factory.mktemp("installed") / "on a disk"
    folder.mkdir()
    source = folder / "source"
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    done = subprocess.run(listed, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this is no git checkout")
    for name in filter(None, done.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    # Isolated: an egg-info in a checkout on PYTHONPATH would count as installed.
    pip = [sys.executable, "-I", "-m", "pip", "-q", "--disable-pip-version-check"]
    build: list[str | Path] = [
        *pip,
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        source,
    ]
    done = subprocess.run(build, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    install: list[str | Path] = [
        venv / "bin/python",
        *pip[1:],
        "install",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    done = subprocess.run(install, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (venv / "bin/pytest").write_text(f"#!/bin/sh\nexec '{venv}/bin/python' -P -m pytest \"$@\"\n")
    (venv / "bin/pytest").chmod(0o755)
    return Installed(wheel, venv / "bin", elsewhere)


def test_the_wheel_has_all_that_is_no_code(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        there = set(wheel.namelist())
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "harness", "kernels", "vm-configs", "test_suites"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    tests = ("test_suites/unit/", "test_suites/fresh/")
    wanted = {
        name if name.startswith("harness/") else f"harness/data/{name}"
        for name in listed
        if not name.startswith(tests) and (ROOT / name).exists()
    }
    assert wanted - there == set()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("kernels", "linux-6.12"),
        ("machines", "smp2"),
        ("ways", "snapshot"),
        ("suites", "plain_jump"),
        ("flavours", "quick"),
    ],
)
def test_list(installed: Installed, kind: str, name: str) -> None:
    done = installed.run("kspawn", "list", kind, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert name in [one["name"] for one in found]
    assert all(one["what"] for one in found), found
    lines = installed.run("kspawn", "list", kind).stdout.splitlines()
    assert [line.split("\t") for line in lines] == [[one["name"], one["what"]] for one in found]


def test_witnesses_are_built_from_the_sources_of_the_wheel(installed: Installed) -> None:
    if not shutil.which("musl-gcc"):
        pytest.skip("musl-gcc is not installed")
    done = installed.run("kspawn", "list", "witnesses", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_a_mistake_is_told_as_in_a_checkout(installed: Installed) -> None:
    done = installed.run("kspawn", "cycle", "--kernel", "nosuch")
    assert done.returncode == 2
    assert "there is no kernel 'nosuch'" in done.stderr
    assert "linux-6.12" in done.stderr


def write_tests(installed: Installed, folder: str, **files: str) -> Path:
    """Somebody's tests, with a kernel tree beside them."""
    mine = installed.folder / folder
    mine.mkdir()
    (mine / "test_mine.py").write_text(TEST)
    for name, text in TREE.items():
        (mine / "linux" / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / "linux" / name).write_text(text)
    for name, text in files.items():
        (mine / name.replace("_", ".")).write_text(text)
    return mine


def test_tests_elsewhere_have_options_and_fixtures(installed: Installed) -> None:
    mine = write_tests(installed, "plain")
    done = installed.run(
        "pytest", mine, "-s", "--kernel-tree", mine / "linux", "--vm-config=smp2", "-m", "not vm"
    )
    assert done.returncode == 0, done.stdout
    assert f"tree {mine}/linux flavours ()\nmachine smp2 way restricted" in done.stdout
    assert "PytestUnknownMarkWarning" not in done.stdout
    plan = installed.run("pytest", mine, "--setup-plan")
    assert plan.returncode == 0, plan.stdout
    assert "SETUP    F machine" in plan.stdout


TABLE = """
kernel-tree = "linux"
flavor = ["debug"]
machine = "smp2"
way = "snapshot"
results = "found"
"""


@pytest.mark.parametrize(
    ("folder", "name", "text"),
    [
        ("own", "kspawn_toml", TABLE.replace('flavor = ["debug"]\n', "")),
        ("project", "pyproject_toml", "[tool.kspawn]" + TABLE.replace('flavor = ["debug"]\n', "")),
    ],
)
def test_defaults_beside_the_tests(installed: Installed, folder: str, name: str, text: str) -> None:
    mine = write_tests(installed, folder, **{name: text})
    done = installed.run("pytest", f"{mine}/test_mine.py::test_options", "-s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"tree {mine}/linux flavours ()\nmachine smp2 way snapshot" in done.stdout
    assert f"results {mine}/found" in done.stdout
    won = installed.run("pytest", mine, "-s", "-m", "not vm", "--vm-config", "q35")
    assert "machine q35 way snapshot" in won.stdout, won.stdout


@pytest.mark.parametrize(
    ("folder", "text", "words"),
    [
        ("typo", "machines = 'smp2'", "unknown key, is it 'machine'?"),
        ("kind", "machine = 1", "machine: 1 is no text"),
        ("syntax", "machine = ", "kspawn.toml: Invalid value"),
        ("flavour", "flavor = ['nosuch']", "there is no flavour 'nosuch'"),
    ],
)
def test_wrong_defaults_are_told(installed: Installed, folder: str, text: str, words: str) -> None:
    mine = write_tests(installed, folder, kspawn_toml=text)
    done = installed.run("pytest", mine)
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert words in said
    assert "Traceback" not in said


def test_a_shell_completes_what_there_is(installed: Installed) -> None:
    env = os.environ | {"COMP_WORDS": "kspawn cycle --vm-config smp", "COMP_CWORD": "3"}
    env |= {"_KSPAWN_COMPLETE": "bash_complete", "PYTHONPATH": ""}
    done = subprocess.run(
        [installed.bin / "kspawn"],
        env=env,
        cwd=installed.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "plain,smp2" in done.stdout.splitlines(), done.stderr
