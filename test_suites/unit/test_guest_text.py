# SPDX-License-Identifier: GPL-2.0-only
"""What a guest says is shown, and no terminal and no reader of XML obeys it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.base.errors import KernelCrashError, KspawnError, RefusedError
from harness.base.progress import ProgressLine
from harness.base.terminal import Terminal, echo
from harness.base.text import cut, shown
from harness.cli import cycle as commands
from harness.cli.splats import splats_command
from harness.logs import ktap, splats
from harness.night import outputs
from harness.night.history import History
from harness.night.matrix import Job
from harness.night.model import Attempt, Outcome, TestRun
from harness.night.store import Store
from harness.record.result import Check, Result

ROOT = Path(__file__).resolve().parents[2]
# It sets a terminal's title, writes to the clipboard, goes to the left and to the top.
EVIL = "\x1b]0;x\x07 \x1b]52;c;eA==\x07 \x9b1A \r \x08 \x7f \x00 \u202e \u2028 \ufffe \udc80"
SHOWN = r"\x1b]0;x\x07 \x1b]52;c;eA==\x07 \x9b1A \x0d \x08 \x7f \x00 \u202e \u2028 \ufffe \udc80"
# A log as QEMU writes it, each line of which a guest may choose.
LOG = (
    "[    1.000000] WARNING: CPU: 0 PID: 1 at kernel/x.c:5 evil+0x1/0x2 \x1b]0;x\x07\r\n"
    "[    1.000000] Modules linked in: \x1b[2J\x9b\x08\r\n"
    "[    1.000000] ---[ end trace 0000000000000000 ]---\r\n"
)


def harmless(text: str) -> bool:
    """Whether a terminal shows a text and does nothing else; lines and tabs may be in it."""
    return all(char in "\n\t" or char.isprintable() for char in text)


def test_all_characters_come_out_harmless() -> None:
    every = "".join(map(chr, range(0x110000)))
    text = shown(every)
    assert shown(text) == text
    text.encode()
    # Spaces of all widths, and what no font has yet, are as harmless as a letter.
    left = {char for char in text if not harmless(char)}
    assert all(ord(char) > 0x9F for char in left)
    assert not left & set("\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufeff")
    element = ET.Element("x")
    element.text = text
    assert ET.fromstring(ET.tostring(element, encoding="unicode")).text == text


def test_what_is_said_stays() -> None:
    assert shown("a\tb\nc\r\nd äöü 漢字 ✓ 𝄞") == "a\tb\nc\nd äöü 漢字 ✓ 𝄞"
    assert shown(EVIL) == SHOWN
    assert cut("x" * 500) == "x" * 119 + "…"
    assert cut("a\n b\x1b") == r"a b\x1b"


def test_errors_are_clean_from_the_start() -> None:
    error = KernelCrashError(f"a {EVIL}", log_tail=f"b {EVIL}")
    assert (str(error), error.message, error.log_tail) == (
        f"a {SHOWN}",
        *[f"a {SHOWN}", f"b {SHOWN}"],
    )
    assert str(KspawnError("a", hint=EVIL)) == f"a ({SHOWN})"
    refused = RefusedError(EVIL, status=EVIL, log_tail=EVIL)
    assert (refused.message, refused.status, refused.log_tail) == (SHOWN, SHOWN, SHOWN)


@pytest.mark.parametrize("tty", [True, False])
def test_a_terminal_gets_text(tty: bool) -> None:
    """Also where nobody thought of it: in a table, in markup, below a progress line."""
    file = io.StringIO()
    terminal = Terminal(file=file, force_terminal=tty, color_system=None, width=200)
    terminal.print(f"[bold]{EVIL.replace('[', '(')}[/]")
    with ProgressLine(terminal) as line:
        line.build(f"kernel {EVIL}", 1, 2, EVIL)
        line.phase(EVIL, None)
        terminal.print(EVIL, markup=False)
    written = file.getvalue()
    # rich drops some of them itself, such as the bell.
    assert r"\x1b]0;x" in written
    assert "\x1b]" not in written
    # What is left is what rich draws its line with.
    assert not set(written) & set("\x07\x08\x7f\x00\x9b\u202e\u2028")


def test_echo(capsys: pytest.CaptureFixture[str]) -> None:
    echo(EVIL)
    echo(EVIL, to_stderr=True)
    assert tuple(capsys.readouterr()) == (f"{SHOWN}\n", f"{SHOWN}\n")


def test_the_scanner_prints_text(tmp_path: Path) -> None:
    log = tmp_path / "1-normal.log"
    log.write_text(LOG, newline="")
    found = splats.scan(log)[0]
    assert harmless(found.title + found.text + (found.function or ""))
    done = CliRunner().invoke(splats_command, [str(log), "--text"], standalone_mode=False)
    assert done.return_value == 1
    # The scanner itself drops the sequences that terminals know.
    assert r"x\x07" in done.output
    assert harmless(done.output)


def test_a_result_is_shown_as_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "1-normal.log").write_text(LOG, newline="")
    result = Result(
        run="x",
        checks=[Check(name="kernels.log", ok=False, detail=EVIL)],
        splats=splats.scan(tmp_path / "1-normal.log"),
        reason=EVIL,
        log_tail=LOG,
    )
    commands.show(result, tmp_path)
    captured = capsys.readouterr()
    assert captured.out.count(r"\x1b]0;x\x07") == 3
    assert harmless(captured.out)
    # And where a result was written by somebody else.
    stored = json.loads(result.model_dump_json())
    stored["log_tail"] = stored["reason"] = "\x1b]0;x"
    read = Result.model_validate_json(json.dumps(stored))
    assert read.log_tail == read.reason == r"\x1b]0;x"


TESTS = f"""
import pytest
from harness.base.errors import KernelCrashError, RefusedError

