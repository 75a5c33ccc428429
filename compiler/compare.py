"""`tilewright compare`: an artefact against onnxruntime or another artefact, tensor by tensor.

The artefact's side is its graph after quantisation (stored in the artefact), evaluated by the
reference semantics; every operation that computes an ONNX tensor carries that tensor's name.
Outputs are those of the CPU end.  onnxruntime runs with graph optimisation off, so that every
intermediate exists.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from xdsl.ir import Operation, SSAValue

from ..dialects.constants import Array, ConstantStore
from ..dialects.errors import ArtefactError, InputError
from ..dialects.locations import onnx_nodes
from ..passes.base import CompilerContext
from ..passes.rewriting import tensor_name
from .api import load
from .executable import Executable
from .importer.load import load as load_model
from .ir_text import parse_module
from .meaning import dequantized
from .program.executable import ProgramExecutable
from .program.inputs import open_samples
from .tensors import by_name

if TYPE_CHECKING:
    from onnx import NodeProto

BIG = 1e308
"""In place of infinity, which JSON lacks."""


@dataclass(frozen=True)
class TensorError:
    """How one tensor differs: absolute and range-relative error, cosine similarity, SQNR in dB.

    `sqnr_db` is 10 log10(sum ref^2 / sum (value - ref)^2); None where it is infinite.
    """

    name: str
    node: str
    shape: tuple[int, ...]
    max_abs_error: float
    max_rel_error: float
    cosine: float
    sqnr_db: float | None


@dataclass(frozen=True)
class Comparison:
    """Errors of the outputs and of every intermediate both sides name, in execution order."""

    reference: str
    outputs: tuple[TensorError, ...]
    tensors: tuple[TensorError, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "reference": self.reference,
            "outputs": [asdict(t) for t in self.outputs],
            "tensors": [asdict(t) for t in self.tensors],
            "max_rel_error": max((t.max_rel_error for t in self.outputs), default=0.0),
        }


def tensor_error(name: str, node: str, reference: Array, value: Array) -> TensorError:
    """Error figures of `value` against `reference` (any dtypes, equal shapes)."""
    a, b = reference.astype(np.float64).ravel(), value.astype(np.float64).ravel()
    usable = np.isfinite(a) & np.isfinite(b)
    mismatch = bool(np.any(~usable & ~((a == b) | (np.isnan(a) & np.isnan(b)))))
    a, b = a[usable], b[usable]
    difference = np.abs(b - a)
    worst = float("inf") if mismatch else float(difference.max(initial=0.0))
    span = float(a.max(initial=0.0) - a.min(initial=0.0))
    noise, power = float(np.dot(b - a, b - a)), float(np.dot(a, a))
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(np.dot(a, b)) / norm if norm else (1.0 if worst == 0 else 0.0)
    return TensorError(
        name, node, tuple(reference.shape), min(worst, BIG),
        min(worst / span if span else (0.0 if worst == 0 else BIG), BIG), cosine,
        None if noise == 0 else 10 * float(np.log10(max(power, 1e-300) / noise)),
    )  # fmt: skip


def _unlike(name: str, node: str, value: Array) -> TensorError:
    """A tensor of another shape than the reference's: as far away as can be."""
    return TensorError(name, node, tuple(value.shape), BIG, BIG, 0.0, -BIG)


def _arrays(outputs: Mapping[str, Any]) -> dict[str, Array]:
    """Outputs by name; the items of sequences as NAME[0], NAME[1]..."""
    found: dict[str, Array] = {}
    for name, value in outputs.items():
        if isinstance(value, list):
            items = cast("list[Any]", value)
            found |= _arrays({f"{name}[{i}]": item for i, item in enumerate(items)})
        elif isinstance(value, np.ndarray):
            found[name] = cast(Array, value)
    return found


def artefact_tensors(
    executable: Executable,
    inputs: Mapping[str, Array],
    initializers: ConstantStore | None = None,
) -> dict[str, tuple[Array, str]]:
    """Real value and ONNX node of every named tensor in the artefact's graph.

    `initializers` are the model's, where the artefact is a part of a program.
    """
    if isinstance(executable, ProgramExecutable):
        return _program_tensors(executable, inputs)
    files = executable.artefact.files
    if "debug/graph.mlir" not in files:
        raise ArtefactError("the artefact was compiled with --strip and holds no graph to compare")
    from ..dialects.semantics import graph

    ctx = CompilerContext(constants=initializers or ConstantStore())
    found: dict[str, tuple[Array, str]] = {}

    def observe(op: Operation, value: SSAValue, array: Array) -> None:
        if (name := tensor_name(op)) is not None and value is op.results[0]:
            found[name] = (dequantized(value.type, array), ", ".join(onnx_nodes(op)))

    try:
        with np.load(io.BytesIO(files["debug/constants.npz"]), allow_pickle=False) as arrays:
            for key in arrays.files:
                ctx.constants.add(arrays[key])
        module = parse_module(files["debug/graph.mlir"].decode(), ctx, "debug/graph.mlir")
        graph.evaluate(module, [inputs[i.name] for i in executable.inputs], ctx.constants, observe)
    except Exception as error:  # a graph that tilewright did not write can fail in any way
        raise ArtefactError(f"the artefact's graph cannot be evaluated: {error}") from error
    return found


