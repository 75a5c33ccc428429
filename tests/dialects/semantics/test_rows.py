"""Integer softmax and normalisation against real arithmetic, and the exactness of their parts."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import i8
from xdsl.ir import Block

from tilewright.dialects import fixed_point
from tilewright.dialects.constants import Array, ConstantStore
from tilewright.dialects.graph import ConstantOp, QNormOp, QSoftmaxOp, QuantAttr
from tilewright.dialects.semantics.graph import evaluate_op
from tilewright.dialects.semantics.instructions import execute
from tilewright.dialects.types import tensor

seeds = st.integers(0, 2**32 - 1)


@given(st.lists(st.integers(0, 2**62 - 1), min_size=1))
def test_integer_square_root_is_exact(values: list[int]) -> None:
    near = [v for r in values for v in (r, math.isqrt(r) ** 2, math.isqrt(r) ** 2 - 1) if v >= 0]
    assert fixed_point.integer_sqrt(near).tolist() == [math.isqrt(v) for v in near]


@given(st.integers(-5, 2**31 - 1), st.integers(21, 60))
def test_reciprocal_rounds_half_up(x: int, bits: int) -> None:
    assert int(fixed_point.reciprocal(x, bits)) == ((1 << bits) + max(x, 1) // 2) // max(x, 1)


def softmax(x: Array, scale: float, axis: int) -> tuple[Array, Array]:
    """(stored result, real result * 256)."""
    store = ConstantStore()
    bits, entries = fixed_point.exponential_table(scale, x.shape[axis])
    table = ConstantOp.from_array(entries, store)
    block = Block(arg_types=[tensor(x.shape, i8)])
    y = evaluate_op(QSoftmaxOp(block.args[0], table.result, axis, bits), [x, entries], store)[0]
    real = np.exp((x.astype(np.float64) - x.max(axis=axis, keepdims=True)) * scale)
    return y, real / real.sum(axis=axis, keepdims=True) * 256


@given(seeds, st.integers(1, 300), st.floats(1e-4, 0.5), st.integers(0, 1))
def test_softmax_is_within_one_step(seed: int, count: int, scale: float, axis: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (count, 3) if axis == 0 else (3, count)
    spread = rng.integers(1, 129)
    y, real = softmax(rng.integers(-spread, spread, shape).astype(np.int8), scale, axis)
    wanted = np.minimum(real, 255)
    assert np.abs(y.astype(np.float64) + 128 - wanted).max() <= 0.51 + count / 2**14


def test_softmax_of_the_longest_row() -> None:
    y, real = softmax(np.zeros((1, fixed_point.MAX_ROW), np.int8), 0.1, 1)
    assert (y == -128).all() and real.max() < 0.5
    with pytest.raises(ValueError, match="longer"):
        fixed_point.exponential_table(0.1, fixed_point.MAX_ROW + 1)


@given(seeds, st.integers(1, 400), st.integers(-128, 127), st.integers(0, 1), st.integers(0, 10**6))
def test_norm_is_within_one_step(
    seed: int, count: int, x_zp: int, centred: int, epsilon: int
) -> None:
    rng = np.random.default_rng(seed)
    spread = rng.integers(1, 129)
    x = rng.integers(-spread, spread, (4, count)).astype(np.int8)
    gain, offset = rng.uniform(-40, 40, count), rng.uniform(-40, 40, count)
    fraction = 30 - math.frexp(float(max(np.abs(gain).max(), np.abs(offset).max())))[1]
    stored = [np.rint(np.ldexp(a, fraction)).astype(np.int32) for a in (gain, offset)]
    bits, extra = fixed_point.norm_bits(count, epsilon)
    store = ConstantStore()
    block = Block(arg_types=[tensor(x.shape, i8)])
    constants = [ConstantOp.from_array(a, store) for a in stored]
    op = QNormOp(
        block.args[0], constants[0].result, constants[1].result, QuantAttr.get([1.0], [5]),
        axes=[1],
        centred=centred, x_zp=x_zp, epsilon=epsilon, bits=bits, extra=extra, shift=fraction + 20,
    )  # fmt: skip
    op.verify()
    y = evaluate_op(op, [x, *stored], store)[0]
    wide = x.astype(np.float64) - x_zp
    d = wide - wide.mean(axis=1, keepdims=True) if centred else wide
    variance = (d * d).mean(axis=1, keepdims=True) + epsilon / count**2
    real = np.where(d == 0, 0, d / np.sqrt(np.maximum(variance, 1e-300))) * gain + offset
    wanted = np.clip(real + 5, -128, 127)
    assert np.abs(y - wanted).max() <= 0.75


def run(mnemonic: str, sources: list[Array], out: Array, params: Mapping[str, int]) -> Array:
    execute(mnemonic, [*sources, out], params)
    return out


def test_instructions_follow_the_definitions() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(-128, 128, (3, 4, 5)).astype(np.int8)
    taps = {"p_rank": 1, "t_rank": 1}
    wide = a.astype(np.int32)
    squares = run("vsquare", [a], np.zeros((3, 5), np.int32), {**taps, "a_zp": 7})
    assert (squares == ((wide - 7) ** 2).sum(axis=1)).all()
    top = a.max(axis=1)
    bits, table = fixed_point.exponential_table(0.02, 4)
    powers = table[top[:, None].astype(np.int32) - wide]
    total = run("vsumexp", [a, top, table], np.zeros((3, 5), np.int32), taps)
    assert (total == powers.sum(axis=1)).all()
    execute("vsumexp", [a, top, table, total], taps, overwrite=False)
    assert (total == 2 * powers.sum(axis=1)).all()
    inverse = run("vrecip", [total], np.zeros((3, 5), np.int32), {"bits": bits + 30})
    assert (inverse == fixed_point.reciprocal(total, bits + 30)).all()
    assert (run("vwide", [total], np.zeros((3, 5), np.int32), {}) == total).all()
    given = {"shift": bits + 22, "zp": -128, "lo": -128, "hi": 127}
    y = run("vexp", [a[:, 0], top, inverse, table], np.zeros((3, 5), np.int8), given)
    assert (y == fixed_point.requantize(powers[:, 0], inverse, bits + 22, -128, -128, 127)).all()


def test_no_operand_is_outside_the_arithmetic() -> None:
    edges = np.array([-(2**31), -1, 0, 1, 2**31 - 1], np.int32)
    params = {"count": 1 << 15, "epsilon": (1 << 46) - 1, "bits": 60, "extra": 0}
    with np.errstate(all="raise"):
        for total in edges:
            run("vrsqrt", [edges, np.full(5, total, np.int32)], np.zeros(5, np.int32), params)
        run("vrecip", [edges], np.zeros(5, np.int32), {"bits": 60})
