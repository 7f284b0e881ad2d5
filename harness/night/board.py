# SPDX-License-Identifier: GPL-2.0-only
"""What a night shows while it runs: a table on a terminal, a line a job in a pipe."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from harness.base.closing import Closing
from harness.night.matrix import SEPARATOR
from harness.night.model import Attempt, Verdict, judge
from harness.night.plan import Plan, Planned
from harness.night.runner import Order

STYLES = {
    Verdict.PASSED: "green",
    Verdict.FLAKY: "yellow",
    Verdict.FAILED: "bold red",
    Verdict.SKIPPED: "dim",
    Verdict.XFAILED: "dim",
    Verdict.WAITING: "dim",
}
# Lines of the terminal that are not rows of the table.
_FRAME = 6
# Columns of the terminal that are neither the job nor what there is to say of it: state,
# seconds and tests, and two between each and the next.
_FIXED = 9 + 6 + 7 + 4 * 2


@dataclass
class Board(Closing):
    """Shows a night.

    Args:
        plan: The night.
        console: Where.
    """

    plan: Plan
    console: Console
    running: dict[tuple[str, int], float] = field(default_factory=dict)
    _live: Live | None = None
    _began: float = field(default_factory=time.monotonic)

    def begin(self, order: Order) -> None:
        """An attempt began."""
        self.running[order.key, order.number] = time.monotonic()
        self.tick()

    def end(self, order: Order, attempt: Attempt) -> None:
        """An attempt is done."""
        self.running.pop((order.key, order.number), None)
        if self._live is None:
            self.console.print(self._line(order, attempt))
        self.tick()

    def say(self, text: str) -> None:
        """Something else happened."""
        self.console.print(text)

    def tick(self) -> None:
        """Draw again."""
        if self._live is not None:
            self._live.update(self.render())

    def _line(self, order: Order, attempt: Attempt) -> str:
        planned = self.plan.of(order.key)
        verdict, code, reason = judge(planned.attempts)
        done = self.plan.done
        again = f" (again, {order.number} of {self.plan.retries})" if order.number else ""
        style = STYLES[verdict]
        tail = f": {escape(reason)}" if reason and code else ""
        where = f" on {attempt.host}" if attempt.host else ""
        return (
            f"[{done}/{len(self.plan.jobs)}] [{style}]{verdict}[/] {escape(order.job.title)}{again}"
            f", {attempt.seconds:.0f} s{where}{tail}"
        )

    def render(self) -> RenderableType:
        """The table, as high as the terminal allows: what matters most first."""
        room = max(4, self.console.height - _FRAME)
        rows = sorted(self.plan.jobs, key=self._rank)
        table = Table(box=None, pad_edge=False, expand=True, header_style="bold")
        # As wide as its words where that leaves a third for what went wrong.
        names = self._names()
        wide = max([len("job"), *map(len, names.values())])
        wide = min(wide, (self.console.width - _FIXED) * 2 // 3)
        table.add_column("job", no_wrap=True, width=wide, overflow="ellipsis")
        table.add_column("state", no_wrap=True, width=9)
        table.add_column("s", justify="right", no_wrap=True, width=6)
        table.add_column("tests", justify="right", no_wrap=True, width=7)
        table.add_column("what", no_wrap=True, ratio=1, overflow="ellipsis")
        for planned in rows[:room]:
            table.add_row(escape(names[planned.key]), *self._row(planned))
        if len(rows) > room:
            table.add_row(f"[dim]and {len(rows) - room} more[/]")
        return Group(table, self._summary())

    def _names(self) -> dict[str, str]:
        """What tells each job from the others: words that all of them have say nothing."""
        words = {planned.key: planned.job.title.split(SEPARATOR) for planned in self.plan.jobs}
        shared = set.intersection(*map(set, words.values())) if len(words) > 1 else set()
        return {
            key: SEPARATOR.join([word for word in parts if word not in shared] or parts)
            for key, parts in words.items()
        }

    def _rank(self, planned: Planned) -> int:
        if self._since(planned) is not None:
            return 0
        order = [Verdict.FAILED, Verdict.FLAKY, Verdict.WAITING]
        return 1 + (order.index(planned.verdict) if planned.verdict in order else len(order))

    def _since(self, planned: Planned) -> float | None:
        for (key, _), since in self.running.items():
            if key == planned.key:
                return since
        return None

    def _row(self, planned: Planned) -> tuple[str, ...]:
        verdict, _, reason = judge(planned.attempts)
        since = self._since(planned)
        seconds = sum(at.seconds for at in planned.attempts)
        state = f"[{STYLES[verdict]}]{verdict}[/]"
        if since is not None:
            seconds = time.monotonic() - since
            state = "[cyan]again[/]" if planned.attempts else "[cyan]running[/]"
        tests = len(planned.attempts[0].tests) if planned.attempts else 0
        return (
            state,
            f"{seconds:.0f}" if seconds else "",
            str(tests or ""),
            escape(reason),
        )

    def _summary(self) -> str:
        counts: dict[Verdict, int] = {}
        for planned in self.plan.jobs:
            counts[planned.verdict] = counts.get(planned.verdict, 0) + 1
        words = [f"[{STYLES[verdict]}]{counts[verdict]} {verdict}[/]" for verdict in counts]
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return f"\n{minutes}:{seconds:02}  {len(self.running)} running  {'  '.join(words)}"

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(
                self.render(), console=self.console, refresh_per_second=2, transient=True
            )
            self._live.start()
        return self

    def close(self) -> None:
        """Take the table off the terminal."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()
