# SPDX-License-Identifier: GPL-2.0-only
"""Mutated images, and the guest's reader that is fed with them on the host."""

from __future__ import annotations

import json
import random
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.guest import guestbuild
from harness.image.header import DATA_OFFSET, NT_INFO, NT_SEAL, NT_SUMS, ImageError
from harness.image.image import Image
from test_suites.unit.images import FIRMWARE, LAST, PHDR, File

HERE = Path(__file__).resolve().parent / "fuzz"
CORPUS = HERE / "corpus.json"
# At the same addresses each time: places of the map are made from them.
_COVERAGE = ("-fsanitize-coverage=trace-pc", "-fno-pie", "-no-pie")
_NUMBERS = (0, 1, 4095, 4096, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 52, (1 << 64) - 1)


@dataclass(frozen=True)
class Mutant:
    """What is done to a good image.

    Args:
        edits: Offsets and what is written there.
        seal: Whether the checksum over the header is made right again.
        length: Where the file is cut off; 0 for nowhere.
    """

    edits: tuple[tuple[int, bytes], ...] = ()
    seal: bool = True
    length: int = 0

    def to_json(self) -> list[object]:
        return [[[at, data.hex()] for at, data in self.edits], self.seal, self.length]

    @classmethod
    def from_json(cls, data: Sequence[object]) -> Mutant:
        edits, seal, length = data
        assert isinstance(edits, list) and isinstance(length, int)
        return cls(tuple((at, bytes.fromhex(text)) for at, text in edits), bool(seal), length)

    def apply(self, good: bytes, sealed: int) -> bytearray:
        """The image with it.

        Args:
            good: The whole image.
            sealed: How long the header is, its seal included.
        """
        data = bytearray(good)
        for at, new in self.edits:
            data[at : at + len(new)] = new
        if self.seal:
            data[sealed - 4 : sealed] = zlib.crc32(data[: sealed - 4]).to_bytes(4, "little")
        return data[: self.length] if self.length else data


@dataclass
class Mutator:
    """Makes mutants: of the fields that there are, of others that reached far, and of nothing.

    Args:
        file: The good image.
        seed: Says which.
        corpus: Those that reached something new; it may grow meanwhile.
    """

    file: File
    seed: int
    corpus: list[Mutant] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        info, sums, seal = (self.file.notes[kind] for kind in (NT_INFO, NT_SUMS, NT_SEAL))
        # Where it counts: the ELF header, the segments, the heads of notes, the info.
        self._places = [
            *((at, size) for at, size in ((4, 1), (5, 1), (16, 2), (18, 2), (32, 8), (54, 2))),
            *((56, 2), (64, 4), (72, 8), (96, 8)),
            *((head + at, size) for head in range(PHDR, LAST + 56, 56) for at, size in _SEGMENT),
            *((note - back, 4) for note in (info, sums, seal) for back in (20, 16, 12, 8)),
            *((info + at, size) for at, size in _INFO),
            *((info + at, 8) for at in range(184, 1744, 8)),
            (sums, 4),
        ]

    def _field(self) -> tuple[int, bytes]:
        at, size = self.random.choice(self._places)
        old = int.from_bytes(self.file.data[at : at + size], "little")
        value = self.random.choice(
            [
                self.random.choice(_NUMBERS),
                old + self.random.choice((-1, 1, 4096, -4096, 8, -8)),
                old ^ 1 << self.random.randrange(8 * size),
                self.random.getrandbits(8 * size),
            ]
        )
        return at, (value % (1 << 8 * size)).to_bytes(size, "little")

    def _bytes(self) -> tuple[int, bytes]:
        size = self.random.choice((1, 1, 2, 4, 8, 64))
        return self.random.randrange(self.file.length), self.random.randbytes(size)

    def _copy(self) -> tuple[int, bytes]:
        """A piece of the header somewhere else in it: notes twice, segments in disorder."""
        size = self.random.choice((4, 12, 20, 56, 112))
        at = self.random.randrange(self.file.length - size)
        return self.random.randrange(self.file.length - size), bytes(self.file.data[at : at + size])

    def _stored(self) -> tuple[int, bytes]:
        at = self.random.randrange(DATA_OFFSET, len(self.file.data) - 8)
        return at, self.random.randbytes(self.random.choice((1, 8)))

    def next(self) -> Mutant:
        """Another one."""
        base = (
            self.random.choice(self.corpus) if self.corpus and self.random.random() < 0.5 else None
        )
        kinds = [self._field] * 6 + [self._bytes] * 2 + [self._copy, self._stored]
        edits = list(base.edits) if base else []
        if edits and self.random.random() < 0.2:
            del edits[self.random.randrange(len(edits))]
        edits += [self.random.choice(kinds)() for _ in range(self.random.choice((1, 1, 2, 3)))]
        cut = self.random.randrange(len(self.file.data)) if self.random.random() < 0.05 else 0
        return Mutant(tuple(edits[-12:]), self.random.random() < 0.85, cut)


_SEGMENT = ((0, 4), (8, 8), (24, 8), (32, 8), (40, 8))
_INFO = (
    *((0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 8), (48, 4), (52, 4)),
    *((56, 8), (64, 8), (72, 4), (76, 4)),
)


class Reader:
    """The guest's reader in a process, with sanitizers: it ends at the first mistake.

    Args:
        program: What `build` made.
        log: Where the sanitizers write to.
        ram: The RAM of the machine, by its firmware.
    """

    def __init__(self, program: Path, log: Path, ram: Sequence[tuple[int, int]] = FIRMWARE) -> None:
        self.entered = 0
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [program, *(f"{start:x}-{end:x}" for start, end in ram)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def read(self, path: Path) -> str:
        """What it says of an image, in a word.

        Raises:
            AssertionError: A sanitizer ended it; the report is in the message.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(f"{path}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline().split()
        if not line:
            self._process.wait(timeout=60)
            raise AssertionError(
                f"the reader ended: {self._log.read_text(errors='replace')[:3000]}"
            )
        self.entered = int(line[1])
        return line[0]

    def close(self) -> None:
        """End it; what it lost of its memory is told now.

        Raises:
            AssertionError: It lost some.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=60) == 0, self._log.read_text(errors="replace")[:3000]
        assert self._log.read_text(errors="replace") == ""


@contextmanager
def reader(program: Path, log: Path) -> Iterator[Reader]:
    """A reader that is closed at the end, unless something else went wrong."""
    made = Reader(program, log)
    yield made
    made.close()


def build(folder: Path = guestbuild.GUEST) -> Path:
    """The guest's reader with sanitizers and coverage.

    Args:
        folder: Where the sources of the guest are.
    """
    return guestbuild.build_sanitized(
        "kspawn", folder=folder, main=HERE / "driver.c", flags=_COVERAGE
    )


def by_host(path: Path) -> str:
    """What the host's reader says, in a word."""
    try:
        Image(path).verify(FIRMWARE)
    except ImageError as exc:
        return exc.status
    return "whole"


def load_corpus() -> list[Mutant]:
    """The mutants that are kept."""
    return [Mutant.from_json(entry) for entry in json.loads(CORPUS.read_text())]


def keep_corpus(mutants: Sequence[Mutant]) -> None:
    """Keep mutants in the place of those that were kept."""
    lines = ",\n".join(json.dumps(mutant.to_json()) for mutant in mutants)
    CORPUS.write_text(f"[\n{lines}\n]\n")
