"""Activation functions with parameters, and the experimental scaling operators of opset 1."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ....dialects.types import element_of, is_float, numpy_dtype, shape_of
from ..node import Node, Value, rule
from .elementwise import same_type


@rule("Clip")
def clip(node: Node) -> Value:
    """Clamp; constant bounds become parameters."""
    x = node.x()
    dtype = numpy_dtype(element_of(x))
    if node.opset < 11:
        low, high = (node.real(k, d, infinite=True) for k, d in (("min", -np.inf), ("max", np.inf)))
        return node.map("clip", x, min=low, max=high)
    bounds: dict[str, int | float] = {}
    limits = (
        (-np.inf, np.inf) if is_float(element_of(x)) else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    )
    for i, (key, default) in enumerate(zip(("min", "max"), limits, strict=True), 1):
        if not node.has(i):
            bounds[key] = default
            continue
        array = node.array(i)
        if array is None or array.size != 1 or array.dtype != dtype:
            return _clip_by_tensors(node, x)
        bounds[key] = array.reshape(-1)[0].item()
        if bounds[key] != bounds[key]:
            raise node.error(f"the bound {key!r} is not a number")
    return node.map("clip", x, min=bounds["min"], max=bounds["max"])


def _clip_by_tensors(node: Node, x: SSAValue) -> SSAValue:
    for i, fn in ((1, "maximum"), (2, "minimum")):
        if node.has(i):
            same_type(node, x, node.x(i))
            x = node.map(fn, x, node.x(i))
    return x


@rule("LeakyRelu", "Elu", "Celu", "ThresholdedRelu")
def one_slope(node: Node) -> Value:
    """Activations with the parameter alpha."""
    fn = {
        "LeakyRelu": "leaky_relu",
        "Elu": "elu",
        "Celu": "celu",
        "ThresholdedRelu": "thresholded_relu",
    }[node.op]
    return node.map(fn, node.x(), alpha=node.real("alpha", 0.01 if fn == "leaky_relu" else 1.0))


@rule("Selu")
def selu(node: Node) -> Value:
    """Scaled exponential linear unit; opset < 6 had rounded constants."""
    alpha, gamma = (1.6732, 1.0507) if node.opset < 6 else (1.6732631921768188, 1.0507010221481323)
    return node.map(
        "selu", node.x(), alpha=node.real("alpha", alpha), gamma=node.real("gamma", gamma)
    )


@rule("HardSigmoid")
def hard_sigmoid(node: Node) -> Value:
    """clamp(alpha * x + beta, 0, 1)."""
    return node.map(
        "hard_sigmoid", node.x(), alpha=node.real("alpha", 0.2), beta=node.real("beta", 0.5)
    )


@rule("Gelu")
def gelu(node: Node) -> Value:
    """Gaussian error linear unit."""
    approximate = node.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise node.error(f"attribute 'approximate' must be none or tanh, not {approximate!r}")
    return node.map("gelu", node.x(), approximate=approximate)


@rule("Swish")
def swish(node: Node) -> Value:
    """X * sigmoid(alpha * x)."""
    x, alpha = node.x(), node.real("alpha", 1.0)
    if alpha == 1:
        return node.map("silu", x)
    return node.map("mul", x, node.map("sigmoid", node.map("mul", x, node.scalar(alpha, x))))


@rule("PRelu")
def prelu(node: Node) -> Value:
    """X where x >= 0, else slope * x; one constant slope is a leaky_relu."""
    x, slope = node.x(0), node.x(1)
    same_type(node, x, slope)
    array = node.array(1)
    if (
        array is not None
        and array.size
        and is_float(element_of(x))
        and np.all(array == array.reshape(-1)[0])
        and array.ndim <= len(shape_of(x))
    ):
        return node.map("leaky_relu", x, alpha=float(array.reshape(-1)[0]))
    shape, rank = shape_of(slope), len(shape_of(x))
    if node.opset < 7 and len(shape) == 1 and shape[0] > 1 and rank > 1:
        slope = node.reshape(slope, (shape[0], *[1] * (rank - 2)))
    return node.map("select", node.map("less", x, node.scalar(0, x)), node.map("mul", x, slope), x)


@rule("Affine", "ImageScaler")
def affine(node: Node) -> Value:
    """Experimental operators of opset 1: scale and shift (ImageScaler shifts each channel)."""
    x = node.x()
    if node.op == "Affine":
        return node.map(
            "add",
            node.map("mul", x, node.scalar(node.real("alpha", 1.0), x)),
            node.scalar(node.real("beta", 0.0), x),
        )
    scaled = node.map("mul", x, node.scalar(node.real("scale", 1.0), x))
    bias = np.array(node.reals("bias"), numpy_dtype(element_of(x)))
    return node.map("add", scaled, node.constant(bias.reshape(-1, *[1] * (len(shape_of(x)) - 2))))


@rule("ParametricSoftplus", "ScaledTanh")
def experimental(node: Node) -> Value:
    """Experimental operators of opset 1: alpha * f(beta * x)."""
    x = node.x()
    inner = node.map("mul", x, node.scalar(node.real("beta", 1.0), x))
    return node.map(
        "mul",
        node.map("softplus" if node.op == "ParametricSoftplus" else "tanh", inner),
        node.scalar(node.real("alpha", 1.0), x),
    )
