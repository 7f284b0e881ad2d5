# SPDX-License-Identifier: GPL-2.0-only
"""Where a kernel keeps what is read out of it: `layouts` of kernels/facts/versions.yaml.

The host's modules take it from here, and the guests' programs from a header that is
made of it. What a kernel is found to have counts, not what its version says: both
look for the code that reads the word in question.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from harness.base import data, yamltext
from harness.base.version import Bounds

VERSIONS = data.root() / "kernels" / "facts" / "versions.yaml"
HEADER = "layouts.h"
_PAGE = 4096
# As far behind the jump back entry as the instruction is looked for.
_REACH = 64


class PageList(Bounds):
    """How the code at the jump back entry reads the address of the page list."""

    code: str = Field(description="the bytes before the 32-bit displacement, in hexadecimal")
    base: Literal["page", "next"] = Field(
        description="what the displacement is added to: the control page, or the next instruction"
    )

    @field_validator("code")
    @classmethod
    def _check_code(cls, value: str) -> str:
        if not 1 <= len(bytes.fromhex(value)) <= 8:
            raise ValueError("between 1 and 8 bytes are expected")
        return value


class Layouts(BaseModel):
    """What is read out of kernels, by what of it differs."""

    model_config = ConfigDict(extra="forbid", strict=True)

    page_list: list[PageList] = Field(min_length=1)


@functools.cache
def known() -> Layouts:
    """The layouts of kernels/facts/versions.yaml."""
    return Layouts.model_validate(yamltext.parse(VERSIONS.read_bytes())["layouts"])


def header() -> str:
    """The same for the guests' programs: the content of layouts.h."""
    lines = [
        "/* SPDX-License-Identifier: GPL-2.0-only */",
        "/* Made from kernels/facts/versions.yaml: see harness/guest/layouts.py. */",
        "struct page_list_layout {",
        "\tconst char *code;",
        "\tunsigned char len;",
        "\tunsigned char next;\t/* relative to the next instruction, not the page */",
        "};",
        "",
        f"#define PAGE_LIST_REACH {_REACH}",
        "static const struct page_list_layout page_list_layouts[] = {",
    ]
    for one in known().page_list:
        code = bytes.fromhex(one.code)
        text = "".join(f"\\x{byte:02x}" for byte in code)
        lines.append(f'\t{{ "{text}", {len(code)}, {int(one.base == "next")} }},')
    return "\n".join([*lines, "};", ""])


def page_list_at(word: Callable[[int], int], entry: int) -> int | None:
    """Where a kernel notes the address of the list of pages that its jump exchanged.

    Args:
        word: Gives the eight bytes at a physical address.
        entry: Its jump back entry.

    Returns:
        The physical address of the word; None if no code that is known reads it.
    """
    start = entry & -8
    words = (word(start + 8 * number) for number in range(_REACH // 8 + 1))
    code = b"".join(one.to_bytes(8, "little") for one in words)
    return page_list_in(code, start=start, entry=entry)


def page_list_in(code: bytes, *, start: int, entry: int) -> int | None:
    """The same, by the code that was read.

    Args:
        code: What lies around the entry.
        start: The physical address of its first byte.
        entry: The jump back entry.
    """
    for one in known().page_list:
        wanted = bytes.fromhex(one.code)
        at = code.find(wanted, entry - start, entry - start + _REACH)
        end = at + len(wanted) + 4
        if at < 0 or end > len(code):
            continue
        offset = int.from_bytes(code[end - 4 : end], "little", signed=True)
        found = offset + (start + end if one.base == "next" else entry & -_PAGE)
        # The control code has a page of its own, and its data is in it.
        if found & -_PAGE == entry & -_PAGE:
            return found
    return None
