# SPDX-License-Identifier: GPL-2.0-only
"""Does the first command work on a fresh Debian, whatever its package lists are?

A system is made for each by mmdebstrap, without what the bench needs; a checkout
is put into it, and used as on a new machine. It takes the network, root, and some
minutes each: not part of `./kspawn test`, but of `--all`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.kernel import specs
from harness.machine.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
YEAR = 365 * 86400
# What is mounted ends with the processes, and these with their parent, killed or not.
APART = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child")
MIRROR = "http://deb.debian.org/debian"

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes such systems"),
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="mmdebstrap is not installed"),
]


@dataclass(frozen=True)
class Kind:
    """A system: its release, its package lists, and who works on it."""

    release: str
    lists: str
    user: str

    def __str__(self) -> str:
        return f"{self.release}-{self.lists}-{self.user}"


KINDS = [
    Kind("bookworm", "of-a-year-ago", "root"),
    Kind("bookworm", "none", "somebody"),
    Kind("trixie", "none", "root"),
    Kind("trixie", "of-a-year-ago", "somebody"),
]


@dataclass(frozen=True)
class System:
    """A fresh system in a folder."""

    kind: Kind
    root: Path
    log: Path

    def run(self, command: str, *, seconds: int = 1800) -> subprocess.CompletedProcess[str]:
        """Run a command as its user, in the checkout; all mounts end with it."""
        script = f"""set -e
        mount -t proc proc {self.root}/proc
        mount --rbind /sys {self.root}/sys
        mount --rbind /dev {self.root}/dev
        {"".join(self._binds())}
        exec chroot {self.root} su {self.kind.user} -c 'cd ~/kspawn && {command}'
        """
        keep = {"TERM": "dumb", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment()}
        done = subprocess.run(
            [*APART, "sh", "-c", script],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            env=keep,
        )
        with self.log.open("a") as file:
            file.write(f"$ {command}\n{done.stdout}{done.stderr}[{done.returncode}]\n")
        return done

    def _binds(self) -> Iterator[str]:
        for path in pip_places():
            target = Path(f"{self.root}{path}")
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.touch()
            yield f"mount --bind {path} {target}\n"


def environment() -> dict[str, str]:
    """What says how the network is reached."""
    words = re.compile(r"(?i)pip_|.*_proxy$|ssl_cert|.*ca_bundle$")
    return {name: value for name, value in os.environ.items() if words.match(name)}


def pip_places() -> list[Path]:
    """Files and folders that pip is configured to take packages from."""
    done = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=False)
    places = {Path("/etc/pip.conf"), Path("/etc/xdg/pip"), Path("/etc/ssl/certs")}
    for name in re.findall(r"(?:file://|['\s])(/[^\s']+)", done.stdout):
        path = Path(name)
        # An index has its files beside it.
        places.add(path if path.is_file() else path.parent if len(path.parts) > 3 else path)
    return sorted(path for path in places if path.exists())


def make(kind: Kind, folder: Path) -> System:
    """Make a system, as one that was installed a while ago."""
    made = System(kind, folder / "root", folder / "log")
    folder.mkdir(parents=True)
    command = [*APART, "mmdebstrap", "--variant=apt", "--include=ca-certificates,passwd,sudo"]
    command += ["--skip=cleanup/apt", kind.release, str(made.root), MIRROR]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # As the installer leaves it; the lists are of the first line alone.
    with (made.root / "etc/apt/sources.list").open("a") as sources:
        sources.write(f"deb {MIRROR} {kind.release}-updates main\n")
        sources.write(f"deb {MIRROR}-security {kind.release}-security main\n")
    for name in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc") / name, made.root / "etc")
    lists = made.root / "var/lib/apt/lists"
    if kind.lists == "none":
        shutil.rmtree(lists)
    else:
        make_old(lists)
    home = made.root / "root"
    if kind.user != "root":
        subprocess.run(["chroot", made.root, "useradd", "-m", kind.user], check=True)
        (made.root / "etc/sudoers.d/all").write_text(f"{kind.user} ALL=(ALL) NOPASSWD:ALL\n")
        home = made.root / "home" / kind.user
    checkout = home / "kspawn"
    checkout.mkdir()
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, check=True).stdout
    pack = ["tar", "-C", str(ROOT), "--null", "-T", "-", "-c"]
    files = subprocess.run(pack, input=names, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-C", str(checkout), "-x"], input=files, check=True)
    owned = f"/{home.relative_to(made.root)}"
    subprocess.run(["chroot", made.root, "chown", "-R", kind.user, owned], check=True)
    return made


def make_old(lists: Path) -> None:
    """Make lists as they would be a year after: what they name is gone, and some is not named."""
    for path in lists.glob("*_Packages*"):
        plain = path.with_name(f"{path.name.partition('_Packages')[0]}_Packages")
        subprocess.run(
            f"/usr/lib/apt/apt-helper cat-file {path} >{plain}.new", shell=True, check=True
        )
        text = Path(f"{plain}.new").read_text()
        stanzas = [one for one in text.split("\n\n") if not one.startswith("Package: linux-source")]
        text = "\n\n".join(stanzas).replace("_amd64.deb\n", "~old_amd64.deb\n")
        path.unlink()
        Path(f"{plain}.new").unlink()
        plain.write_text(text.replace("_all.deb\n", "~old_all.deb\n"))
    # Of another day, with other sums: else apt would take the lists for those of today.
    for path in lists.glob("*Release"):
        text = re.sub(r"(?m)^Date: .*$", "Date: Mon, 01 Sep 2025 00:00:00 UTC", path.read_text())
        path.write_text(re.sub(r"(?m)^ [0-9a-f]{8}", " 01234567", text))
    ago = time.time() - YEAR
    for path in lists.rglob("*"):
        os.utime(path, (ago, ago))


@pytest.fixture(scope="module", params=KINDS, ids=str)
def system(request: pytest.FixtureRequest, run_folder: Path) -> Iterator[System]:
    """One of the systems; what was said in it stays in the results."""
    folder = Path("/var/tmp") / f"kspawn-fresh-{os.getpid()}-{request.param}"
    try:
        made = make(request.param, folder)
        yield made
        shutil.copy(made.log, run_folder / f"fresh-{request.param}.log")
    finally:
        # What is mounted there is the machine's own, and would be removed with it.
        assert str(folder) not in Path("/proc/self/mounts").read_text()
        shutil.rmtree(folder, ignore_errors=True)


def test_doctor(system: System) -> None:
    done = system.run("./kspawn doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All that kspawn needs is there" in done.stdout


def test_sources_of_the_short_run(system: System) -> None:
    """Of each kernel that a run takes which is not asked for one."""
    names = specs.known_kernels()
    done = system.run(f"./kspawn build --sources-only {' '.join(names)}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == names


def test_cycle_with_kernels_from_elsewhere(system: System, lab: Lab) -> None:
    kernels = system.root / "kernels"
    for kernel in (lab.kernels.normal, lab.kernels.spawned):
        (kernels / kernel.role).mkdir(parents=True)
        shutil.copy(kernel.bzimage, kernels / kernel.role / "bzImage")
        shutil.copy(kernel.config_file, kernels / kernel.role / "config")
    done = system.run(
        "./kspawn cycle --bzimage /kernels/normal/bzImage,/kernels/spawned/bzImage", seconds=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed: " in done.stdout
    lists = sorted(path.name for path in (system.root / "var/lib/apt/lists").glob("*"))
    assert not [name for name in lists if "sid" in name or "backports" in name], "not the system's"
