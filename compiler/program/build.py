"""From a model to a program artefact: what can run is checked, and what can be known compiled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ...backends.targets.load import load_target
from ...dialects.errors import (
    InputError,
    ModelError,
    PluginError,
    TilewrightError,
    UnsupportedError,
)
from ..artefact import PROGRAM, Artefact
from ..calibration import read_calibration, shapes_from, stack_samples
from ..importer.load import load
from ..importer.tensors import UnsupportedType, to_array
from ..options import CompileOptions
from ..tensors import TENSOR, TensorInfo, by_name, made_up
from .buckets import prove
from .executable import ProgramExecutable
from .hosting import missing_operators
from .model import ProgramModel, Source

MOST_ELEMENTS = 1 << 26
"""Most elements of an input that are compiled for unasked."""

GUESSES = (1, 64, 224, 320)
"""Extents tried for open dimensions that nobody has said anything about."""


def build_program(
    source: Source, options: CompileOptions, name: str, digest: str
) -> ProgramExecutable:
    """A program for `source`; UnsupportedError if a node can run neither compiled nor on the host.

    Regions are compiled ahead for the calibration data, for each profile, or else for guessed
    extents of the open dimensions.
    """
    data = _model_bytes(source)
    model = ProgramModel(data)
    _demand_all(model)
    infos = _fixed_inputs(model, options)
    executable = ProgramExecutable(_artefact(data, options, model, infos, name, digest))
    executable.session.options = replace(
        executable.session.options, dump=options.dump, dump_dir=options.dump_dir,
        reproducer_dir=options.reproducer_dir, keep_ir=options.keep_ir,
    )  # fmt: skip
    odd = [i for i in infos if i.kind != TENSOR or i.dims is None or i.dtype == "object"]
    for name_, sizes in options.buckets.items():
        outputs = [o.name for o in executable.outputs]
        bucket = prove(name_, sizes, executable.body.steps, infos, outputs, GUESSES)
        executable.buckets.append(bucket)
        executable.artefact.manifest.setdefault("buckets", []).append(bucket.to_json())
    if options.calibration == "random" and options.quantize != "none":
        if odd:
            raise InputError(
                f"random calibration data cannot be made for {odd[0].describe()}",
                hint="give --calibration FILE.npz",
            )
        _guess(executable, model, infos, calibrate=True)
    elif options.quantize != "none":
        samples = _calibration_samples(options, infos, executable)
        _calibrate(executable, samples)
        _warm(executable, samples[:1])
    elif profiles := options.profiles or _extremes(infos, executable.bounds):
        _warm(executable, [_profile_sample(executable, profile) for profile in profiles])
    elif not odd:  # something sensible can be made up
        _guess(executable, model, infos)
    return executable


def _extremes(
    infos: Sequence[TensorInfo], bounds: Mapping[str, Sequence[Sequence[int] | None]]
) -> list[dict[str, list[int]]]:
    """The least and the greatest extents, if all that is open has bounds.

    They show whether the ends compile, and what memory the greatest takes.
    """
    profiles: list[dict[str, list[int]]] = [{}, {}]
    for info in infos:
        dims = info.dims or ()
        if all(isinstance(d, int) and d >= 0 for d in dims):
            continue
        given = bounds.get(info.name) or [None] * len(dims)
        for which, profile in enumerate(profiles):
            extents = [
                d if isinstance(d, int) and d >= 0 else (0 if b is None else b[which])
                for d, b in zip(dims, given, strict=True)
            ]
            profile[info.name] = extents
            if 0 in extents or math.prod(extents) > MOST_ELEMENTS:
                return []
    return profiles if profiles[0] else []


def _demand_all(model: ProgramModel) -> None:
    """UnsupportedError that lists all nodes for which there is neither a rule nor an operator."""
    if missing := missing_operators(model.nodes, model.opsets):
        raise UnsupportedError(missing)


def _fixed_inputs(model: ProgramModel, options: CompileOptions) -> list[TensorInfo]:
    """The model's inputs, with the extents that the user has fixed."""
    names = [i.name for i in model.inputs]
    if unknown := [name for name in options.shapes if name not in names]:
        raise InputError(
            f"--shape: the model has no input {unknown[0]!r}",
            hint=f"its inputs are {', '.join(i.describe() for i in model.inputs)}",
        )
    return [_fixed(info, options) for info in model.inputs]


