"""Generates `docs/operators.md`: what becomes of every ONNX operator.

    python -m tilewright.compiler.importer.coverage [DOCS]

Whether an operator has a rule, a body defined by ONNX, or a reason for refusal is read from the
importer.  The conditions of rules and the forms the NPU takes are prose; tests keep them in step
with the rules that can refuse and with `passes/graph/capabilities.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from ...backends.host import refusal
from ...dialects.errors import ModelError
from ..files import write_atomically
from . import ops as _ops  # registers the rules
from .limits import FOLD_LIMIT, HOST_LIMIT, PAIR_LIMIT, STEP_LIMIT, UNROLL_LIMIT
from .node import RULES
from .schema import hint_for, refused_names, standard_names
from .tensors import UnsupportedType, numpy_type

assert _ops


def _spread(table: Mapping[str, str]) -> dict[str, str]:
    """A table by groups of operators, by operator."""
    return {op: text for ops, text in table.items() for op in ops.split()}


_MADE_UP = f"needs a constant of at most {HOST_LIMIT:,} elements"
_ENCODINGS = "8-bit results; scales per tensor or per channel, not per block"

CONDITIONS = _spread(
    {
        "Attention MultiHeadAttention QAttention RotaryEmbedding": "of `com.microsoft`: without a "
        "cache shared between input and output; for Attention of ONNX see its body",
        "GatherBlockQuantized": "constant table, packed as uint8, in blocks along its last axis",
        "GroupQueryAttention": "constant total sequence length; without sinks, smooth softmax and "
        "quantised caches",
        "FusedConv FusedGemm": "activations of standard operators",
        "MatMulNBits": f"constant weights of 2, 4 or 8 bits; {_MADE_UP}",
        "Constant": "dense numeric values",
        "ConstantFill ConstantOfShape Expand Reshape": "constant shape",
        "ConvTranspose": _MADE_UP,
        "Col2Im": f"constant shapes; at most {PAIR_LIMIT:,} overlapping elements",
        "CumProd CumSum": "constant axis",
        "DFT STFT": f"constant lengths, axis and step; {_MADE_UP}",
        "DeformConv": f"images; {_MADE_UP}",
        "DequantizeLinear": "integers of 8, 16 and 32 bits; constants of 2 and 4 bits too",
        "Det": "at most 4 x 4",
        "Dropout": "inference form, or a constant ratio of 0",
        "EyeLike": f"at most {FOLD_LIMIT:,} elements",
        "GRU LSTM RNN": f"at most {STEP_LIMIT} steps, as they are unrolled",
        "GatherElements GatherND GridSample Hardmax ReverseSequence Trilu": _MADE_UP,
        "If": "constant condition, or branches of equal types (both are computed)",
        "Loop": "constant trip count and condition, or a condition that counts iterations; at most "
        f"{STEP_LIMIT} iterations and {UNROLL_LIMIT:,} operations, as they are unrolled",
        "MaxPool": f"with the indices output: {_MADE_UP}",
        "MaxUnpool": f"constant output shape; at most {PAIR_LIMIT:,} comparisons",
        "MelWeightMatrix": "constant inputs",
        "NonZero": f"constant input of at most {FOLD_LIMIT:,} elements",
        "OneHot": f"constant depth; {_MADE_UP}",
        "Pad": "constant pads, axes and value",
        "QLinearConv QLinearMatMul": "8-bit operands (16-bit results if scales are computed)",
        "QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearGlobalAveragePool "
        "QLinearLeakyRelu QLinearMul QLinearSigmoid QLinearSoftmax": "constant scales and zero "
        f"points; {_ENCODINGS}",
        "QuantizeLinear": "to 8 or 16 bits",
        "Range": f"constant bounds; at most {FOLD_LIMIT:,} elements",
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
        "ReduceSum ReduceSumSquare": "constant axes; at least one element",
        "Resize": "constant sizes or scales, and region of `tf_crop_and_resize`",
        "RoiAlign": f"a positive sampling_ratio; {_MADE_UP}",
        "Scan": f"opset 9 and later; at most {STEP_LIMIT} iterations and {UNROLL_LIMIT:,} "
        "operations, as they are unrolled",
        "Scatter ScatterElements ScatterND": f"constant indices, or at most {PAIR_LIMIT:,} "
        "comparisons of indices (of elements: along their axis)",
        "Slice": "constant starts, ends, axes and steps",
        "Split": "constant sizes",
        "Squeeze Unsqueeze": "constant axes",
        "Tile": "constant repeats",
        "TopK": f"constant k; at most {PAIR_LIMIT:,} comparisons",
        "Upsample": "constant scales",
    }
)
"""When an operator with a rule can be compiled; operators that are absent always can."""

NPU_FORMS = {
    "convolution": "1-D to 3-D, grouped, depthwise, dilated; weights constant, or computed at run "
    "time from more than 4 elements per output channel. A bias computed at run time is added on "
    "its own. A transposed convolution is a convolution and data movement.",
    "product": "Of an operand with constants, or of two computed at run time, batched or not, but "
    "for products as short as those of coordinates (fewer than 4 terms; 4 with a 4 x 4 matrix).",
    "pooling": "2-D windows. Averages only over windows of equal size: without padding, or with "
    "padding counted; and without a last partial window (`ceil_mode`).",
    "mean": "Over any axes, not combined with other values (but in a normalisation); a sum only "
    "directly before a convolution, product or average.",
    "row": "Of an 8-bit tensor, where it leads to a convolution, product or average; a "
    "normalisation only where 8 bits express its operand well.",
    "table": "A function of one 8-bit value becomes a table of 256 entries, and so does a whole "
    "expression of such functions with scalar constants (`x * sigmoid(x)`, `clip(x + 3, 0, 6) / "
    "6`). It must lead to a convolution, product or average; activations of hidden layers (Relu, "
    "Clip, LeakyRelu, PRelu with one slope, HardSwish, Gelu, Elu, Selu, Celu, Mish) may also end "
    "the model. Relu and Clip directly after arithmetic become the bounds of its result.",
    "arithmetic": "Add, subtract and multiply two 8-bit tensors where the result leads to a "
    "convolution, product or average (or, without a constant operand, ends the model); operands "
    "broadcast. With a scalar constant it is a table.",
    "movement": "Moved by the DMA engines as stored 8-bit values, if it is connected to "
    "arithmetic on the NPU. Selections (a Gather by constant indices, a reversed Slice, Pad "
    "by reflection, repetition or wrapping) are of at most 32 evenly spaced runs along an axis.",
    "resize": "Nearest by whole factors, or in at most 32 runs along an axis; linear, on the way "
    "to a convolution, product or average, by a ratio of which 8 outputs at most share a period.",
    "folded": "Folded into the convolution before it; elsewhere a product and sum per channel.",
    "encoding": "Fused into the 8-bit operators around it; the conversion of a model input or "
    "output from or to reals runs on the CPU.",
    "import": "Computed at import: nothing remains to run.",
    "parts": "Decomposed at import; each part is placed for itself (products, tables and movement "
    "on the NPU, the rest on the CPU).",
}
"""Forms that the NPU takes, by the word used in the table."""

NPU = _spread(
    {
        "Conv ConvTranspose QLinearConv": "convolution",
        "MatMul Gemm QGemm QLinearMatMul": "product",
        "AveragePool GlobalMaxPool MaxPool QLinearAveragePool": "pooling",
        "GlobalAveragePool QLinearGlobalAveragePool ReduceMean ReduceSum": "mean",
        "GroupNormalization InstanceNormalization LayerNormalization RMSNormalization "
        "SimplifiedLayerNormalization Softmax QLinearSoftmax": "row",
        "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Clip Cos Cosh Div Elu Erf Exp Floor Gelu "
        "HardSigmoid HardSwish LeakyRelu Log Max Min Mish Mod Neg PRelu ParametricSoftplus Pow "
        "QLinearLeakyRelu QLinearSigmoid Reciprocal Relu Round ScaledTanh Selu Sigmoid Sign Sin "
        "Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu": "table",
        "Add Mul QLinearAdd QLinearMul Sub Sum": "arithmetic",
        "Concat Crop DepthToSpace Expand Flatten Gather Pad QLinearConcat "
        "ReduceMax ReduceMin Reshape ReverseSequence Slice SpaceToDepth Split Squeeze Tile "
        "Transpose Unsqueeze": "movement",
        "Resize Upsample": "resize",
        "Affine BatchNormalization ImageScaler SpatialBN": "folded",
        "QuantizeLinear DequantizeLinear": "encoding",
        "Constant ConstantFill ConstantOfShape Dropout EyeLike Identity NonZero Range Shape "
        "Size": "import",
        "Attention BiasGelu CumProd CumSum DFT DeformConv Einsum FusedConv FusedGemm FusedMatMul "
        "GRU GroupQueryAttention If LSTM Loop MatMulNBits MultiHeadAttention RNN STFT Scan "
        "SkipLayerNormalization SkipSimplifiedLayerNormalization": "parts",
    }
)
"""Word of `NPU_FORMS` by operator, domain left out; what is absent runs on the CPU."""


@dataclass(frozen=True)
class Row:
    """One operator.

    compiled: "yes", "partly", "as defined" (by the body that ONNX gives), "host" (it runs in numpy)
    or "no"; npu: a word of `NPU_FORMS` or "no"; remarks: the condition, or reason and hint.
    """

    op: str
    compiled: str
    npu: str
    remarks: str


def rows() -> Iterator[Row]:
    """A row for every operator of ONNX's default domain in any opset, and every rule, by name."""
    newest = newest_opset()
    for op in sorted(standard_names() | set(RULES)):
        if op in RULES:
            condition, npu = (table.get(op.rpartition(".")[2]) for table in (CONDITIONS, NPU))
            yield Row(op, "partly" if condition else "yes", npu or "no", condition or "")
        elif op not in refused_names() and _has_body(op):
            yield Row(op, "as defined", "parts", "")
        else:
            opset = _last_opset(op, newest)
            reason, hint = hint_for(op, opset)
            if refusal("", op, opset) is None:
                yield Row(op, "host", "no", reason)
            else:
                yield Row(op, "no", "no", f"{reason}: {hint}")


