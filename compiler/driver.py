"""One compilation from a model (or IR text) to an artefact: runs the phases, collects the parts."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp

from ..backends.targets.load import load_target
from ..dialects.errors import (
    EmptyTensorError,
    InputError,
    IRError,
    TilewrightError,
    UnsupportedError,
)
from ..dialects.graph import QuantizeOp
from ..dialects.npu import ProgramOp
from ..dialects.types import numpy_dtype, shaped, strings
from ..passes.base import CompilerContext, main_function
from .artefact import Artefact
from .calibration import Arrays, read_calibration, shapes_from, stack_samples
from .compilation import Compilation, assemble
from .instruments import Instruments, count_ops
from .ir_text import load_constants, parse_module, print_module
from .options import CompileOptions
from .pipeline import ALL_PHASES, PHASES, phase_passes
from .tensors import TensorInfo

ReportProgress = Callable[[str, str], None]


def compile_model(
    source: Any,
    options: CompileOptions,
    *,
    keep: frozenset[str] = frozenset(),
    progress: ReportProgress | None = None,
) -> Compilation:
    """Compile an ONNX model (path, bytes or ModelProto), or IR text when `compile_from` says so.

    `keep` names the phases whose IR text is wanted.  Stops after `options.compile_to`.  Raises
    TilewrightErrors for anything wrong with the input.
    """
    if is_open(source, options, keep):
        return _program(source, options)
    if options.buckets:
        raise InputError("--bucket: no dimension is open", hint="leave out --bucket or --shape")
    try:
        with _collector_paused():
            return _compile(source, options, keep, progress)
    except (UnsupportedError, EmptyTensorError) as error:
        if not _whole(options, keep):
            raise
        try:
            return _program(source, options)
        except UnsupportedError as left:
            raise _sharpened(left, error) from None


def _whole(options: CompileOptions, keep: frozenset[str]) -> bool:
    """Whether nothing is asked for that only a single module has."""
    return (options.compile_from, options.compile_to) == ("import", "cpu") and not keep


def is_open(source: Any, options: CompileOptions, keep: frozenset[str] = frozenset()) -> bool:
    """Whether the model keeps open dimensions, so that it becomes a program."""
    if not _whole(options, keep):
        return False
    from .importer import open_dimensions

    for name, dims in open_dimensions(source).items():
        given = options.shapes.get(name, dims)
        if given is None or any(not isinstance(d, int) for d in given):
            return True
    return False


def _program(source: Any, options: CompileOptions) -> Compilation:
    """A model that does not become one module, as a program."""
    from .program.build import build_program

    started = time.perf_counter()
    digest, name = identify(source)
    executable = build_program(source, options, name, digest)
    ctx = CompilerContext()
    ctx.machine = load_target(options.target)
    ctx.notes += executable.session.notes
    run = Compilation(ctx, ModuleOp([]), options, Instruments())
    run.artefact = executable.packed()
    executable.unload()  # it is of no use any more, but may be part of cycles
    run.phase_seconds["program"] = time.perf_counter() - started
    return run


def _sharpened(left: UnsupportedError, whole: TilewrightError) -> UnsupportedError:
    """What the host refuses, with the importer's more precise rows for the same nodes."""
    rows = {row.node: row for row in whole.rows} if isinstance(whole, UnsupportedError) else {}
    return UnsupportedError([rows.get(row.node, row) for row in left.rows])


