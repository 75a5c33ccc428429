"""PyTorch modules, compiled directly and through `torch.compile`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import tilewright
from tilewright.compiler.torch_frontend import from_torch
from tilewright.dialects.errors import ModelError

torch: Any = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def network() -> Any:
    """Convolution, normalisation, pooling and a classifier, in evaluation mode."""
    torch.manual_seed(0)
    nn = torch.nn
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()


def images(count: int) -> Any:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 3, 16, 16, generator=generator)


@pytest.fixture(autouse=True)
def inference() -> Any:
    torch.compiler.reset()
    with torch.no_grad():
        yield


def strictly(module: Any, **how: Any) -> Any:
    """`module` compiled, without running in eager PyTorch instead."""
    return torch.compile(module, backend="tilewright", options={"fallback": False}, **how)


def same(got: Any, expected: Any) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_from_torch() -> None:
    module, x = network(), images(2)
    module.train()
    executable = tilewright.from_torch(module, x)
    assert module.training
    (got,) = executable.run(x).values()
    same(torch.from_numpy(got), module.eval()(x))


def test_from_torch_for_an_npu() -> None:
    data = {"input": images(8).numpy()[:, None]}
    executable = from_torch(
        network(), (images(1),), "gemmini-16x16", quantize="int8", calibration=data
    )
    outputs, simulation = executable.simulate(images(1).numpy())
    assert simulation.cycles > 0
    np.testing.assert_array_equal(
        next(iter(outputs.values())), next(iter(executable.run(images(1)).values()))
    )


def test_from_torch_with_an_open_batch() -> None:
    module = network()
    executable = from_torch(module, (images(2),), dynamic_shapes=({0: torch.export.Dim("n")},))
    for count in (1, 3, 5):
        (got,) = executable.run({executable.inputs[0].name: images(count)}).values()
        same(torch.from_numpy(got), module(images(count)))


class Cached(torch.nn.Module):
    """Attention to all that has been seen: keys and values grow by one at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.project = torch.nn.Linear(16, 48)

    def forward(self, x: Any, keys: Any, values: Any) -> Any:
        q, k, v = self.project(x).split(16, -1)
        keys, values = torch.cat([keys, k], 1), torch.cat([values, v], 1)
        return (q @ keys.transpose(1, 2) / 4).softmax(-1) @ values, keys, values


def test_from_torch_with_a_growing_cache() -> None:
    module, length = Cached().eval(), torch.export.Dim("length", max=64)
    x, empty = torch.randn(1, 1, 16), torch.zeros(1, 3, 16)
    shapes: Any = ({}, {1: length}, {1: length})
    executable = from_torch(module, (x, empty, empty), dynamic_shapes=shapes)
    expected, got = (x, empty, empty), (x, empty, empty)
    for _ in range(4):
        expected = module(*expected)
        got = tuple(torch.from_numpy(v) for v in executable.run(got).values())
        for ours, theirs in zip(got, expected, strict=True):
            same(ours, theirs)


def test_from_torch_refuses_what_keeps_state() -> None:
    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Any) -> Any:
            self.seen.add_(1)
            return x + self.seen

    with pytest.raises(ModelError, match="seen in place"):
        from_torch(Counting(), torch.ones(3))


def test_compile_follows_shapes_and_parameters() -> None:
    module = network()
    compiled = strictly(module)
    for count in (2, 4, 5):
        same(compiled(images(count)), module(images(count)))
    before = compiled(images(2)).clone()
    module[-1].weight.mul_(2)
    same(compiled(images(2)), module(images(2)))
    assert not torch.allclose(before, compiled(images(2)))


def test_compile_takes_numbers_and_half_precision() -> None:
    def function(a: Any, b: Any, factor: int) -> Any:
        return a.bfloat16() + 1, a.reshape(a.shape[0], -1) * factor, b

    compiled = strictly(function, dynamic=True)
    for n in (2, 3, 4):
        args = (torch.randn(n, 2, 3), torch.ones(2), n + 3)
        for ours, theirs in zip(compiled(*args), function(*args), strict=True):
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs)


def test_inputs_that_were_one_tensor_stay_two() -> None:
    compiled, x, y = strictly(torch.nn.Bilinear(4, 4, 2)), torch.randn(3, 4), torch.randn(3, 4)
    executable = from_torch(torch.nn.Bilinear(4, 4, 2), (x, x))
    assert len(executable.inputs) == 2
    same(compiled(x, x), compiled(x, x.clone()))
    assert not torch.allclose(compiled(x, y), compiled(x, x))


def in_place(x: Any) -> Any:
    x.add_(1)
    return x * 2


@pytest.mark.parametrize(
    ("function", "reason"),
    [(in_place, "in place"), (lambda x: torch.linalg.svd(x)[1], "cannot export")],  # pyright: ignore
    ids=["mutation", "no ONNX operator"],
)
def test_compile_falls_back(function: Any, reason: str) -> None:
    x = torch.arange(9.0).reshape(3, 3)
    with pytest.warns(RuntimeWarning, match=reason):
        got = torch.compile(function, backend="tilewright")(x.clone())
    same(got, function(x.clone()))


def test_compile_leaves_training_alone() -> None:
    module = network()
    with torch.enable_grad(), pytest.warns(RuntimeWarning, match="gradients"):
        loss = torch.compile(module, backend="tilewright")(images(2)).sum()
        loss.backward()
    assert module[0].weight.grad is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        strictly(module)(images(2))
