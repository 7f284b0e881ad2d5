# SPDX-License-Identifier: GPL-2.0-only
"""Where sources come from: apt itself, on an archive of our own; git, tar, HTTP for real."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from harness.base import apt, cache, debian
from harness.base.errors import PrerequisiteError, SpecError
from harness.kernel import checkout, specs
from harness.kernel.specs import KernelSpec

pytestmark = pytest.mark.skipif(not apt.has_apt(), reason="there is no apt here")

CONFIG = """
Dir::Etc::sourcelist "{0}/etc/sources.list";
Dir::Etc::sourceparts "{0}/etc/sources.list.d";
Dir::State::lists "{0}/lists";
Dir::State::status "/dev/null";
Dir::Cache "{0}/system-cache";
"""
# For an archive that nobody signed.
TRUSTING = """
Acquire::AllowInsecureRepositories "true";
APT::Get::AllowUnauthenticated "true";
"""


@dataclass
class System:
    """A system's apt, with a mirror that has a suite; and a cache."""

    root: Path
    there: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def mirror(self) -> Path:
        return self.root / "mirror" / "debian"

    def publish(self, suite: str, package: str, version: str) -> None:
        """Have a suite with one package, in this version and no other."""
        name = f"{package}_{version}_{apt.architecture()}.deb"
        made = self.root / "made" / name
        if not made.exists():
            tree = self.root / "made" / f"{package}-{version}"
            (tree / "DEBIAN").mkdir(parents=True)
            (tree / "DEBIAN" / "control").write_text(
                f"Package: {package}\nVersion: {version}\nArchitecture: {apt.architecture()}\n"
                "Maintainer: nobody <nobody@example.org>\nDescription: a test\n"
            )
            (tree / "usr/src").mkdir(parents=True)
            source = self.root / "made" / "linux"
            source.mkdir(exist_ok=True)
            (source / "Kconfig").write_text(f"# {version}\n")
            archive = tree / "usr/src" / f"{package}.tar.xz"
            subprocess.run(["tar", "-cJf", archive, "-C", source.parent, "linux"], check=True)
            subprocess.run(
                ["dpkg-deb", "--root-owner-group", "-b", tree, made],
                check=True,
                capture_output=True,
            )
        pool = self.mirror / "pool" / suite
        shutil.rmtree(pool, ignore_errors=True)
        pool.mkdir(parents=True)
        shutil.copy(made, pool)
        folder = self.mirror / "dists" / suite / "main" / f"binary-{apt.architecture()}"
        folder.mkdir(parents=True, exist_ok=True)
        control = (self.root / "made" / f"{package}-{version}/DEBIAN/control").read_text()
        digest = cache.file_digest(made)
        text = f"Filename: pool/{suite}/{name}\nSize: {made.stat().st_size}\nSHA256: {digest}\n"
        (folder / "Packages").write_text(control + text + "\n")
        self._release(suite, folder / "Packages")

    def _release(self, suite: str, packages: Path) -> None:
        root = self.mirror / "dists" / suite
        digest, size = cache.file_digest(packages), packages.stat().st_size
        (root / "Release").write_text(
            f"Origin: Debian\nSuite: {suite}\nCodename: {suite}\nComponents: main\n"
            f"Architectures: {apt.architecture()}\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n"
            f"SHA256:\n {digest} {size} {packages.relative_to(root)}\n"
        )

    def lists(self) -> dict[str, str]:
        """The system's lists as they are."""
        found = (self.root / "lists").rglob("*")
        return {path.name: cache.file_digest(path) for path in found if path.is_file()}

    def update(self) -> None:
        subprocess.run(["apt-get", "-q", "update"], check=True, capture_output=True)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """One whose sources have the suite `stable`, without lists; and an empty cache."""
    made = System(tmp_path)
    for name in ("made", "etc/sources.list.d", "lists/partial", "system-cache/archives/partial"):
        (tmp_path / name).mkdir(parents=True)
    sources = tmp_path / "etc" / "sources.list"
    sources.write_text(f"deb [trusted=yes] file:{made.mirror} stable main\n")
    (tmp_path / "apt.conf").write_text(CONFIG.format(tmp_path) + TRUSTING)
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    # The real mirror is not to be asked.
    monkeypatch.setattr(apt, "_DEBIAN", made.mirror.as_uri())
    forget()
    yield made
    forget()


def forget() -> None:
    """As in the next run."""
    apt._failed.clear()
    apt._unreachable.clear()
    debian._find.cache_clear()
    debian._candidates.cache_clear()


def version_of(package: Path) -> str:
    return package.name.split("_")[1]


