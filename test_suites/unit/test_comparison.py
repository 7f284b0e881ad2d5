# SPDX-License-Identifier: GPL-2.0-only
"""The comparison: its numbers, from recorded runs, and its page.

runs/ holds results of real `./kspawn compare`s at 50 and 90 %, without their memory
maps; in one of them the way was refused.
"""

from __future__ import annotations

import csv
import io
import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from harness.base.errors import ExitCode, UsageError
from harness.compare import model as compare
from harness.compare import report as compare_report
from harness.compare import tables
from harness.compare.model import WAYS, Comparison, Outcome
from harness.record.result import Result, Verdict
from harness.record.timeline import Phase
from harness.report.frame import NARROW, WIDE, Frame
from harness.ways import pm_test, registry, swsusp
from test_suites.unit.pages import Element, Page

RUNS = Path(__file__).parent / "runs"
FRAMES = pytest.mark.parametrize("frame", [WIDE, NARROW], ids=lambda f: f.name)
ATTACK = "</text><script>alert(1)</script>"


def recorded(name: str) -> Result:
    return Result.model_validate_json((RUNS / f"{name}.json").read_text())


def names() -> list[str]:
    return sorted(path.stem for path in RUNS.glob("*.json"))


def comparison_of(*results: Result) -> Comparison:
    fills = [result.memory.fill for result in results if result.memory and result.memory.fill]
    outcomes = [
        compare.outcome_of(result, fill) for result, fill in zip(results, fills, strict=True)
    ]
    comparison = Comparison(
        run="20261122-180000-compare",
        started=datetime(2026, 11, 22, 18, 0, tzinfo=UTC),
        vm_config="default",
        ram_bytes=512 << 20,
        cpus=1,
        ways=list(dict.fromkeys(one.way for one in outcomes)),
        fills=sorted(set(fills)),
        outcomes=outcomes,
        finished=True,
    )
    compare.relate(comparison)
    return comparison


@pytest.fixture
def comparison() -> Comparison:
    return comparison_of(*(recorded(name) for name in names()))


def page_of(comparison: Comparison, folder: Path) -> Element:
    written = compare_report.write_report(comparison, folder)
    return Page(written.read_text(encoding="utf-8")).root


def section(page: Element, name: str) -> Element:
    return next(s for s in page.all("section") if s.attributes["aria-labelledby"] == name)


def broken(result: Result, code: ExitCode = ExitCode.CHECK_FAILED) -> Result:
    update = {"verdict": Verdict.FAILED, "exit_code": int(code), "reason": "it was broken"}
    return result.model_copy(update=update, deep=True)


# What is chosen


def test_all_ways_by_default_but_those_that_wait() -> None:
    chosen = compare.chosen_ways([])
    assert set(chosen) == {
        *registry.resume_paths(),
        "swsusp",
        "uswsusp",
        "test_resume",
        "plain-jump",
    }
    waiting = [f"pm_test-{level}" for level in pm_test.LEVELS]
    assert [*chosen, *waiting] == list(WAYS)
    assert compare.chosen_ways(["pm_test-core"]) == ["pm_test-core"]


def test_named_ways_once_and_in_order() -> None:
    named = ["swsusp", "restricted", "swsusp"]
    assert compare.chosen_ways(named) == ["restricted", "swsusp"]


def test_unknown_way_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError) as error:
        compare.chosen_ways(["restricted", "hope"])
    assert "'hope'" in str(error.value)
    assert all(way in str(error.value) for way in WAYS)
    assert "\n" not in str(error.value)


def test_fills() -> None:
    assert compare.parse_fills("90, 10,50,10") == [10, 50, 90]


@pytest.mark.parametrize("text", ["", "0", "96", "ten", "10,,50", "10;50"])
def test_wrong_fills(text: str) -> None:
    with pytest.raises(UsageError, match="no per cent from 1 to 95"):
        compare.parse_fills(text)


# The numbers


@pytest.mark.parametrize("name", names())
def test_phases_of_a_recorded_run_add_up(name: str) -> None:
    result = recorded(name)
    outcome = compare.outcome_of(result, 50)
    inner = [phase for phase in result.phases if phase.name not in ("verify image", "check")]
    first = next(i for i, phase in enumerate(inner) if phase.name == "witness") + 1
    assert len(outcome.phases) == len(inner) - first
    total = sum(phase.seconds for phase in inner[first:])
    if outcome.passed:
        assert outcome.seconds == pytest.approx(total)
    if outcome.leave_seconds is not None and outcome.return_seconds is not None:
        assert outcome.leave_seconds + outcome.return_seconds == pytest.approx(total)


