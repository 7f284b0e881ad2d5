# SPDX-License-Identifier: GPL-2.0-only
"""Records on a disk: one that is lost, doubled, moved or changed is seen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from test_suites.writeback import records
from test_suites.writeback.records import BYTES, record

FILE = b"".join(map(record, range(1, 10)))


def test_the_writer_writes_them(tmp_path: Path) -> None:
    """The script itself, for a while, in a folder in place of the root."""
    script = records.WRITER.replace("/mnt/", f"{tmp_path}/").replace("/run/", f"{tmp_path}/")
    ended = f"until [ -e {tmp_path}/record ]; do sleep 0.1; done; touch {tmp_path}/stop; wait"
    (tmp_path / "writer").write_text(script)
    done = subprocess.run(["sh", "-c", f"sh {tmp_path}/writer 0 & {ended}"], check=False)
    assert done.returncode == 0
    acknowledged = int((tmp_path / "record").read_text())
    assert records.wrong((tmp_path / "records").read_bytes(), acknowledged) == ""


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (FILE[:-BYTES], "8 records, and 9 were acknowledged"),
        (FILE + record(9), "10 records, and 9"),
        (FILE[:BYTES] + record(3) + record(2) + FILE[3 * BYTES :], "in place of record 2"),
        (FILE.replace(b"00000007", b"00000006"), "in place of record 7"),
        (FILE[:-3], "8.95312 records"),
        (b"", "0 records"),
    ],
    ids=["one lost", "one twice", "two swapped", "a bit", "a torn one", "none"],
)
def test_what_is_wrong_is_said(data: bytes, why: str) -> None:
    assert why in records.wrong(data, 9)


def test_a_whole_file_is_good() -> None:
    assert records.wrong(FILE, 9) == ""


def test_they_are_found_on_a_disk() -> None:
    disk = bytes(100) + FILE[3 * BYTES :] + b"record 00000001 0123456789abcdef\n" + record(12)
    assert records.held(disk) == {4, 5, 6, 7, 8, 9, 12}
