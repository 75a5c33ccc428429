"""`tilewright check`: the nodes that cannot be compiled, and those that will not run on the NPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from ..backends.targets.load import load_target
from ..dialects.errors import Unsupported
from ..dialects.locations import onnx_nodes
from ..passes.base import CompilerContext, main_function
from .instruments import Instruments
from .pipeline import phase_passes


@dataclass(frozen=True)
class Support:
    """What `check` found.

    `unsupported`: nodes that cannot be compiled at all.  `on_cpu`: node -> why it runs on the CPU
    end although the target has an NPU (found by quantising with made-up ranges).
    """

    model: str
    target: str
    nodes: int
    unsupported: tuple[Unsupported, ...]
    on_cpu: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.model,
            "target": self.target,
            "supported": not self.unsupported,
            "nodes": self.nodes,
            "unsupported": [asdict(u) for u in self.unsupported],
            "on_cpu": [{"node": n, "reason": r} for n, r in sorted(self.on_cpu.items())],
            "notes": list(self.notes),
        }


def check_support(model: str, target: str, shapes: Mapping[str, Sequence[int]]) -> Support:
    """Check a model file against a target; ModelErrors and TargetErrors pass through."""
    from .importer import check_model, import_model

    ctx = CompilerContext()
    ctx.machine = load_target(target)
    name = Path(model).name
    unsupported = check_model(model, ctx, shapes)
    if unsupported:
        return Support(name, target, 0, tuple(unsupported), {}, tuple(ctx.notes))
    module = import_model(model, ctx, shapes)
    nodes = {n for op in module.walk() for n in onnx_nodes(op)}
    if ctx.machine is not None:
        from .driver import random_calibration

        instruments = Instruments(verify="none")
        instruments.run(ctx, module, phase_passes("graph"))
        ctx.calibration = random_calibration(main_function(module))
        for phase in ("quantize", "partition"):
            instruments.run(ctx, module, phase_passes(phase))
        placing = takewhile(lambda p: p.transform.name != "cluster-devices", phase_passes("loop"))
        instruments.run(ctx, module, list(placing))  # up to fit-npu, which places the last nodes
    return Support(name, target, len(nodes), (), dict(ctx.placement), tuple(ctx.notes))


def support_table(support: Support) -> str:
    """The findings as text."""
    lines = [f"note: {text}" for text in support.notes]
    if support.unsupported:
        lines.append(f"{support.model}: {len(support.unsupported)} nodes cannot be compiled")
        for row in support.unsupported:
            lines.append(f"  {row.node} ({row.op}, opset {row.opset}): {row.reason}")
            if row.hint:
                lines.append(f"    hint: {row.hint}")
        return "\n".join(lines)
    lines.append(f"{support.model}: all {support.nodes} nodes can be compiled for {support.target}")
    if support.on_cpu:
        lines.append(f"{len(support.on_cpu)} of them run on the CPU end (with --quantize int8):")
        width = max(len(n) for n in support.on_cpu)
        lines += [f"  {node:<{width}}  {reason}" for node, reason in sorted(support.on_cpu.items())]
    return "\n".join(lines)
