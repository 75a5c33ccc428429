"""Transformers, and networks with 1-D and 3-D convolutions: their products run on the NPU."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import pytest

from support.oracle import session
from support.whole import assert_same_bits
from tilewright.compiler.driver import compile_model
from tilewright.compiler.executable import Executable
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.tensors import read_npz
from tilewright.dialects.constants import Array
from tilewright.dialects.loop import ApplyOp, NestOp, ScalarYieldOp
from tilewright.passes.base import main_function
from tilewright.passes.loop.segments import segments

MODELS: dict[str, float] = {
    "hf_bert_ts17": 20.0,
    "gpt2_kv_ts17": 25.0,
    "vit_b16_ts17": 20.0,
    "stories260k_prefill16": 15.0,
    "stories260k_decode_kv": 25.0,
    "llama_block_prefill_ts17": 25.0,
    "occ_head3d_ts17": 25.0,
}
"""Models with an example of their inputs, and the least signal-to-noise ratio in dB."""
UNTRAINED = ("tinyvit_demo", "cct2_32x32_128")
"""Models without one: noise says nothing about their accuracy."""


def example(models: Path, name: str) -> dict[str, Array] | None:
    found = sorted(models.glob(f"inputs/{name}.*.npz")) + sorted(models.glob(f"arch/{name}.npz"))
    return read_npz(found[0]) if found else None


def multiplies(nest: NestOp) -> bool:
    """Whether `nest` sums products of two tensors."""
    last = nest.body.block.last_op
    if nest.reduce.data != "add" or not isinstance(last, ScalarYieldOp):
        return False
    owner = last.args[0].owner
    return (
        isinstance(owner, ApplyOp) and owner.fn.data == "mul" and owner.args[0] is not owner.args[1]
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [*MODELS, *UNTRAINED])
@pytest.mark.parametrize("target", ["gemmini-16x16", "ethos-u65-512"])
def test_products_run_on_the_npu_and_both_ends_agree(models: Path, name: str, target: str) -> None:
    path = next(p for k in ("real", "arch") if (p := models / k / f"{name}.onnx").exists())
    inputs = example(models, name)
    run = compile_model(
        str(path), CompileOptions(target=target, quantize="int8", calibration=inputs or "random")
    )
    on_npu = total = 0
    for segment in segments(main_function(run.module)):
        for op in segment.ops:
            if isinstance(op, NestOp) and multiplies(op):
                total += prod(op.sizes)
                on_npu += prod(op.sizes) if segment.kind == "npu" else 0
    assert on_npu >= 0.95 * total > 0
    assert run.artefact is not None
    executable = Executable(run.artefact)
    rng = np.random.default_rng(0)
    fed = inputs or {i.name: rng.random(i.shape).astype(i.dtype) for i in executable.inputs}
    fed = {i.name: fed[i.name] for i in executable.inputs}
    on_cpu = executable.run(fed)
    simulated, _ = executable.simulate(fed, check=True)
    assert_same_bits(simulated, on_cpu)
    if name in MODELS:
        reference = session(str(path))
        expected = reference.run(None, {i.name: fed[i.name] for i in reference.get_inputs()})
        for info, real in zip(reference.get_outputs(), expected, strict=True):
            noise = np.square(on_cpu[info.name] - real).sum()
            assert 10 * np.log10(np.square(real).sum() / noise) >= MODELS[name], info.name