def parts(name: str) -> list[tuple[str, str]]:
    return [(phase.part, phase.name) for phase in compare.times(recorded(name).phases)]


def test_parts_of_a_way_back() -> None:
    assert parts("restricted-50") == [
        *(("leave", name) for name in ("load", "jump", "save", "power off")),
        *(("return", name) for name in ("boot", "restore", "jump back", "connect")),
    ]


def test_parts_where_the_power_stays_on() -> None:
    assert parts("plain-jump-50") == [
        *(("leave", name) for name in ("load", "jump")),
        *(("return", name) for name in ("jump back", "connect")),
    ]
    assert parts("test_resume-50") == [
        ("leave", "swap on"),
        ("both", "test_resume"),
        ("return", "connect"),
    ]
    assert compare.outcome_of(recorded("test_resume-50"), 50).leave_seconds is None


def test_no_witness_no_times() -> None:
    boot = Phase(name="boot", boot=1, kernel="normal", start=0, seconds=3)
    assert compare.times([boot]) == []


@pytest.mark.parametrize("name", names())
def test_memory_was_as_full_as_asked(name: str) -> None:
    outcome = compare.outcome_of(recorded(name), 0)
    assert outcome.used_bytes is not None
    assert outcome.total_bytes is not None
    fill = int(name.rpartition("-")[2])
    assert 100 * outcome.used_bytes / outcome.total_bytes == pytest.approx(fill, abs=4)


@pytest.mark.parametrize("name", [n for n in names() if "plain" not in n])
def test_sizes(name: str) -> None:
    """What is on the disk is no less than what the image has, if that is not compressed."""
    outcome = compare.outcome_of(recorded(name), 50)
    assert outcome.stored_bytes
    assert outcome.witness_bytes
    if outcome.disk_bytes is not None:
        assert outcome.disk_bytes > 0.97 * outcome.witness_bytes
    if not outcome.baseline:
        assert outcome.stored_bytes > outcome.witness_bytes


def test_ratios_within_a_fill(comparison: Comparison) -> None:
    for one in comparison.outcomes:
        reference = comparison.of(comparison.references[one.fill], one.fill)
        assert reference is not None
        if one.seconds is None:
            assert one.ratio is None
        else:
            assert reference.seconds
            assert one.ratio == pytest.approx(one.seconds / reference.seconds)
    assert comparison.references[50] == "swsusp"


def test_reference_without_swsusp() -> None:
    made = comparison_of(recorded("snapshot-refused-90"), recorded("restricted-90"))
    assert made.references == {90: "restricted"}
    assert [one.ratio for one in made.outcomes] == [None, 1.0]


# What a failure is


def test_failing_way_is_an_error() -> None:
    made = comparison_of(broken(recorded("restricted-50"), ExitCode.KERNEL), recorded("swsusp-50"))
    assert made.exit_code == ExitCode.KERNEL


@pytest.mark.parametrize("code", [ExitCode.CHECK_FAILED, ExitCode.KERNEL])
def test_failing_baseline_is_an_outcome(code: ExitCode) -> None:
    made = comparison_of(recorded("restricted-50"), broken(recorded("swsusp-50"), code))
    assert made.exit_code == ExitCode.PASSED


def test_lost_machine_is_an_error_of_a_baseline_too() -> None:
    made = comparison_of(broken(recorded("swsusp-50"), ExitCode.HARNESS))
    assert made.exit_code == ExitCode.HARNESS


def test_limit_is_an_outcome_that_is_shown() -> None:
    made = comparison_of(recorded("snapshot-refused-90"))
    assert made.outcomes[0].limit
    assert made.exit_code == ExitCode.PASSED
    assert "did not: snapshot: resuming: no-memory" in printed(made)


@pytest.mark.parametrize("update", [{"refused": "damaged"}, {"resume_path": "restricted"}])
def test_other_refusals_are_errors(update: dict[str, str]) -> None:
    made = comparison_of(recorded("snapshot-refused-90").model_copy(update=update))
    assert made.exit_code == ExitCode.CHECK_FAILED


