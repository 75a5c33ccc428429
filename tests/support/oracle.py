"""onnxruntime without optimisations: what a model means."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort


def session(model: bytes | str) -> Any:
    """An inference session of a model given by path or as bytes."""
    options = ort.SessionOptions()  # pyright: ignore[reportUnknownVariableType]
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(model, options)  # pyright: ignore[reportUnknownArgumentType]
