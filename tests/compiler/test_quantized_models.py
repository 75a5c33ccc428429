"""Models that onnxruntime has quantised: no calibration, its encodings, its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from support.models import tilewright
from tilewright.compiler.driver import compile_model
from tilewright.compiler.executable import Executable
from tilewright.compiler.options import CompileOptions

ort: Any = pytest.importorskip("onnxruntime")
quantization: Any = pytest.importorskip("onnxruntime.quantization")

SHAPE = (1, 4, 12, 12)


def residual_network() -> onnx.ModelProto:
    """Convolutions (plain, depthwise), a residual sum, a product, pooling, concat, gemm."""
    rng = np.random.default_rng(3)

    def weights(name: str, *shape: int) -> TensorProto:
        scale = 1.5 / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array((rng.standard_normal(shape) * scale).astype("f"), name)

    constants = [
        weights("w0", 8, 4, 3, 3), weights("b0", 8), weights("w1", 8, 1, 3, 3),
        weights("w2", 8, 8, 1, 1), weights("b2", 8), weights("w3", 10, 16), weights("b3", 10),
    ]  # fmt: skip
    n = helper.make_node
    nodes = [
        n("Conv", ["x", "w0", "b0"], ["c0"], "conv0", pads=[1] * 4),
        n("Relu", ["c0"], ["r0"], "relu0"),
        n("Conv", ["r0", "w1"], ["c1"], "depthwise", pads=[1] * 4, group=8),
        n("LeakyRelu", ["c1"], ["l1"], "leaky", alpha=0.1),
        n("Conv", ["l1", "w2", "b2"], ["c2"], "pointwise"),
        n("Add", ["c2", "r0"], ["s"], "residual"),
        n("Mul", ["s", "l1"], ["d"], "product"),
        n("MaxPool", ["d"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        n("MaxPool", ["s"], ["p2"], "pool2", kernel_shape=[2, 2], strides=[2, 2]),
        n("Concat", ["p", "p2"], ["k"], "join", axis=1),
        n("GlobalAveragePool", ["k"], ["g"], "mean"),
        n("Flatten", ["g"], ["f"], "flatten"),
        n("Gemm", ["f", "w3", "b3"], ["y"], "classify", transB=1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", 1, SHAPE)], [value("y", 1, (1, 10)), value("s", 1, (1, 8, 12, 12))],
        constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Samples(quantization.CalibrationDataReader):
    """Four samples of noise."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.arrays = [rng.standard_normal(SHAPE).astype(np.float32) for _ in range(4)]
        self.rest = iter(self.arrays)

    def get_next(self) -> dict[str, Any] | None:
        """The next one."""
        array = next(self.rest, None)
        return None if array is None else {"x": array}


FORMATS = [
    ("QDQ", "QInt8", "QInt8", True),
    ("QDQ", "QInt8", "QInt8", False),
    ("QDQ", "QUInt8", "QInt8", True),
    ("QDQ", "QUInt8", "QUInt8", False),
    ("QOperator", "QUInt8", "QUInt8", False),
    ("QOperator", "QInt8", "QInt8", True),
]


@pytest.fixture(scope="module", params=FORMATS, ids=["-".join(map(str, f)) for f in FORMATS])
def quantized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network, quantised by onnxruntime."""
    form, activations, weights, per_channel = request.param
    folder = tmp_path_factory.mktemp("quantized")
    onnx.save(residual_network(), folder / "float.onnx")
    quantization.quantize_static(
        str(folder / "float.onnx"), str(folder / "int8.onnx"), Samples(),
        quant_format=quantization.QuantFormat[form], per_channel=per_channel,
        activation_type=quantization.QuantType[activations],
        weight_type=quantization.QuantType[weights],
    )  # fmt: skip
    return folder / "int8.onnx"


def onnxruntime_results(path: Path, x: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(["y", "s"], {"x": x})


def step(path: Path, tensor: str) -> float:
    """The scale of the encoding of a model output."""
    model = onnx.load(path)
    arrays = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    node = next(n for n in model.graph.node if tensor in n.output)
    return float(arrays[node.input[1]].reshape(-1)[0])


def test_it_needs_no_calibration_and_agrees_with_onnxruntime(quantized: Path) -> None:
    compiled = compile_model(
        str(quantized), CompileOptions(target="gemmini-16x16", quantize="int8")
    )
    assert compiled.artefact is not None
    executable = Executable(compiled.artefact)
    x = Samples().arrays[0]
    ours = executable.run({"x": x})
    simulated, _ = executable.simulate({"x": x})
    expected = dict(zip(["y", "s"], onnxruntime_results(quantized, x), strict=True))
    for name, value in ours.items():
        assert np.array_equal(value, simulated[name])
        steps = np.abs(value.astype(np.float64) - expected[name]) / step(quantized, name)
        assert steps.max() < 2.01, (name, steps.max())
        assert name == "y" or (steps > 0.5).mean() < 0.02


def test_the_float_meaning_compiles_for_the_cpu(quantized: Path) -> None:
    artefact = compile_model(str(quantized), CompileOptions()).artefact
    assert artefact is not None
    x = Samples().arrays[1]
    ours = Executable(artefact).run({"x": x})
    for name, expected in zip(["y", "s"], onnxruntime_results(quantized, x), strict=True):
        steps = np.abs(ours[name].astype(np.float64) - expected) / step(quantized, name)
        assert steps.max() < 1.01
        assert (steps > 0.5).mean() < 0.01


def test_all_products_run_on_the_npu(quantized: Path) -> None:
    options = CompileOptions(target="gemmini-16x16", quantize="int8", compile_to="partition")
    assert compile_model(str(quantized), options).ctx.placement == {}


def test_the_command_line_takes_it(quantized: Path, tmp_path: Path) -> None:
    code, _, err = tilewright(
        "compile", quantized, "--target", "gemmini-16x16", "--quantize", "int8",
        "-o", tmp_path / "m.tw",
    )  # fmt: skip
    assert code == 0, err
    assert (tmp_path / "m.tw").exists()
