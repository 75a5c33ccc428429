"""onnxruntime's fused layers of transformers (domain `com.microsoft`): norms, biases, activations.

    y = SkipLayerNormalization(x, skip, gamma, beta)   ==>   %y = layer norm of (add %x, %skip)

Each is imported as the graph that onnxruntime's optimiser fused.  `SimplifiedLayerNormalization`
is also known in the default domain, where that optimiser writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32, i32
from xdsl.ir import SSAValue

from ....dialects.graph import GatherOp, ReduceOp
from ....dialects.types import element_of, shape_of
from ..node import RULES, Node, Value, rule
from .elementwise import same_type
from .normalisation import centred, deviation

DOMAIN = "com.microsoft."


def standard(node: Node, op: str, inputs: Sequence[Any], **attributes: Any) -> SSAValue:
    """`node` as the standard operator `op` on `inputs`, with its own attributes or those given."""
    import onnx

    made = {name: onnx.helper.make_attribute(name, value) for name, value in attributes.items()}
    opset = node.scope.opsets.get("", 1)
    other = replace(
        node, op=op, inputs=list(inputs), opset=opset, attributes={**node.attributes, **made}
    )
    result = RULES[op](other)
    return node.operand(result[0] if isinstance(result, list) else result)  # pyright: ignore[reportArgumentType]


def normalised(
    node: Node, x: SSAValue, scale: int, bias: int | None, epsilon: float, *, mean: bool
) -> tuple[SSAValue, SSAValue | None, SSAValue]:
    """Layer norm of the last axis in f32, times input `scale`, plus input `bias`.

    Returns (result, mean, 1 / deviation); `mean` False is the root-mean-square norm.
    """
    last = len(shape_of(x)) - 1
    half = element_of(x) in (f16, bf16)
    wide = node.cast(x, f32) if half else x
    d, centre = centred(node, wide, [last]) if mean else (wide, None)
    spread = deviation(node, d, [last], epsilon)
    y = node.map("div", d, spread)
    for i, fn in ((scale, "mul"), (bias, "add")):
        if i is not None and node.has(i):
            y = node.map(fn, y, node.cast(node.x(i), element_of(y)))
    if shape_of(y) != shape_of(x):
        raise node.error(f"scale and bias do not broadcast to {list(shape_of(x))}")
    return node.cast(y, element_of(x)), centre, node.map("reciprocal", spread)


@rule("SimplifiedLayerNormalization", DOMAIN + "SimplifiedLayerNormalization")
def simplified_layer_norm(node: Node) -> list[Value]:
    """X / rms(x) * scale, over the axes from `axis` on."""
    rank = len(node.shape())
    if node.axis(node.integer("axis", -1), rank) != rank - 1:
        return [standard(replace(node, outputs=node.outputs[:1]), "RMSNormalization", node.inputs)]
    y, _, inverse = normalised(node, node.x(), 1, None, node.real("epsilon", 1e-5), mean=False)
    return [y, inverse]


@rule(DOMAIN + "LayerNormalization")
def layer_norm(node: Node) -> Value:
    """The standard operator."""
    return standard(node, "LayerNormalization", node.inputs)


@rule(DOMAIN + "SkipLayerNormalization", DOMAIN + "SkipSimplifiedLayerNormalization")
def skip_layer_norm(node: Node) -> list[Value | None]:
    """Norm of x + skip + bias; outputs: result, mean, 1 / deviation, the sum."""
    simplified = "Simplified" in node.op
    x, shape = node.x(0), node.shape(0)
    same_type(node, x, node.x(1), node.x(2))
    total = node.map("add", x, node.x(1))
    bias = 3 if simplified else 4
    if node.has(bias):
        total = node.map("add", total, node.x(bias))
    if shape_of(total) != shape:
        raise node.error(f"skip and bias do not broadcast to {list(shape)}")
    y, mean, inverse = normalised(
        node, total, 2, None if simplified else 3, node.real("epsilon", 1e-12), mean=not simplified
    )
    return [y, mean, inverse, total]


@rule(DOMAIN + "EmbedLayerNormalization")
def embed_layer_norm(node: Node) -> list[Value | None]:
    """Norm of the sum of word, position and segment embeddings; then lengths, and the sum."""
    ids = node.shape(0)
    if len(ids) != 2:
        raise node.error(f"input_ids must have rank 2, not shape {list(ids)}")
    total = node.emit(GatherOp(node.x(2), node.x(0), 0))
    if node.has(8):
        position = node.emit(GatherOp(node.x(3), node.x(8), 0))
    else:
        position = node.slice_axis(node.x(3), 0, 0, ids[1])
    if node.has(1) and node.has(4):
        total = node.map("add", total, node.emit(GatherOp(node.x(4), node.x(1), 0)))
    total = node.map("add", total, position)
    y, _, _ = normalised(node, total, 5, 6, node.real("epsilon", 1e-12), mean=True)
    if node.has(7):
        lengths = node.emit(ReduceOp(node.cast(node.x(7), i32), "sum", [1], 0))
    else:
        lengths = node.constant(np.zeros(ids[0], np.int32))
    return [y, lengths, total]


@rule(DOMAIN + "Gelu", DOMAIN + "BiasGelu", DOMAIN + "FastGelu")
def gelu(node: Node) -> Value:
    """Gelu of x + bias; FastGelu is the tanh approximation."""
    x = node.x()
    if node.has(1):
        same_type(node, x, node.x(1))
        x = node.map("add", x, node.x(1))
    return node.map("gelu", x, approximate="tanh" if node.op == "FastGelu" else "none")


@rule(DOMAIN + "QuickGelu")
def quick_gelu(node: Node) -> Value:
    """X * sigmoid(alpha * x)."""
    x, alpha = node.x(), node.real("alpha", 1.702)
    if alpha == 1:
        return node.map("silu", x)
    inner = node.map("mul", x, node.scalar(alpha, x))
    return node.map("mul", x, node.map("sigmoid", inner))


@rule(DOMAIN + "BiasAdd", DOMAIN + "BiasSoftmax")
def bias_add(node: Node) -> Value:
    """BiasAdd: x + bias + skip.  BiasSoftmax: softmax of x + bias from `axis` on."""
    x, shape = node.x(0), node.shape(0)
    if node.op == "BiasAdd":
        return node.map("add", node.map("add", x, node.x(1)), node.x(2))
    axis, bias = node.axis(node.integer("axis", 1), len(shape)), node.x(1)
    if not node.integer("is_inner_broadcast") and len(shape_of(bias)) != len(shape):
        lead = len(shape_of(bias)) - (len(shape) - axis)
        ones = [1] * (len(shape) - len(shape_of(bias)))
        bias = node.reshape(bias, (*shape_of(bias)[:lead], *ones, *shape_of(bias)[lead:]))
    total = node.map("add", x, bias)
    if axis == len(shape) - 1:
        return standard(node, "Softmax", [total], axis=axis)
    flat = node.reshape(total, (*shape[:axis], int(np.prod(shape[axis:]))))
    return node.reshape(standard(node, "Softmax", [flat], axis=axis), shape)


_FUSED = {
    "Relu": "relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "LeakyRelu": "leaky_relu",
    "Clip": "clip",
    "HardSigmoid": "hard_sigmoid",
    "Elu": "elu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "ThresholdedRelu": "thresholded_relu",
}
_PARAMETERS = {"LeakyRelu": "alpha", "Elu": "alpha", "ThresholdedRelu": "alpha"}


def activated(node: Node, x: SSAValue, name: str, values: Sequence[float]) -> SSAValue:
    """The activation that onnxruntime fused into a node, with its parameters in order."""
    if name not in _FUSED:
        raise node.unsupported(f"the fused activation {name!r}", "export without this fusion")
    match name:
        case "Clip":
            low, high = (*values, -np.inf, np.inf)[:2] if len(values) != 1 else (values[0], np.inf)
            return node.map("clip", x, min=low, max=high)
        case "HardSigmoid":
            alpha, beta = values if len(values) == 2 else (0.2, 0.5)
            return node.map("hard_sigmoid", x, alpha=alpha, beta=beta)
        case _ if name in _PARAMETERS and values:
            return node.map(_FUSED[name], x, alpha=values[0])
        case _:
            return node.map(_FUSED[name], x)


@rule(DOMAIN + "FusedConv")
def fused_conv(node: Node) -> Value:
    """activation(Conv(x, w, b) + z)."""
    y = standard(node, "Conv", node.inputs[:3])
    if node.has(3):
        y = node.map("add", y, node.x(3))
    name = node.text("activation", "")
    return activated(node, y, name, node.reals("activation_params", [])) if name else y


@rule(DOMAIN + "FusedGemm")
def fused_gemm(node: Node) -> Value:
    """activation(Gemm(a, b, c))."""
    y = standard(node, "Gemm", node.inputs)
    name = node.text("activation", "")
    keys = ("activation_alpha", "activation_beta", "activation_gamma")
    values = [node.real(key) for key in keys if node.has_attr(key)]
    return activated(node, y, name, values) if name else y


@rule(DOMAIN + "FusedMatMul", DOMAIN + "TransposeMatMul")
def fused_matmul(node: Node) -> Value:
    """Alpha * A' B'; `transBatch` moves the first axis before the last (before transposing)."""
    args: list[SSAValue] = []
    for i, side in enumerate("AB"):
        x = node.x(i)
        axes = list(range(len(shape_of(x))))
        if len(axes) > 1:
            if node.integer(f"transBatch{side}", 0):
                axes = [*axes[1:-1], axes[0], axes[-1]]
            if node.integer(f"trans{side}", 0):
                axes = [*axes[:-2], axes[-1], axes[-2]]
        args.append(node.transpose(x, axes))
    y = standard(node, "MatMul", args)
    alpha = node.real("alpha", 1.0)
    return y if alpha == 1 else node.map("mul", y, node.scalar(alpha, y))
