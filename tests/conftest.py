from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "default",
    deadline=None,
    max_examples=25,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("exhaustive", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

DEFAULT_MODELS = Path(__file__).parent.parent.parent / "shared" / "models"


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of real models; skipped where it is absent, required in CI."""
    folder = Path(os.environ.get("TILEWRIGHT_MODELS", DEFAULT_MODELS))
    if not folder.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs the models folder {folder}; set TILEWRIGHT_MODELS")
        pytest.skip(f"no models folder at {folder}; set TILEWRIGHT_MODELS")
    return folder
