"""Fixtures of tests of plugins."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from support.plugins import EXAMPLE
from tilewright.dialects import plugins


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty table of operators, whatever is installed."""
    monkeypatch.setattr(plugins, "_OPERATORS", {})
    monkeypatch.setattr(plugins, "_failures", {})
    monkeypatch.setattr(plugins, "_loaded", True)


@pytest.fixture
def example(table: None) -> ModuleType:
    """The example plugin, registered."""
    spec = importlib.util.spec_from_file_location("an_example", EXAMPLE / "tilewright_example.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
