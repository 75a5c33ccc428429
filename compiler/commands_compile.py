"""What `tilewright compile` does, once its arguments are parsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..dialects.errors import InputError
from .api import executable_of
from .artefact import PROGRAM
from .commands import note, say
from .compilation import Compilation
from .driver import compile_model
from .files import write_atomically
from .options import DUMPS, CompileOptions, Extent
from .pipeline import ALL_PHASES
from .progress import phase_progress

EMIT_PHASE = {"graph": "partition", "loop": "loop", "npu": "npu"}
EMIT_SUFFIX = {
    "graph": ".graph.mlir",
    "loop": ".loop.mlir",
    "npu": ".npu.mlir",
    "asm": ".s",
    "llvm": ".ll",
    "binary": ".twb",
}


def compile_command(
    model: str, output: str | None, shapes: Mapping[str, tuple[Extent, ...]], emit: list[str],
    dump_dir: str | None, time_passes: bool, tilings: bool, **options: Any,
) -> None:  # fmt: skip
    """`tilewright compile`."""
    kinds = [kind for item in emit for kind in item.split(",") if kind]
    if unknown := [k for k in kinds if k not in EMIT_SUFFIX]:
        raise InputError(
            f"--emit does not know {', '.join(unknown)}",
            hint=f"choose from {', '.join(EMIT_SUFFIX)}",
        )
    partial = options["compile_to"] != "cpu"
    out = (
        Path(output)
        if output
        else Path(Path(model).name).with_suffix(".mlir" if partial else ".tw")
    )
    if options["dump"] and dump_dir is None:
        dump_dir = f"{out}.dumps"
    settings = CompileOptions(
        shapes=shapes, dump_dir=dump_dir, reproducer_dir=f"{out}.reproducer", **options
    )
    keep = {EMIT_PHASE[k] for k in kinds if k in EMIT_PHASE}
    if partial:
        keep.add(settings.compile_to)
    with phase_progress(len(ALL_PHASES)) as progress:
        result = compile_model(model, settings, keep=frozenset(keep), progress=progress)
    for text in result.ctx.notes:
        note(f"note: {text}")
    ran = {record.name for record in result.instruments.records}
    if ran and settings.dump and settings.dump not in (*DUMPS, *ran):
        note(f"note: --dump: pass {settings.dump!r} does not run with these options")
    if kinds and result.artefact is not None and result.artefact.manifest.get("kind") == PROGRAM:
        raise InputError(
            "--emit: the model is compiled in several parts",
            hint="fix its shapes with --shape, or look at each part with --dump all",
        )
    _emit(result, kinds, out)
    if time_passes and result.instruments.records:
        say(result.instruments.timing_table())
    elif time_passes:
        note("note: --time-passes: the model is compiled in several parts, whose passes have none")
    if tilings:
        say(tiling_table(result.ctx.tilings))
    if partial:
        _write_partial(result, settings, out)
        return
    assert result.artefact is not None
    result.artefact.save(out)
    _summary(result, out)


def tiling_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The tiling of every layer: tile, loops from the outermost, modelled cycles, bound and gap."""
    lines = [f"{'layer':<34} {'tile / loops':<44} {'cycles':>11} {'bound':>11} {'gap':>7}"]
    for row in rows:
        tile = "x".join(map(str, row["tile"])) + " / " + " ".join(f"d{d}" for d in row["loops"])
        lines.append(
            f"{' + '.join(row['nodes'])[:34]:<34} {tile:<44} {row['cycles']:>11,.0f}"
            f" {row['bound']:>11,.0f} {row['gap']:>7.1%}"
        )
    cycles, bound = (sum(row[key] for row in rows) for key in ("cycles", "bound"))
    gap = cycles / bound - 1 if bound else 0.0
    lines.append(f"{'total':<79} {cycles:>11,.0f} {bound:>11,.0f} {gap:>7.1%}")
    return "\n".join(lines)


def _write_partial(result: Compilation, settings: CompileOptions, out: Path) -> None:
    from .ir_text import print_module, save_constants

    text = result.texts.get(settings.compile_to) or print_module(result.module, locations=True)
    constants = out.with_suffix(".npz")
    write_atomically(out, text.encode())
    save_constants(constants, result.ctx.constants)
    say(f"wrote {out} (IR after phase {settings.compile_to}) and {constants} (its constants)")


def _emit(result: Compilation, kinds: list[str], out: Path) -> None:
    stem = out.with_suffix("")
    for kind in kinds:
        path = stem.with_name(stem.name + EMIT_SUFFIX[kind])
        if kind in EMIT_PHASE:
            text = result.texts.get(EMIT_PHASE[kind])
            if text is None:
                raise InputError(
                    f"--emit {kind}: phase {EMIT_PHASE[kind]!r} was not run",
                    hint="the target has no NPU, or --compile-to stops earlier",
                )
            write_atomically(path, text.encode())
        elif kind == "llvm":
            write_atomically(path, (result.llvm or "").encode())
        else:
            if not result.programs:
                raise InputError(
                    f"--emit {kind}: there is no NPU program",
                    hint="compile for an NPU target with --quantize int8",
                )
            from ..backends.npu.disassembler import disassemble

            for name, program in sorted(result.programs.items()):
                at = (
                    path
                    if len(result.programs) == 1
                    else path.with_name(f"{stem.name}.{name}{EMIT_SUFFIX[kind]}")
                )
                data = (
                    program.code
                    if kind == "binary"
                    else disassemble(program.code, program.layers).encode()
                )
                write_atomically(at, data)
        say(f"wrote {path}")


def _summary(result: Compilation, out: Path) -> None:
    ctx, machine = result.ctx, result.ctx.machine
    seconds = sum(result.phase_seconds.values())
    say(
        f"wrote {out} ({out.stat().st_size / 1024:.0f} KiB) "
        f"for {machine.name if machine else 'cpu'} in {seconds:.2f} s"
    )
    assert result.artefact is not None
    if result.artefact.manifest.get("kind") == PROGRAM:
        _program_summary(result)
        return
    say("operations: " + ", ".join(f"{phase} {n}" for phase, n in result.phase_ops.items()))
    if machine is not None:
        segments = sum(1 for step in result.artefact.manifest["steps"] if step["kind"] == "npu")
        say(
            f"NPU programs: {segments}; nodes on the CPU: {len(ctx.placement)}"
            + (" (see `tilewright check`)" if ctx.placement else "")
        )
        if not segments:
            note(_NOTHING_ON_NPU.get(result.options.quantize, _NOTHING_ON_NPU[""]))


_NOTHING_ON_NPU = {
    "none": "note: nothing runs on the NPU; it computes in int8: compile with --quantize int8",
    "": "note: nothing runs on the NPU",
}


def _program_summary(result: Compilation) -> None:
    """What a program consists of."""
    assert result.artefact is not None
    executable = executable_of(result.artefact)
    inputs = ", ".join(i.describe() for i in executable.inputs)
    regions = sum(1 for name in result.artefact.files if name.startswith("regions/"))
    say(f"program over {inputs or 'no inputs'}: {regions} regions compiled ahead, others on demand")
    if executable.bounds and regions:
        say(f"memory at the greatest extents: {executable.arena_bytes / 1024:,.0f} KiB")
    if result.ctx.machine is not None:
        say(f"NPU programs: {len(executable.npu_programs)}")
