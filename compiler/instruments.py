"""What happens between passes: verification, meaning checks, dumps, timing, crash reproducers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.utils.exceptions import VerifyException

from ..dialects.errors import TilewrightError
from ..dialects.locations import describe
from ..passes.base import CompilerContext
from ..passes.properties import check_properties
from .files import write_atomically
from .ir_text import print_module, save_constants
from .pipeline import PhasePass

if TYPE_CHECKING:
    pass

Progress = Callable[[str, str], None]
"""Called with (phase, pass name) before each pass."""


class InternalError(Exception):
    """A bug in tilewright: a pass crashed or made invalid IR. Names the reproducer, if written."""


class Divergence(InternalError):
    """A pass changed the meaning of the program: names the pass and the first operation."""


@dataclass
class PassRecord:
    """What one pass cost: seconds, and operations in the module after it."""

    phase: str
    name: str
    seconds: float
    ops: int
    changed: bool | None = None


def count_ops(op: Operation) -> int:
    """Operations inside `op`: counted after every pass, hence without the generators of `walk`."""
    count = 0
    for region in op.regions:
        for block in region.blocks:
            inner = block.first_op
            while inner is not None:
                count += 1 + count_ops(inner) if inner.regions else 1
                inner = inner.next_op
    return count


def check_dominance(module: ModuleOp) -> None:
    """VerifyException if an operand is used before it is defined, which xDSL does not check."""
    seen: set[SSAValue] = set()
    for op in module.walk():
        for operand in op.operands:
            if operand not in seen:
                raise VerifyException(f"{describe(op)} uses a value before it is defined")
        seen.update(op.results)
        for region in op.regions:
            for block in region.blocks:
                seen.update(block.args)


@dataclass
class Instruments:
    """Runs passes with the checks and dumps asked for.

    `verify`: "none", "structural" (dominance and declared properties after each pass, the full
    verifier after the last) or "semantic" (the full verifier after each pass, and: the meaning on
    random inputs is the same before and after).  `dump`: "all",
    "changed", or the name of one pass; written to `dump_dir` as NNN-phase-pass.mlir,
    beside constants.npz.  `target` is the target as the user named it, for reproducers.
    """

    verify: str = "structural"
    time_passes: bool = False
    dump: str | None = None
    dump_dir: Path | None = None
    reproducer_dir: Path | None = None
    progress: Progress | None = None
    records: list[PassRecord] = field(default_factory=list[PassRecord])
    target: str = ""
    _last_text: str = ""
    _saved: int = 0

    def run(self, ctx: CompilerContext, module: ModuleOp, passes: Sequence[PhasePass]) -> None:
        """Run `passes` in order.

        TilewrightErrors pass through; any other failure becomes an InternalError, a changed meaning
        a Divergence.  Before either, a reproducer is written: the IR before the pass, the pipeline
        from there, and constants, calibration data and target where there are any.
        """
        # One copy a call, not one a pass: passes are deterministic, so that the IR before a failing
        # pass is had by running the passes before it again.
        start = module.clone() if self.reproducer_dir else None
        checker = None
        if self.verify == "semantic":
            from .meaning import MeaningCheck

            checker = MeaningCheck(ctx, module)
        for index, item in enumerate(passes):
            if self.progress:
                self.progress(item.phase, item.transform.name)
            if self.verify != "none":
                check_properties(module, item.transform.requires, f"{item.transform.name} requires")
            started = time.perf_counter()
            try:
                item.transform.run(ctx, module)
                seconds = time.perf_counter() - started
                if self.verify != "none":
                    if self.verify == "semantic" or index == len(passes) - 1:
                        module.verify()  # 30 us an operation: at phase boundaries only
                    check_dominance(module)
                    check_properties(
                        module, item.transform.ensures, f"{item.transform.name} ensures"
                    )
            except TilewrightError:
                raise
            except Exception as error:
                where = self._reproduce(ctx, start, passes[:index], passes[index:])
                message = str(error).splitlines()[-1] if str(error) else type(error).__name__
                raise InternalError(
                    f"pass {item.transform.name!r} (phase {item.phase}) failed: "
                    f"{type(error).__name__}: {message}{where}"
                ) from error
            self.records.append(
                PassRecord(item.phase, item.transform.name, seconds, count_ops(module))
            )
            self._dump(ctx, module, item)
            if checker is not None:
                diverged = checker.after(item.transform, module)
                if diverged is not None:
                    where = self._reproduce(
                        ctx, start, passes[:index], [item], " --verify semantic"
                    )
                    raise Divergence(f"{diverged}{where}")

    def _dump(self, ctx: CompilerContext, module: ModuleOp, item: PhasePass) -> None:
        if self.dump_dir is None or self.dump is None:
            return
        name = item.transform.name
        if self.dump not in ("all", "changed", name):
            return
        text = print_module(module, locations=True)
        if self.dump == "changed" and text == self._last_text:
            return
        self._last_text = text
        self.dump_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(
            self.dump_dir / f"{len(self.records):03d}-{item.phase}-{name}.mlir", text.encode()
        )
        if len(ctx.constants) != self._saved:  # beside the IR, for tilewright-opt
            save_constants(self.dump_dir / "constants.npz", ctx.constants)
            self._saved = len(ctx.constants)

    def _reproduce(
        self,
        ctx: CompilerContext,
        start: ModuleOp | None,
        done: Sequence[PhasePass],
        rest: Sequence[PhasePass],
        options: str = "",
    ) -> str:
        """Write a folder whose command, given in its IR's first line, runs from inside it."""
        if start is None or self.reproducer_dir is None:
            return ""
        for item in done:
            item.transform.run(ctx, start)
        folder = self.reproducer_dir
        folder.mkdir(parents=True, exist_ok=True)
        pipeline = ",".join(str(p.transform.spec()) for p in rest)
        if ctx.calibration is not None:
            with (folder / "calibration.npz").open("wb") as file:
                np.savez(file, **ctx.calibration)  # pyright: ignore[reportArgumentType]
            options = f" --calibration calibration.npz{options}"
        if ctx.machine is not None:
            target = self.target or ctx.machine.name
            if target.endswith(".toml"):
                write_atomically(folder / "target.toml", Path(target).read_bytes())
                target = "target.toml"
            options = f" --target {target}{options}"
        command = (
            f"tilewright-opt reproducer.mlir --constants constants.npz{options} -p '{pipeline}'"
        )
        text = f"// {command}\n{print_module(start, locations=True)}"
        write_atomically(folder / "reproducer.mlir", text.encode())
        save_constants(folder / "constants.npz", ctx.constants)
        return f"\n  reproducer: in {folder}: {command}"

    def timing_table(self) -> str:
        """Passes with their milliseconds and operation counts, in order."""
        rows = [f"{'phase':<10} {'pass':<22} {'ms':>9} {'ops':>8}"]
        rows += [
            f"{r.phase:<10} {r.name:<22} {r.seconds * 1e3:>9.1f} {r.ops:>8}" for r in self.records
        ]
        return "\n".join(rows)
