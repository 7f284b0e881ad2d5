# SPDX-License-Identifier: GPL-2.0-only
"""What a night leaves, from a store with months of recorded nights."""

from __future__ import annotations

import io
import json
import random
import re
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import kcidb_io
import pytest
from markdown_it import MarkdownIt

from harness.base import archive
from harness.night import charts, outputs, site
from harness.night.grid import grid
from harness.night.history import History
from harness.night.matrix import Job
from harness.night.model import Attempt, Outcome, TestRun, Verdict
from harness.night.store import Night, Store

NIGHTS = 60
BROKEN_SINCE, GREEN = 57, 54
NASTY = "<script>alert(1)</script> & \x00 # ]]> 'quoted' ~~x~~ $y$"
FLAKY, REGRESSED, NEW, KNOWN = "test_tcp", "test_clock", "test_gdt", "test_known"
MACHINES = ("default", "smp2", "ram2g", "sata")
WAYS = ("restricted", "snapshot")
FILE = "test_suites/restricted/test_cycle.py::TestCycle::"


def record(path: Path, *, nights: int = NIGHTS, checks: int = 10) -> None:
    """Nights with a flaky test, a regression, a new failure, and trends.

    Args:
        path: The store.
        nights: How many.
        checks: Tests of each of the eight jobs.
    """
    chance = random.Random(7)
    names = [FLAKY, REGRESSED, NEW, KNOWN, *(f"test_check[witness.{i}]" for i in range(checks - 4))]
    began = datetime(2026, 9, 1, 1, 0, tzinfo=UTC)
    with Store(path) as store:
        for index in range(nights):
            start = began + timedelta(days=index)
            night = store.begin(
                name="nightly", folder=f"night-{index}", harness="c0ffee" * 5, started=start
            )
            codes = [
                _record_job(store, night, machine, way, names, index, nights, start, chance)
                for machine in MACHINES
                for way in WAYS
            ]
            bad = [code for code in codes if code not in (0, 6)]
            code = max(bad) if bad else max(codes)
            store.finish(night, code, when=start + timedelta(minutes=90 + index % 7))


