"""The backend test suite of the onnx package: every operator's examples, small and real models."""

from __future__ import annotations

import pytest

from conformance.suite import UNMET, backend_test, cpu_cases, names_of

CLASSES = cpu_cases(backend_test(__name__))
globals().update(CLASSES)


@pytest.fixture(autouse=True, scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> object:
    """The suite stores what it computes from its models; keep that out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONNX_HOME", str(tmp_path_factory.mktemp("onnx")))
        yield


def test_unmet_cases_exist() -> None:
    present = {name for case in CLASSES.values() for name in names_of(case)}
    assert set(UNMET) <= present
