"""Networks with 2:4 sparse weights: the ends agree, and only layers that can be are compressed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from benchmarks.npu.zoo.builder import Builder
from benchmarks.npu.zoo.pruning import prune
from hypothesis import given, settings
from hypothesis import strategies as st

from support.npu_passes import target
from support.whole import assert_ends_agree, compile_int8, target_file
from tilewright.backends.npu.binary import decode
from tilewright.backends.targets.machine import Sparsity
from tilewright.compiler.executable import Executable

TARGETS = ("auto-200", "ethos-u85-1024")
SIZE = 12


def _image(channels: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {"x": rng.standard_normal((1, channels, SIZE, SIZE)).astype(np.float32)}


def _network() -> onnx.ModelProto:
    """A layer of every kind; the second input of `ragged` has 12 channels."""
    net = Builder("kinds")
    x = net.input("x", (1, 3, SIZE, SIZE))
    x = net.relu(net.conv(x, 3, 16, 3, name="first"), name="relu0")
    x = net.relu(net.conv(x, 16, 32, 3, name="plain"), name="relu1")
    x = net.relu(net.conv(x, 32, 32, 3, groups=32, name="depthwise"), name="relu2")
    x = net.relu(net.conv(x, 32, 12, 1, name="narrow"), name="relu3")
    x = net.relu(net.conv(x, 12, 32, 1, name="ragged"), name="relu4")
    x = net.relu(net.conv(x, 32, 16, 3, groups=2, name="groups"), name="relu5")
    x = net.conv(x, 16, 24, 3, stride=2, name="strided")
    return net.model(net.gemm(net.flatten_pool(x), 24, 40, name="head"))


def _compressed(executable: Executable) -> set[str]:
    """Names of layers with smatmul commands."""
    out: set[str] = set()
    for _, code, layers in executable.npu_programs:
        for i in decode(code).instructions:
            if i.mnemonic == "smatmul":
                out.update(layers[i.layer])
    return out


CAN_BE = {"plain", "narrow", "strided", "head"}


@pytest.mark.parametrize("name", TARGETS)
def test_layers_that_can_be_compressed_are(name: str) -> None:
    model, inputs = _network(), _image(3)
    dense = compile_int8(model, name, inputs)
    assert not _compressed(dense)
    prune(model)
    sparse = compile_int8(model, name, inputs)
    found = _compressed(sparse)
    assert found >= CAN_BE
    assert not found & {"first", "depthwise", "ragged"}
    figures, before = assert_ends_agree(sparse, inputs), dense.simulate_timing()
    assert figures.dram_bytes < before.dram_bytes
    assert figures.energy["mac"] < before.energy["mac"]
    assert figures.lower_bound_cycles <= min(figures.cycles, before.lower_bound_cycles)


@pytest.mark.parametrize("name", TARGETS)
def test_one_layer_only(name: str) -> None:
    """The other layers stay as they are."""
    model, inputs = _network(), _image(3)
    dense = {t.name: t.raw_data for t in model.graph.initializer}
    prune(model)
    for tensor in model.graph.initializer:
        if tensor.name != "plain.weight":
            tensor.raw_data = dense[tensor.name]
    executable = compile_int8(model, name, inputs)
    assert _compressed(executable) - {"relu1"} == {"plain"}
    assert_ends_agree(executable, inputs)


def test_dense_networks_do_not_know_of_it(tmp_path: Path) -> None:
    """The same machine code with and without a decoder."""
    model, inputs = _network(), _image(3)
    machine = replace(target("auto-200"), sparsity=Sparsity())
    without = compile_int8(model, target_file(machine, tmp_path), inputs)
    for ours, theirs in zip(
        compile_int8(model, "auto-200", inputs).npu_programs, without.npu_programs, strict=True
    ):
        assert ours[1:] == theirs[1:]


@st.composite
def networks(draw: st.DrawFn) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Convolutions of any kind, some pruned, behind each other."""
    first = channels = draw(st.sampled_from([3, 8, 16, 20]))
    net = Builder("random", seed=draw(st.integers(0, 99)))
    x = net.input("x", (1, channels, SIZE, SIZE))
    for i in range(draw(st.integers(1, 4))):
        kernel, stride = draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 1, 2]))
        groups = draw(st.sampled_from([g for g in (1, 1, 2, channels) if channels % g == 0]))
        out = groups * draw(st.integers(1, max(1, 48 // groups)))
        x = net.conv(
            x, channels, out, kernel, stride=stride, groups=groups, bias=True, name=f"conv{i}"
        )
        x, channels = net.relu(x, name=f"relu{i}"), out
    model = net.model(x)
    if draw(st.sampled_from([True, True, True, False])):
        prune(model)
    return model, _image(first)


@settings(max_examples=12, deadline=None)
@given(networks(), st.sampled_from(TARGETS))
def test_ends_agree(made: tuple[onnx.ModelProto, dict[str, np.ndarray]], name: str) -> None:
    model, inputs = made
    assert_ends_agree(compile_int8(model, name, inputs), inputs)
