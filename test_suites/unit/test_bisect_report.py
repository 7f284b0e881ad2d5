# SPDX-License-Identifier: GPL-2.0-only
"""What a bisection leaves: its page, its mail, and the commands around it."""

from __future__ import annotations

import email
import email.policy
import os
import shutil
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.base import cache
from harness.base.errors import BuildError, HarnessError, PrerequisiteError, UsageError
from harness.bisect import command, found, mail, pool, report, work
from harness.bisect.outcome import Outcome, Report
from harness.bisect.pool import Cluster
from harness.bisect.repository import Range
from harness.bisect.state import (
    Answer,
    Build,
    Ending,
    Run,
    Settings,
    State,
    Step,
    Word,
)
from harness.bisect.work import Done, Task
from harness.cli import bisect as bisect_cli
from harness.cli.main import cli
from harness.kernel import tree as tree_module
from harness.kernel.specs import ROOT
from harness.record.result import BY_HAND, Result

SCRIPT = """#!/usr/bin/perl
print "Alice Maintainer <alice\\@example.org> (maintainer:KEXEC (32-BIT AND 64-BIT))\\n";
print "kexec\\@lists.example.org (open list:KEXEC)\\n";
"""
WARN = "splat WARN: kernel_kexec kernel/kexec_core.c"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four commits; the third one is the culprit."""
    path = tmp_path_factory.mktemp("history") / "linux"
    (path / "scripts").mkdir(parents=True)
    (path / "scripts" / "get_maintainer.pl").write_text(SCRIPT)
    env = os.environ | {
        "GIT_AUTHOR_NAME": "Bob <Breaker>",
        "GIT_AUTHOR_EMAIL": "bob@example.org",
        "GIT_COMMITTER_NAME": "Carol",
        "GIT_COMMITTER_EMAIL": "carol@example.org",
    }
    subprocess.run(["git", "init", "-q", "--template=", str(path)], check=True)
    for number in range(4):
        (path / "file").write_text(f"{number}\n")
        message = f"kexec: Change {number} <&>\n\nSigned-off-by: Dave <dave@example.org>"
        git = ["git", "-C", str(path)]
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", message], check=True, env=env)
    return path


@pytest.fixture
def tree(history: Path, tmp_path: Path) -> Path:
    """The same, for one test."""
    return Path(shutil.copytree(history, tmp_path / "linux"))


@pytest.fixture
def ended(tree: Path, tmp_path: Path) -> tuple[State, Path, Range]:
    """A bisection that ended, in a folder of its own."""
    text = subprocess.run(
        ["git", "-C", str(tree), "rev-list", "HEAD"], check=True, capture_output=True, text=True
    ).stdout
    bad, culprit, parent, good = text.split()
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "bisect.log").write_text("git bisect start\n# first bad commit: [x]\n")

    def runs(revision: str, kind: Outcome, count: int) -> list[Run]:
        marks = [WARN] if kind is Outcome.BAD else []
        tail = "WARNING: CPU: 0 <script>alert(1)</script>" if marks else ""
        run = Run(revision=revision, outcome=kind, marks=marks, log_tail=tail, seconds=12.0)
        return [
            run.model_copy(update={"folder": f"runs/{revision[:12]}-{n}"}) for n in range(count)
        ]

    state = State(
        settings=Settings(
            tree=str(tree),
            good=[good],
            bad=bad,
            named={good: "v6.11", bad: "v6.12"},
            arguments=["test_suites/plain_jump"],
        ),
        sought=[WARN],
        builds=[Build(revision=rev, ok=True, seconds=30) for rev in (bad, good, culprit, parent)],
        runs=[
            *runs(bad, Outcome.BAD, 3),
            *runs(good, Outcome.GOOD, 2),
            *runs(culprit, Outcome.BAD, 2),
            *runs(parent, Outcome.GOOD, 2),
        ],
        steps=[
            Step(revision=culprit, round=1, left=3, word=Word.BAD, why="1 of 1 runs failed"),
            Step(revision=parent, round=2, left=2, word=Word.GOOD, why="0 of 1 runs failed"),
        ],
        rounds=2,
        answer=Answer(
            ending=Ending.FOUND,
            commits=[culprit],
            parents=[parent],
            probability=0.9871,
            text=f"{culprit[:12]} is the first bad commit",
            plain_rounds=2,
        ),
    )
    return state, folder, Range(tree, [good], bad)


class _Page(HTMLParser):
    """What a page asks for, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.asked += [value or "" for name, value in attrs if name in ("src", "href")]