def printed(comparison: Comparison) -> str:
    console = Console(file=io.StringIO(), width=250)
    tables.show(comparison, console)
    tables.show_failures(comparison, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_failing_baseline_is_not_hidden() -> None:
    made = comparison_of(recorded("restricted-50"), broken(recorded("swsusp-50")))
    text = printed(made)
    assert "did not: swsusp: it was broken" in text
    assert "failed" not in text


def test_failing_way_is_named_in_a_line() -> None:
    text = printed(comparison_of(broken(recorded("restricted-50"))))
    assert "failed: restricted at 50 %: it was broken" in text


# What is printed


def test_table_fits_a_terminal(comparison: Comparison) -> None:
    """Of 80 columns; the sizes and seconds of each way are in one line."""
    console = Console(file=io.StringIO(), width=80)
    tables.show(comparison, console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    for one in comparison.outcomes:
        assert one.used_bytes is not None
        used = f"{one.used_bytes / (1 << 20):.0f}"
        assert [line for line in lines if line.split()[:2] == [one.way, used]]


def test_tsv_has_a_line_each(comparison: Comparison) -> None:
    lines = list(csv.DictReader(io.StringIO(tables.tsv(comparison)), dialect="excel-tab"))
    assert [(line["way"], line["fill_percent"]) for line in lines] == [
        (one.way, str(one.fill)) for one in comparison.outcomes
    ]
    for line, one in zip(lines, comparison.outcomes, strict=True):
        assert line["outcome"] == ("passed" if one.passed else "failed")
        assert line["checks"] == str(len(one.checks))
        phases = [float(value) for key, value in line.items() if "." in key and value]
        assert sum(phases) == pytest.approx(sum(p.seconds for p in one.phases), abs=0.1)


def test_phase_columns_keep_the_order_of_each_way(comparison: Comparison) -> None:
    columns = tables.phase_columns(comparison.outcomes)
    assert len(set(columns)) == len(columns)
    for one in comparison.outcomes:
        own = list(dict.fromkeys((phase.part, phase.name) for phase in one.phases))
        # Where a name comes twice in a part, its first place counts.
        assert set(own) <= set(columns)
    leave = [name for part, name in columns if part == "leave"]
    assert leave.index("jump") < leave.index("save") < leave.index("power off")


def test_what_is_asserted() -> None:
    outcome = compare.outcome_of(recorded("restricted-50"), 50)
    assert "witness 17" in compare.asserted(outcome)
    outcome.checks["witness.tcp"] = False
    assert "witness 16 of 17" in compare.asserted(outcome)


def test_schema_round_trip(comparison: Comparison, tmp_path: Path) -> None:
    compare_report.write_report(comparison, tmp_path)
    assert compare_report.load(tmp_path) == comparison
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("text", ["{", '{"run": "x"}', ""])
def test_broken_file_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "compare.json").write_text(text)
    with pytest.raises(UsageError) as error:
        compare_report.load(tmp_path)
    assert "\n" not in str(error.value)
    assert compare_report.main([str(tmp_path)]) == ExitCode.USAGE


# The page


def test_page_shows_each_outcome(comparison: Comparison, tmp_path: Path) -> None:
    sizes = section(page_of(comparison, tmp_path), "sizes")
    links = [link.attributes["href"] for link in sizes.all("a")]
    assert links == [f"{one.run}/report.html" for one in comparison.outcomes]
    for one in comparison.outcomes:
        if not one.passed:
            assert one.reason[:80] in sizes.text


def test_page_says_what_failed(tmp_path: Path) -> None:
    page = page_of(comparison_of(broken(recorded("restricted-50"))), tmp_path)
    header = page.all("header")[0]
    assert "Failed: restricted at 50 %" in header.text
    assert header.all(css="failed")


def test_page_shows_baselines_that_did_not(tmp_path: Path) -> None:
    made = comparison_of(recorded("restricted-50"), broken(recorded("swsusp-50")))
    header = page_of(made, tmp_path).all("header")[0]
    assert "did not, and is shown as it is: swsusp at 50 %" in header.text
    assert header.all(css="passed")


@FRAMES
def test_bars_are_as_long_as_their_phases(comparison: Comparison, frame: Frame) -> None:
    scales = set()
    for chart in compare_report.bar_charts(comparison, frame):
        outcomes = [one for one in comparison.outcomes if f"{one.fill} %" == chart.title]
        assert [line.name for line in chart.lines] == [one.way for one in outcomes]
        for line, one in zip(chart.lines, outcomes, strict=True):
            for piece, phase in zip(line.pieces, one.phases, strict=True):
                scales.add(round(piece.width / phase.seconds, 4))
                assert frame.left <= piece.x + 6
                assert piece.x + piece.width <= frame.right
            for a, b in itertools.pairwise(line.pieces):
                assert a.x + a.width == pytest.approx(b.x)
    assert max(scales) == pytest.approx(min(scales), rel=0.01), "all fills have one scale"


@FRAMES
def test_points_are_where_their_sizes_are(comparison: Comparison, frame: Frame) -> None:
    chart = compare_report.curve_chart(comparison, frame)
    assert chart is not None
    shown = [name for curve in chart.curves for name in (curve.name, *curve.same_as)]
    assert set(shown) == {one.way for one in comparison.outcomes if one.stored_bytes is not None}
    x0, y0, x1, y1 = chart.diagonal
    assert (y0 - y1) > 0 < (x1 - x0)
    for curve in chart.curves:
        own = [o for o in comparison.outcomes if o.way == curve.name and o.stored_bytes is not None]
        for point, one in zip(curve.points, own, strict=True):
            assert one.used_bytes is not None
            assert one.stored_bytes is not None
            # Below the diagonal where the image is smaller than what is in use.
            on_it = y0 + (point.x - x0) / (x1 - x0) * (y1 - y0)
            assert (point.y > on_it) == (one.stored_bytes < one.used_bytes)


def test_no_image_no_curves() -> None:
    assert compare_report.curve_chart(comparison_of(recorded("plain-jump-50")), WIDE) is None


def test_checks_by_way(comparison: Comparison) -> None:
    rows = {row.prefix: row for row in compare_report.group_rows(comparison)}
    at = comparison.ways.index("plain-jump")
    assert rows["witness"].cells[at] == (17, 17)
    assert rows["image"].cells[at] == (0, 0)


def test_interrupted_comparison_says_so(tmp_path: Path) -> None:
    made = comparison_of(recorded("restricted-50"), recorded("swsusp-50"))
    del made.outcomes[1:]
    made.finished = False
    header = page_of(made, tmp_path).all("header")[0]
    assert "Interrupted: 1 of 2 are there" in header.text
    assert header.all(css="doubt")


def test_page_escapes(tmp_path: Path) -> None:
    made = comparison_of(broken(recorded("swsusp-50")))
    made.outcomes[0].reason = ATTACK
    compare_report.write_report(made, tmp_path)
    assert "<script>" not in (tmp_path / "compare.html").read_text()


def test_empty_comparison_is_drawn(tmp_path: Path) -> None:
    made = comparison_of()
    page_of(made, tmp_path)
    assert made.exit_code == 0


# The baselines' own figures

CREATED = "[   12.3] PM: hibernation: Image created (45210 pages copied, 1033 zero pages)\n"
COMPRESSED = "[   13.9] PM: Image size after compression: 161172 kbytes\n"


def test_image_of_a_log() -> None:
    info = swsusp.image_of_log(f"x\n{CREATED}y\n{COMPRESSED}", 512 << 20)
    assert info is not None
    assert (info.stored_bytes, info.zero_bytes) == (45210 * 4096, 1033 * 4096)
    assert info.file_bytes == 161172 << 10
    assert info.stored_bytes + info.zero_bytes + info.free_bytes == info.ram_bytes


def test_image_of_an_older_log() -> None:
    info = swsusp.image_of_log("PM: hibernation: Image created (7 pages copied)", 1 << 20)
    assert info is not None
    assert (info.stored_bytes, info.zero_bytes, info.file_bytes) == (7 * 4096, 0, 7 * 4096)


def test_log_without_an_image() -> None:
    assert swsusp.image_of_log("PM: hibernation: Creating image:\n", 1 << 20) is None


def test_outcome_of_nothing() -> None:
    outcome = compare.outcome_of(Result(run="x", resume_path="swsusp"), 10)
    assert outcome == Outcome(
        way="swsusp",
        baseline=True,
        title=registry.get("swsusp").title,
        fill=10,
        run="x",
        passed=False,
        exit_code=5,
    )