EVIL = {EVIL!r}

def test_crash():
    raise KernelCrashError("crash " + EVIL, log_tail="tail " + EVIL)

def test_refusal():
    raise RefusedError("refusal " + EVIL, status="damaged", log_tail="tail " + EVIL)

def test_assertion():
    assert not EVIL, "assertion " + EVIL

def test_failure():
    print("printed " + EVIL.encode(errors="replace").decode())
    pytest.fail("failure " + EVIL)

def test_other(record_property):
    record_property("p" + EVIL, EVIL)
    raise ValueError("other " + EVIL)

def test_skipped():
    pytest.skip("skipped " + EVIL)

@pytest.mark.xfail(reason="xfailed " + EVIL)
def test_xfailed():
    assert False
"""


def test_pytest_and_junit(tmp_path: Path) -> None:
    (tmp_path / "test_evil.py").write_text(TESTS)
    words = ["-p", "harness.plugin.fixtures", "-rA", "--color=no", "-p", "no:cacheprovider"]
    words += [f"--rootdir={tmp_path}", "--junitxml=junit.xml", "-p", "harness.night.record"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "--record=record", "test_evil.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 4, done.stdout + done.stderr
    text = done.stdout
    assert harmless(text), [line for line in text.splitlines() if not harmless(line)]
    words = ["crash", "tail", "refusal", "assertion", "printed", "failure", "other", "xfailed"]
    for word in [*words, "skipped"]:
        assert rf"{word} \x1b]0;x\x07" in text, word
    root = ET.parse(tmp_path / "junit.xml").getroot()
    said = " ".join([*root.itertext(), *(v for e in root.iter() for v in e.attrib.values())])
    assert harmless(said)
    assert rf"crash {SHOWN}" in said
    recorded = [json.loads(line) for line in (tmp_path / "record").read_text().splitlines()]
    assert all(harmless(str(value)) for line in recorded for value in line.values())


def test_what_a_night_leaves(tmp_path: Path) -> None:
    """KTAP that a guest reported, through the store, into all the files of a night."""
    report = f"KTAP version 1\n1..1\n# {EVIL}\nnot ok 1 case{EVIL} # SKIP\x1b]0;x\n"
    test = ktap.parse(report)[0]
    name, value = ktap.to_property(*next(iter(test.cases())))
    assert harmless(name + value)
    run = TestRun(name=f"x.py::{EVIL}", outcome=Outcome.FAILED, message=EVIL, detail=EVIL)
    attempt = Attempt(job="k", number=0, exit_code=5, reason=EVIL, tests=[run])
    job = Job(kernel="linux-6.12", suite="restricted", path="test_suites/restricted")
    with Store(tmp_path / "store") as store:
        number = store.begin(name="n", folder="night", harness="h")
        store.add_jobs(number, [("k", job, {"normal": "a"})])
        store.add_attempt(number, attempt)
        store.finish(number, 5)
        night = store.nights("n")[0]
        outputs.write_all(store, night, tmp_path, origin="kspawn")
        assert History(store, "n").jobs[night.id]
    for file in ("junit.xml", "results.ktap", "summary.md", "kcidb.json"):
        text = (tmp_path / file).read_text()
        assert harmless(text), file
        assert "x1b]0;x" in text or file == "summary.md"
    ET.parse(tmp_path / "junit.xml")
    said = json.loads((tmp_path / "kcidb.json").read_text())
    assert all(harmless(str(value)) for test in said["tests"] for value in test.values())
