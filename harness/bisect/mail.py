# SPDX-License-Identifier: GPL-2.0-only
"""The draft of the mail that reports a regression, ready for git send-email.

It is what Documentation/admin-guide/reporting-regressions.rst asks for: the
maintainers and regressions@lists.linux.dev, the commit, the evidence, and a
line for the regression tracker.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import textwrap
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import getaddresses
from pathlib import Path

from harness.bisect.outcome import Outcome
from harness.bisect.repository import git
from harness.bisect.state import Answer, Ending, Run, State

_TRACKER = "regressions@lists.linux.dev"
_SCRIPT = "scripts/get_maintainer.pl"
_SCRIPT_SECONDS = 60
_WIDTH = 72
_TAIL = 25
_SIGNERS = re.compile(
    r"^(?:Signed-off-by|Reviewed-by|Acked-by): *(.+@.+)$", re.MULTILINE | re.IGNORECASE
)
# What get_maintainer.pl prints; the name of a subsystem may have parentheses too.
_ROLE = re.compile(r"(?P<entry>.*?\S+@[^\s>]+>?) \((?P<role>.*)\)")


@dataclass(frozen=True)
class People:
    """Who gets the mail, as "Name <address>"."""

    to: tuple[str, ...]
    cc: tuple[str, ...]


def people(tree: Path, commit: str) -> People:
    """Who wrote a commit, who signed it, and who maintains what it touches.

    Args:
        tree: The repository.
        commit: The hash.
    """
    author = git(tree, "log", "-1", "--format=%an <%ae>", commit).stdout.strip()
    message = git(tree, "log", "-1", "--format=%B", commit).stdout
    maintainers = _maintainers(tree, commit)
    to = _unique([author, *(entry for entry, is_list in maintainers if not is_list)])
    lists = [entry for entry, is_list in maintainers if is_list]
    cc = _unique([_TRACKER, *lists, *_SIGNERS.findall(message)])
    known = {_address(entry) for entry in to}
    return People(to, tuple(entry for entry in cc if _address(entry) not in known))


def _maintainers(tree: Path, commit: str) -> list[tuple[str, bool]]:
    """What scripts/get_maintainer.pl says of a commit, and which of it are lists."""
    perl = shutil.which("perl")
    if perl is None or not (tree / _SCRIPT).is_file():
        return []
    with tempfile.NamedTemporaryFile("w", suffix=".patch") as patch:
        patch.write(git(tree, "format-patch", "-1", "--stdout", commit).stdout)
        patch.flush()
        options = ["--nogit", "--nogit-fallback", "--norolestats", "--roles"]
        try:
            done = subprocess.run(
                [perl, _SCRIPT, *options, patch.name],
                cwd=tree,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SCRIPT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return []
    found = []
    for line in done.stdout.splitlines():
        if parts := _ROLE.fullmatch(line.strip()):
            found.append((parts["entry"], "list" in parts["role"].partition(":")[0]))
    return found


def _unique(entries: list[str]) -> tuple[str, ...]:
    return tuple({_address(entry): entry for entry in reversed(entries)}.values())[::-1]


def _address(entry: str) -> str:
    return getaddresses([entry])[0][1].lower()


def draft(state: State, answer: Answer, tree: Path, log: str) -> EmailMessage:
    """The mail for an answer.

    Args:
        state: What the bisection knows.
        answer: One that names a commit, or a range.
        tree: The repository.
        log: That of git bisect.
    """
    subject = "a test of kexec fails"
    if answer.ending is Ending.FOUND:
        subject = git(tree, "log", "-1", "--format=%s", answer.commits[0]).stdout.strip()
    asked = [people(tree, commit) for commit in answer.commits]
    to = _unique([entry for who in asked for entry in who.to])
    known = {_address(entry) for entry in to}
    cc = [entry for who in asked for entry in who.cc if _address(entry) not in known]
    mail = EmailMessage(policy=EmailPolicy(utf8=True, max_line_length=998))
    mail["From"] = _sender(tree)
    mail["To"] = _addresses(to)
    mail["Cc"] = _addresses(_unique(cc))
    symptom = state.sought[0] if state.sought else "it fails"
    short = textwrap.shorten(symptom, 60, placeholder="...")
    mail["Subject"] = f"[REGRESSION] {subject}: {short}"
    mail.set_content(body(state, answer, tree, log), cte="8bit")
    return mail


def _sender(tree: Path) -> str:
    name = git(tree, "config", "user.name", check=False).stdout.strip()
    mail = git(tree, "config", "user.email", check=False).stdout.strip()
    return f"{name} <{mail}>" if name and mail else "YOUR NAME <you@example.org>"


def _addresses(entries: tuple[str, ...]) -> list[Address]:
    # One by one: with a single one that it cannot read, getaddresses drops all.
    pairs = [getaddresses([entry])[0] for entry in entries]
    return [Address(name, addr_spec=spec) for name, spec in pairs if spec]


def body(state: State, answer: Answer, tree: Path, log: str) -> str:
    """The text of the mail."""
    settings = state.settings
    names = [
        git(tree, "log", "-1", "--abbrev=12", '--format=%h ("%s")', commit).stdout.strip()
        for commit in answer.commits
    ]
    listed = "\n".join(f"  {name}" for name in names)
    good = ", ".join(settings.named.get(rev, rev[:12]) for rev in settings.good)
    bad = settings.named.get(settings.bad, settings.bad[:12])
    what = "; ".join(state.sought) or "it fails"
    parts = [
        "Hi,",
        _fill(
            f"a test of kexec jumps and hibernation passes with {good}, and fails with {bad} "
            "like this:"
        )
        + f"\n\n{textwrap.indent(_fill(what), '  ')}",
    ]
    if answer.ending is Ending.FOUND:
        parts.append(f"Bisection ends at this commit:\n\n{listed}")
    elif answer.ending is Ending.RANGE:
        parts.append(
            _fill("Bisection cannot tell which of these it is; the others could not be tested:")
            + f"\n\n{listed}"
        )
    else:
        parts.append(f"Bisection is not sure; this is what is likeliest:\n\n{listed}")
    parts.append(
        _fill(
            f"The probability that this is right, given all runs, is {answer.probability:.4f} "
            f"(at least {settings.confidence:g} was asked for). A kernel with the commit fails in "
            f"about {answer.flake_rate:.0%} of its runs."
        )
    )
    parts.append(_evidence(state, answer))
    command = f"./kspawn bisect --tree linux {good} {bad} -- {' '.join(settings.arguments)}"
    parts.append(f"To reproduce, with kspawn:\n\n  {command}")
    parts.append("The log of git bisect:\n\n" + textwrap.indent(log.strip(), "  "))
    if answer.ending is Ending.FOUND:
        parts.append(f"#regzbot introduced: {answer.commits[0][:12]}")
        parts.append(f"A fix can carry this tag:\n\nFixes: {names[0]}")
    elif answer.ending is Ending.RANGE:
        # The newest has all the others in its history, and a good one none of them.
        parts.append(f"#regzbot introduced: {answer.parents[-1][:12]}..{answer.commits[0][:12]}")
    return "\n\n".join(parts) + "\n"


def _fill(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _evidence(state: State, answer: Answer) -> str:
    lines = []
    for revision, word in [
        *((rev, "the commit") for rev in answer.commits),
        *((rev, "its parent") for rev in answer.parents),
    ]:
        runs = state.of(revision)
        failed = [run for run in runs if run.outcome is Outcome.BAD]
        if runs:
            lines.append(f"  {revision[:12]} ({word}): {len(failed)} of {len(runs)} runs failed")
    text = "What was seen:\n\n" + "\n".join(lines)
    shown = next((run for run in _failures(state, answer) if run.log_tail), None)
    if shown is not None:
        tail = "\n".join(shown.log_tail.splitlines()[:_TAIL])
        text += f"\n\nThe log of a run of {shown.revision[:12]}:\n\n" + textwrap.indent(tail, "  ")
    elif first := next(iter(_failures(state, answer)), None):
        text += f"\n\n{textwrap.indent(_fill(first.reason), '  ')}"
    return text


def _failures(state: State, answer: Answer) -> list[Run]:
    revisions = [*answer.commits, state.settings.bad]
    return [run for rev in revisions for run in state.of(rev) if run.outcome is Outcome.BAD]
