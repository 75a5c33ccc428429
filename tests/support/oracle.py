"""onnxruntime without optimisations: what a model means."""

from __future__ import annotations

from typing import Any, cast

import onnxruntime as ort


def session(model: bytes | str) -> Any:
    """An inference session of a model given by path or as bytes."""
    options = cast(Any, ort.SessionOptions)()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, ["CPUExecutionProvider"])
