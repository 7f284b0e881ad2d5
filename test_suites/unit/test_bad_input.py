# SPDX-License-Identifier: GPL-2.0-only
"""Bad input, through the real command line: one line that names it, and a documented code.

Each case stands for its kind. None of them may end in a traceback, nor with 1, which
says that a kernel failed a check.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from harness.cli.main import main
from harness.kernel.built import BuiltKernel
from harness.vm import accel as kvm
from harness.vm.hypervisor import Hypervisor, runtime_base
from test_suites.unit.domains import specified

CONFIGS = "configs: {normal: [normal.config], spawned: [spawned.config]}\n"
DEBIAN = "source: {kind: debian, package: linux-source-6.12}\n"


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    def says(self, *words: str, code: int = 2) -> None:
        """Assert that it ended in one line with these words, and with a code."""
        assert "Traceback" not in self.out + self.err
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert lines, self
        # click puts two lines on the usage before its own.
        assert len(lines) == 1 or lines[0].startswith("Usage:"), self.err
        for word in words:
            assert word in lines[-1], self.err
        assert len(lines[-1]) < 700
        assert self.code == code, self.err


Command = Callable[..., Done]


@pytest.fixture
def kspawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Runs the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["kspawn", *map(str, words)])
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            signal.signal(signal.SIGTERM, before)
        seen = capsys.readouterr()
        return Done(int(ended.value.code or 0), seen.out, seen.err)

    return run


def bomb(levels: int = 9, width: int = 9) -> str:
    """A few hundred bytes of aliases that stand for width**levels values."""
    lines = ["a0: &a0 [x]"]
    for level in range(1, levels + 1):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    return "\n".join(lines) + "\n"


# What no YAML file may do, whatever it describes.
YAML = {
    "list-as-key": ("? [a, b]\n: 1\n", ["line 1", "a key is a list"]),
    "mapping-as-key": ("name: x\n? {a: b}\n: 1\n", ["line 2", "a key is a mapping"]),
    "number-as-key": ("name: x\n1: x\n", ["x.yaml: 1: ", "key"]),
    "deep": ("a: " + "[" * 3000 + "]" * 3000, ["line 1", "nesting depth"]),
    "deep-blocks": ("".join(" " * n + "a:\n" for n in range(300)), ["deeper than 32"]),
    "alias-bomb": (bomb(), ["comes to more than 10000 values"]),
    "merge-bomb": (
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)),
        ["comes to more than 10000 values"],
    ),
    "alias-of-itself": ("a: &a [*a]\n", ["line 1", "an alias stands within what it names"]),
    "unknown-alias": ("a: *b\n", ["line 1", "undefined alias"]),
    "no-date": ("a: 2026-99-99\n", ["line 1", "2026-99-99"]),
    "long-number": ("a: " + "9" * 5000 + "\n", ["line 1", "not a value"]),
    "wrong-tag": ("a: !!int four\n", ["line 1", "'four'"]),
    "python-tag": ("a: !!python/object/apply:os.system [id]\n", ["could not determine"]),
    "control-characters": ("a: \x1b]0;x\n", ["not YAML", "control characters"]),
    "large": ("a: " + "x" * (1 << 19) + "\n", ["larger than 256 KiB"]),
    "list": ("- a\n", ["not a mapping"]),
    "empty": ("", ["not a mapping"]),
    "two-documents": ("a: 1\n---\nb: 2\n", ["line 2", "document"]),
}


@pytest.mark.parametrize("command", ["matrix", "build", "cycle"])
@pytest.mark.parametrize("case", YAML)
def test_yaml(kspawn: Command, tmp_path: Path, case: str, command: str) -> None:
    text, words = YAML[case]
    path = tmp_path / "x.yaml"
    path.write_text(text)
    before = time.monotonic()
    kspawn(*([command, "--vm-config", path] if command == "cycle" else [command, path])).says(
        "x.yaml", *words
    )
    # A bomb is not to be expanded first.
    assert time.monotonic() - before < 20


def test_a_file_that_is_no_text(kspawn: Command, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(bytes(range(256)))
    kspawn("matrix", path).says("x.yaml", "not YAML")


def matrix(folder: Path, *, more: str = "", **axes: str) -> Path:
    """A matrix file with one job, and what is wrong about it."""
    words = {"kernel": "linux-6.12", "suite": "restricted"} | axes
    lines = "".join(f"  {axis.replace('_', '-')}: [{value}]\n" for axis, value in words.items())
    path = folder / "x.yaml"
    path.write_text(f"name: x\nmatrix:\n{lines}{more}")
    return path


LONG = "n" * 300


@pytest.mark.parametrize(
    ("axes", "more", "words"),
    [
        ({"kernel": LONG}, "", ["matrix.kernel", "at most 255 bytes"]),
        ({"kernel": f"{'d' * 250}/" * 20 + "x.yaml"}, "", ["matrix.kernel", "there is no"]),
        ({"kernel": "~nouser/x.yaml"}, "", ["matrix.kernel", "no user ~nouser"]),
        ({"kernel": '"a\\0b"'}, "", ["matrix.kernel", "has a NUL in it", "a\\x00b"]),
        ({"kernel": '"a\\e]0;x"'}, "", ["matrix.kernel", "a\\x1b]0;x"]),
        ({"vm_config": LONG}, "", ["matrix.vm-config", "at most 255 bytes"]),
        ({"vm_config": '"\\0/x.yaml"'}, "", ["matrix.vm-config", "has a NUL in it"]),
        ({"suite": LONG}, "", ["matrix.suite", "at most 255 bytes"]),
        ({"suite": '"a\\0b"'}, "", ["matrix.suite", "has a NUL in it"]),
        ({"suite": "../harness"}, "", ["matrix.suite", "holds no tests"]),
        ({"suite": "../../../../../../../../etc/passwd"}, "", ["matrix.suite", "no tests"]),
        ({"suite": "/etc/passwd"}, "", ["matrix.suite", "holds no tests"]),
        ({"suite": "~nouser"}, "", ["matrix.suite", "no user ~nouser"]),
        ({}, "suites: {restricted: {path: ../../../../etc/passwd}}\n", ["suites.restricted.path"]),
        ({}, "suites: {restricted: {path: harness}}\n", ["suites.restricted.path", "no tests"]),
        ({}, "suites: {restricted: {path: /etc}}\n", ["suites.restricted.path", "no tests"]),
        ({}, 'suites: {restricted: {path: "a\\0b"}}\n', ["suites.restricted.path", "NUL"]),
        (
            {},
            f"suites: {{restricted: {{timeout: {'9' * 400}s}}}}\n",
            ["suites.restricted.timeout", "is no duration"],
        ),
        ({}, "suites: {restricted: {timeout: 999999999h}}\n", ["not within 1s and 168h"]),
        ({}, "suites: {restricted: {timeout: 0s}}\n", ["not within 1s and 168h"]),
        ({"config": "c"}, "configs: {c: [/etc/passwd]}\n", ["configs.c", "is an option"]),
        ({"config": "c"}, 'configs: {c: ["a\\0"]}\n', ["configs.c", "NUL"]),
        ({"config": "c"}, f"configs: {{c: [{LONG}]}}\n", ["configs.c", "at most 255"]),
        ({"config": "c"}, "configs: {c: [/bin/true]}\n", ["configs.c", "is no text"]),
    ],
)
def test_matrix(
    kspawn: Command, tmp_path: Path, axes: dict[str, str], more: str, words: list[str]
) -> None:
    kspawn("matrix", matrix(tmp_path, more=more, **axes)).says("x.yaml", *words)


def test_the_matrix_that_these_are_made_from_is_good(kspawn: Command, tmp_path: Path) -> None:
    done = kspawn("matrix", matrix(tmp_path), "--dry-run")
    assert (done.code, done.err) == (0, "")
    more = "suites: {restricted: {path: test_suites/restricted, timeout: 168h}}\n"
    assert kspawn("matrix", matrix(tmp_path, more=more), "--dry-run").code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{DEBIAN}{CONFIGS}patches: {{common: [{LONG}]}}", ["patches.common", "no patch"]),
        (f'{DEBIAN}{CONFIGS}patches: {{common: ["a\\0b"]}}', ["patches.common", "no patch"]),
        (f"{DEBIAN}{CONFIGS}patches: {{common: [/etc/*]}}", ["patches.common", "no patch"]),
        (f"{DEBIAN}{CONFIGS}patches: {{common: ['']}}", ["patches.common", "no patch"]),
        (f"{DEBIAN}{CONFIGS}patches: {{spawned: [x**]}}", ["patches.spawned", "no patch"]),
        (f"{DEBIAN}{CONFIGS.replace('normal.config', LONG)}", ["configs.normal", "no file"]),
        (f"{DEBIAN}{CONFIGS.replace('normal.config', '/etc/passwd')}", ["is an option"]),
        (f"{DEBIAN}{CONFIGS.replace('normal.config', '../../README.md')}", ["is an option"]),
    ],
)
def test_kernel(kspawn: Command, tmp_path: Path, text: str, words: list[str]) -> None:
    """Also of a cycle: all files are looked for before anything else is done."""
    path = tmp_path / "x.yaml"
    path.write_text(f"name: x\n{text}\n")
    for command in (["build", path], ["cycle", "--kernel", path]):
        kspawn(*command).says("x.yaml", *words)
    assert not list(tmp_path.glob("results/*"))


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("kind: directory, path: nosuch", 3, ["source", "there is no file", "nosuch/Kconfig"]),
        ("kind: tarball, path: nosuch", 3, ["source", "there is no file", "nosuch"]),
        ("kind: bzimage, normal: nosuch, spawned: x", 3, ["there is no file", "nosuch"]),
        ("kind: directory, path: ~nouser/x", 2, ["no user ~nouser"]),
        ('kind: directory, path: "a\\0b"', 2, ["NUL"]),
        (f"kind: tarball, path: {LONG}", 2, ["at most 255 bytes"]),
    ],
)
def test_source(kspawn: Command, tmp_path: Path, source: str, code: int, words: list[str]) -> None:
    """Before libvirt is started or a guest program is built."""
    path = tmp_path / "x.yaml"
    path.write_text(f"name: x\nsource: {{{source}}}\n{CONFIGS}")
    before = time.monotonic()
    kspawn("build", path).says(*words, code=code)
    assert time.monotonic() - before < 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("timeout_scale: .inf", ["timeout_scale", "less than or equal to 1000"]),
        ("timeout_scale: 1.0e+308", ["timeout_scale", "less than or equal to 1000"]),
        ("timeout_scale: 1.0e-300", ["timeout_scale", "greater than or equal to 0.1"]),
        ("timeout_scale: -.inf", ["timeout_scale", "greater than or equal to 0.1"]),
        ("timeout_scale: .nan", ["timeout_scale"]),
        ("memory: 65536GiB", ["memory", "above the maximum of 16384GiB"]),
        (f"memory: {'9' * 400}GiB", ["memory", "is no size"]),
        (f"cpus: {'9' * 400}", ["cpus", "less than or equal to 8"]),
    ],
)
def test_vm_config(kspawn: Command, tmp_path: Path, line: str, words: list[str]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"name: x\n{line}\n")
    kspawn("cycle", "--vm-config", path).says("x.yaml", *words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["cycle", "--kernel", LONG], ["at most 255 bytes"]),
        (["cycle", "--kernel", "~nouser/x.yaml"], ["no user ~nouser"]),
        (["cycle", "--vm-config", "~nouser/x.yaml"], ["no user ~nouser"]),
        (["cycle", "--kernel", "\x1b]0;x"], ["\\x1b]0;x"]),
        (["cycle", "--config", "/etc/passwd"], ["--config", "no line of /etc/passwd is an opt"]),
        (["cycle", "--config", "/bin/true"], ["--config", "/bin/true is no text"]),
        (["cycle", "--config", "~nouser/x"], ["--config", "no user ~nouser"]),
        (["cycle", "--config", LONG], ["--config", "at most 255 bytes"]),
        (["cycle", "--config-fragment", "/etc/passwd"], ["--config-fragment", "is an option"]),
        (["cycle", "--config-fragment", "/bin/true"], ["--config-fragment", "is no text"]),
        (["cycle", "--bzimage", f"/etc/passwd,{LONG}"], ["--bzimage", "at most 255 bytes"]),
        (["cycle", "--bzimage", "~nouser/x"], ["--bzimage", "no user ~nouser"]),
        (["cycle", "--kernel-tree", "~nouser/x"], ["--kernel-tree", "no user ~nouser"]),
        (["cycle", "--kernel-tree", LONG], ["--kernel-tree", "at most 255 bytes"]),
        (["matrix", LONG], ["no matrix file"]),
        (["matrix", "x.yaml", "--prefix", '"x'], ["--prefix", "no closing quotation"]),
        (["matrix", "x.yaml", "--scheduler", "notanaddress"], ["--scheduler", "notanaddress"]),
        (["worker", "notanaddress"], ["ADDRESS", "notanaddress"]),
        (["worker", "tcp://host:99999"], ["ADDRESS", "host:99999"]),
        (["worker", "file:///etc/passwd"], ["ADDRESS"]),
    ],
)
def test_options(kspawn: Command, given: list[str], words: list[str]) -> None:
    kspawn(*given).says(*words)


# --- folders and streams that cannot be written ---------------------------------------

ROOT = Path(__file__).resolve().parents[2]
RUNS = ["cycle", "bench", "compare", "matrix docs/ci/ways.matrix.yaml"]


def shell(script: str, **env: str) -> Done:
    """Run the command line, which is $KSPAWN in a script, in a process of its own."""
    command = f"{sys.executable} -P -m harness"
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KSPAWN": command, **env},
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def mounted(options: str, script: str) -> Done:
    """The same, with a filesystem of one's own at $DIR."""
    probe = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("this system lets nobody mount")
    with tempfile.TemporaryDirectory() as name:
        mount = f"mount -t tmpfs -o {options} tmpfs {name}"
        return shell(f"exec unshare -rm sh -c '{mount} && {script}'", DIR=name)


