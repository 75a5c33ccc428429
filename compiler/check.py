"""`tilewright check`: the nodes that cannot be compiled, and those that will not run on the NPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from ..backends.targets.load import load_target
from ..backends.targets.machine import Machine
from ..dialects.errors import EmptyTensorError, TilewrightError, Unsupported, UnsupportedError
from ..dialects.locations import onnx_nodes
from ..passes.base import CompilerContext, main_function
from .driver import is_open, random_calibration
from .instruments import Instruments
from .options import CompileOptions, Extent
from .pipeline import phase_passes


@dataclass(frozen=True)
class Support:
    """What `check` found.

    `unsupported`: nodes that cannot be compiled, nor run on the host.  `on_cpu`: node -> why it
    runs on the CPU end although the target has an NPU (found by quantising with made-up ranges), or
    on the host, in numpy.
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


def check_support(model: str, target: str, shapes: Mapping[str, Sequence[Extent]]) -> Support:
    """Check a model file against a target; ModelErrors and TargetErrors pass through."""
    options = CompileOptions(target=target, shapes=shapes)
    machine = load_target(target)
    if not is_open(model, options):
        found = _check_module(model, machine, options)
        if found is not None:
            return found
    if machine is not None:
        options = replace(options, quantize="int8", calibration="random")
    return _check_program(model, options)


def _check_module(model: str, machine: Machine | None, options: CompileOptions) -> Support | None:
    """What becomes of a model that compiles as a whole; None if it does not."""
    from .importer import import_model

    ctx = CompilerContext()
    ctx.machine = machine
    try:
        module = import_model(model, ctx, options.fixed_shapes())
    except (UnsupportedError, EmptyTensorError):
        return None
    nodes = {n for op in module.walk() for n in onnx_nodes(op)}
    if ctx.machine is not None:
        instruments = Instruments(verify="none")
        instruments.run(ctx, module, phase_passes("graph"))
        ctx.calibration = random_calibration(main_function(module))
        for phase in ("quantize", "partition"):
            instruments.run(ctx, module, phase_passes(phase))
        placing = takewhile(lambda p: p.transform.name != "cluster-devices", phase_passes("loop"))
        instruments.run(ctx, module, list(placing))  # up to fit-npu, which places the last nodes
    return Support(
        Path(model).name, options.target, len(nodes), (), dict(ctx.placement), tuple(ctx.notes)
    )


def _check_program(model: str, options: CompileOptions) -> Support:
    """What becomes of a model that is compiled in several parts."""
    from .program.build import build_program

    name, target = Path(model).name, options.target
    notes: list[str] = []
    try:
        try:
            executable = build_program(model, options, name, "")
        except UnsupportedError:
            raise
        except TilewrightError as error:
            if options.quantize == "none":
                raise
            notes.append(f"not checked for the NPU: {error.message}")
            plain = replace(options, target="cpu", quantize="none", calibration=None)
            executable = build_program(model, plain, name, "")
    except UnsupportedError as error:
        return Support(name, target, 0, error.rows, {})
    placement = dict(executable.hosted())
    for artefact in executable.session.store.values():
        placement |= artefact.manifest["placement"]
    nodes = len(executable.nodes)
    return Support(name, target, nodes, (), placement, (*notes, *executable.session.notes))


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
        where = (
            "on the host" if support.target == "cpu" else "on the CPU end (with --quantize int8)"
        )
        lines.append(f"{len(support.on_cpu)} of them run {where}:")
        width = max(len(n) for n in support.on_cpu)
        lines += [f"  {node:<{width}}  {reason}" for node, reason in sorted(support.on_cpu.items())]
    return "\n".join(lines)
