"""Every malformed model raises a TilewrightError that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

import tilewright
from malformed.cases import CASES, Case
from tilewright.dialects.errors import TilewrightError


def shapes(args: list[str]) -> dict[str, list[int]]:
    pairs = (
        text.rsplit(":", 1)
        for flag, text in zip(args[::2], args[1::2], strict=True)
        if flag == "--shape"
    )
    return {name: [int(d) for d in extents.split("x")] for name, extents in pairs}


@pytest.mark.timeout(60)  # a hang is a failure; how quick it is, is for benchmarks
@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_refused_in_words(case: Case, tmp_path: Path) -> None:
    path, args = case.build(tmp_path)
    with pytest.raises(TilewrightError) as caught:
        tilewright.compile(path, shapes=shapes(args))
    message = str(caught.value)
    for part in case.expected:
        assert part in message
    assert len(message) < 2000


def test_the_ids_are_distinct() -> None:
    ids = [case.id for case in CASES]
    assert len(ids) == len(set(ids)) >= 24