@pytest.mark.parametrize("command", RUNS)
def test_results_that_cannot_be(kspawn: Command, tmp_path: Path, command: str) -> None:
    words = command.replace("docs", f"{ROOT}/docs").split()
    file = tmp_path / "file"
    file.write_text("")
    for folder, said, code in (
        (file / "x", "Not a directory", 3),
        ("/proc/x", "/proc/x: No such file or directory", 3),
        (file, "is a file", 2),
        (f"{tmp_path}/{LONG}", "at most 255 bytes", 2),
        (f"{tmp_path}/\udcff", "is not UTF-8", 2),
    ):
        kspawn(*words, "--results", folder).says(said, code=code)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("command", RUNS)
@pytest.mark.parametrize(
    ("options", "said", "code"),
    [("ro", "Read-only file system", 3), ("size=64k", "full|No space left", 5)],
)
def test_results_on_a_disk(command: str, options: str, said: str, code: int) -> None:
    """Before anything is done: after a cycle it would have been for nothing."""
    done = mounted(options, f"exec $KSPAWN {command} --results $DIR/r")
    done.says(code=code)
    assert re.search(f"/r.*({said})", done.err)


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">/dev/full", 5, "cannot write to stdout: No space left on device"),
        ("| true", 5, "nobody reads stdout any more"),
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
    ],
)
@pytest.mark.parametrize("command", ["--help", "matrix docs/ci/ways.matrix.yaml --dry-run"])
def test_streams(command: str, redirection: str, code: int, said: str) -> None:
    done = shell(f"{{ $KSPAWN {command}; echo code $? >&3; }} 3>&2 {redirection}")
    lines = done.err.splitlines()
    assert lines[-1] == f"code {code}", done
    assert lines[:-1] == ([f"kspawn: {said}"] if said else []), done