def _fixed(info: TensorInfo, options: CompileOptions) -> TensorInfo:
    given = options.shapes.get(info.name)
    if given is None or info.kind != TENSOR:
        return info
    declared = info.dims or (-1,) * len(given)
    if len(declared) != len(given):
        raise InputError(
            f"--shape {info.name}: {len(given)} dimensions, the model takes {info.describe()}"
        )
    for axis, (extent, dim) in enumerate(zip(given, declared, strict=True)):
        if extent is None or not isinstance(dim, int) or dim < 0:
            continue
        least, most = extent if isinstance(extent, tuple) else (extent, extent)
        if not least <= dim <= most:
            raise InputError(
                f"--shape {info.name}: dimension {axis} is fixed to {dim} by the model"
            )
    dims = tuple(g if isinstance(g, int) else d for g, d in zip(given, declared, strict=True))
    return replace(
        info, dims=dims, shape=tuple(d if isinstance(d, int) and d > 0 else 1 for d in dims)
    )


def _artefact(
    data: bytes, options: CompileOptions, model: ProgramModel, infos: Sequence[TensorInfo],
    name: str, digest: str,
) -> Artefact:  # fmt: skip
    machine = load_target(options.target)
    kept: dict[str, Any] = {
        key: getattr(options, key)
        for key in ("target", "quantize", "calibration_method", "percentile", "verify", "strip")
    }
    target: dict[str, Any] = {"name": "cpu"}
    if machine is not None:
        kept["target"] = machine.name  # not a file of this computer
        target = {"name": machine.name, "machine": asdict(machine)}
    bounds = {
        name: [list(g) if isinstance(g, tuple) else None for g in given]
        for name, given in options.shapes.items()
        if any(isinstance(g, tuple) for g in given)
    }
    manifest: dict[str, Any] = {
        "kind": PROGRAM,
        "model": {"name": name, "sha256": digest},
        "target": target,
        "quantize": options.quantize,
        "inputs": [_entry(i) for i in infos],
        "outputs": [_entry(o) for o in model.outputs],
        "bounds": bounds,
        "options": kept,
    }
    return Artefact(manifest, {"model.onnx": data})


def _entry(info: TensorInfo) -> dict[str, Any]:
    entry = vars(info) | {"shape": list(info.shape)}
    return entry | {"dims": None if info.dims is None else list(info.dims)}


