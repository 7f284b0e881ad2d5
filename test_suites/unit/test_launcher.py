# SPDX-License-Identifier: GPL-2.0-only
"""The launcher ./kspawn: real shell, Python and venv; apt-get and dpkg-query are stand-ins."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cli.packages import read_packages

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [package.name for package in read_packages()]

# No dependencies: a venv of it takes seconds and no network.
PYPROJECT = """
[project]
name = "kspawn"
dependencies = []
[project.optional-dependencies]
dev = []
"""

MAIN = """
import json, os, sys, time
print(json.dumps({
    "pid": os.getpid(), "argv": sys.argv[1:], "file": __file__, "prefix": sys.prefix,
    "home": os.environ["KSPAWN_HOME"], "python": os.environ["KSPAWN_PYTHON"],
}), flush=True)
if "wait" in sys.argv:
    time.sleep(60)
sys.exit(7 if "seven" in sys.argv else 0)
"""

# What the launcher calls besides the programs that it looks for.
TOOLS = (
    *("sh", "cat", "cut", "date", "env", "grep", "id", "ln", "mkdir", "readlink", "rm", "sleep"),
    *("tail", "tr", "wc"),
)

DPKG_QUERY = """
while read -r package; do echo "$package installed"; done <"$STATE/installed"
"""

APT_GET = """
echo "apt-get $*" >>"$STATE/calls"
case " $* " in
*" update "*)
    rm -f "$STATE/old-lists"
    [ ! -e "$STATE/dead-source" ] || { echo "E: The repository has no Release file"; exit 100; }
    ;;
*" install "*)
    while [ -e "$STATE/ticks" ] && [ "$(wc -l <"$STATE/ticks")" -lt 61 ]; do sleep 0.01; done
    [ ! -e "$STATE/old-lists" ] || { echo "E: Unable to fetch some archives"; exit 100; }
    [ ! -e "$STATE/broken" ] || { echo "E: Unable to fetch some archives"; exit 100; }
    for word in "$@"; do echo "$word"; done >>"$STATE/installed"
    ;;
esac
"""


@dataclass
class Checkout:
    """A copy of what the launcher needs, and a home for it."""

    root: Path
    home: Path
    state: Path
    bin: Path

    def environment(self, **extra: str) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("KSPAWN_")}
        path = f"{self.bin}:{env['PATH']}"
        return {
            **env,
            "PATH": path,
            "KSPAWN_HOME": str(self.home),
            "STATE": str(self.state),
        } | extra

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / "kspawn", *arguments],
            env=env or self.environment(),
            cwd=self.root.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def fake(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}")
        path.chmod(0o755)

    def install(self, packages: Sequence[str]) -> None:
        (self.state / "installed").write_text("".join(f"{name}\n" for name in packages))

    def calls(self) -> list[str]:
        path = self.state / "calls"
        return path.read_text().splitlines() if path.exists() else []


def make_checkout(folder: Path) -> Checkout:
    made = Checkout(folder / "a check out", folder / "a ho me", folder / "state", folder / "bin")
    (made.root / "harness/cli").mkdir(parents=True)
    made.state.mkdir()
    made.bin.mkdir()
    shutil.copy(ROOT / "kspawn", made.root)
    shutil.copy(ROOT / "harness/cli/debian-packages.txt", made.root / "harness/cli")
    (made.root / "pyproject.toml").write_text(PYPROJECT)
    (made.root / "harness" / "__init__.py").touch()
    (made.root / "harness" / "__main__.py").write_text(MAIN)
    made.fake("dpkg-query", DPKG_QUERY)
    made.fake("apt-get", APT_GET)
    made.fake("sudo", 'echo "sudo $*" >>"$STATE/calls"\nexec "$@"\n')
    made.fake("id", "echo 0\n")
    made.fake("getent", '[ ! -e "$STATE/no-account" ]\n')
    made.fake("useradd", 'echo "useradd $*" >>"$STATE/calls"\nrm "$STATE/no-account"\n')
    made.install(PACKAGES)
    return made


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return make_checkout(tmp_path)


def without_apt(checkout: Checkout, programs: Sequence[str]) -> dict[str, str]:
    """An environment whose PATH holds the launcher's tools and these programs only."""
    folder = checkout.root.parent / "no apt"
    folder.mkdir()
    for name in {*TOOLS, *programs}:
        if found := shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            (folder / name).symlink_to(found)
    return checkout.environment(PATH=str(folder))


