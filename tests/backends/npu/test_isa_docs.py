"""docs/isa.md is what the instruction table says."""

from __future__ import annotations

from pathlib import Path

from tilewright.backends.npu.isa_docs import isa_markdown
from tilewright.dialects.npu.isa import INSTRUCTIONS, PARAM_RANGES

DOCS = Path(__file__).parents[3] / "docs" / "isa.md"


def test_up_to_date() -> None:
    assert DOCS.read_text() == isa_markdown(), (
        "run: python -m tilewright.backends.npu.isa_docs > docs/isa.md"
    )


def test_table_is_consistent() -> None:
    assert (
        len({i.code for i in INSTRUCTIONS})
        == len({i.mnemonic for i in INSTRUCTIONS})
        == len(INSTRUCTIONS)
    )
    assert all(p in PARAM_RANGES for i in INSTRUCTIONS for p in i.params)