def test_the_code_stays_where_stderr_is_full(kspawn: Command) -> None:
    for command, code in (("cycle --kernel nosuch", 2), ("cycle --nosuch", 2)):
        assert shell(f"exec $KSPAWN {command} 2>/dev/full").code == code


def test_the_scanner_of_logs(tmp_path: Path) -> None:
    """It ends with 1 where it saw a splat, and only there."""
    log = ROOT / "test_suites/unit/logs/bug.log"
    script = f"exec {sys.executable} -m harness.splats {log}"
    assert shell(script).code == 1
    done = shell(f"{script} >/dev/full")
    assert (done.code, done.err) == (5, "kspawn: cannot write to stdout: No space left on device\n")


def test_names_that_the_terminal_cannot_show() -> None:
    done = shell("exec $KSPAWN cycle --kernel müll", PYTHONIOENCODING="ascii")
    done.says(r"there is no kernel 'm\xfcll'")


@pytest.mark.parametrize("files", [8, 12, 64])
def test_too_few_open_files(files: int) -> None:
    """The kernel under test would be blamed: no connection to it can be made."""
    for command in ("cycle", "bench", "compare"):
        script = f"ulimit -n {files}; exec $KSPAWN {command} --results {tempfile.gettempdir()}/x"
        shell(script).says(f"only {files} files may be open at once", code=3)


