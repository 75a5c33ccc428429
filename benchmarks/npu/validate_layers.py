"""The layers of an ONNX network as plain numbers, for models of publications.

    for layer in layers_of(zoo.build("resnet50", 4, weights=False)): ...

Layers are what the modelled software launches one after another: convolutions (matrix products are
convolutions over one position, or over one position per row), sums of two activations and pools.
Normalisations, biases and activations ride with the layer before them, as all of that software has
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from onnx import ModelProto, NodeProto, helper, shape_inference

from tilewright.dialects.errors import InputError

POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean"})


@dataclass(frozen=True)
class Layer:
    """A layer: `kind` "conv", "add" or "pool"; extents of input and output maps; kernel, stride.

    A matrix product of m x k by k x n is a convolution of 1 x 1 over m positions (`height` 1).
    `parts`: channels of each operand of a concatenation, where the input is one.
    """

    name: str
    kind: str
    batch: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    filters: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    groups: int = 1
    parts: tuple[int, ...] = ()

    @property
    def inputs(self) -> int:
        """Elements of the input."""
        return self.batch * self.height * self.width * self.channels

    @property
    def outputs(self) -> int:
        """Elements of the output."""
        return self.batch * self.out_height * self.out_width * self.filters

    @property
    def weights(self) -> int:
        """Elements of the weights."""
        if self.kind != "conv":
            return 0
        return prod(self.kernel) * self.channels // self.groups * self.filters

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return (
            self.outputs * prod(self.kernel) * self.channels // self.groups if self.weights else 0
        )


def layers_of(model: ModelProto) -> list[Layer]:
    """The layers of a network, in order; InputError for a product of two activations.

    Of a model with parameters declared as inputs, those named as the zoo names them count as such.
    """
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except shape_inference.InferenceError as error:
        raise InputError(f"cannot infer the shapes of the network: {error}") from None
    known = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    constants = {t.name for t in model.graph.initializer}
    known |= {t.name: tuple(t.dims) for t in model.graph.initializer}
    constants |= {i.name for i in model.graph.input if i.name.endswith((".weight", ".bias"))}
    joined = {
        n.output[0]: tuple(_spatial(known[i])[1] for i in n.input)
        for n in model.graph.node
        if n.op_type == "Concat" and _axis(n) in (1, len(known[n.output[0]]) - 1)
    }
    return [
        layer
        for node in model.graph.node
        for layer in _layer(
            node, known, constants, joined.get(node.input[0] if node.input else "", ())
        )
    ]


def _axis(node: NodeProto) -> int:
    return next(helper.get_attribute_value(a) for a in node.attribute if a.name == "axis")


def _layer(
    node: NodeProto, known: dict[str, tuple[int, ...]], constants: set[str], parts: tuple[int, ...]
) -> Iterator[Layer]:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    shape: tuple[int, ...] = known.get(next(iter(node.input), ""), ())
    out = known[node.output[0]]
    if node.op_type == "Conv":
        batch, filters, oh, ow = _spatial(out)
        stride = attributes.get("strides", [1])[0]
        kernel = known[node.input[1]][2:]
        yield Layer(
            node.name, "conv", batch, *_spatial(shape)[2:], shape[1], oh, ow, filters,
            (kernel[0], kernel[-1]), stride, attributes.get("group", 1), parts,
        )  # fmt: skip
    elif node.op_type in ("Gemm", "MatMul"):
        if node.input[1] not in constants:
            raise InputError(
                f"{node.name}: a product of two activations has no published layer model"
            )
        rows = prod(out[:-1])
        yield Layer(node.name, "conv", 1, 1, rows, shape[-1], 1, rows, out[-1], parts=parts)
    elif node.op_type == "Add" and not constants & set(node.input):
        batch, filters, oh, ow = _spatial(out)
        yield Layer(node.name, "add", batch, oh, ow, filters, oh, ow, filters)
    elif node.op_type in POOLS:
        batch, channels, h, w = _spatial(shape)
        oh, ow = (1, 1) if len(out) < 4 else out[2:]
        kernel = attributes.get("kernel_shape", [h, w])
        yield Layer(
            node.name, "pool", batch, h, w, channels, oh, ow, channels, (kernel[0], kernel[-1]),
            attributes.get("strides", [1])[0],
        )  # fmt: skip


def _spatial(shape: Sequence[int]) -> tuple[int, int, int, int]:
    """(batch, channels, height, width); what has no height and width has one of each."""
    if len(shape) == 4:
        return shape[0], shape[1], shape[2], shape[3]
    return prod(shape[:-1]), shape[-1], 1, 1