def _program_tensors(
    executable: ProgramExecutable, inputs: Mapping[str, Array]
) -> dict[str, tuple[Array, str]]:
    """The tensors of all compiled regions, each evaluated on what it was given."""
    found: dict[str, tuple[Array, str]] = {}

    initializers = ConstantStore()
    for array in executable.constants.values():
        if array.dtype != object:
            initializers.add(array)

    def on_region(region: Executable, _: str, values: Mapping[str, Any]) -> None:
        found.update(artefact_tensors(region, values, initializers))

    def on_host(node: NodeProto, _: float, values: Sequence[Any]) -> None:
        for name, value in zip(node.output, values, strict=False):
            if name and isinstance(value, np.ndarray):
                found[name] = (cast(Array, value), node.name)

    executable.execute(executable.checked(inputs), on_region, on_host)
    return found


def onnxruntime_tensors(
    model: Path, inputs: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """(outputs, all tensors) of an ONNX model run by onnxruntime without optimisation."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            "comparing with an ONNX model needs onnxruntime",
            hint="pip install 'tilewright[compare]'",
        ) from None
    import onnx

    load_model(model)  # says what is wrong with it, if anything is
    try:
        proto = onnx.load(model)
    except Exception as error:  # external data that is missing, for one
        raise InputError(f"{model} cannot be read: {error}") from None
    names = [o.name for o in proto.graph.output]
    known = set(names)
    extra = [
        n
        for node in proto.graph.node
        for n in node.output
        if n and n not in known and not known.add(n)
    ]
    proto.graph.output.extend(onnx.ValueInfoProto(name=n) for n in extra)
    options = cast(Any, onnxruntime.SessionOptions)()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session: Any = onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        values: list[Any] = session.run(None, dict(inputs))
    except Exception as error:  # onnxruntime raises its own kinds
        raise InputError(f"onnxruntime cannot run {model}: {str(error).splitlines()[0]}") from None
    tensors = _arrays(dict(zip([*names, *extra], values, strict=True)))
    return _arrays(dict(zip(names, values, strict=False))), tensors


def compare_artefacts(
    reference: str, executable: Executable, inputs: Mapping[str, Array]
) -> Comparison:
    """Compare `executable` with a reference (ONNX model or artefact) on one set of inputs."""
    bound = by_name(inputs, executable.inputs)
    many = open_samples(bound, executable.inputs)
    bound = many[0] if many else bound
    outputs = _arrays(executable.run(bound))
    ours = artefact_tensors(executable, bound)
    if reference.endswith(".tw"):
        other = load(reference)
        expected = _arrays(other.run(bound))
        theirs = {n: v for n, (v, _) in artefact_tensors(other, bound).items()}
        label = reference
    else:
        expected, theirs = onnxruntime_tensors(Path(reference), bound)
        label = "onnxruntime"
    if outputs and not set(outputs) & set(expected):
        raise InputError(f"{reference} and the artefact have no output in common")
    rows = [
        tensor_error(name, node, theirs[name], value)
        for name, (value, node) in ours.items()
        if name in theirs
        and theirs[name].shape == value.shape
        and theirs[name].dtype.kind in "fiub"
    ]
    final = [
        tensor_error(n, ours.get(n, (v, ""))[1], expected[n], v)
        if expected[n].shape == v.shape
        else _unlike(n, ours.get(n, (v, ""))[1], v)
        for n, v in outputs.items()
        if n in expected and v.dtype.kind in "fiub" and expected[n].dtype.kind in "fiub"
    ]
    return Comparison(label, tuple(final), tuple(rows))


def comparison_table(comparison: Comparison, rows: int) -> str:
    """Outputs, then the `rows` intermediates with the lowest SQNR."""
    header = (
        f"{'tensor':<40} {'shape':<18} {'max abs':>10} {'max/range':>10} {'cosine':>9} "
        f"{'SQNR dB':>8}"
    )

    def line(t: TensorError) -> str:
        sqnr = "inf" if t.sqnr_db is None else "-inf" if t.sqnr_db == -BIG else f"{t.sqnr_db:.1f}"
        shape = "x".join(map(str, t.shape))
        name = t.name if len(t.name) <= 40 else "..." + t.name[-37:]
        return (
            f"{name:<40} {shape:<18} {t.max_abs_error:>10.3g} {t.max_rel_error:>10.2e} "
            f"{t.cosine:>9.6f} {sqnr:>8}"
        )

    worst = sorted(
        (t for t in comparison.tensors if t.sqnr_db is not None), key=lambda t: t.sqnr_db or 0.0
    )[:rows]
    lines = [
        f"against {comparison.reference}: {len(comparison.tensors)} tensors compared",
        "",
        "outputs",
        header,
    ]
    lines += [line(t) for t in comparison.outputs]
    lines += ["", "intermediates, lowest SQNR first", header] + [line(t) for t in worst]
    return "\n".join(lines)
