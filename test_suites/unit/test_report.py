# SPDX-License-Identifier: GPL-2.0-only
"""The report: what must be in it, what must not, and whether its drawings tell the truth."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.base.errors import ExitCode
from harness.record.result import (
    BY_HAND,
    Accelerator,
    Check,
    Complaint,
    ComplaintKind,
    ImageInfo,
    KernelInfo,
    LogFile,
    MemoryMap,
    Range,
    Result,
    Splat,
    SplatKind,
    Verdict,
)
from harness.record.timeline import Event, Phase
from harness.report import memorychart, report, timechart
from harness.report.frame import CHARACTER, NARROW, WIDE, Frame
from harness.report.page import MIB, csp_hash
from test_suites.unit.pages import Element, Page

FRAMES = pytest.mark.parametrize("frame", [WIDE, NARROW], ids=lambda f: f.name)
ATTACK = """</pre><script>alert("1")</script><img src=x onerror=alert(1)>"'&amp;"""
IO_ERROR = Complaint(
    kind=ComplaintKind.IO,
    title="I/O error, dev vda, sector 9",
    log="1-normal.log",
    log_line=7,
    count=3,
)


def phase(
    name: str, boot: int, kernel: str, start: float, seconds: float, outcome: str = "ok"
) -> Phase:
    return Phase(name=name, boot=boot, kernel=kernel, start=start, seconds=seconds, outcome=outcome)


def memory(ram: int = 512 * MIB) -> MemoryMap:
    ranges = [
        (0x1000, 0x9FC00, "System RAM"),
        (0x9FC00, MIB, "reserved"),
        (MIB, ram, "System RAM"),
        (0x1000, 0x9FC00, "spawned"),
        (MIB, 16 * MIB, "spawned"),
        (40 * MIB, 56 * MIB, "backup"),
        (16 * MIB, 128 * MIB, "saved"),
        (128 * MIB, 192 * MIB, "zero"),
        (192 * MIB, ram, "free"),
    ]
    return MemoryMap(ram_bytes=ram, ranges=[Range(start=a, end=b, what=w) for a, b, w in ranges])


def passed() -> Result:
    """A run with the figures that were measured first."""
    return Result(
        run="a-run",
        started=datetime(2025, 11, 22, 14, 50, 44, tzinfo=UTC),
        seconds=24.6,
        verdict=Verdict.PASSED,
        exit_code=0,
        cpus=2,
        vm_config="smp2",
        kernels=[
            KernelInfo(
                role=role,
                name="linux-6.12",
                release=f"6.12.117-{role}",
                config_hash=digit * 64,
                build_hash=digit.upper() * 64,
            )
            for role, digit in (("normal", "a"), ("spawned", "b"))
        ],
        accelerator=Accelerator(name="tcg", reason="a tiny guest did not run under KVM"),
        jump_command="LINUX_REBOOT_CMD_KSPAWN",
        phases=[
            phase("prepare", 0, "host", 0, 1.2),
            phase("boot", 1, "normal", 1.2, 2.9),
            phase("spawn", 1, "normal", 4.1, 2.7),
            phase("save", 1, "hibernating", 6.8, 3.8),
            phase("boot resuming", 2, "resuming", 11.2, 2.0),
            phase("restore", 2, "resuming", 13.2, 4.8),
            phase("jump back", 2, "normal", 18.0, 0.5),
        ],
        events=[
            Event(name="userland ready", at=4.1),
            Event(name="image valid", at=10.5, detail="after the last sync"),
            Event(name="processes run again", at=18.5),
        ],
        image=ImageInfo(
            file_bytes=124 * MIB,
            stored_bytes=112 * MIB,
            zero_bytes=64 * MIB,
            free_bytes=320 * MIB,
            ram_bytes=496 * MIB,
            segments=3,
        ),
        memory_map=memory(),
        checks=[
            Check(name="witness.anonymous-memory", ok=True, detail="64 MiB as written"),
            Check(name="witness.pipe", ok=True, detail="4,096 bytes arrived"),
            Check(name="boot-id.normal-same", ok=True),
        ],
    )