def test_a_version_that_is_gone_is_looked_up_anew(system: System) -> None:
    """Lists of a year ago name a version that no mirror has any more."""
    system.publish("stable", "linux-source-6.12", "6.12.1")
    system.update()
    before = system.lists()
    system.publish("stable", "linux-source-6.12", "6.12.9")
    assert apt.SYSTEM.versions(["linux-source-6.12"]) == {"linux-source-6.12": "6.12.1"}
    assert version_of(debian.unpack("linux-source-6.12")) == "6.12.9"
    assert system.lists() == before, "the system's lists are the system's"
    # Our own lists get old as well, within the hour.
    shutil.rmtree(system.root / "home" / "packages")
    system.publish("stable", "linux-source-6.12", "6.12.20")
    forget()
    assert version_of(debian.unpack("linux-source-6.12")) == "6.12.20"


def test_no_lists_at_all(system: System) -> None:
    system.publish("stable", "tool", "1")
    assert debian.can_be_had("tool")
    assert version_of(debian.unpack_all(["tool"])[0]) == "1"
    assert not system.lists()


def test_a_suite_that_the_system_does_not_have(system: System) -> None:
    system.publish("stable", "tool", "1")
    system.publish("sid", "linux-source-7.3", "7.3.9")
    system.publish("backports", "linux-source-7.3", "7.3.4")
    system.update()
    said: list[str] = []
    assert not debian.can_be_had("linux-source-7.3")
    assert debian.can_be_had("linux-source-7.3", ["backports", "sid"])
    tree = debian.source("linux-source-7.3", suites=["backports", "sid"], notify=said.append)
    assert (tree / "Kconfig").read_text() == "# 7.3.4\n"
    assert "fetching linux-source-7.3 7.3.4 from Debian's backports" in said
    # It left the first of them.
    forget()
    shutil.rmtree(system.root / "home")
    system.publish("backports", "other", "1")
    assert version_of(debian.unpack("linux-source-7.3", suites=["backports", "sid"])) == "7.3.9"
    # What was fetched counts as had: without a mirror, and in a suite without it.
    forget()
    shutil.rmtree(system.mirror)
    assert debian.can_be_had("linux-source-7.3", ["backports"])
    assert version_of(debian.unpack("linux-source-7.3", suites=["backports"])) == "7.3.9"


def test_lists_that_failed_are_tried_in_the_next_run(system: System) -> None:
    """The network was away; the user has nothing to do with lists when it is back."""
    assert not debian.can_be_had("tool", ["sid"])
    system.publish("stable", "tool", "1")
    assert not debian.can_be_had("tool", ["sid"]), "within a run it is asked once"
    forget()
    assert debian.can_be_had("tool", ["sid"])


def test_what_nobody_signed_is_refused(system: System) -> None:
    system.publish("sid", "linux-source-7.3", "7.3.9")
    (system.root / "apt.conf").write_text(CONFIG.format(system.root))
    assert not debian.can_be_had("linux-source-7.3", ["sid"])
    with pytest.raises(PrerequisiteError, match=r"Debian's sid.*not signed"):
        debian.unpack("linux-source-7.3", suites=["sid"])


def spec_of(source: object, tmp_path: Path) -> KernelSpec:
    path = tmp_path / "x.yaml"
    path.write_text(f"name: x\nversion: '6.12'\nsource: {source}\n")
    return specs.load_kernel(path)


def test_the_first_candidate_that_is_to_be_had(system: System, tmp_path: Path) -> None:
    system.publish("sid", "linux-source-7.3", "7.3.9")
    package = {"kind": "debian", "package": "linux-source-7.3", "suites": ["nosuch", "sid"]}
    (tmp_path / "tree").mkdir()
    folder = {"kind": "directory", "path": "tree"}
    spec = spec_of([folder, package], tmp_path)
    spec.check_source()
    assert checkout.fetch(spec).digest.startswith("linux-source-7.3_7.3.9_")
    (tmp_path / "tree" / "Kconfig").touch()
    assert not checkout.fetch(spec).digest.startswith("linux")


def test_none_is_to_be_had(system: System, tmp_path: Path) -> None:
    """One line says what was looked for and where, and what else a source can be."""
    system.publish("stable", "tool", "1")
    package = {"kind": "debian", "package": "linux-source-9.9", "suites": ["nosuch"]}
    spec = spec_of([package, {"kind": "directory", "path": "nodir"}], tmp_path)
    assert not spec.can_be_had()
    with pytest.raises(PrerequisiteError) as refused:
        checkout.fetch(spec)
    text = str(refused.value)
    for words in ("linux-source-9.9", "Debian's nosuch", "the system's sources", "nodir"):
        assert words in text
    for words in ("tarball", "sha256", "git (repository", "directory", "--kernel-tree"):
        assert words in text
    assert "\n" not in text
    assert "apt-get update" not in text, "never the user"


