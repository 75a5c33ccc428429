"""Models with flipped and lost bytes: imported, or refused by a TilewrightError; never a crash."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from support.op_models import CASES
from tilewright.compiler.importer import check_model, import_model
from tilewright.dialects.errors import TilewrightError
from tilewright.passes.base import CompilerContext

MODELS = [case.model.SerializeToString() for case in CASES]


@given(st.data())
def test_mutated_models_are_imported_or_refused(data: st.DataObject) -> None:
    mutated = bytearray(data.draw(st.sampled_from(MODELS)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        mutated[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del mutated[data.draw(st.integers(1, len(mutated) - 1)) :]
    with contextlib.suppress(TilewrightError):
        import_model(bytes(mutated), CompilerContext())
    with contextlib.suppress(TilewrightError):
        check_model(bytes(mutated), CompilerContext())
