# SPDX-License-Identifier: GPL-2.0-only
"""What apt knows, and what it would know with new lists: nothing of the system's is changed.

An archive is where packages are looked up. `SYSTEM` is what the system's apt
knows, from the lists that it has. The others have lists of their own in the
cache, made without root: new lists of the system's sources, and those of a
suite that the system does not have.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harness.base import answers, cache
from harness.base.cache import Notify, quiet

TOOLS = ("apt-get", "apt-cache", "dpkg-deb", "dpkg")
_DEBIAN = "http://deb.debian.org/debian"
_KEYRINGS = ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp")
_FRESH_SECONDS = 3600
# Without a network each of many packages would be waited for.
_AGAIN_SECONDS = 60
_NO_WAY = re.compile(r"resolving|[Cc]ould not connect|[Uu]nable to connect|timed out")
# As root, apt-get would fetch as the user _apt, who cannot write into the cache.
_FETCH = (
    *("-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=1"),
    *("-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30"),
)
# Read after the system's configuration, of which proxies and the like stay.
_CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
#clear Acquire::IndexTargets;
APT::Architectures {{ "{architecture}"; }};
Acquire::IndexTargets::deb::Packages {{
  MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
  flatMetaKey "Packages";
  ShortDescription "Packages";
  Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";
  Optional "no";
}};
Dir::State::lists "{folder}/lists";
Dir::State::status "/dev/null";
Dir::Cache "{folder}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
"""
_OWN_SOURCES = """\
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
"""


@dataclass(frozen=True)
class Archive:
    """Where packages are looked up.

    Args:
        suite: A suite of Debian, such as "trixie-backports"; empty for the system's sources.
        own: Whether the lists are our own, in the cache.
    """

    suite: str = ""
    own: bool = True

    def __str__(self) -> str:
        if self.suite:
            return f"Debian's {self.suite}"
        return "the system's sources" if self.own else "the system's lists"

    def versions(self, packages: Sequence[str], *, notify: Notify = quiet) -> dict[str, str]:
        """The newest versions of those packages that it knows.

        Lists of our own are fetched if there are none, or if they are of an hour ago
        and lack one of the packages.

        Args:
            packages: Names of binary packages.
            notify: Told what is fetched.
        """
        if not packages or not has_apt():
            return {}
        found = _policy(self, packages)
        if self.own and not found.keys() >= set(packages) and not self.is_fresh():
            self.update(notify=notify)
            found = _policy(self, packages)
        return found

    def is_fresh(self) -> bool:
        """Whether the lists were fetched within the hour."""
        stamp = self._folder / "updated"
        return stamp.exists() and time.time() - stamp.stat().st_mtime < _FRESH_SECONDS

    def update(self, *, notify: Notify = quiet) -> str:
        """Fetch the lists.

        Args:
            notify: Told so.

        Returns:
            What went wrong, in a line; empty if nothing did.
        """
        folder = self._folder
        if problem := _recent(_failed, str(folder)):
            return problem
        failed = ""
        with cache.lock("apt", folder.name, notify=notify):
            notify(f"fetching the package lists of {self}")
            for mirror in mirrors(self.suite) if self.suite else [""]:
                site = urlsplit(mirror).netloc
                failed = _recent(_unreachable, site) or self._fetch_lists(mirror)
                if not failed:
                    (folder / "updated").touch()
                    _failed.pop(str(folder), None)
                    return ""
                if site and _NO_WAY.search(failed):
                    _unreachable[site] = time.monotonic(), failed
        _failed[str(folder)] = time.monotonic(), failed
        return failed

    def _fetch_lists(self, mirror: str) -> str:
        """What went wrong; where apt-get has but a warning of it, it kept what it had before."""
        _configure(self._folder, self.suite, mirror)
        done = run(["apt-get", *self._options, *_FETCH, "update"])
        return _error(done.stderr) or ("apt-get update failed" if done.returncode else "")

    @property
    def problem(self) -> str:
        """Why its lists were not to be had in this run, in a line; empty if they were."""
        return _failed.get(str(self._folder), (0, ""))[1]

    def download(self, package: str, version: str, folder: Path) -> str:
        """Fetch a package.

        Args:
            package: Its name.
            version: Its version, one that `versions` told.
            folder: Where it goes.

        Returns:
            What went wrong, in a line; empty if nothing did.
        """
        command = ["apt-get", *self._options, *_FETCH, "download", f"{package}={version}"]
        done = run(command, cwd=folder)
        if done.returncode or len(list(folder.glob("*.deb"))) != 1:
            return _error(done.stderr) or "apt-get download failed"
        return ""

    @property
    def _folder(self) -> Path:
        return cache.home() / "apt" / (self.suite or "system")

    @property
    def _options(self) -> list[str]:
        return ["-c", str(self._folder / "apt.conf")] if self.own else []


