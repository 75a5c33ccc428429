"""docs/conformance.md says what the suite, the table of unmet cases and the registries say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest

from conformance.page import conformance_markdown, expected, run_suite, standard_cases
from conformance.suite import backend_test, cpu_cases

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
COMMAND = "run: python -m tests.conformance.page"


@pytest.fixture(autouse=True)
def same_version() -> None:
    if f"onnx {onnx.__version__} " not in PAGE.read_text():
        pytest.skip("the page was generated with another version of onnx")


def test_all_but_the_places_is_current() -> None:
    found = expected(standard_cases(), cpu_cases(backend_test()))
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 7 and cells[0] in found.by_op:
            tally = found.by_op[cells[0]]
            counts = [entry.rpartition(" ") for entry in cells[3].split(", ")]
            tally.places = Counter({place: int(count) for place, _, count in counts})
            assert sum(tally.places.values()) == tally.total
    assert PAGE.read_text() == conformance_markdown(found), COMMAND


@pytest.mark.slow
def test_places_are_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNX_HOME", str(tmp_path))
    assert PAGE.read_text() == conformance_markdown(run_suite()), COMMAND
