"""ONNX's own conformance cases, evaluated on the host alone."""

from __future__ import annotations

import importlib.util

import pytest

from support.host_models import KINDS, cases, check

DRAWN = {
    f"test_bernoulli{variant}{form}"
    for variant in ("", "_double", "_seed")
    for form in ("", "_expanded")
}
"""Cases whose expected values are what the case's own generator drew next after its inputs."""

GRADIENTS = {"test_gradient_of_add", "test_gradient_of_add_and_mul"}
"""Cases of an operator that needs the nodes around it."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_cases_pass(kind: str) -> None:
    failed: dict[str, str] = {}
    count = 0
    for case in cases(kind):
        count += 1
        if "image_decoder" in case.name and importlib.util.find_spec("PIL") is None:
            continue
        try:
            check(case)
        except Exception as error:  # every failure is listed
            failed[case.name] = str(error)[:200]
    assert count > 20
    assert failed.keys() <= DRAWN | GRADIENTS, failed
