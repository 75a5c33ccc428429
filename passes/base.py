"""What a pass is, and the context it runs in.

A pass is a frozen dataclass; its fields are its options, in Python, in pipeline text
(`name{option=1 other=a,b}`) and on the command line alike.  The first line of its docstring is its
line in the pass catalogue.  Passes are in place: they change the module they are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func, FuncOp
from xdsl.passes import ModulePass

from ..backends.targets.machine import Machine
from ..dialects.constants import Array, ConstantStore
from ..dialects.errors import IRError
from ..dialects.graph import GRAPH
from ..dialects.loop import LOOP
from ..dialects.npu import NPU


@dataclass
class CompilerContext(Context):
    """Everything one compilation owns besides the module itself.

    `machine` is the NPU compiled for (None: CPU only).  `calibration` holds calibration inputs by
    model input name, samples stacked along a new first axis (None: not quantising).  `ranges` are
    real ranges by tensor name: what calibration found, or, if there is no calibration data, what
    an earlier one found for other shapes.  `notes` are
    remarks for the user, in order; `placement` says why nodes went to the CPU (node -> reason).
    `tilings` is a row for each nest that tile-npu has tiled, as plain values.
    """

    constants: ConstantStore = field(default_factory=ConstantStore)
    machine: Machine | None = None
    calibration: Mapping[str, Array] | None = None
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    notes: list[str] = field(default_factory=list[str])
    placement: dict[str, str] = field(default_factory=dict[str, str])
    tilings: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def __post_init__(self) -> None:
        """Load every dialect the compiler uses."""
        for dialect in (Builtin, Func, GRAPH, LOOP, NPU):
            self.load_dialect(dialect)


@dataclass(frozen=True)
class Pass(ModulePass):
    """Base of all passes.

    `requires` and `ensures` name properties of the module (`passes/properties.py`) that hold
    before and after; both are checked when verification is on.  `tolerance` is how far results may
    move in semantic verification, as a relative L2 error (infinite for a pass that quantises).
    """

    requires: ClassVar[tuple[str, ...]] = ()
    ensures: ClassVar[tuple[str, ...]] = ()
    tolerance: ClassVar[float] = 1e-5

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """XDSL's entry point."""
        if not isinstance(ctx, CompilerContext):
            raise TypeError("tilewright passes run in a CompilerContext")
        self.run(ctx, op)

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Rewrite `module` in place."""
        raise NotImplementedError

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0]


def main_function(module: ModuleOp) -> FuncOp:
    """The module's `@main`; IRError if there is none."""
    for op in module.ops:
        if isinstance(op, FuncOp) and op.sym_name.data == "main":
            return op
    raise IRError("the module has no func.func @main")