def failed() -> Result:
    result = passed()
    result.verdict, result.exit_code = Verdict.FAILED, 4
    result.reason = "the normal kernel panicked after the jump back"
    result.phases[-1].outcome = "KernelCrashError"
    result.checks[1] = Check(name="witness.pipe", ok=False, detail="17 bytes are missing")
    result.log_tail = "[    4.2] the very last line"
    result.splats = [
        Splat(
            kind=SplatKind.PANIC,
            title="Kernel panic - not syncing: Fatal exception",
            file="arch/x86/power/cpu.c",
            line=196,
            function="restore_processor_state",
            log="1-normal.log",
            log_line=3,
            text="first of the splat\nsecond of the splat",
        ),
        Splat(kind=SplatKind.WARN, title="a warning that is known", expected=True),
    ]
    return result


def page_of(result: Result, folder: Path) -> Element:
    return Page(report.write_report(result, folder).read_text(encoding="utf-8")).root


def section(page: Element, name: str) -> Element:
    return next(s for s in page.all("section") if s.attributes["aria-labelledby"] == name)


def test_header_has_the_facts(tmp_path: Path) -> None:
    header = page_of(passed(), tmp_path).all("header")[0]
    assert header.all(css="badge")[0].text.split() == ["✓", "passed"]
    for fact in (
        "a-run",
        "2025-11-22 14:50:44 UTC",
        "24.6 s",
        "smp2",
        "512 MiB",
        "2 CPUs",
        "tcg",
        "a tiny guest did not run under KVM",
        "LINUX_REBOOT_CMD_KSPAWN",
        "restricted",
        "6.12.117-normal",
        "6.12.117-spawned",
        "3 of 3 ok",
    ):
        assert fact in header.text, fact
    hashes = {c.attributes.get("title") for c in header.all("code")}
    assert {"a" * 64, "A" * 64, "b" * 64, "B" * 64} <= hashes


def test_passed_run_has_no_failure_section(tmp_path: Path) -> None:
    page = page_of(passed(), tmp_path)
    assert not page.all(css="what-failed")
    assert not page.all(css="failed")
    assert not page.all(css="bad")