def git(folder: Path, *arguments: str) -> None:
    given = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(folder), *given, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One with a tag v6.12 and a later commit."""
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q")
    for content in ("one", "two"):
        (path / "Kconfig").write_text(content)
        git(path, "add", "-A")
        git(path, "commit", "-q", "-m", content)
        if content == "one":
            git(path, "tag", "v6.12")
    return path


@pytest.mark.parametrize("is_remote", [False, True])
def test_a_revision_of_a_repository(
    tmp_path: Path, repository: Path, is_remote: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    place = repository.as_uri() if is_remote else "repository"
    spec = spec_of({"kind": "git", "repository": place, "revision": "v6.12"}, tmp_path)
    assert spec.can_be_had()
    target = tmp_path / "target"
    target.mkdir()
    checkout.fetch(spec).copy(target)
    assert (target / "Kconfig").read_text() == "one"
    if is_remote:
        shutil.rmtree(repository)
        assert spec.can_be_had(), "what was fetched counts as had"
        checkout.fetch(spec)
    else:
        wrong = {"kind": "git", "repository": "repository", "revision": "v9"}
        with pytest.raises(PrerequisiteError, match="there is no revision v9"):
            checkout.fetch(spec_of(wrong, tmp_path))


class Quiet(http.server.SimpleHTTPRequestHandler):
    """One that logs nothing."""

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a server of tmp_path."""
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    handler = partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_a_tarball_at_a_url(tmp_path: Path, server: str) -> None:
    source = tmp_path / "linux-6.12"
    source.mkdir()
    (source / "Kconfig").write_text("text")
    subprocess.run(["tar", "-cf", tmp_path / "x.tar", "-C", tmp_path, "linux-6.12"], check=True)
    digest = cache.file_digest(tmp_path / "x.tar")
    given = {"kind": "tarball", "url": f"{server}/x.tar", "sha256": digest}
    spec = spec_of(given, tmp_path)
    assert spec.can_be_had()
    wrong = spec_of(given | {"sha256": "0" * 64}, tmp_path)
    with pytest.raises(PrerequisiteError, match=f"has the SHA-256 {digest}"):
        checkout.fetch(wrong)
    target = tmp_path / "target"
    target.mkdir()
    checkout.fetch(spec).copy(target)
    assert (target / "Kconfig").read_text() == "text"
    (tmp_path / "x.tar").unlink()
    assert not wrong.can_be_had()
    assert spec.can_be_had(), "what was fetched counts as had"
    checkout.fetch(spec)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("[]", "source: list should have at least 1 item"),
        ("{kind: tarball, url: 'https://example.org/x.tar'}", "source.*needs its sha256"),
        ("{kind: tarball}", "a path or a url"),
        ("[{kind: debian, package: x, suites: ['a b']}]", r"source.suites.0: .*pattern"),
        ("{kind: debian, package: x, suits: [sid]}", "source.suits: .*is it 'suites'"),
        ("[{kind: debian, package: x}, {kind: nosuch}]", "source.1: kind: 'nosuch'"),
        ("[{kind: debian, package: x}, {kind: git, path: y}]", "source.1.path: unknown key"),
        ("{kind: git, repository: y, revision: '--upload-pack=x'}", "source.revision"),
        (
            "[{kind: debian, package: x}, {kind: bzimage, normal: a, spawned: b}]",
            "built already are no candidate",
        ),
    ],
)
def test_what_no_source_can_say(tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        spec_of(source, tmp_path)


SOURCES: Sequence[tuple[str, str, list[str]]] = [
    (
        "a.list",
        "deb [arch=amd64 signed-by=/x] http://one.example/debian/ bookworm main\n# deb http://no/debian\n",
        ["http://one.example/debian"],
    ),
    (
        "a.sources",
        "Types: deb\nURIs: http://two.example/ubuntu https://three.example/mirror/debian-security\n",
        ["https://three.example/mirror/debian"],
    ),
    ("a.list", "deb cdrom:[Debian]/ bookworm main\n", []),
]


@pytest.mark.parametrize(("name", "text", "mirrors"), SOURCES)
def test_the_mirror_is_that_of_the_system(
    system: System, name: str, text: str, mirrors: list[str]
) -> None:
    (system.root / "etc" / "sources.list").unlink()
    (system.root / "etc" / "sources.list.d" / name).write_text(text)
    assert apt.mirrors("sid") == [*mirrors, system.mirror.as_uri()]
    expected = [f"{mirror}-security" for mirror in mirrors]
    assert apt.mirrors("bookworm-security")[:-1] == expected
