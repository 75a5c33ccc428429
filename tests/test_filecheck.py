from __future__ import annotations

from pathlib import Path

import pytest

from support.filecheck_runner import run_filecheck

ROOT = Path(__file__).parent / "filecheck"


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.mlir")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_filecheck(path: Path) -> None:
    run_filecheck(path)