def _record_job(
    store: Store,
    night: int,
    machine: str,
    way: str,
    names: list[str],
    index: int,
    nights: int,
    start: datetime,
    chance: random.Random,
) -> int:
    job = Job(
        kernel="linux-6.12",
        vm_config=machine,
        way=way,
        suite="restricted",
        path="test_suites/restricted",
    )
    key = f"{machine}-{way}-{index}"
    store.add_jobs(night, [(key, job, {"normal": "0123", "release": "6.12.117"})])
    first = Attempt(job=key, number=0, exit_code=0, started=start, seconds=50, host="builder-1")
    first.folder = f"{machine}-{way}/0"
    first.figures = {
        "seconds": 30 + index / 4 + chance.random() * 3,
        "seconds.save": 4 + chance.random(),
        "seconds.restore": 5 + chance.random(),
        "image.stored": (60 + (index // 20) * 15) * float(1 << 20),
    }
    left = nights - index
    for name in names:
        outcome, message = Outcome.PASSED, ""
        if name == KNOWN:
            outcome, message = Outcome.XFAILED, "fixed by 2cacf7f23a02"
        elif name == REGRESSED and machine == "smp2" and left <= NIGHTS - BROKEN_SINCE:
            outcome, message = Outcome.FAILED, NASTY
        elif name == NEW and machine == "ram2g" and left == 1:
            outcome, message = Outcome.FAILED, "GDT limit is 0"
        elif (
            name == FLAKY
            and machine == "sata"
            and left != NIGHTS - GREEN
            and (chance.random() < 0.2 or left == 1)
        ):
            outcome, message = Outcome.FAILED, "connection reset"
        run = TestRun(name=FILE + name, outcome=outcome)
        run.message, run.seconds = message, round(chance.random(), 3)
        run.exit_code, run.detail = int(bool(outcome.bad)), f"E  {message}" if outcome.bad else ""
        first.tests.append(run)
    first.exit_code = int(bool(first.bad))
    store.add_attempt(night, first)
    if not first.bad:
        return 0
    again = Attempt(job=key, number=1, exit_code=0, started=start, seconds=20, host="builder-2")
    for run in first.bad:
        found = run.model_copy()
        if FLAKY in run.name:
            found.outcome, found.exit_code, found.message, found.detail = Outcome.PASSED, 0, "", ""
        again.tests.append(found)
    again.exit_code = int(bool(again.bad))
    store.add_attempt(night, again)
    return again.exit_code or 6


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("store") / "night.sqlite"
    record(path)
    return Store(path)


@pytest.fixture(scope="module")
def history(recorded: Store) -> History:
    return History(recorded, "nightly")


@pytest.fixture(scope="module")
def latest(history: History) -> Night:
    return history.latest


@pytest.fixture(scope="module")
def pages(recorded: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("site")
    site.write(recorded, folder, runs=folder)
    return {path.name: path.read_text() for path in folder.glob("*.html")}


# --- History -----------------------------------------------------------------------


def test_rate_counts_the_nights_that_could_pass(history: History) -> None:
    title = "linux-6.12 · restricted · sata · restricted"
    name = FILE + FLAKY
    entries = history.tests[title, name].entries.values()
    flaky = sum(entry.verdict is Verdict.FLAKY for entry in entries)
    rate = history.tests[title, name].rate
    assert (rate.failures, rate.runs) == (flaky, NIGHTS + flaky)
    assert 0.05 < rate.value < 0.35
    # A regression is not a flake: its red nights are no runs of a test that can pass.
    broken = history.tests[
        "linux-6.12 · restricted · smp2 · restricted", name.replace(FLAKY, REGRESSED)
    ]
    assert (broken.rate.failures, broken.rate.runs) == (0, BROKEN_SINCE)


def test_new_failures_come_first_with_their_first_night(history: History, latest: Night) -> None:
    failures = history.failures(latest)
    names = [failure.result.name.rpartition("::")[2] for failure in failures]
    assert names == [NEW] * 2 + [REGRESSED] * 2
    assert [history.nights.index(failure.since) for failure in failures] == [
        *(NIGHTS - 1, NIGHTS - 1, BROKEN_SINCE, BROKEN_SINCE)
    ]
    assert {failure.before for failure in failures} == {Verdict.PASSED}
    green = history.green_before(latest)
    assert green is not None
    assert green.id <= history.nights[BROKEN_SINCE - 1].id
    assert green.exit_code == 0


# --- JUnit, KTAP, KCIDB ------------------------------------------------------------


def test_junit(history: History, latest: Night) -> None:
    root = ET.fromstring(outputs.junit(history, latest))
    suites = root.findall("testsuite")
    assert len(suites) == len(MACHINES) * len(WAYS)
    cases = root.findall("testsuite/testcase")
    assert len(cases) == 80
    failures = [failure.get("type", "") for case in cases for failure in case.findall("failure")]
    assert sorted(failures) == ["failed"] * 4 + ["flaky"] * 2
    assert root.get("failures") == "6"
    assert root.get("tests") == "80"
    flaky = next(f for c in cases for f in c.findall("failure") if f.get("type") == "flaky")
    words = r"flaky: failed in 1 of 2 runs of this night, in all \d+ %"
    assert re.search(words, flaky.get("message", ""))
    assert len(root.findall(".//skipped[@type='xfail']")) == 8


def read_ktap(text: str) -> dict[str, Any]:
    """A strict reader of KTAP, after Documentation/dev-tools/ktap.rst."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert lines[0] == "KTAP version 1"
    plan = re.fullmatch(r"1\.\.(\d+)", lines[1])
    assert plan
    found: dict[str, Any] = {}
    nested: list[str] = []
    number = 0
    for line in lines[2:]:
        if line.startswith("  "):
            nested.append(line[2:])
            continue
        result = re.fullmatch(r"(not ok|ok) (\d+) ([^#]+?)(?: # (SKIP|XFAIL)(?: .*)?)?", line)
        assert result, line
        number += 1
        assert int(result[2]) == number
        below = read_ktap("\n".join(nested)) if nested else None
        found[result[3]] = (result[1] == "ok", result[4], below)
        nested = []
    assert number == int(plan[1])
    return found


def test_ktap(history: History, latest: Night) -> None:
    found = read_ktap(outputs.ktap(history, latest))
    assert len(found) == 8
    assert not found["linux-6.12/restricted/smp2/snapshot"][0]
    fine, _, tests = found["linux-6.12/restricted/default/restricted"]
    assert fine
    assert tests[FILE + KNOWN] == (True, "XFAIL", None)
    # Flaky is not ok.
    assert not found["linux-6.12/restricted/sata/restricted"][2][FILE + FLAKY][0]


def test_kcidb(history: History, latest: Night, recorded: Store) -> None:
    data = outputs.kcidb(history, latest, recorded.jobs(latest.id), origin="kspawn")
    schema = kcidb_io.schema.LATEST
    # Through JSON, and with the formats (dates) looked at too.
    jsonschema.validate(
        json.loads(json.dumps(data)),
        schema.json,
        format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER,
    )
    assert [len(data[what]) for what in ("checkouts", "builds")] == [1, 1]
    # A flaky test is there twice: once it failed, once it passed.
    flaky = [test for test in data["tests"] if FLAKY in test["path"] and "sata" in test["id"]]
    assert sorted(test["status"] for test in flaky) == ["FAIL", "FAIL", "PASS", "PASS"]
    assert all(test["misc"]["verdict"] == "flaky" for test in flaky)
    assert len({test["id"] for test in data["tests"]}) == len(data["tests"]) == 80 + 6
    builds = {build["id"] for build in data["builds"]}
    assert {test["build_id"] for test in data["tests"]} <= builds


def test_control_the_schema_refuses_a_wrong_status(history: History, recorded: Store) -> None:
    data = outputs.kcidb(history, history.latest, recorded.jobs(history.latest.id), origin="kspawn")
    data["tests"][0]["status"] = "GREEN"
    with pytest.raises(jsonschema.ValidationError):
        kcidb_io.schema.LATEST.validate(data)


# --- Pages ---------------------------------------------------------------------------


class Reader(HTMLParser):
    """Collects what a page refers to, and that its elements nest."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert not {"src", "srcset", "onclick"} & set(values), values
        assert tag not in ("script", "link", "iframe", "object")
        if "href" in values:
            self.links.append(values["href"] or "")
        if "id" in values:
            assert values["id"] not in self.ids
            self.ids.add(values["id"] or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_pages_are_whole_and_ask_for_nothing(pages: dict[str, str]) -> None:
    readers = {name: read(text) for name, text in pages.items()}
    assert len([name for name in pages if "-night-" in name]) == NIGHTS
    for name, reader in readers.items():
        for link in reader.links:
            page, _, anchor = link.partition("#")
            target = readers[page or name]
            assert not anchor or anchor in target.ids, link
    text = "".join(pages.values())
    assert "url(" not in text
    assert "http" not in re.sub(r"http-equiv", "", text)


def test_latest_night_says_what_matters_first(pages: dict[str, str]) -> None:
    text = pages["index.html"]
    assert text == pages["nightly.html"]
    places = [
        text.index(part)
        for part in (">✗ failed<", "New failures since the last green night", NEW, REGRESSED)
    ]
    places += [text.index(part) for part in ('id="flaky"', FLAKY, 'id="jobs"', 'id="known"')]
    assert places[:3] == sorted(places[:3])
    assert places[3] < places[4]
    assert NASTY.partition(" ")[0] not in text
    assert re.search(r"\d+ % \(\d+ of \d+ runs", text)


def test_a_page_for_each_test_with_a_story(pages: dict[str, str]) -> None:
    stories = [name for name in pages if "-test-" in name]
    # Known ones everywhere; flaky, regressed and new ones by each way on one machine.
    assert len(stories) == 8 + 2 + 2 + 2


def test_trends(pages: dict[str, str]) -> None:
    text = pages["nightly-trends.html"]
    assert text.count("<figure") == 1 + 8 * 4
    assert "image, stored" in text
    assert re.search(r"\+\d+ % against the median", text)


def test_a_chart_leaves_gaps_and_takes_one_night(history: History) -> None:
    dates = [night.started for night in history.nights[:5]]
    made = charts.chart("x", dates, [1.0, 2.0, None, 3.0, 4.0], "s")
    assert made is not None
    assert [len(line.split()) for line in made.lines] == [2, 2]
    single = charts.chart("x", dates[:1], [3.0], "s")
    assert single is not None
    assert (single.lines, len(single.dots)) == ((), 1)
    assert charts.chart("x", dates, [None] * 5, "s") is None


@pytest.mark.parametrize(("nights", "checks"), [(1, 5), (2, 4)])
def test_the_first_nights(tmp_path: Path, nights: int, checks: int) -> None:
    record(tmp_path / "n.sqlite", nights=nights, checks=checks)
    with Store(tmp_path / "n.sqlite") as store:
        page = site.write(store, tmp_path / "site", runs=tmp_path)
        read(page.read_text())
        assert "No earlier night was green" in page.read_text()


def test_a_folder_goes_through_an_archive_and_nothing_leaves_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "log").write_text("said")
    archive.unpack(archive.pack(tmp_path / "a"), tmp_path / "c")
    assert (tmp_path / "c" / "b" / "log").read_text() == "said"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("../outside")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    archive.unpack(buffer.getvalue(), tmp_path / "d")
    assert not (tmp_path / "outside").exists()


def test_a_job_that_broke_is_told_beside_its_failed_tests(tmp_path: Path) -> None:
    with Store(tmp_path / "night.sqlite") as store:
        night = store.begin(name="broke", folder="broke", harness="c0ffee" * 5)
        job = Job(kernel="linux-6.12", suite="x", path="x")
        store.add_jobs(night, [("key", job, {"release": "1"})])
        attempt = Attempt(job="key", number=0, exit_code=5, reason="it did not end within 5 s")
        attempt.tests.append(TestRun(name="x.py::a", outcome=Outcome.FAILED, exit_code=1))
        store.add_attempt(night, attempt)
        store.finish(night, 5)
        history = History(store, "broke")
        root = ET.fromstring(outputs.junit(history, history.latest))
        errors = root.findall("testsuite/testcase/error")
        assert [error.get("message") for error in errors] == [attempt.reason]
        data = outputs.kcidb(history, history.latest, store.jobs(night), origin="kspawn")
        assert [test["status"] for test in data["tests"]] == ["FAIL", "ERROR"]
        assert data["tests"][1]["comment"] == attempt.reason


def test_cases_of_ktap_are_in_all_that_a_night_leaves(tmp_path: Path) -> None:
    names = ("k.py::test_kunit", "k.py::test_kunit::resource.test_union")
    with Store(tmp_path / "night.sqlite") as store:
        night = store.begin(name="cases", folder="cases", harness="c0ffee" * 5)
        job = Job(kernel="linux-6.12", suite="kernel_selftests", path="k.py")
        store.add_jobs(night, [("key", job, {"release": "1"})])
        tests = [TestRun(name=name, outcome=Outcome.FAILED, exit_code=1) for name in names]
        store.add_attempt(night, Attempt(job="key", number=0, exit_code=1, tests=tests))
        store.finish(night, 1)
        history = History(store, "cases")
        root = ET.fromstring(outputs.junit(history, history.latest))
        found = [case.get("name") for case in root.findall("testsuite/testcase")]
        assert found == [name.partition("::")[2] for name in names]
        (below,) = [
            lines for _, _, lines in read_ktap(outputs.ktap(history, history.latest)).values()
        ]
        assert list(below) == list(names)
        data = outputs.kcidb(history, history.latest, store.jobs(night), origin="kspawn")
        assert [test["path"] for test in data["tests"]] == [
            "kspawn.kernel_selftests.test_kunit",
            "kspawn.kernel_selftests.test_kunit.resource_test_union",
        ]
        site.write(store, tmp_path / "site", runs=tmp_path)
        assert names[1] in (tmp_path / "site" / "index.html").read_text()


# --- By kernel ------------------------------------------------------------------------


@pytest.fixture
def two_kernels(tmp_path: Path) -> Iterator[Store]:
    """A night on two kernels: an expected failure, a failure, and a job on one of them only."""
    outcomes = {
        ("linux-6.12", "plain_jump"): Outcome.PASSED,
        ("linux-6.1", "plain_jump"): Outcome.FAILED,
        ("linux-6.12", "kexec_tools"): Outcome.XFAILED,
    }
    with Store(tmp_path / "night.sqlite") as store:
        night = store.begin(name="two", folder="two", harness="c0ffee" * 5)
        jobs = [
            Job(kernel=kernel, suite=suite, path=suite, ignores=("way", "vm-config"))
            for kernel, suite in outcomes
        ]
        store.add_jobs(night, [(job.title, job, {"release": "1"}) for job in jobs])
        for job, outcome in zip(jobs, outcomes.values(), strict=True):
            run = TestRun(name="test_a.py::test_a", outcome=outcome)
            run.message, run.exit_code = NASTY, int(outcome.bad)
            attempt = Attempt(job=job.title, number=0, exit_code=run.exit_code)
            attempt.tests.append(run)
            store.add_attempt(night, attempt)
        store.finish(night, 1, when=datetime.now(UTC))
        yield store


def test_a_night_by_kernel(two_kernels: Store, tmp_path: Path) -> None:
    history = History(two_kernels, "two")
    found = grid(list(history.jobs[history.latest.id].values()))
    assert found is not None
    assert found.columns == ("linux-6.12", "linux-6.1")
    words = {what: [cell.words for cell in cells] for what, cells in found.rows}
    assert words == {
        "plain_jump": ["passed", "failed"],
        "kexec_tools": ["passed, 1 expected failure", ""],
    }
    site.write(two_kernels, tmp_path / "site", runs=tmp_path)
    text = (tmp_path / "site" / "index.html").read_text()
    reader = read(text)
    assert "not run" in reader.words
    targets = [link[1:] for link in reader.links if link.startswith("#")]
    assert len(targets) == 3
    assert set(targets) <= reader.ids


def test_one_kernel_needs_no_table(history: History, latest: Night) -> None:
    assert grid(list(history.jobs[latest.id].values())) is None
    assert "|" not in outputs.summary(history, latest).replace("\\|", "")


def test_the_summary_is_markdown_and_nothing_in_it_is_markup(two_kernels: Store) -> None:
    history = History(two_kernels, "two")
    text = outputs.summary(history, history.latest)
    page = read(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))
    said = " ".join(" ".join(page.words).split())
    # What the guest said, as it said it, but for what no text file holds.
    assert " ".join(NASTY.replace("\x00", "").split()) in said
    assert "2 passed, 1 failed of 3 jobs" in said
    cells = [word for word in page.words if word.strip()]
    assert cells[-9:] == [
        *("job", "linux-6.12", "linux-6.1"),
        *("plain_jump", "passed", "failed"),
        *("kexec_tools", "passed, 1 expected failure", "not run"),
    ]