@contextmanager
def _collector_paused() -> Generator[None]:
    """Pause the cyclic garbage collector.

    Its scans of a growing IR take most of a long compilation.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _compile(
    source: Any, options: CompileOptions, keep: frozenset[str], progress: ReportProgress | None
) -> Compilation:
    ctx = CompilerContext()
    ctx.machine = load_target(options.target)
    started = time.perf_counter()
    if progress:
        progress("import", "import")
    parts: list[Arrays] = []
    if options.compile_from == "import":
        from .importer import import_model, open_dimensions

        parts = _calibration_parts(options)
        declared = {name: d for name, d in open_dimensions(source).items() if d is not None}
        shapes = shapes_from(parts, declared) if parts else {}
        module = import_model(source, ctx, {**shapes, **options.fixed_shapes()})
        digest, name = identify(source)
    else:
        module = _read_ir(source, ctx, options)
        digest, name = "", Path(str(source)).stem
    if options.quantize != "none" and options.compile_from == "import":
        ctx.calibration = _calibration(module, options, parts)
    return _lower(ctx, module, options, name, digest, keep, progress, started)


def compile_module(
    ctx: CompilerContext,
    module: ModuleOp,
    options: CompileOptions,
    name: str,
    digest: str,
    stored: frozenset[str] = frozenset(),
) -> Artefact:
    """The artefact of a graph-level module that has been imported into `ctx`.

    `stored` are keys of constants that whoever keeps the artefact has anyway: its debug part goes
    without them.
    """
    with _collector_paused():
        run = _lower(
            ctx, module, options, name, digest, frozenset(), None, time.perf_counter(), stored
        )
    assert run.artefact is not None
    return run.artefact


def _lower(
    ctx: CompilerContext,
    module: ModuleOp,
    options: CompileOptions,
    name: str,
    digest: str,
    keep: frozenset[str],
    progress: ReportProgress | None,
    started: float,
    stored: frozenset[str] = frozenset(),
) -> Compilation:
    """The phases after import, and the parts they yield."""
    instruments = Instruments(
        verify=options.verify,
        dump=options.dump,
        dump_dir=Path(options.dump_dir) if options.dump_dir else None,
        reproducer_dir=Path(options.reproducer_dir) if options.reproducer_dir else None,
        progress=progress,
        target=options.target,
    )
    stop = ALL_PHASES.index(options.compile_to)
    run = Compilation(ctx, module, options, instruments)
    _finish_phase(run, "import", started, keep)
    debug: ModuleOp | None = None
    for phase in PHASES:
        index = ALL_PHASES.index(phase)
        if index > stop:
            return run
        if phase == "partition" and not options.strip:
            debug = module.clone()
        if index <= ALL_PHASES.index(options.compile_from) or not _wanted(phase, run):
            continue
        started = time.perf_counter()
        instruments.run(ctx, module, phase_passes(phase, _overrides(options)))
        _finish_phase(run, phase, started, keep)
    if stop >= ALL_PHASES.index("encode") and ctx.machine is not None:
        started = time.perf_counter()
        if progress:
            progress("encode", "encode")
        _encode(run)
        run.phase_seconds["encode"] = time.perf_counter() - started
    if stop >= ALL_PHASES.index("cpu"):
        started = time.perf_counter()
        if progress:
            progress("cpu", "emit-llvm")
        from ..backends.cpu.emit import emit_module

        run.llvm = emit_module(module, ctx.constants)
        run.phase_seconds["cpu"] = time.perf_counter() - started
        run.artefact = assemble(run, debug, name, digest, stored)
    return run


def _wanted(phase: str, run: Compilation) -> bool:
    if phase == "quantize":
        return run.options.quantize != "none"
    return phase != "npu" or run.ctx.machine is not None


def _overrides(options: CompileOptions) -> dict[str, dict[str, Any]]:
    return {
        "quantize-insert": {"method": options.calibration_method, "percentile": options.percentile}
    }


def _finish_phase(run: Compilation, phase: str, started: float, keep: frozenset[str]) -> None:
    run.phase_seconds[phase] = time.perf_counter() - started
    programs = [op for op in run.module.ops if isinstance(op, ProgramOp)]
    # @main stays beside the programs, at the loop level: it was counted there
    counted = programs if phase == "npu" and programs else [run.module]
    run.phase_ops[phase] = sum(count_ops(op) for op in counted)
    if phase in keep or run.options.keep_ir:
        run.texts[phase] = print_module(run.module, locations=True)


def identify(source: Any) -> tuple[str, str]:
    """(sha256 of the model file or bytes, a short name)."""
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), Path(source).stem
    data = source if isinstance(source, bytes) else source.SerializeToString(deterministic=True)
    return hashlib.sha256(data).hexdigest(), "model"


def _read_ir(source: Any, ctx: CompilerContext, options: CompileOptions) -> ModuleOp:
    path = Path(source)
    if options.constants is not None:
        load_constants(Path(options.constants), ctx.constants)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise IRError(f"cannot read {path}: {error}") from None
    return parse_module(text, ctx, path.name)


def main_infos(func: FuncOp, names_attr: str) -> list[TensorInfo]:
    """Inputs or outputs of a graph-level `@main` by its `input_names` / `output_names`."""
    types = func.function_type.inputs if names_attr == "input_names" else func.function_type.outputs
    labels = strings(func.attributes.get(names_attr))
    out: list[TensorInfo] = []
    for index, type in enumerate(map(shaped, types)):
        label = (
            labels[index] if index < len(labels) else f"{names_attr.removesuffix('_names')}_{index}"
        )
        out.append(TensorInfo(label, type.get_shape(), numpy_dtype(type.element_type).name))
    return out


def _calibration_parts(options: CompileOptions) -> list[Arrays]:
    if options.quantize == "none" or options.calibration in (None, "random"):
        return []
    assert options.calibration is not None
    return read_calibration(options.calibration)


def _calibration(
    module: ModuleOp, options: CompileOptions, parts: Sequence[Arrays]
) -> Mapping[str, Any] | None:
    infos = main_infos(main_function(module), "input_names")
    if parts:
        return stack_samples(parts, infos)
    if options.calibration == "random":
        return random_calibration(main_function(module))
    if any(isinstance(op, QuantizeOp) for op in module.walk()):
        return None
    raise InputError(
        "int8 quantisation needs calibration data",
        hint="give --calibration FILE.npz (or a folder of them) with typical inputs, named "
        + ", ".join(i.describe() for i in infos)
        + "; or --calibration random for timing studies, where accuracy does not matter",
    )


def random_calibration(func: FuncOp) -> dict[str, Any]:
    """One sample of seeded noise for each input of a graph-level `@main`."""
    rng = np.random.default_rng(0)
    return {
        i.name: (
            rng.standard_normal((1, *i.shape))
            if "float" in i.dtype
            else rng.integers(0, 2, (1, *i.shape))
        ).astype(i.dtype)
        for i in main_infos(func, "input_names")
    }


def _encode(run: Compilation) -> None:
    from ..backends.npu.encode import encode

    for op in run.module.ops:
        if isinstance(op, ProgramOp):
            run.programs[op.sym_name.data] = encode(op)
