"""Full-size networks in ONNX, made here: published layers, seeded weights.

from benchmarks.npu.zoo import build, counts, names
model = build("resnet50", batch=8)      # an onnx.ModelProto
counts(model)                           # Counts(parameters=25557032, macs=32714833920)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from onnx import ModelProto

from tilewright.dialects.errors import InputError

from .counting import Counts, counts
from .mobilenet import mobilenet_v1, mobilenet_v2
from .resnet import resnet
from .tiny import tiny
from .tpu_v1 import lstm0, lstm1, mlp
from .tpu_v1_cnn import cnn0, cnn1
from .transformer import bert_base, vit_b16

__all__ = ["Counts", "build", "counts", "default_batch", "names"]


@dataclass(frozen=True)
class _Network:
    """`make(batch=..., weights=..., **options)`, and the batch where none is asked for."""

    make: Callable[..., ModelProto]
    batch: int = 1


def _resnets() -> dict[str, _Network]:
    made: dict[str, _Network] = {}
    for depth in (18, 34, 50, 101):
        plain = "v1.5" if depth >= 50 else "v1"
        for version in ("v1", "v1.5", "v2") if depth >= 50 else ("v1", "v2"):
            made[f"resnet{depth}_{version}"] = _Network(partial(resnet, depth, version))
        made[f"resnet{depth}"] = made[f"resnet{depth}_{plain}"]
    return made


_NETWORKS: dict[str, _Network] = {
    **_resnets(),
    "mobilenet_v1": _Network(mobilenet_v1),
    "mobilenet_v2": _Network(mobilenet_v2),
    "bert_base": _Network(bert_base),
    "vit_b16": _Network(vit_b16),
    "tpu_mlp0": _Network(partial(mlp, "tpu_mlp0", (2024,) * 6), 200),
    "tpu_mlp1": _Network(partial(mlp, "tpu_mlp1", (2000, 960, 960, 960, 960)), 168),
    "tpu_lstm0": _Network(lstm0, 64),
    "tpu_lstm1": _Network(lstm1, 96),
    "tpu_cnn0": _Network(cnn0, 8),
    "tpu_cnn1": _Network(cnn1, 32),
    "tiny": _Network(tiny),
}


def names() -> list[str]:
    """All networks, sorted."""
    return sorted(_NETWORKS)


def default_batch(name: str) -> int:
    """The batch of a network where none is asked for: 1, or the publication's."""
    return _network(name).batch


def build(
    name: str, batch: int | None = None, *, weights: bool = True, **options: Any
) -> ModelProto:
    """The network `name` for `batch` samples; the same model every time.

    `weights=False` declares parameters as inputs, for counting.  `options` are the family's: `size`
    of images, `sequence` and `ids` of bert_base.  InputError for an unknown name or batch < 1.
    """
    network = _network(name)
    batch = network.batch if batch is None else batch
    if batch < 1:
        raise InputError(f"batch {batch} is below 1")
    return network.make(batch=batch, weights=weights, **options)


def _network(name: str) -> _Network:
    if name not in _NETWORKS:
        raise InputError(f"unknown network {name!r}", hint=f"choose from {', '.join(names())}")
    return _NETWORKS[name]