def test_report_is_whole_and_asks_for_nothing(ended: tuple[State, Path, Range]) -> None:
    state, folder, span = ended
    text = report.write(state, folder, span).read_text()
    page = _Page()
    page.feed(text)
    assert page.asked == []
    assert "script" not in page.tags, "what a log says is text"
    answer = state.answer
    assert answer is not None
    for needed in (answer.commits[0], "0.9871", WARN, "2 of 2 runs failed", "0 of 2 runs failed"):
        assert needed in text
    assert "git bisect start" in text
    assert "#regzbot introduced" in text
    assert list(folder.glob("*.part")) == []


def test_mail_is_ready_to_send(ended: tuple[State, Path, Range]) -> None:
    state, folder, span = ended
    report.write(state, folder, span)
    letter = email.message_from_bytes(
        (folder / "mail.eml").read_bytes(), policy=email.policy.default
    )
    assert state.answer is not None
    culprit = state.answer.commits[0]
    to = [address.addr_spec for address in letter["To"].addresses]
    cc = [address.addr_spec for address in letter["Cc"].addresses]
    assert to == ["bob@example.org", "alice@example.org"]
    assert cc == ["regressions@lists.linux.dev", "kexec@lists.example.org", "dave@example.org"]
    assert letter["Subject"].startswith("[REGRESSION] kexec: Change 2 <&>: splat WARN")
    body = letter.get_content()
    assert f"\n#regzbot introduced: {culprit[:12]}\n" in body
    assert f'\nFixes: {culprit[:12]} ("kexec: Change 2 <&>")\n' in body
    assert "v6.11" in body
    assert "2 of 2 runs failed" in body
    assert "0.9871" in body
    assert "git bisect start" in body


def test_mail_of_an_answer_that_is_not_sure(ended: tuple[State, Path, Range]) -> None:
    """It blames no commit, and tells the tracker nothing."""
    state, folder, span = ended
    answer = state.answer
    assert answer is not None
    answer.ending = Ending.UNSURE
    report.write(state, folder, span)
    letter = (folder / "mail.eml").read_text()
    assert "Bisection is not sure" in letter
    for wrong in ("Bisection ends at", "#regzbot", "Fixes:", "[REGRESSION] kexec: Change 2"):
        assert wrong not in letter


def test_without_get_maintainer_the_author_is_asked(
    ended: tuple[State, Path, Range], tree: Path
) -> None:
    (tree / "scripts" / "get_maintainer.pl").unlink()
    state, _, _ = ended
    assert state.answer is not None
    who = mail.people(tree, state.answer.commits[0])
    assert [entry.rpartition("<")[2] for entry in who.to] == ["bob@example.org>"]


def test_report_of_ends_that_are_wrong(ended: tuple[State, Path, Range]) -> None:
    state, folder, span = ended
    state.answer = Answer(ending=Ending.BAD_PASSES, text="the bad end passes")
    state.steps = []
    text = report.write(state, folder, span).read_text()
    assert "the bad end passes" in text
    assert not (folder / "mail.eml").exists()


