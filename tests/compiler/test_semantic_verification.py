"""`--verify semantic` finds a pass that is broken on purpose, and names it and the operation."""

from __future__ import annotations

import io
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import tilewright.backends.targets
from support.models import small_cnn
from tilewright.backends.targets.load import load_target
from tilewright.compiler import opt
from tilewright.compiler.importer import import_model
from tilewright.compiler.instruments import Divergence, Instruments, InternalError
from tilewright.compiler.pipeline import PhasePass, phase_passes
from tilewright.dialects.graph import ConstantOp, MapOp
from tilewright.passes.base import CompilerContext, Pass
from tilewright.passes.graph.dce import DcePass
from tilewright.passes.graph.quantize_insert import QuantizeInsertPass
from tilewright.passes.rewriting import replace


@dataclass(frozen=True)
class BreakReluPass(Pass):
    """Replaces one relu by the identity: wrong on purpose."""

    name = "break-relu"

    def run(self, ctx: CompilerContext, module: object) -> None:
        for op in list(module.walk()):  # type: ignore[attr-defined]
            if isinstance(op, MapOp) and op.fn.data == "relu":
                replace(op, [MapOp("identity", [op.args[0]])])
                return


@dataclass(frozen=True)
class CrashPass(Pass):
    """Raises: a bug."""

    name = "crash"

    def run(self, ctx: CompilerContext, module: object) -> None:
        raise ZeroDivisionError("oops")


@dataclass(frozen=True)
class InvalidPass(Pass):
    """Leaves invalid IR behind: a use before the definition, which xDSL's verifier accepts."""

    name = "invalid"

    def run(self, ctx: CompilerContext, module: object) -> None:
        ops = [op for op in module.walk() if isinstance(op, MapOp)]  # type: ignore[attr-defined]
        block = ops[0].parent_block()
        assert block is not None
        first = next(op for op in block.ops if not isinstance(op, ConstantOp))
        ops[-1].detach()
        block.insert_op_before(ops[-1], first)


def test_the_broken_pass_and_operation_are_named() -> None:
    ctx = CompilerContext()
    module = import_model(small_cnn(), ctx)
    passes = [
        *phase_passes("graph")[:2],
        PhasePass("graph", BreakReluPass()),
        *phase_passes("graph")[2:],
    ]
    with pytest.raises(Divergence) as caught:
        Instruments(verify="semantic").run(ctx, module, passes)
    assert "'break-relu'" in str(caught.value)
    assert "stem/relu" in str(caught.value)


def test_the_whole_pipeline_keeps_meaning() -> None:
    ctx = CompilerContext()
    ctx.machine = load_target("gemmini-16x16")
    module = import_model(small_cnn(), ctx)
    ctx.calibration = {
        "x": np.random.default_rng(0).standard_normal((4, 1, 3, 12, 12)).astype(np.float32)
    }
    instruments = Instruments(verify="semantic")
    for phase in ("graph", "quantize", "partition", "loop", "npu"):
        instruments.run(ctx, module, phase_passes(phase))
    assert len(instruments.records) > 15


def test_a_crash_leaves_a_reproducer(tmp_path: Path) -> None:
    ctx = CompilerContext()
    module = import_model(small_cnn(), ctx)
    with pytest.raises(InternalError, match="'crash'"):
        Instruments(reproducer_dir=tmp_path / "r").run(
            ctx, module, [PhasePass("graph", CrashPass())]
        )
    text = (tmp_path / "r" / "reproducer.mlir").read_text()
    assert text.startswith("// tilewright-opt reproducer.mlir --constants constants.npz")
    assert "stem/relu" in text
    assert (tmp_path / "r" / "constants.npz").exists()


def replay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the command in the first line of the reproducer, from inside its folder."""
    command = (folder / "reproducer.mlir").read_text().splitlines()[0].removeprefix("// ")
    monkeypatch.chdir(folder)
    out = io.StringIO()
    opt.run(shlex.split(command)[1:], io.StringIO(), out)
    return out.getvalue()


def test_a_divergence_can_be_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = CompilerContext()
    module = import_model(small_cnn(), ctx)
    with monkeypatch.context() as broken:
        broken.setattr(DcePass, "run", BreakReluPass.run)
        with pytest.raises(Divergence, match="reproducer"):
            Instruments(verify="semantic", reproducer_dir=tmp_path / "r").run(
                ctx, module, [PhasePass("graph", DcePass())]
            )
        with pytest.raises(Divergence, match="stem/relu"):
            replay(tmp_path / "r", monkeypatch)
    assert "graph.map" in replay(tmp_path / "r", monkeypatch)


def test_a_reproducer_holds_calibration_and_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(tilewright.backends.targets.__path__[0])
    mine = tmp_path / "mine.toml"
    mine.write_text((folder / "gemmini-16x16.toml").read_text().replace("gemmini-16x16", "mine"))
    ctx = CompilerContext()
    ctx.machine = load_target(mine)
    ctx.calibration = {"x": np.ones((2, 1, 3, 12, 12), np.float32)}
    module = import_model(small_cnn(), ctx)
    with monkeypatch.context() as broken:
        broken.setattr(QuantizeInsertPass, "run", CrashPass.run)
        with pytest.raises(InternalError, match="oops"):
            Instruments(reproducer_dir=tmp_path / "r", target=str(mine)).run(
                ctx, module, phase_passes("quantize")
            )
    mine.unlink()
    assert "graph.requantize" in replay(tmp_path / "r", monkeypatch)


def test_use_before_definition_is_found() -> None:
    ctx = CompilerContext()
    module = import_model(small_cnn(), ctx)
    with pytest.raises(InternalError, match="before it is defined"):
        Instruments().run(ctx, module, [PhasePass("graph", InvalidPass())])
