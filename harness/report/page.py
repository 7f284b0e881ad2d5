# SPDX-License-Identifier: GPL-2.0-only
"""What all pages share: texts, the template engine, and the command that draws one again.

Everything that comes from a guest is untrusted: it is escaped, its control
characters are made visible, and a page's own policy forbids scripts other than
its own, and any request.
"""

from __future__ import annotations

import argparse
import base64
import functools
import hashlib
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2

from harness.base.errors import ExitCode, KspawnError

MIB = 1 << 20

DETAIL_CAP = 20_000
"""Characters of one text, such as a splat, that a page embeds."""

ROLES = {
    "normal": "normal kernel",
    "hibernating": "hibernating kernel",
    "resuming": "resuming kernel",
    "loader": "loading kernel",
    "host": "host",
}

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def visible(text: str) -> str:
    """Make the characters visible that HTML forbids or that would reorder text."""

    def symbol(match: re.Match[str]) -> str:
        code = ord(match[0])
        if code < 0x20 or code == 0x7F:
            return f"^{chr(code ^ 0x40)}"
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return _UNPRINTABLE.sub(symbol, text)


def _finalize(value: Any) -> Any:
    """Pass every string that the template prints through visible()."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return visible(value)
    return value


def duration(seconds: float) -> str:
    """Seconds, as precise as a reader can use."""
    if not math.isfinite(seconds):
        return f"{seconds} s"
    if abs(seconds) >= 120:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{seconds:.1f} s" if abs(seconds) >= 0.1 else f"{seconds * 1000:.0f} ms"


def size(count: float) -> str:
    """Bytes in the binary unit that suits them."""
    units = ["bytes", "KiB", "MiB", "GiB"]
    while abs(count) >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.{0 if count == int(count) else 1}f} {units[0]}"


def mib(address: int) -> str:
    """An address or a size in MiB, with no more digits than it needs."""
    value = address / MIB
    digits = 0 if value == int(value) else 1 if value >= 100 else 2 if value >= 0.1 else 4
    return f"{value:.{digits}f} MiB"


def share(part: float, whole: float) -> str:
    """A part of a whole, in per cent."""
    return f"{100 * part / whole:.1f} %" if whole > 0 else "n/a"


def shorten(text: str, limit: int) -> str:
    """Cut a text to a number of characters."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)].rstrip() + "…"


def cap(text: str) -> str:
    """Cut a text that nobody would read to its end, and say so."""
    if len(text) <= DETAIL_CAP:
        return text
    half = DETAIL_CAP // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n[… {left_out:,} characters left out …]\n{text[-half:]}"


def csp_hash(script: str) -> str:
    """What a content security policy calls a script by."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report", "templates"),
        autoescape=True,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        duration=duration, size=size, mib=mib, cap=cap, shorten=shorten, csp_hash=csp_hash
    )
    return environment


def render(template: str, **values: Any) -> str:
    """Fill a template.

    Args:
        template: Its name in harness/report/templates.
        values: What it prints.

    Returns:
        The whole page.
    """
    return _environment().get_template(template).render(share=share, role_names=ROLES, **values)


def redraw(
    draw: Callable[[Path], Path], arguments: Sequence[str] | None, *, module: str, what: str
) -> int:
    """Draw the page of a stored run again, as a command of its own.

    Args:
        draw: Draws it, given the folder of the run, and returns the page.
        arguments: Those of the command; None for the process's own.
        module: The module that is run.
        what: What the command does, in a sentence.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=what)
    parser.add_argument("folder", type=Path, help="the folder of a run, such as results/RUN")
    folder: Path = parser.parse_args(arguments).folder
    try:
        print(draw(folder))
    except KspawnError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    except OSError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return ExitCode.HARNESS
    return ExitCode.PASSED
