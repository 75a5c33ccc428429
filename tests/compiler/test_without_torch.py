"""PyTorch is optional: nothing but its own front end asks for it."""

from __future__ import annotations

import sys

import pytest

import tilewright
from tilewright.dialects.errors import InputError


def test_from_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"PyTorch is not installed\n.*tilewright\[torch\]"):
        tilewright.from_torch(None, ())