def newest_opset() -> int:
    """The newest opset of the installed onnx."""
    defs: Any = onnx.defs  # whose type stubs are partly unknown
    return defs.onnx_opset_version()


def _has_body(op: str) -> bool:
    # The type stubs of onnx lack the functions of schemas.
    schema: Any = onnx.defs.get_schema(op)
    return schema.has_function or schema.has_context_dependent_function


def _element_types() -> Iterator[str]:
    """Names of the element types that tensors may have."""
    for code in onnx.TensorProto.DataType.values():
        try:
            yield numpy_type(code).name
        except (UnsupportedType, ModelError):
            continue


def _last_opset(op: str, newest: int) -> int:
    """An opset that has `op`."""
    schema: Any = onnx.defs.get_schema(op)
    return min(newest, schema.since_version)


_HEAD = """\
<!-- Generated by `python -m tilewright.compiler.importer.coverage`; do not edit. -->
# ONNX operators

Operators of the default domain as of onnx {version} (opset {opset}), and those of other domains
that the importer knows; rules follow the opset that the model imports. {total} operators: {counts}.

- **yes**: compiled, in all forms. **partly**: compiled under the condition given, else on the host.
  **as defined**: the function body that ONNX gives for the operator is imported in its place.
  **host**: runs in numpy on the host, between compiled regions
  ([guide](guide.md#open-dimensions-and-what-runs-on-the-host)), for the reason given. **no**:
  refused, with the reason and hint given here.
- "Constant" means known when a region is compiled: an initializer, computed from initializers and
  shapes, or an input that the region is specialised to the contents of.
- Everything compiled runs on the CPU. The NPU column names the form in which the NPU takes the
  operator in a model quantised to int8, see [below](#on-the-npu).
- Other operators are refused, unless the model carries a function that defines them, or a
  [plugin](plugins.md) does. Those of `ai.onnx.ml` and of ONNX's preview domains run on the host.
- Compiled tensors are {types}. Other types, strings, sequences and optionals are for the host;
  sparse initializers become dense.

`tilewright check MODEL --target NAME` lists what this means for a model, node by node.

| operator | compiled | NPU | condition, or reason and hint |
|---|---|---|---|
"""


