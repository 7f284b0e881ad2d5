# SPDX-License-Identifier: GPL-2.0-only
"""Does the guest's reader stand any image at all, and agree with the host's?

On the host the guest's reader runs with sanitizers. It is fed with the mutants that
once reached something new (fuzz/corpus.json), and with new ones. `KSPAWN_FUZZ_KEEP=1`
keeps what reaches more.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.guest import guestbuild
from harness.image.image import Image
from harness.kernel import kbuild
from harness.plugin.faults import Figures
from test_suites.faults import images
from test_suites.faults.images import Mutant, Mutator, Reader, reader
from test_suites.unit.images import File, make

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(not kbuild.compiler(), reason="gcc is not installed"),
]
# For each fault that was asked for.
_EACH = 100
WORDS = {"absent", "foreign", "damaged", "truncated", "whole"}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> File:
    return File.of(make(tmp_path_factory.mktemp("mutants") / "image.raw"))


@pytest.fixture
def judged(good: File) -> Callable[[Reader, Mutant], str]:
    """What both readers say of a mutant: the same, and "whole" only of the same memory."""
    before = bytes(good.data)
    length = good.length
    good.path.write_bytes(before)
    whole = Image(good.path)
    places, stored = (whole.segments, whole.info.entry), b"".join(whole.chunks())

    def judge(made: Reader, mutant: Mutant) -> str:
        good.path.write_bytes(mutant.apply(before, length))
        word, host = made.read(good.path), images.by_host(good.path)
        assert word == host, f"guest: {word}, host: {host}: {mutant.to_json()}"
        if word == "whole":
            image = Image(good.path)
            assert (image.segments, image.info.entry) == places, mutant.to_json()
            assert b"".join(image.chunks()) == stored, mutant.to_json()
        return word

    return judge


@pytest.mark.ci
def test_mutants_that_are_kept(
    good: File, tmp_path: Path, judged: Callable[[Reader, Mutant], str], figures: Figures
) -> None:
    """They reach all that the reader can say, and nothing of it is a mistake."""
    corpus = images.load_corpus()
    with reader(images.build(), tmp_path / "log") as made:
        words = Counter(judged(made, mutant) for mutant in [Mutant(), *corpus])
        figures("kept mutants", mutants=len(corpus), edges=made.entered, **words)
    assert set(words) == WORDS


def test_new_mutants(
    good: File,
    tmp_path: Path,
    judged: Callable[[Reader, Mutant], str],
    figures: Figures,
) -> None:
    """No sanitizer has a word to say, and both readers use the same one."""
    corpus = images.load_corpus()
    mutator = Mutator(good, figures.seed, corpus)
    words: Counter[str] = Counter()
    count = figures.count * _EACH
    with reader(images.build(), tmp_path / "log") as made:
        for mutant in [Mutant(), *corpus]:
            judged(made, mutant)
        known, kept = made.entered, len(corpus)
        for _ in range(count):
            mutant, before = mutator.next(), made.entered
            words[judged(made, mutant)] += 1
            if made.entered > before:
                corpus.append(mutant)
        edges = made.entered
    figures("new mutants", mutants=count, edges=edges, new_edges=edges - known, **words)
    if os.environ.get("KSPAWN_FUZZ_KEEP"):
        images.keep_corpus(corpus)
    assert len(corpus) >= kept
    assert words["damaged"] > count / 10


# What a reader without a check of it would do: each of them has to be found.
FLAWS = {
    "too many ranges": ("info->ram.nr > MAX_RANGES ||", ""),
    "places that were moved": ("places != info->places || info->reserved", "info->reserved"),
}


@pytest.mark.parametrize("name", FLAWS)
def test_a_reader_with_a_flaw_is_found_out(
    good: File, tmp_path: Path, figures: Figures, name: str
) -> None:
    """Of a reader that misses a check, a sanitizer or the other reader tells."""
    shutil.copytree(guestbuild.GUEST, tmp_path / "guest")
    source = tmp_path / "guest" / "kspawn" / "image_rules.c"
    old, new = FLAWS[name]
    assert source.read_text().count(old) == 1
    source.write_text(source.read_text().replace(old, new))
    mutator = Mutator(good, figures.seed)
    before, tried = bytes(good.data), 0
    made = Reader(images.build(tmp_path / "guest"), tmp_path / "log")
    with pytest.raises(AssertionError):
        for tried in range(100 * _EACH):  # noqa: B007
            good.path.write_bytes(mutator.next().apply(before, good.length))
            assert made.read(good.path) == images.by_host(good.path)
        pytest.fail("nothing was found")
    figures(f"a reader that takes {name}", found_after=tried + 1)
