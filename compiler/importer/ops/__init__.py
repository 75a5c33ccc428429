"""Import rules by family; importing this package registers them all."""

from . import (
    control,
    convolution,
    elementwise,
    indexing,
    matmul,
    movement,
    normalisation,
    pooling,
    quantisation,
    recurrent,
    reduction,
    resize,
    sampling,
    scatter,
    slicing,
    static,
)

__all__ = [
    "control",
    "convolution",
    "elementwise",
    "indexing",
    "matmul",
    "movement",
    "normalisation",
    "pooling",
    "quantisation",
    "recurrent",
    "reduction",
    "resize",
    "sampling",
    "scatter",
    "slicing",
    "static",
]
