"""Cases of one operator against an oracle: what operators with computed operands are tested by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx

from support.op_model import In, op_model
from support.oracle import session
from tilewright.compiler.importer import import_model
from tilewright.dialects.semantics.graph import evaluate
from tilewright.passes.base import CompilerContext


class Case(NamedTuple):
    """An operator, its arguments (`In`: run-time, with values drawn or those given)."""

    op: str
    args: tuple[Any, ...]
    outputs: int = 1
    attributes: dict[str, Any] = {}  # noqa: RUF012
    values: dict[int, Any] = {}  # noqa: RUF012
    omitted: tuple[int, ...] = ()
    """Outputs that nobody asks for."""
    opset: int = 17
    domain: str = ""

    def model(self) -> onnx.ModelProto:
        """The model of one node."""
        made = op_model(
            self.op,
            self.args,
            opset=self.opset,
            outputs=self.outputs,
            domain=self.domain,
            **self.attributes,
        )
        for i in reversed(self.omitted):
            made.graph.node[0].output[i] = ""
            del made.graph.output[i]
        return made

    def inputs(self) -> dict[str, Any]:
        """Values of the run-time inputs by name."""
        rng = np.random.default_rng(0)
        return {
            f"x{i}": self.values[i] if i in self.values else drawn(arg, rng)
            for i, arg in enumerate(self.args)
            if isinstance(arg, In)
        }


def drawn(arg: In, rng: np.random.Generator) -> Any:
    """Random values of a run-time input."""
    dtype = np.dtype(arg.dtype)
    if dtype == np.bool_:
        return rng.integers(0, 2, arg.shape).astype(bool)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, arg.shape, dtype, endpoint=True)
    return rng.standard_normal(arg.shape).astype(dtype)


def names(cases: Sequence[Case]) -> list[str]:
    """Identifiers of the tests of `cases`."""
    return [f"{case.op}-{case.opset}-{i}" for i, case in enumerate(cases)]


def expected(case: Case) -> list[Any]:
    """What onnxruntime computes."""
    return session(case.model().SerializeToString()).run(None, case.inputs())


def computed(case: Case) -> list[Any]:
    """What the imported graph means; all of it must be imported."""
    ctx = CompilerContext()
    module = import_model(case.model(), ctx)
    module.verify()
    return evaluate(module, case.inputs(), ctx.constants)


def check(case: Case, *, tolerance: float = 1e-4, steps: int = 0) -> None:
    """Both agree: reals within `tolerance`, integers within `steps`."""
    wanted, found = expected(case), computed(case)
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        if not b.size:  # an output that onnxruntime leaves out
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        elif a.dtype.kind == "b" or not steps:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a.astype(np.int64), b.astype(np.int64), atol=steps)
