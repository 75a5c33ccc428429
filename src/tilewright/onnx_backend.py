"""The backend interface of the onnx package: `prepare`, `run_model`, `run_node`.

>>> import onnx.backend.test, tilewright.onnx_backend  # doctest: +SKIP
>>> suite = onnx.backend.test.BackendTest(tilewright.onnx_backend, __name__)  # doctest: +SKIP
"""

from .compiler.onnx_backend import (
    TilewrightBackend,
    TilewrightRep,
    is_compatible,
    prepare,
    run_model,
    run_node,
    supports_device,
)

__all__ = [
    "TilewrightBackend",
    "TilewrightRep",
    "is_compatible",
    "prepare",
    "run_model",
    "run_node",
    "supports_device",
]