# --- the command line ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tree", "TREE", "nothing", "HEAD", "--", "x"], "has no commit 'nothing'"),
        (["--tree", "TREE", "HEAD", "HEAD~0", "--", "x"], "are the same commit"),
        (["--tree", "TREE", "HEAD", "HEAD~1", "--", "x"], "wrong way round"),
        (["--tree", "TREE", "HEAD~1", "HEAD"], "what is to be run is missing"),
        (["--tree", "/nowhere", "a", "b", "--", "x"], "/nowhere is no git tree"),
        (["--tree", "TREE", "--fix", "/no.patch", "HEAD~1", "HEAD", "--", "x"], "/no.patch"),
        (["--resume", "/nowhere"], "is no bisection"),
        (["HEAD~1", "HEAD", "--", "x"], "--tree"),
        (["--tree", "TREE", "--confidnece", "0.9", "HEAD~1", "HEAD", "--", "x"], "--confidnece"),
    ],
)
def test_usage(tree: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    words = [str(tree) if word == "TREE" else word for word in arguments]
    run = CliRunner().invoke(cli, ["bisect", "--results", str(tmp_path / "results"), *words])
    said = f"{run.output} {run.exception}"
    assert message in said
    assert run.exit_code != 0


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--kernel", "linux-6.1"], "--kernel"),
        (["--first-parent", "--rarest", "0.3"], "--rarest, --first-parent"),
        (["HEAD~1"], "GOOD"),
        (["HEAD~1", "HEAD", "--", "x"], "GOOD, BAD, ARGUMENTS"),
    ],
)
def test_resume_refuses_what_may_not_change(
    ended: tuple[State, Path, Range], words: list[str], name: str
) -> None:
    state, folder, _ = ended
    state.save(folder)
    run = CliRunner().invoke(cli, ["bisect", "--resume", str(folder), *words])
    assert isinstance(run.exception, UsageError)
    said = run.exception.message.partition(": not with --resume")[0]
    assert sorted(said.split(", ")) == sorted(name.split(", "))