def operators_markdown() -> str:
    """The page as Markdown."""
    table = list(rows())
    kinds = ("yes", "partly", "as defined", "host", "no")
    counts = ", ".join(f"{sum(r.compiled == k for r in table)} {k}" for k in kinds)
    lines = [
        f"| {r.op} | {r.compiled} | {r.npu if r.npu != 'no' else ''} | {r.remarks} |" for r in table
    ]
    head = _HEAD.format(
        version=onnx.__version__, opset=newest_opset(), total=len(table), counts=counts,
        types=", ".join(_element_types()),
    )  # fmt: skip
    forms = [f"| {name} | {text} |" for name, text in NPU_FORMS.items()]
    return "\n".join(
        [
            head + "\n".join(lines),
            "",
            "## On the NPU",
            "",
            "The NPU computes on 8-bit integers: compile with `--quantize int8`, or bring a model",
            "with QuantizeLinear and DequantizeLinear. An operator whose data are real after",
            "quantisation runs on the CPU, whatever its form.",
            "",
            "| form | the NPU takes it when |",
            "|---|---|",
            *forms,
            "",
        ]
    )


def main() -> None:
    """Write the page into the docs folder given (default: `docs`)."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    write_atomically(folder / "operators.md", operators_markdown().encode())


if __name__ == "__main__":
    main()
