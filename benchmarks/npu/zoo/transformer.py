"""Transformer encoders: BERT-base and ViT-B/16.

BERT: Devlin et al. (2018): twelve layers of width 768, twelve heads, 3072 hidden, normalised after
each sum; names as Hugging Face's.  The encoder has 85,054,464 parameters; with `ids` (the default)
the three embedding tables and their normalisation come before it (23,837,184 more, whose look-ups
are no multiply-accumulates), without it the input is the embedding output.  No pooler, no head; the
mask is left out, as all tokens are real.  At sequence 128 the encoder has 11.17 GMAC.

ViT-B/16: Dosovitskiy et al. (2020), normalised before each branch: 86,567,656 parameters and 17.56
GMAC with the ImageNet head.  Gelu is its definition by Erf, as exporters write it.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from onnx import ModelProto, TensorProto

from .builder import Builder

WIDTH, HEADS, HIDDEN, LAYERS = 768, 12, 3072, 12
VOCABULARY, POSITIONS, TYPES = 30522, 512, 2


def _attention(net: Builder, x: str, batch: int, tokens: int, name: str) -> str:
    """Multi-head self-attention with its output projection."""
    size = WIDTH // HEADS
    split: dict[str, str] = {}
    for part, order in (("query", (0, 2, 1, 3)), ("key", (0, 2, 3, 1)), ("value", (0, 2, 1, 3))):
        y = net.linear(x, WIDTH, WIDTH, name=f"{name}.{part}")
        y = net.reshape(y, (batch, tokens, HEADS, size), name=f"{name}.{part}.heads")
        split[part] = net.op("Transpose", [y], f"{name}.{part}.transpose", perm=order)
    scores = net.op("MatMul", [split["query"], split["key"]], f"{name}.scores")
    root = net.constant(f"{name}.root", np.float32(sqrt(size)))
    scores = net.op("Softmax", [net.op("Div", [scores, root], f"{name}.scale")], f"{name}.softmax",
                    axis=-1)  # fmt: skip
    y = net.op("MatMul", [scores, split["value"]], f"{name}.context")
    y = net.op("Transpose", [y], f"{name}.merge", perm=(0, 2, 1, 3))
    y = net.reshape(y, (batch, tokens, WIDTH), name=f"{name}.concat")
    return net.linear(y, WIDTH, WIDTH, name=f"{name}.output")


def _gelu(net: Builder, x: str, name: str) -> str:
    """X / 2 * (1 + erf(x / sqrt(2)))."""
    values = {"root": sqrt(2), "one": 1.0, "half": 0.5}
    c = {k: net.constant(f"{name}.{k}", np.float32(v)) for k, v in values.items()}
    y = net.op("Erf", [net.op("Div", [x, c["root"]], f"{name}.div")], f"{name}.erf")
    y = net.op("Mul", [x, net.op("Add", [y, c["one"]], f"{name}.add")], f"{name}.mul")
    return net.op("Mul", [y, c["half"]], name)


def _feed_forward(net: Builder, x: str, name: str) -> str:
    x = _gelu(net, net.linear(x, WIDTH, HIDDEN, name=f"{name}.up"), f"{name}.gelu")
    return net.linear(x, HIDDEN, WIDTH, name=f"{name}.down", gain=2.0)


def _embeddings(net: Builder, batch: int, tokens: int) -> str:
    """Sums of the rows of three tables, normalised."""
    ids = net.input("input_ids", (batch, tokens), TensorProto.INT64)
    types = net.input("token_type_ids", (batch, tokens), TensorProto.INT64)
    name = "embeddings"
    parts = [
        net.op("Gather", [net.parameter(f"{name}.{what}.weight", (rows, WIDTH), 1.0), index],
               f"{name}.{what}")
        for what, rows, index in (
            ("word", VOCABULARY, ids),
            ("token_type", TYPES, types),
            ("position", POSITIONS,
             net.constant("position_ids", np.arange(tokens, dtype=np.int64)[None])),
        )
    ]  # fmt: skip
    x = net.op("Add", parts[:2], f"{name}.add")
    x = net.op("Add", [x, parts[2]], f"{name}.add_position")
    return net.layer_norm(x, WIDTH, name=f"{name}.norm", epsilon=1e-12)


def bert_base(
    batch: int, *, weights: bool = True, sequence: int = 128, ids: bool = True,
    layers: int = LAYERS,
) -> ModelProto:  # fmt: skip
    """BERT-base's encoder from token ids, or from embeddings [batch, sequence, 768]."""
    if not 1 <= sequence <= POSITIONS:
        raise ValueError(f"sequence {sequence} is outside 1..{POSITIONS}")
    net = Builder("bert_base", weights=weights)
    if ids:
        x = _embeddings(net, batch, sequence)
    else:
        x = net.input("embeddings", (batch, sequence, WIDTH))
    for index in range(layers):
        name = f"encoder.layer.{index}"
        y = _attention(net, x, batch, sequence, f"{name}.attention")
        x = net.op("Add", [y, x], f"{name}.attention.add")
        x = net.layer_norm(x, WIDTH, name=f"{name}.attention.norm", epsilon=1e-12)
        y = net.op("Add", [_feed_forward(net, x, name), x], f"{name}.add")
        x = net.layer_norm(y, WIDTH, name=f"{name}.norm", epsilon=1e-12)
    return net.model(x, shapes=[(batch, sequence, WIDTH)])


def vit_b16(batch: int, *, weights: bool = True, size: int = 224) -> ModelProto:
    """ViT-B/16 with the ImageNet head."""
    net = Builder("vit_b16", weights=weights)
    side = size // 16
    tokens = side * side + 1
    x = net.input("image", (batch, 3, size, size))
    x = net.conv(x, 3, WIDTH, 16, stride=16, pad=0, bias=True, name="conv_proj", gain=1.0)
    x = net.reshape(x, (batch, WIDTH, side * side), name="patches")
    x = net.op("Transpose", [x], "tokens", perm=(0, 2, 1))
    token = net.parameter("class_token.weight", (1, 1, WIDTH), 0.5)
    if batch > 1:
        target = net.constant("class_token.shape", np.array([batch, 1, WIDTH], np.int64))
        token = net.op("Expand", [token, target], "class_token.expand")
    x = net.op("Concat", [token, x], "concat", axis=1)
    positions = net.parameter("encoder.positions.weight", (1, tokens, WIDTH), 0.5)
    x = net.op("Add", [x, positions], "embed")
    for index in range(LAYERS):
        name = f"encoder.layer.{index}"
        y = net.layer_norm(x, WIDTH, name=f"{name}.ln_1", epsilon=1e-6)
        y = _attention(net, y, batch, tokens, f"{name}.attention")
        x = net.op("Add", [y, x], f"{name}.attention.add")
        y = net.layer_norm(x, WIDTH, name=f"{name}.ln_2", epsilon=1e-6)
        x = net.op("Add", [_feed_forward(net, y, name), x], f"{name}.add")
    x = net.layer_norm(x, WIDTH, name="encoder.ln", epsilon=1e-6)
    first = net.constant("class", np.array(0, np.int64))
    x = net.op("Gather", [x, first], "select", axis=1)
    return net.model(net.gemm(x, WIDTH, 1000, name="head"), shapes=[(batch, 1000)])
