# SPDX-License-Identifier: GPL-2.0-only
"""Text that somebody else wrote: shown as it is, and never obeyed by a terminal."""

from __future__ import annotations

import re

_LIMIT = 120
# Of control characters a line needs the tab, and a text the end of a line. With the
# others a guest could write to the clipboard, set a title or overwrite what stands
# there. U+2028 and such end a line where one does not see it, the bidi characters turn
# it around; the surrogates and the last two of the plane are no text at all, and no XML.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff\ufffe\uffff]"
)


def shown(text: str) -> str:
    r"""A text with its control characters written out: ESC comes as `\x1b`.

    What comes out is legal in XML 1.0 and encodes as UTF-8. It is the same when it is
    shown again.

    Args:
        text: What a guest, a file or the command line said.
    """
    return _CONTROL.sub(_written, text.replace("\r\n", "\n"))


def cut(text: str, limit: int = _LIMIT) -> str:
    """A text in one line that is not too long to read.

    Args:
        text: The text.
        limit: How many characters it may have.
    """
    line = " ".join(shown(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _written(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
