# SPDX-License-Identifier: GPL-2.0-only
"""Reads the state of CPUs and devices from a stream of QEMU's migration.

At its end the stream describes itself, in JSON: each device with its fields and
their sizes (migration/vmstate.c; scripts/analyze-migration.py of QEMU reads it too).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.base.errors import HarnessError

State = dict[str, dict[str, bytes]]
"""What is in the fields of each device, by "name/instance" and path."""

_MAGIC = 0x5145564D
# migration/savevm.h
_EOF, _START, _PART, _END, _FULL = 0x00, 0x01, 0x02, 0x03, 0x04
_SUBSECTION, _DESCRIPTION, _CONFIGURATION, _COMMAND, _FOOTER = 0x05, 0x06, 0x07, 0x08, 0x7E
# migration/ram.c
_ZERO, _MEM_SIZE, _PAGE, _EOS, _CONTINUE, _HOOK = 0x02, 0x04, 0x08, 0x10, 0x20, 0x80
_FLAGS = 0xFFF
_PAGE_BYTES = 4096
_DESCRIBED = b'"page_size"'


class StreamError(HarnessError):
    """A stream of QEMU's migration cannot be read."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise StreamError("the state of the machine ends in the middle")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        return self.take(self.number(1)).decode(errors="replace")


def read(data: bytes, *, shared: bool) -> State:
    """Read a stream.

    Args:
        data: The whole stream.
        shared: Whether RAM that is shared was left out (x-ignore-shared).

    Raises:
        StreamError: It is none, or QEMU writes it in another way.
    """
    stream = _Reader(data)
    if stream.number(4) != _MAGIC or stream.number(4) != 3:
        raise StreamError("that is no state of a machine")
    described = {
        (device["name"], int(device["instance_id"])): device for device in _description(data)
    }
    state: State = {}
    names: dict[int, str] = {}
    while (kind := stream.number(1)) != _EOF:
        if kind == _CONFIGURATION:
            _configuration(stream)
            continue
        if kind == _COMMAND:
            stream.take(2)
            stream.take(stream.number(2))
            continue
        if kind not in (_START, _PART, _END, _FULL):
            raise StreamError(f"a section of kind {kind:#x} in the state of the machine")
        section = stream.number(4)
        instance = 0
        if kind in (_START, _FULL):
            names[section] = stream.text()
            instance = stream.number(4)
            stream.take(4)
        name = names[section]
        if name == "ram":
            _skip_ram(stream, shared=shared)
        elif (device := described.get((name, instance))) is not None:
            fields: dict[str, bytes] = {}
            _fields(stream, device, "", fields)
            state[f"{name}/{instance}"] = fields
        else:
            raise StreamError(f"the state of the machine does not describe {name}/{instance}")
        if stream.data[stream.at] == _FOOTER:
            stream.take(5)
    return state


def _description(data: bytes) -> Sequence[Mapping[str, Any]]:
    at = data.rfind(b"{", 0, data.rfind(_DESCRIBED))
    if at < 5 or data[at - 5] != _DESCRIPTION:
        raise StreamError("the state of the machine does not describe itself")
    size = int.from_bytes(data[at - 4 : at], "big")
    devices: Sequence[Mapping[str, Any]] = json.loads(data[at : at + size])["devices"]
    return devices


def _configuration(stream: _Reader) -> None:
    """The name of the machine, and what QEMU adds to it (vmstate_configuration)."""
    stream.take(stream.number(4))
    while stream.data[stream.at] == _SUBSECTION:
        stream.take(1)
        name = stream.text()
        stream.take(4)
        if name == "configuration/capabilities":
            for _ in range(stream.number(4)):
                stream.text()
        elif name == "configuration/target-page-bits":
            stream.take(4)
        elif name == "configuration/uuid":
            stream.take(16)
        else:
            raise StreamError(f"the state of the machine has a {name}")


def _skip_ram(stream: _Reader, *, shared: bool) -> None:
    """Go past what a section has of RAM."""
    while True:
        head = stream.number(8)
        flags = head & _FLAGS
        if flags & _MEM_SIZE:
            left = head & ~_FLAGS
            while left > 0:
                stream.text()
                left -= stream.number(8)
                if shared:
                    stream.take(8)
        elif flags & _EOS:
            return
        elif flags & (_ZERO | _PAGE):
            if not flags & _CONTINUE:
                stream.text()
            stream.take(1 if flags & _ZERO else _PAGE_BYTES)
        elif not flags & _HOOK and flags != 0x200:
            raise StreamError(f"RAM with flags {flags:#x} in the state of the machine")


def _fields(
    stream: _Reader, described: Mapping[str, Any], path: str, out: dict[str, bytes]
) -> None:
    for name, field in _each(described["fields"]):
        where = f"{path}{name}"
        if "struct" in field:
            _fields(stream, field["struct"], f"{where}.", out)
        else:
            out[where] = stream.take(int(field["size"]))
    for subsection in described.get("subsections", ()):
        if stream.number(1) != _SUBSECTION:
            raise StreamError(f"the state of the machine lacks {subsection.get('vmsd_name')}")
        name = stream.text()
        stream.take(4)
        _fields(stream, subsection, f"{path}{name}:", out)


def _each(fields: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each field, and each element of those that are arrays."""
    for field in fields:
        name = str(field["name"])
        if "array_len" in field:
            for i in range(int(field["array_len"])):
                yield f"{name}[{i}]", field
        elif "index" in field:
            yield f"{name}[{field['index']}]", field
        else:
            yield name, field