def test_resume_takes_how_sure_and_where(
    ended: tuple[State, Path, Range], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end that was not sure goes on with more runs, a cluster with another address."""
    state, folder, _ = ended
    revision = state.steps[0].revision
    why = "not decided after 60 runs"
    state.steps.insert(0, Step(revision=revision, word=Word.SKIP, why=why))
    state.save(folder)
    seen: list[State] = []

    def go(state: State, folder: Path, notify: object) -> Answer:
        seen.append(state)
        raise HarnessError("enough")

    monkeypatch.setattr(bisect_cli, "go", go)
    begin = ["bisect", "--resume", str(folder)]
    CliRunner().invoke(cli, begin)
    CliRunner().invoke(cli, [*begin, "--max-runs", "200", "--confidence", "0.99"])
    CliRunner().invoke(cli, [*begin, "--scheduler", "tcp://new:1", "--insecure"])
    same, surer, elsewhere = seen
    assert same == state
    assert (surer.settings.max_runs, surer.settings.confidence) == (200, 0.99)
    assert [step.why for step in surer.steps] == [step.why for step in state.steps[1:]]
    assert elsewhere.settings.scheduler == "tcp://new:1"
    assert (elsewhere.settings.parallel, elsewhere.settings.jobs) == (0, 1)


@pytest.mark.parametrize(
    ("reports", "signature", "code"),
    [
        ([Report(passed=True)], [], 0),
        ([Report(marks=["check a"])], [], 1),
        ([Report(marks=["check a"])], ["check a"], 1),
        # One failure alone is not blamed, unless it is the one that is sought.
        ([Report(marks=["check a"]), Report(passed=True)], [], 0),
        ([Report(marks=["check a"]), Report(passed=True)], ["check a"], 1),
        ([Report(marks=["check b"])], ["check a"], 125),
        ([Report(no_boot=True, marks=["hang"])], [], 125),
        ([Report(no_boot=True, marks=["hang"])], ["hang"], 1),
        ([Report(broken="QEMU is gone")], [], 205),
        ([Report(broken="QEMU is gone"), Report(passed=True)], [], 0),
    ],
)
def test_step_exit_codes(
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reports: list[Report],
    signature: list[str],
    code: int,
) -> None:
    """Git bisect run: 0 good, 1 bad, 125 skip, 128 and more stop."""
    left = list(reports)
    results = tmp_path / "results"

    def perform(task: Task) -> Done:
        assert Path(task.folder).parent == results / "bisect-step"
        return Done(task, report=left.pop(0) if len(left) > 1 else left[0])

    def build(settings: Settings, revision: str, *, slot: int) -> Build:
        return Build(revision=revision, ok=True, folder="kernel")

    monkeypatch.setattr(work, "perform", perform)
    monkeypatch.setattr(work, "build", build)
    monkeypatch.chdir(tree)
    words = [f"--results={results}", *(f"--signature={mark}" for mark in signature)]
    run = CliRunner().invoke(cli, ["bisect-step", *words, "--", "x"], standalone_mode=False)
    assert (run.return_value, run.exception) == (code, None)


@pytest.mark.parametrize(
    ("words", "env", "code", "said"),
    [
        (["--confidence", "2"], {}, 202, "--confidence"),
        (["--rat", "0.3"], {}, 202, "--rat"),
        (["--tree", "/nowhere"], {}, 202, "/nowhere is no git tree"),
        ([], {"KSPAWN_HOME": "/dev/null/full"}, 203, "Not a directory"),
        ([], {"PYTHONPATH": "BROKEN"}, 205, "half installed"),
    ],
)
def test_a_step_that_breaks_blames_no_commit(
    tree: Path, tmp_path: Path, words: list[str], env: dict[str, str], code: int, said: str
) -> None:
    """What git sees: an error is no verdict on the commit."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "click.py").write_text("raise RuntimeError('half installed')\n")
    path = f"{tmp_path / 'broken'}:{ROOT}" if "PYTHONPATH" in env else str(ROOT)
    done = subprocess.run(
        [sys.executable, "-m", "harness", "bisect-step", *words, "--", "x"],
        cwd=tree,
        env=os.environ | env | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_a_step_whose_output_nobody_reads_blames_no_commit(tree: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "harness", "bisect-step", "--tree", "/nowhere", "--", "x"],
            cwd=tree,
            # Buffered, as it is for users: what is left of it is flushed at the end.
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
            stderr=nobody,
            check=False,
        )
    assert done.returncode >= 200


def test_a_step_writes_nothing_into_the_tree(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no other place is given, the logs go to the checkout of kspawn."""
    folders = []

    def perform(task: Task) -> Done:
        folders.append(Path(task.folder))
        return Done(task, report=Report(passed=True))

    def build(settings: Settings, revision: str, *, slot: int) -> Build:
        return Build(revision=revision, ok=True, folder="kernel")

    monkeypatch.setattr(work, "perform", perform)
    monkeypatch.setattr(work, "build", build)
    monkeypatch.chdir(tree)
    run = CliRunner().invoke(cli, ["bisect-step", "--", "x"], standalone_mode=False)
    assert run.return_value == 0
    assert [folder.parent for folder in folders] == [ROOT / "results" / "bisect-step"]
    assert "bisect-step" in run.output


def test_step_that_does_not_build_is_skipped(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(settings: Settings, revision: str, *, slot: int) -> Build:
        return Build(revision=revision, ok=False, error="no ;")

    monkeypatch.setattr(work, "build", build)
    run = CliRunner().invoke(
        cli, ["bisect-step", "--tree", str(tree), "--", "x"], standalone_mode=False
    )
    assert run.return_value == 125


def test_step_with_a_rate_runs_until_it_is_sure() -> None:
    assert command.bad_probability(0, 1, None) < 0.05
    assert command.bad_probability(0, 1, 0.33) > 0.05
    enough = next(n for n in range(99) if command.bad_probability(0, n, 0.33) <= 0.05)
    # 0.67^8 = 0.04, against even odds.
    assert enough == 8
    assert command.bad_probability(1, 7, 0.33) > 0.8


# --- what is done, and by whom --------------------------------------------------------


def settings(tree: Path) -> Settings:
    return Settings(tree=str(tree), good=["g"], bad="b", arguments=[])


def test_work_tree_follows_revisions_and_keeps_times(
    ended: tuple[State, Path, Range], tmp_path: Path
) -> None:
    _, _, span = ended
    place = tmp_path / "work" / "linux-0"
    work.check_out(span.tree, place, span.bad)
    kept = (place / "scripts" / "get_maintainer.pl").stat().st_mtime_ns
    (place / "file").write_text("a patch that was tried")
    (place / "left-over").touch()
    work.check_out(span.tree, place, span.good[0])
    assert (place / "file").read_text() == "0\n"
    assert not (place / "left-over").exists()
    assert (place / "scripts" / "get_maintainer.pl").stat().st_mtime_ns == kept


def test_a_fix_is_tried_where_it_does_not_build(
    ended: tuple[State, Path, Range], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, span = ended
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    fix = tmp_path / "fix.patch"
    fix.write_text("--- a/file\n+++ b/file\n@@ -1 +1 @@\n-3\n+builds\n")
    wrong = tmp_path / "wrong.patch"
    wrong.write_text("--- a/file\n+++ b/file\n@@ -1 +1 @@\n-7\n+8\n")

    def make(given: Settings, place: Path, revision: str) -> Build:
        ok = (place / "file").read_text() == "builds\n"
        return Build(revision=revision, ok=ok, error="" if ok else "no ;")

    monkeypatch.setattr(work, "_make", make)
    chosen = settings(span.tree).model_copy(update={"fixes": [str(wrong), str(fix)]})
    built = work.build(chosen, span.bad, slot=0)
    assert built.ok
    assert built.fix == str(fix)
    assert (work.work_tree(chosen, 0) / "file").read_text() == "3\n", "and taken back"


def test_fixes_that_do_not_help_are_told(
    ended: tuple[State, Path, Range], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, span = ended
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    useless, wrong = tmp_path / "useless.patch", tmp_path / "wrong.patch"
    useless.write_text("--- a/file\n+++ b/file\n@@ -1 +1 @@\n-3\n+4\n")
    wrong.write_text("--- a/file\n+++ b/file\n@@ -1 +1 @@\n-7\n+8\n")

    def make(given: Settings, place: Path, revision: str) -> Build:
        return Build(revision=revision, ok=False, error=(place / "file").read_text().strip())

    monkeypatch.setattr(work, "_make", make)
    chosen = settings(span.tree).model_copy(update={"fixes": [str(wrong), str(useless)]})
    built = work.build(chosen, span.bad, slot=0)
    assert not built.ok
    assert built.error == "3; wrong.patch does not apply; with useless.patch: 4"


def test_a_work_tree_that_is_in_use_is_not_cleaned_up(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    said: list[str] = []

    def make(given: Settings, place: Path, revision: str) -> Build:
        cache.clean(notify=said.append)
        return Build(revision=revision, ok=(place / "file").exists())

    monkeypatch.setattr(work, "_make", make)
    assert work.build(settings(tree), "HEAD", slot=0).ok
    assert len(said) == 1
    assert said[0].endswith("is in use and stays")
    cache.clean(notify=said.append)
    assert not work.work_tree(settings(tree), 0).exists()


def test_a_revision_that_was_built_is_not_built_again(
    ended: tuple[State, Path, Range], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, span = ended
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))
    kernel, fragment = tmp_path / "kernel", tmp_path / "fragment"
    kernel.mkdir()
    made = []

    def make(given: Settings, place: Path, revision: str) -> Build:
        made.append((place / "file").read_text())
        (kernel / "bzImage").touch()
        return Build(revision=revision, ok=True, folder=str(kernel))

    monkeypatch.setattr(work, "_make", make)
    fragment.write_text("CONFIG_A=y\n")
    first = settings(span.tree).model_copy(update={"fragments": [str(fragment)]})
    for _ in range(2):
        assert work.build(first, span.bad, slot=0).folder == str(kernel)
    assert len(made) == 1
    work.build(first, span.good[0], slot=0)
    assert len(made) == 2, "another revision"
    fragment.write_text("CONFIG_A=n\n")
    work.build(first, span.bad, slot=0)
    assert len(made) == 3, "other options"
    (kernel / "bzImage").unlink()
    work.build(first, span.bad, slot=0)
    assert len(made) == 4, "dropped by the cache"


def test_a_full_disk_is_no_broken_revision(
    ended: tuple[State, Path, Range], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, span = ended
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))

    def build_tree(*arguments: object, **named: object) -> object:
        raise BuildError("it does not build: as: No space left on device")

    monkeypatch.setattr(tree_module, "build_tree", build_tree)
    done = work.perform(Task(settings(span.tree), span.bad, 0, str(tmp_path / "run")))
    assert done.build is None
    assert done.report is not None
    assert "No space left" in done.report.broken


def test_what_make_said_of_a_revision_is_kept(
    ended: tuple[State, Path, Range], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, span = ended
    monkeypatch.setenv("KSPAWN_HOME", str(tmp_path / "home"))

    def build_tree(place: Path, *arguments: object, **named: object) -> object:
        log = tree_module.build_log(place, "normal")
        log.parent.mkdir(exist_ok=True)
        log.write_text("CC x.o\nx.c:3: error: no ;\n")
        raise BuildError(
            f"{place.name} normal kernel does not build: x.c:3: error: no ;", hint=f"see {log}"
        )

    monkeypatch.setattr(tree_module, "build_tree", build_tree)
    done = work.perform(Task(settings(span.tree), span.bad, 0, str(tmp_path / "run")))
    assert done.build is not None
    assert done.build.error == "x.c:3: error: no ;"
    assert "CC x.o" in (tmp_path / "run" / "build.log").read_text()


def far_away(task: Task) -> Done:
    """A task whose first worker dies under it."""
    folder = Path(task.folder)
    mark = folder.parent / f"died-{task.slot}"
    if task.slot == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (folder.parent / f"done-{task.slot}-{os.getpid()}").touch()
    return Done(task, report=Report(passed=True), worker=str(os.getpid()))


def test_a_lost_worker_loses_nothing(tree: Path, tmp_path: Path) -> None:
    """A real scheduler with two workers; one is killed while it works."""
    import cloudpickle  # noqa: PLC0415
    from distributed import LocalCluster  # noqa: PLC0415

    cloudpickle.register_pickle_by_value(__import__(__name__))
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, Cluster(cluster.scheduler_address, perform=far_away) as remote:
        tasks = [Task(settings(tree), f"r{n}", n, str(tmp_path / f"run-{n}")) for n in range(4)]
        done = list(remote.work(tasks))
    assert sorted(one.task.slot for one in done) == [0, 1, 2, 3]
    assert (tmp_path / "died-1").exists()
    finished = [path.name.split("-")[1] for path in tmp_path.glob("done-*")]
    assert sorted(finished) == ["0", "1", "2", "3"], "none twice"


def test_no_scheduler_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_CONNECT_SECONDS", 1)
    with pytest.raises(PrerequisiteError, match="no Dask scheduler at tcp"):
        Cluster("tcp://127.0.0.1:1")


def test_logs_come_back_from_another_machine(tmp_path: Path, tree: Path) -> None:
    task = Task(settings(tree), "r", 0, str(tmp_path / "run"))
    Path(task.folder).mkdir()
    (Path(task.folder) / "pytest.log").write_text("1 passed")
    done = work.pack(Done(task))
    (Path(task.folder) / "pytest.log").unlink()
    Path(task.folder).rmdir()
    work.unpack(done)
    assert (Path(task.folder) / "pytest.log").read_text() == "1 passed"


def test_only_whole_cycles_are_read(tmp_path: Path) -> None:
    for name, way in (("cycle", "restricted"), ("test", BY_HAND)):
        (tmp_path / name).mkdir()
        Result(run=name, resume_path=way, exit_code=1).save(tmp_path / name / "result.json")
    assert [result.run for result in found.cycles(tmp_path)] == ["cycle"]
    (tmp_path / "test" / "result.json").write_text("{}")
    with pytest.raises(HarnessError, match="cannot be read: run"):
        found.cycles(tmp_path)