@dataclass
class Race:
    """How an environment came to be: the first launcher was killed, then there were two."""

    killed_left: Sequence[str]
    outcomes: Sequence[tuple[int, str]]


@dataclass
class Ready(Checkout):
    """One whose environment has been made."""

    race: Race


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """One whose environment has been made, on a system without apt that has all programs."""
    made = make_checkout(tmp_path_factory.mktemp("ready"))
    programs = [package.probe.partition(":")[2] for package in read_packages()]
    env = without_apt(made, [name for name in programs if "/" not in name])
    first = launch(made, env)
    end = time.monotonic() + 60
    while not list(made.home.glob("venv-*/bin/python")) and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    half = next(made.home.glob("venv-*"))
    left = [path.name for path in half.iterdir()]
    (half / "leftover").touch()
    both = [launch(made, env), launch(made, env)]
    said = [process.communicate(timeout=120)[1] for process in both]
    outcomes = [(process.returncode, text) for process, text in zip(both, said, strict=True)]
    return Ready(**vars(made), race=Race(left, outcomes))


@pytest.mark.parametrize("script", ["kspawn", ".ci/run"])
def test_scripts_are_clean(script: str) -> None:
    path = ROOT / script
    shell = ["bash", "-n"] if "bash" in path.read_text().partition("\n")[0] else ["sh", "-n"]
    assert os.access(path, os.X_OK)
    subprocess.run([*shell, path], check=True)
    # Not everybody has these; the shell itself has read the script above.
    for checker in (["dash", "-n"], ["shellcheck"]):
        if shutil.which(checker[0]) and (checker[0] != "dash" or shell[0] == "sh"):
            done = subprocess.run([*checker, path], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout


def test_no_install_prints_what_is_missing(checkout: Checkout) -> None:
    checkout.install([name for name in PACKAGES if name not in ("flex", "musl-tools")])
    done = checkout.run("cycle", env=checkout.environment(KSPAWN_NO_INSTALL="1"))
    assert done.returncode == 3
    assert done.stdout.split() == ["flex", "musl-tools"]
    assert "apt-get install --no-install-recommends flex musl-tools" in done.stderr
    assert not checkout.calls()
    assert not checkout.home.exists()


def test_a_launcher_that_cannot_go_on_blames_no_commit(checkout: Checkout) -> None:
    """1 to 127 would say to git bisect run that the commit is bad."""
    checkout.install([])
    done = checkout.run("bisect-step", env=checkout.environment(KSPAWN_NO_INSTALL="1"))
    assert done.returncode == 203
    shutil.rmtree(checkout.root / "harness")
    assert checkout.run("bisect-step").returncode == 203
    assert checkout.run("bisect").returncode < 128


def test_a_package_that_was_removed_is_missing(checkout: Checkout) -> None:
    checkout.fake("dpkg-query", "echo flex config-files\necho bison installed\n")
    done = checkout.run(env=checkout.environment(KSPAWN_NO_INSTALL="1"))
    assert "flex" in done.stdout.split()
    assert "bison" not in done.stdout.split()


def test_missing_packages_are_installed_as_root(ready: Checkout, checkout: Checkout) -> None:
    checkout.home = ready.home
    checkout.install([name for name in PACKAGES if name != "flex"])
    checkout.fake("id", "echo 1000\n")
    done = checkout.run("hello")
    assert done.returncode == 0, done.stderr
    assert "1 Debian packages are missing: flex" in done.stderr
    assert "installing 1 Debian packages\n" in done.stderr
    calls = checkout.calls()
    assert calls[0] == "sudo true"
    assert calls[-1].startswith("apt-get ")
    assert " install --no-install-recommends " in calls[-1]
    assert calls[-1].endswith(" flex")
    assert any(call.startswith("sudo env DEBIAN_FRONTEND=noninteractive apt-get") for call in calls)
    assert json.loads(done.stdout)["argv"] == ["hello"]


def test_lists_of_a_year_ago_are_updated_beside_a_source_that_is_dead(
    ready: Checkout, checkout: Checkout
) -> None:
    checkout.home = ready.home
    checkout.install([name for name in PACKAGES if name != "flex"])
    (checkout.state / "old-lists").touch()
    (checkout.state / "dead-source").touch()
    done = checkout.run("hello")
    assert done.returncode == 0, done.stderr
    assert "updating the package lists" in done.stderr
    assert "flex" in (checkout.state / "installed").read_text().splitlines()


def test_a_pipe_is_told_each_minute_and_how_long_it_took(
    ready: Checkout, checkout: Checkout
) -> None:
    checkout.home = ready.home
    checkout.install([name for name in PACKAGES if name != "flex"])
    # The seconds of this system are short; a clock that is asked twice shows 70 of them.
    (checkout.state / "ticks").touch()
    sleep = shutil.which("sleep")
    checkout.fake(
        "sleep",
        f'[ "$1" != 1 ] || {{ echo >>"$STATE/ticks"; exec {sleep} 0.001; }}\nexec {sleep} "$@"\n',
    )
    checkout.fake("date", 'echo >>"$STATE/dates"\nexpr "$(wc -l <"$STATE/dates")" \\* 70\n')
    done = checkout.run("hello")
    assert done.returncode == 0, done.stderr
    assert "kspawn: installing 1 Debian packages: 1 min 0 s so far: \n" in done.stderr
    assert "kspawn: installing 1 Debian packages: took 1 min 10 s\n" in done.stderr


def test_apt_that_fails_is_one_line_and_a_log(checkout: Checkout) -> None:
    checkout.install([name for name in PACKAGES if name != "flex"])
    (checkout.state / "broken").touch()
    done = checkout.run("hello")
    assert done.returncode == 3
    log = checkout.home / "logs" / "apt.log"
    last = done.stderr.splitlines()[-1]
    assert last == f"kspawn: apt-get failed (E: Unable to fetch some archives); its log: {log}"
    assert "Unable to fetch" in log.read_text()
    # The lists may have been outdated: it was tried again with new ones.
    assert any(" update" in call for call in checkout.calls())


def test_no_root_and_no_sudo(checkout: Checkout) -> None:
    checkout.install([name for name in PACKAGES if name != "flex"])
    checkout.fake("id", "echo 1000\n")
    checkout.fake("sudo", "exit 1\n")
    done = checkout.run("hello")
    assert done.returncode == 3
    assert "as root: apt-get install --no-install-recommends flex" in done.stderr


def test_root_gets_the_account_that_libvirt_wants(ready: Checkout, checkout: Checkout) -> None:
    checkout.home = ready.home
    (checkout.state / "no-account").touch()
    refused = checkout.run("hello", env=checkout.environment(KSPAWN_NO_INSTALL="1"))
    assert refused.returncode == 3
    assert "useradd --system" in refused.stderr
    assert not checkout.calls()
    assert checkout.run("hello").returncode == 0
    assert [call.split()[-1] for call in checkout.calls()] == ["libvirt-qemu"]
    assert checkout.run("hello").stderr == ""


def test_without_apt_it_prints_what_is_needed(checkout: Checkout) -> None:
    done = checkout.run("cycle", env=without_apt(checkout, ["gcc", "bison"]))
    assert done.returncode == 3
    needed = [line.split()[0] for line in done.stdout.splitlines()]
    assert "program:flex" in needed
    assert "program:qemu-system-x86_64" in needed
    assert "program:bison" not in needed
    assert "program:ccache" not in needed, "it is optional"
    assert "no apt-get" in done.stderr


def test_arguments_and_exit_code_pass_through_spaces_and_all(ready: Checkout) -> None:
    done = ready.run("one two", "", "*", "seven")
    assert done.returncode == 7
    seen = json.loads(done.stdout)
    assert seen["argv"] == ["one two", "", "*", "seven"]
    assert seen["file"] == str(ready.root / "harness" / "__main__.py")
    assert seen["home"] == str(ready.home)
    assert Path(seen["python"]).exists()
    assert seen["prefix"] == str(next(ready.home.glob("venv-*")))
    assert (ready.root / ".venv").resolve() == Path(seen["prefix"])
    assert done.stderr == "", "nothing is set up again"


def test_called_through_a_link_from_elsewhere(ready: Checkout, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ready.root / "kspawn")
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__main__.py").write_text("raise SystemExit('not this one')")
    done = subprocess.run(
        ["./link"],
        cwd=tmp_path,
        env=ready.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["file"] == str(ready.root / "harness" / "__main__.py")


def test_the_launcher_becomes_python(ready: Checkout) -> None:
    with subprocess.Popen(
        [ready.root / "kspawn", "wait"], env=ready.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["pid"] == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == -signal.SIGTERM


def test_it_costs_little_when_all_is_set_up(ready: Checkout) -> None:
    """CPU time, the stub's Python included: time on the clock depends on the machine's load."""
    used = []
    for _ in range(3):
        before = os.times()
        ready.run()
        after = os.times()
        used.append(sum(after[2:4]) - sum(before[2:4]))
    assert min(used) < 0.3


def test_two_at_once_after_one_that_was_killed(ready: Ready) -> None:
    assert "complete" not in ready.race.killed_left
    assert [code for code, _ in ready.race.outcomes] == [0, 0], ready.race.outcomes
    (venv,) = ready.home.glob("venv-*")
    messages = "".join(text for _, text in ready.race.outcomes)
    assert messages.splitlines().count(f"kspawn: making the Python environment in {venv}") == 1
    assert (venv / "complete").exists()
    assert not (venv / "leftover").exists()


def launch(checkout: Checkout, env: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [checkout.root / "kspawn", "hello"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_an_environment_that_cannot_be_made(checkout: Checkout) -> None:
    # pip does not fit below this limit.
    limited = f"ulimit -f 64; exec '{checkout.root}/kspawn' hello"
    done = subprocess.run(
        ["sh", "-c", limited],
        env=checkout.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    assert last.startswith("kspawn: cannot make the Python environment (")
    assert last.endswith(f"its log: {checkout.home}/logs/venv.log")
    assert not list(checkout.home.glob("venv-*/complete"))


def test_help_of_test(ready: Checkout) -> None:
    done = ready.run("test", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ./kspawn test [--all]")


def test_an_environment_that_lost_a_module_is_made_again(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path)
    checkout.install(PACKAGES)
    assert checkout.run().returncode == 0
    venv = next(checkout.home.glob("venv-*"))
    assert "site-packages/pip" in (venv / "complete").read_text()
    assert "making" not in checkout.run().stderr
    pip = next(venv.glob("lib/python*/site-packages/pip"))
    shutil.rmtree(pip)
    done = checkout.run()
    assert done.returncode == 0
    assert "kspawn: the Python environment lacks pip: it is made again" in done.stderr
    assert (pip / "__init__.py").exists()
    assert "making" not in checkout.run().stderr
    # One that an older launcher made names nothing, and is taken as it is.
    (venv / "complete").write_text("")
    assert "making" not in checkout.run().stderr