def test_a_soft_limit_is_raised() -> None:
    with tempfile.TemporaryDirectory() as name:
        script = f"ulimit -S -n 12; exec $KSPAWN cycle --results {name} --kernel nosuch"
        shell(script).says("there is no kernel 'nosuch'")


# --- folders of odd names -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["a b", "a?b", "a%20b", "a,b", "ä", "l" * 60, "nosuch/x"])
def test_runtime_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A machine's sockets lie there, and their names go where only a plain path fits."""
    folder = tmp_path / name
    if name != "nosuch/x":
        folder.mkdir()
    for value in (str(folder), name):
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
        assert runtime_base() == Path("/tmp")
    with tempfile.TemporaryDirectory(dir="/tmp") as plain:
        monkeypatch.setenv("XDG_RUNTIME_DIR", plain)
        assert runtime_base() == Path(plain)


def test_a_comma_in_the_folder_that_is_booted_from() -> None:
    """QEMU takes two commas for one."""
    spec = specified(kernel=Path("/a,b/bzImage"), disk=Path("/a,b/disk"), netboot=Path("/a,b/tftp"))
    xml = spec.xml(emulator="/usr/bin/qemu-system-x86_64")
    assert "tftp=/a,,b/tftp,bootfile=boot.ipxe" in xml
    assert '<source file="/a,b/disk"/>' in xml