_Failures = dict[str, tuple[float, str]]
# When lists failed, by their folder; and when a mirror was not reached, by its site: each
# further suite of it would be waited for.
_failed: _Failures = {}
_unreachable: _Failures = {}


def _recent(failures: _Failures, key: str) -> str:
    """What went wrong a moment ago, and would again."""
    when, problem = failures.get(key, (-_AGAIN_SECONDS, ""))
    return problem if time.monotonic() - when < _AGAIN_SECONDS else ""


SYSTEM = Archive(own=False)
"""What the system's apt knows."""


def others(suites: Sequence[str]) -> Iterator[Archive]:
    """The archives that are looked at where the system's lists do not do.

    Args:
        suites: Suites of Debian, the first one first.
    """
    yield from map(Archive, suites)
    yield Archive()


def has_apt() -> bool:
    """Whether there is all that a package is looked up, fetched and unpacked by."""
    return missing_tool() is None


def missing_tool() -> str | None:
    """The first of these tools that is not there."""
    return next((tool for tool in TOOLS if not shutil.which(tool)), None)


@functools.cache
def architecture() -> str:
    """Debian's name of this machine's architecture."""
    return run(["dpkg", "--print-architecture"]).stdout.strip() if shutil.which("dpkg") else "any"


def last_line(text: str) -> str:
    """The last line of what a tool said."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"


def run(command: Sequence[str], *, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a tool of Debian's, with messages as this module reads them.

    Args:
        command: The command.
        cwd: Where.
    """
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=dict(os.environ, LC_ALL="C"),
        cwd=cwd,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def _policy(archive: Archive, packages: Sequence[str]) -> dict[str, str]:
    """The versions that apt would install, without the suites' own caution."""
    if archive.own and not list((archive._folder / "lists").glob("*_Packages*")):
        return {}

    def ask() -> dict[str, str]:
        answer = run(["apt-cache", *archive._options, "policy", *packages]).stdout
        found = re.findall(r"^(\S+):\n +Installed: .*\n +Candidate: (\S+)$", answer, re.MULTILINE)
        return {package: version for package, version in found if version != "(none)"}

    own = archive._folder if archive.own else None
    return answers.remembered(packages, own=own, ask=ask)


def _configure(folder: Path, suite: str, mirror: str) -> None:
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    text = _CONFIG
    if suite:
        signed = f"signed-by={_keyring()} " if _keyring() else ""
        (folder / "sources.list").write_text(f"deb [{signed}] {mirror} {suite} main\n")
        text += _OWN_SOURCES
    (folder / "apt.conf").write_text(text.format(folder=folder, architecture=architecture()))


def _keyring() -> Path | None:
    """The keyring of Debian's archive; without it apt looks at those that it trusts itself."""
    found = (Path("/usr/share/keyrings") / name for name in _KEYRINGS)
    return next((path for path in found if path.is_file()), None)


def mirrors(suite: str) -> list[str]:
    """Where a suite may be: at the mirror that the system has, and at Debian's own.

    Args:
        suite: A suite of Debian.
    """
    name = "debian-security" if suite.endswith("-security") else "debian"
    # Where the mirror has one, it has the other beside it.
    sites = [
        uri.rstrip("/").rpartition("/")[0]
        for uri in _system_uris()
        if urlsplit(uri).path.rstrip("/").rpartition("/")[2] in ("debian", "debian-security")
    ]
    uris = [f"{site}/{name}" for site in sites]
    return list(dict.fromkeys([*uris, f"{_DEBIAN.rpartition('/')[0]}/{name}"]))


def _system_uris() -> list[str]:
    """What the system's sources name, in the one-line form and the other."""
    keys = ("Dir::Etc::sourcelist/f", "Dir::Etc::sourceparts/d")
    answer = run(["apt-config", "shell", "FILE", keys[0], "FOLDER", keys[1]]).stdout
    given = dict(word.split("=", 1) for word in shlex.split(answer) if "=" in word)
    files = [Path(given.get("FILE", "/etc/apt/sources.list"))]
    files += sorted(Path(given.get("FOLDER", "/etc/apt/sources.list.d")).glob("*"))
    uris: list[str] = []
    for file in files:
        if not file.is_file() or file.suffix not in (".list", ".sources"):
            continue
        text = file.read_text(errors="replace")
        if file.suffix == ".list":
            uris += re.findall(r"^\s*deb\s+(?:\[[^]]*\]\s*)?(\S+)", text, re.MULTILINE)
        else:
            for line in re.findall(r"^URIs:\s*(.*)$", text, re.MULTILINE | re.IGNORECASE):
                uris += line.split()
    return [uri for uri in uris if urlsplit(uri).scheme in ("http", "https", "file", "copy")]


def _error(text: str) -> str:
    """The first error that apt-get told, or the first warning of a list it did not get."""
    for mark in ("E: ", "W: Failed to fetch "):
        for line in text.splitlines():
            if line.startswith(mark):
                return line.removeprefix("E: ").removeprefix("W: ").strip()
    return ""