def _model_bytes(source: Source) -> bytes:
    """The model with all its weights in it."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, onnx.ModelProto):
        return source.SerializeToString(deterministic=True)
    loaded = load(source)
    model = loaded.model
    external = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if not external:
        return Path(source).read_bytes()
    for tensor in external:
        try:
            tensor.raw_data = to_array(tensor, loaded.folder).tobytes()
        except UnsupportedType as refusal:
            raise ModelError(
                f"external data of tensor {tensor.name!r}: {refusal}",
                hint="store the tensor in the model's file",
            ) from None
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    for tensor, raw in zip(model.graph.initializer, loaded.weights, strict=False):
        if raw is not None:
            tensor.raw_data = raw.tobytes()
    try:
        return model.SerializeToString(deterministic=True)
    except ValueError as error:
        raise ModelError(
            f"the model is too large for one file: {error}",
            hint="fix all shapes with --shape, so that it is compiled as a whole",
        ) from None


# --- compiling ahead ---


def _profile_sample(
    executable: ProgramExecutable, profile: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """Made-up inputs of the extents in `profile`; InputError if the model does not take those."""
    infos = executable.inputs
    names = [i.name for i in infos]
    if unknown := [name for name in profile if name not in names]:
        raise InputError(
            f"--profile: the model has no input {unknown[0]!r}",
            hint=f"its inputs are {', '.join(i.describe() for i in infos)}",
        )
    sample = made_up(infos, profile=profile, bounds=executable.bounds)
    try:
        return executable.checked(sample)
    except InputError as error:
        raise InputError(f"--profile: {error.message}", hint=error.hint) from None


def _calibration_samples(
    options: CompileOptions, infos: Sequence[TensorInfo], executable: ProgramExecutable
) -> list[dict[str, Any]]:
    if options.calibration is None:
        raise InputError(
            "int8 quantisation needs calibration data",
            hint="give --calibration FILE.npz (or a folder of them) with typical inputs",
        )
    declared = {
        i.name: [d if isinstance(d, int) and d >= 0 else None for d in i.dims or ()] for i in infos
    }
    samples: list[dict[str, Any]] = []
    for part in read_calibration(options.calibration):
        if (whole := _one_sample(part, executable)) is not None:
            samples.append(whole)
            continue
        shapes = shapes_from([part], declared)
        stacked = stack_samples(
            [part], [replace(i, shape=shapes.get(i.name, i.shape)) for i in infos]
        )
        count = len(next(iter(stacked.values())))
        samples += [{n: array[k] for n, array in stacked.items()} for k in range(count)]
    return samples


def _one_sample(part: Mapping[str, Any], executable: ProgramExecutable) -> dict[str, Any] | None:
    """`part` as the inputs of one run, unless it holds samples along a (batch) axis.

    It does if every input is open along its first dimension, or has one dimension more.
    """
    infos = executable.inputs
    if all(i.dims and (not isinstance(i.dims[0], int) or i.dims[0] < 0) for i in infos):
        return None
    try:
        bound = by_name({k: v for k, v in part.items() if k in {i.name for i in infos}}, infos)
        return executable.checked(bound)
    except InputError:
        return None


def _calibrate(executable: ProgramExecutable, samples: Sequence[Mapping[str, Any]]) -> None:
    """Run `samples` in real arithmetic and keep what regions are given."""
    session = executable.session
    quantized = session.options
    session.options = replace(quantized, quantize="none", target="cpu")
    rows: dict[str, list[Mapping[str, Any]]] = {}
    try:
        for sample in samples:
            executable.execute(
                sample, lambda _, key, values: rows.setdefault(key, []).append(values)
            )
    finally:
        session.options = quantized
    for key, seen in rows.items():
        names = [n for n, v in seen[0].items() if isinstance(v, np.ndarray)]
        session.samples[key] = {n: np.stack([row[n] for row in seen]) for n in names}
    executable.forget()


def _warm(executable: ProgramExecutable, samples: Sequence[Mapping[str, Any]]) -> None:
    """Run `samples` for the sake of the regions that are compiled on the way."""
    for sample in samples:
        executable.warm(sample)


def _guess(
    executable: ProgramExecutable,
    model: ProgramModel,
    infos: Sequence[TensorInfo],
    *,
    calibrate: bool = False,
) -> None:
    """Run made-up inputs; ModelError if it is the model that they show to be wrong."""
    errors: list[TilewrightError] = []
    open_dims = any(not isinstance(d, int) or d < 0 for i in infos for d in i.dims or ())
    for extent in GUESSES if open_dims else (1,):
        try:
            sample = made_up(infos, extent=extent, bounds=executable.bounds)
        except InputError:
            break
        if sum(v.nbytes for v in sample.values()) > 1 << 28:
            break
        try:
            if calibrate:
                _calibrate(executable, [sample])
            _warm(executable, [sample])
        except UnsupportedError:
            raise
        except TilewrightError as error:
            errors.append(error)
            executable.session.store.clear()
        else:
            return
    if errors:
        model.demand_types()
        # what host operators find in made-up data may decide about shapes
        known = {*executable.session.errors, errors[0].node}
        by_data = any(node.name not in known for node in executable.body.hosted())
        if not open_dims and not by_data and isinstance(errors[0], ModelError | PluginError):
            raise errors[0]
        executable.session.notes.append(
            f"not compiled ahead: on made-up inputs, {errors[0].render()}"
        )
