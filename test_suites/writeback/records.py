# SPDX-License-Identifier: GPL-2.0-only
"""Records that a program appends to a file, each with fsync(2): numbered, with a checksum."""

from __future__ import annotations

import hashlib
import re

BYTES = 64
"""Of a record: no block of a filesystem holds a part of one."""
_RECORD = re.compile(rb"record (\d{8}) ([0-9a-f]{16}) *\n")
# /run/record is the last one that was acknowledged: it was on the disk before.
WRITER = f"""\
n=$1
exec 3>>/mnt/records
while [ ! -e /run/stop ]; do
    n=$((n + 1)); head=$(printf 'record %08d' $n)
    sum=$(echo "$head" | md5sum | cut -c-16)
    printf '%-{BYTES - 1}s\\n' "$head $sum" >&3 && sync /mnt/records || break
    echo $n > /run/record.new; mv /run/record.new /run/record
    sleep 0.05
done
exec 3>&-
touch /run/record.stopped
"""


def record(number: int) -> bytes:
    """What the writer appends.

    Args:
        number: Of the record, from 1.
    """
    head = f"record {number:08}"
    digest = hashlib.md5(f"{head}\n".encode(), usedforsecurity=False).hexdigest()
    return f"{head} {digest[:16]}".ljust(BYTES - 1).encode() + b"\n"


def held(data: bytes) -> set[int]:
    """Which records are somewhere on a disk.

    Args:
        data: The disk.
    """
    found = (match for match in _RECORD.finditer(data) if match[0] == record(int(match[1])))
    return {int(match[1]) for match in found}


def wrong(data: bytes, acknowledged: int) -> str:
    """What is wrong with the file; nothing if each record is there, once and in order.

    Args:
        data: The file, whose writer was stopped.
        acknowledged: The last record that was.
    """
    if len(data) != acknowledged * BYTES:
        return f"{len(data) / BYTES:g} records, and {acknowledged} were acknowledged"
    for at in range(0, len(data), BYTES):
        number = at // BYTES + 1
        if data[at : at + BYTES] != record(number):
            return f"in place of record {number} is {data[at : at + BYTES]!r}"
    return ""