def test_failure_says_why_before_all_else(tmp_path: Path) -> None:
    page = page_of(failed(), tmp_path)
    assert page.all(css="badge")[0].text.split() == ["✗", "failed"]
    assert "the normal kernel panicked after the jump back" in page.all("header")[0].text
    assert "a kernel crashed or hung" in page.all("header")[0].text
    first = page.all("section")[0]
    assert first.attributes["class"] == "what-failed"
    places = [
        first.text.index(text)
        for text in ("17 bytes are missing", "Fatal exception", "the very last line")
    ]
    assert places == sorted(places)
    assert "KernelCrashError" in first.text
    assert "64 MiB as written" not in first.text  # a check that holds
    assert "a warning that is known" not in first.text  # an expected splat


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"splats": [Splat(kind=SplatKind.BUG, title="x")]}, "unexpected splats: 1"),
        ({"complaints": [IO_ERROR]}, "unexpected complaints: 1"),
        ({"checks": [Check(name="a", ok=False)]}, "failed checks: 1"),
        ({"checks": []}, "no check was recorded"),
        ({"exit_code": 5}, "exit code 5"),
        ({"phases": [phase("save", 1, "normal", 0, 1, "LostVMError")]}, "did not end well: 1"),
    ],
)
def test_result_that_denies_its_verdict_never_looks_clean(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    page = page_of(passed().model_copy(update=change), tmp_path)
    assert page.all(css="doubt")
    assert not page.all("div", "passed")
    assert says in page.all("header")[0].text
    assert page.all(css="what-failed")


@pytest.mark.parametrize("result", [passed(), failed(), Result(run="partial")])
def test_page_asks_for_nothing_and_is_consistent(tmp_path: Path, result: Result) -> None:
    page = page_of(result, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    elements = page.all()
    assert not [e for e in elements if e.tag in {"link", "img", "iframe", "object", "base"}]
    identifiers = [e.attributes["id"] for e in elements if "id" in e.attributes]
    assert len(identifiers) == len(set(identifiers))
    for element in elements:
        assert not {"src", "srcset", "style"} & element.attributes.keys()
        assert not [name for name in element.attributes if name.startswith("on")]
        if "href" in element.attributes:
            assert element.attributes["href"][0] == "#"
            assert element.attributes["href"][1:] in identifiers
        if "aria-labelledby" in element.attributes:
            assert element.attributes["aria-labelledby"] in identifiers
    for svg in page.all("svg"):
        hidden = svg.attributes.get("aria-hidden") == "true"
        assert hidden or svg.attributes["aria-label"]


@FRAMES
def test_every_shape_is_within_its_drawing(tmp_path: Path, frame: Frame) -> None:
    drawings = page_of(failed(), tmp_path).all("svg", frame.name)
    assert len(drawings) == 2
    for svg in drawings:
        _, _, width, height = map(float, svg.attributes["viewbox"].split())
        for rect in svg.all("rect"):
            x, y, w, h = (rect.number(n) for n in ("x", "y", "width", "height"))
            assert x >= 0 and y >= 0 and x + w <= width + 0.1 and y + h <= height + 0.1
        for text in svg.all("text"):
            assert 0 <= text.number("x") <= width
            assert 0 <= text.number("y") <= height


def test_only_script_is_the_one_that_the_policy_names(tmp_path: Path) -> None:
    page = page_of(failed(), tmp_path)
    (script,) = page.all("script")
    policy = next(m for m in page.all("meta") if "http-equiv" in m.attributes).attributes["content"]
    assert "default-src 'none'" in policy
    assert f"script-src '{csp_hash(script.text)}'" in policy


def test_hostile_text_is_only_text_wherever_it_is(tmp_path: Path) -> None:
    result = failed()
    result.run = result.reason = result.log_tail = result.vm_config = ATTACK
    result.jump_command = result.resume_path = ATTACK
    result.accelerator = Accelerator(name=ATTACK, reason=ATTACK)
    result.kernels[0].config_hash = result.kernels[0].release = ATTACK
    result.phases[1].name = result.phases[1].kernel = result.phases[1].outcome = ATTACK
    result.events[0].name = result.events[0].detail = ATTACK
    result.checks[0].name = result.checks[0].detail = f"{ATTACK}.{ATTACK}"
    result.splats[0].title = result.splats[0].text = result.splats[0].function = ATTACK
    assert result.memory_map
    result.memory_map.ranges[2].what = ATTACK
    (tmp_path / "x.log").write_text(ATTACK)
    result.logs = [LogFile(path="x.log", kernel=ATTACK, boot=1)]
    page = page_of(result, tmp_path)
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert ATTACK in section(page, "logs").text
    assert ATTACK in page.all("h1")[0].text


def test_arbitrary_bytes_of_a_log_become_visible(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(
        b"\x1bc\x1b[31mred\x1b[0m\r\nnul \x00 bell \x07 bad \xff rtl \xe2\x80\xae end\r\n\xc3\xa9"
    )
    result = passed()
    result.logs = [LogFile(path="x.log", kernel="normal", boot=1)]
    logs = section(page_of(result, tmp_path), "logs").text
    assert "^[cred\nnul ^@ bell ^G bad \\xff rtl \\u202e end\né\n" in logs
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_every_check_phase_event_and_splat_appears(tmp_path: Path) -> None:
    result = failed()
    page = page_of(result, tmp_path)
    rows = {
        tuple(" ".join(cell.text.split()) for cell in row.children)
        for row in section(page, "checks").all("tr")
    }
    assert ("✓ ok", "witness.anonymous-memory", "64 MiB as written") in rows
    assert ("✗ failed", "witness.pipe", "17 bytes are missing") in rows
    assert ("✓ ok", "boot-id.normal-same", "") in rows
    summaries = [" ".join(s.text.split()) for s in section(page, "checks").all("summary")]
    assert summaries == ["witness ✗ 1 of 2 ok", "boot-id ✓ 1 of 1 ok"]
    table = [[c.text for c in row.children] for row in section(page, "timeline").all("tr")]
    for item in result.phases:
        assert any(row[0] == item.name and f"{item.seconds:.2f} s" in row for row in table)
    assert any("✗ KernelCrashError" in row for row in table)
    for event in result.events:
        assert [f"{event.at:.2f} s", event.name, event.detail] in table
    splats = section(page, "splats").all("article")
    assert [s.attributes["class"] for s in splats] == ["splat unexpected", "splat expected"]
    assert "panic" in splats[0].text
    assert "arch/x86/power/cpu.c:196" in splats[0].text
    assert "restore_processor_state()" in splats[0].text
    assert "second of the splat" in splats[0].text


def test_complaints_are_listed(tmp_path: Path) -> None:
    result = passed()
    tolerated = IO_ERROR.model_copy(update={"title": "tsc", "tolerated": "the host is busy"})
    result.complaints = [tolerated, IO_ERROR]
    rows = section(page_of(result, tmp_path), "complaints").all("tr")
    assert [[cell.text for cell in row.children] for row in rows[1:]] == [
        ["✗ unexpected", "I/O error", "1-normal.log, line 7", "3", "I/O error, dev vda, sector 9"],
        ["tolerated", "I/O error", "1-normal.log, line 7", "3", "tsc the host is busy"],
    ]
    result.complaints = []
    assert "No log was left" in section(page_of(result, tmp_path), "complaints").text


@FRAMES
def test_bars_are_proportional_to_seconds(tmp_path: Path, frame: Frame) -> None:
    result = failed()
    svg = section(page_of(result, tmp_path), "timeline").all("svg", frame.name)[0]
    scale = (frame.right - frame.left) / 18.5
    bars = {
        b.all("title")[0].text.split(",")[0]: b
        for b in svg.all("g", "bar")
        if "role-off" not in b.attributes["class"]
    }
    assert bars.keys() == {p.name for p in result.phases}
    for item in result.phases:
        bar = bars[item.name]
        rect = bar.all("rect")[0]
        assert rect.number("x") == pytest.approx(frame.left + item.start * scale, abs=0.02)
        assert rect.number("width") == pytest.approx(item.seconds * scale, abs=0.02)
        assert f"role-{item.kernel}" in bar.attributes["class"]
        assert ("failed" in bar.attributes["class"]) == (item.name == "jump back")
    (gap,) = svg.all("g", "role-off")
    assert gap.all("rect")[0].number("width") == pytest.approx(0.6 * scale, abs=0.02)
    assert gap.all("title")[0].text == "power off: 0.6 s from 10.60 s"
    assert [t.text for t in svg.all("text", "lane-name")][:4] == [
        "host",
        "boot 1",
        "power off",
        "boot 2",
    ]


@FRAMES
def test_what_overlaps_in_time_does_not_overlap_on_the_page(frame: Frame) -> None:
    phases = [phase(f"phase number {n}", 1, "normal", n % 3, 1 + n / 10) for n in range(12)]
    (lane,) = timechart.chart("", phases, [], frame).lanes
    spans: dict[float, list[tuple[float, float]]] = {}
    for bar in lane.bars:
        length = len(bar.label) * CHARACTER
        first = {"start": bar.label_x, "end": bar.label_x - length}.get(bar.anchor, bar.x)
        last = {"start": bar.label_x + length, "end": bar.label_x}.get(bar.anchor, bar.x)
        spans.setdefault(bar.y, []).append((min(first, bar.x), max(last, bar.x + bar.width)))
        assert lane.y <= bar.y and bar.y + timechart.BAR <= lane.y + lane.height
    assert sum(map(len, spans.values())) == 12
    for row in spans.values():
        row.sort()
        assert all(a[1] < b[0] for a, b in itertools.pairwise(row))


@FRAMES
@pytest.mark.parametrize("gap", [0.01, 0.4, 2])
def test_labels_of_events_meet_neither_labels_nor_lines(frame: Frame, gap: float) -> None:
    events = [Event(name=f"event {n} {'x' * (n % 7)}", at=n * gap) for n in range(14)]
    phases = [phase("boot", 1, "normal", 0, 30)]
    flags = timechart.chart("", phases, events, frame).flags
    assert len(flags) == 14
    assert all(f.row is not None for f in flags)
    crossings = 0
    for flag, other in itertools.permutations(flags, 2):
        first, last = flag.extent
        assert first >= 0 and last <= frame.width
        assert flag.row is not None and other.row is not None
        if other.row == flag.row:
            assert other.extent[1] < first or other.extent[0] > last
        crossings += other.row > flag.row and first + 2.5 <= other.x <= last - 2.5
    if frame is WIDE or gap < 0.1:
        assert crossings == 0


@FRAMES
def test_long_build_gets_a_drawing_of_its_own(frame: Frame) -> None:
    result = passed()
    for item in result.phases:
        item.start += 600
    result.phases.insert(0, phase("build", 0, "host", 0, 600))
    before, boots = timechart.charts(result, frame)
    assert before.lanes[0].bars[0].label == "build 10 min 0 s"
    restore = next(b for lane in boots.lanes for b in lane.bars if "restore" in b.title)
    assert restore.width > 0.2 * frame.width
    assert len(timechart.charts(passed(), frame)) == 1


@FRAMES
def test_three_boots_have_five_lanes(frame: Frame) -> None:
    phases = [
        phase(f"phase {n}", boot, "normal", 10 * boot + n, 1)
        for boot in (1, 2, 3)
        for n in range(6)
    ]
    lanes = timechart.chart("", phases, [], frame).lanes
    assert [lane.title for lane in lanes] == [
        "boot 1",
        "power off",
        "boot 2",
        "power off",
        "boot 3",
    ]
    assert all(a.y + a.height <= b.y for a, b in itertools.pairwise(lanes))


@FRAMES
@pytest.mark.parametrize("ram", [256 * MIB, 512 * MIB, 2048 * MIB])
def test_low_memory_is_visible_in_any_machine(tmp_path: Path, frame: Frame, ram: int) -> None:
    result = passed()
    result.memory_map = memory(ram)
    svg = section(page_of(result, tmp_path), "memory").all("svg", frame.name)[0]
    whole, low = svg.all("g", "strip")
    assert (whole.number("data-end"), low.number("data-end")) == (ram, 16 * MIB)
    drawing = frame.right - frame.left
    spawned = [c.number("width") for c in low.all("rect", "kind-spawned")]
    assert sum(spawned) > 0.9 * drawing
    (outline,) = svg.all("rect", "low")
    assert outline.number("width") == pytest.approx(drawing * 16 * MIB / ram, abs=0.02)
    assert outline.number("width") >= 2.5
    assert whole.all("rect", "kind-spawned")
    backup = sum(c.number("width") for c in whole.all("rect", "kind-backup"))
    assert backup == pytest.approx(drawing * 16 * MIB / ram, abs=2)
    zero = sum(c.number("width") for c in whole.all("rect", "kind-zero"))
    assert zero == pytest.approx(drawing * 64 * MIB / ram, abs=2)


def test_column_shows_the_kind_that_covers_most_of_it() -> None:
    ranges = [
        Range(start=0, end=30, what="zero"),
        Range(start=30, end=100, what="saved"),
        Range(start=190, end=200, what="zero"),
        Range(start=300, end=350, what="free"),
        Range(start=350, end=400, what="saved"),
    ]
    found = memorychart.columns(ranges, ("saved", "zero", "free"), 0, 500, 5)
    assert found == [
        ("saved", 4, 30, 100),
        ("zero", 1, 190, 200),
        None,
        ("saved", 4, 350, 400),
        None,
    ]


def test_thousands_of_ranges_are_merged(tmp_path: Path) -> None:
    result = passed()
    page_size = 4096
    result.memory_map = MemoryMap(
        ram_bytes=512 * MIB,
        ranges=[
            Range(
                start=n * 8 * page_size,
                end=(n * 8 + (7 if n % 2 else 8)) * page_size,
                what=("saved", "zero", "free")[n % 3],
            )
            for n in range(16384)
        ],
    )
    page = page_of(result, tmp_path)
    cells = section(page, "memory").all("svg", "wide")[0].all("rect", "cell")
    assert 0 < len(cells) <= 2 * WIDE.width
    assert (tmp_path / "report.html").stat().st_size < 1_500_000
    assert "5,462" in section(page, "memory").text


def test_sums_count_shared_bytes_once() -> None:
    chart = MemoryMap(
        ram_bytes=100,
        ranges=[
            Range(start=20, end=40, what="saved"),
            Range(start=0, end=30, what="saved"),
            Range(start=60, end=50, what="saved"),
            Range(start=5, end=6, what="ACPI Tables"),
        ],
    )
    sums = [(s.kind, s.ranges, s.total, s.first, s.last) for s in memorychart.kind_sums(chart)]
    assert sums == [("saved", 2, 40, 0, 40), ("ACPI Tables", 1, 1, 5, 6)]


def test_image_facts(tmp_path: Path) -> None:
    image = section(page_of(passed(), tmp_path), "image")
    assert "124 MiB" in image.text
    assert "25.0 %" in image.text  # 124 of 496
    widths = [r.number("width") for r in image.all("svg", "proportion")[0].all("rect")]
    assert widths == pytest.approx([1000 * n / 496 for n in (112, 64, 320)], abs=0.01)


def test_log_is_folded_and_its_splat_is_marked(tmp_path: Path) -> None:
    lines = ["one", "two", "first of the splat", "second of the splat", "five"]
    (tmp_path / "1-normal.log").write_text("".join(f"[ 1.0] {line}\n" for line in lines))
    (tmp_path / "2-resuming.log").write_text("nothing\n" * 5)
    result = failed()
    result.logs = [
        LogFile(path="1-normal.log", kernel="normal", boot=1),
        LogFile(path="2-resuming.log", kernel="resuming", boot=2),
    ]
    page = page_of(result, tmp_path)
    first, second = section(page, "logs").all("details")
    assert "open" not in first.attributes
    assert "unexpected splats: 1" in first.all("summary")[0].text
    (mark,) = first.all("mark", "bad")
    assert mark.text == "[ 1.0] first of the splat\n[ 1.0] second of the splat\n"
    assert not second.all("mark")
    numbers, text = first.all("pre")
    assert numbers.text == "1\n2\n3\n4\n5"
    assert text.text == (tmp_path / "1-normal.log").read_text()
    assert f"#{mark.attributes['id']}" in {a.attributes["href"] for a in page.all("a")}


def test_long_log_keeps_head_and_tail_with_their_numbers(tmp_path: Path) -> None:
    count = 60_000
    (tmp_path / "1-normal.log").write_text("".join(f"line {n}\n" for n in range(1, count + 1)))
    splat = failed().splats[0].model_copy(update={"log_line": 30_000})
    file = LogFile(path="1-normal.log", kernel="normal", boot=1)
    view = report.log_view(file, tmp_path, [splat])
    head, tail = view.parts
    assert sum(len(s.text) for part in view.parts for s in part.segments) <= report.LOG_CAP
    for part in (head, tail):
        text = "".join(s.text for s in part.segments).splitlines()
        assert text == [f"line {n}" for n in part.numbers.split()]
    assert head.numbers.startswith("1\n")
    assert tail.numbers.endswith(f"\n{count}")
    assert "left out" in view.between
    assert "splats in there: 1" in view.between


def test_long_log_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(b"a" * 1000 + b"z" * 1000)
    view = report.log_view(LogFile(path="x.log", kernel="normal", boot=1), tmp_path, [], limit=100)
    texts = ["".join(s.text for s in part.segments) for part in view.parts]
    assert texts == ["a" * 50 + "\n", "z" * 50 + "\n"]
    assert view.between == "1,900 bytes left out here"


def test_logs_that_cannot_be_embedded_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "secret").write_text("a secret")
    (folder / "link.log").symlink_to(tmp_path / "secret")
    (folder / "empty.log").touch()
    result = passed()
    paths = ["../secret", "link.log", str(tmp_path / "secret"), "gone.log", "empty.log", "a\0b"]
    result.logs = [LogFile(path=p, kernel="normal", boot=1) for p in paths]
    logs = section(page_of(result, folder), "logs").text
    assert "a secret" not in logs
    assert logs.count("outside of the folder") == 3
    assert "not there" in logs
    assert "empty" in logs


def test_partial_results(tmp_path: Path) -> None:
    page = page_of(Result(run="partial", reason="no libvirt"), tmp_path)
    assert "no libvirt" in page.all("header")[0].text
    for text in ("No phases", "No memory map", "No image", "No check", "No log"):
        assert f"{text} was" in page.text or f"{text} were" in page.text


def test_strange_results(tmp_path: Path) -> None:
    result = failed()
    result.exit_code = 77
    result.phases = [
        phase("nan", 1, "normal", math.nan, math.inf),
        phase("negative", 1, "normal", 3, -2),
        phase("no time", 2, "unheard of", 3, 0),
    ]
    result.events = [Event(name="e" * 5000, at=-1.0), Event(name="inf", at=math.inf)]
    result.memory_map = MemoryMap(ram_bytes=0, ranges=[Range(start=5, end=2, what="odd")])
    result.image = ImageInfo(file_bytes=0, stored_bytes=0, zero_bytes=0, ram_bytes=0, segments=0)
    result.checks = [Check(name="plain", ok=False, detail="d" * 1_000_000)]
    result.splats[0].text = "s" * 1_000_000
    page = page_of(result, tmp_path)
    assert "characters left out" in page.text
    assert "general" in section(page, "checks").text
    assert (tmp_path / "report.html").stat().st_size < 500_000
    for svg in page.all("svg", "wide") + page.all("svg", "narrow"):
        assert "nan" not in svg.attributes["viewbox"]
        assert "inf" not in svg.attributes["viewbox"]


def test_stored_result_is_drawn_again(tmp_path: Path) -> None:
    result = failed()
    result.save(tmp_path / "result.json")
    command = [sys.executable, "-m", "harness.report.report", str(tmp_path)]
    root = Path(report.__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(tmp_path / "report.html")
    again = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert again == report.render(result, tmp_path)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["report.html", "result.json"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("{", "result: Invalid JSON"),
        ('{"run": "x", "cpus": "many"}', "cpus: "),
        ('{"run": "x", "schema_version": 99}', "schema version 99"),
    ],
)
def test_unreadable_result_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    assert report.main([str(tmp_path)]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert says in error
    assert str(tmp_path / "result.json") in error
    assert error.count("\n") == 1


def test_refusal_that_a_test_wants_is_no_doubt(tmp_path: Path) -> None:
    result = passed().model_copy(update={"resume_path": BY_HAND}, deep=True)
    result.phases[-2].outcome = "RefusedError"
    assert page_of(result, tmp_path).all("header")[0].all(css="passed")
    result.resume_path = "restricted"
    assert page_of(result, tmp_path).all("header")[0].all(css="doubt")


def test_tracks_are_those_that_there_is_something_for() -> None:
    ram = [item for item in memory().ranges if item.what == "System RAM"]
    chart = memorychart.memory_chart(MemoryMap(ram_bytes=512 * MIB, ranges=ram), WIDE)
    assert chart is not None
    assert [[track.name for track in strip.tracks] for strip in chart.strips] == [["firmware"]] * 2


def test_image_of_the_kernel_itself_says_what_is_not_known(tmp_path: Path) -> None:
    result = passed()
    assert result.image is not None
    assert result.memory_map is not None
    result.memory_map.ranges = [r for r in result.memory_map.ranges if r.what == "System RAM"]
    result.image.ram_bytes = 512 * MIB
    page = page_of(result, tmp_path)
    assert "the kernel that made it does not tell" in section(page, "memory").text
    assert "not in it: free, or in swap" in section(page, "image").text