def test_a_module_that_is_missing_deep_in_the_environment(tmp_path: Path) -> None:
    """The launcher sees only what lies on top."""
    (tmp_path / "click").mkdir()
    (tmp_path / "click" / "__init__.py").write_text("import nosuch.part\n")
    done = shell("exec $KSPAWN cycle", PYTHONPATH=f"{tmp_path}:{ROOT}")
    done.says("lacks the module nosuch", "run ./kspawn again", code=3)


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"host": 1}', "\x00", ""])
def test_what_is_known_of_kvm_is_no_such_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path))
    monkeypatch.setattr(kvm, "try_guest", lambda *_: "tried")
    monkeypatch.setattr(kvm, "emulator_path", lambda: sys.executable)
    (tmp_path / "accel.json").write_text(text)
    kernel = cast(BuiltKernel, SimpleNamespace(bzimage=Path(sys.executable)))
    for _ in range(2):
        assert kvm._remembered(cast(Hypervisor, None), kernel) == "tried"


@pytest.mark.parametrize(
    ("home", "code", "said"),
    [
        ("/etc/passwd", 3, "/etc/passwd/locks: Not a directory"),
        ("/proc/x", 3, "/proc/x: No such file or directory"),
        ("/tmp/\udcff", 2, "KSPAWN_HOME: /tmp/\\udcff is no path for us"),
        (f"/tmp/{LONG}", 2, "KSPAWN_HOME: "),
        ("~nouser", 2, "KSPAWN_HOME: there is no user ~nouser"),
    ],
)
def test_the_folder_of_the_cache(
    kspawn: Command, monkeypatch: pytest.MonkeyPatch, home: str, code: int, said: str
) -> None:
    monkeypatch.setenv("KSPAWN_HOME", home)
    kspawn("build", "linux-6.12").says(said, code=code)
