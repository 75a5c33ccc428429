"""A loaded program: run on the CPU end or simulated, for any shapes within its bounds."""

from __future__ import annotations

import json
import time
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ...dialects.constants import Array
from ...dialects.errors import ArtefactError, InputError
from ..artefact import Artefact
from ..executable import Executable
from ..manifest import check_target, infos, texts
from ..options import CompileOptions
from ..simulation import machine_of
from ..tensors import TensorInfo
from .buckets import Bucket, read_buckets
from .hosting import missing_operators
from .inputs import check_value, open_samples
from .model import ProgramModel
from .region import Region
from .session import Body, Execution, OnHost, OnRegion, Session
from .storage import pack_regions, read_bounds, read_plan, unpack_regions

if TYPE_CHECKING:
    from onnx import NodeProto

    from ...backends.targets.machine import Machine
    from ..simulation import Simulation


class ProgramExecutable(Executable):
    """A model of several parts: compiled regions, specialised to shapes, and host operators.

    The interface is that of `Executable`.  Regions are compiled at the first run with new shapes
    and kept; `save` stores what has been compiled.
    """

    def __init__(self, artefact: Artefact):
        self.artefact = artefact
        manifest = artefact.manifest
        self.inputs = infos(manifest.get("inputs"), "inputs")
        self.outputs = infos(manifest.get("outputs"), "outputs")
        check_target(manifest.get("target"))
        self.target = str(manifest["target"]["name"])
        machine = None if self.target == "cpu" else machine_of(artefact)
        self.bounds = read_bounds(manifest.get("bounds", {}), self.inputs)
        try:
            model = ProgramModel(artefact.files["model.onnx"])
            options = CompileOptions(**manifest["options"])
            texts([options.target, options.quantize, options.verify], "options")
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise ArtefactError(f"the program is damaged: {error}") from None
        if not _same(self.inputs, model.inputs) or not _same(self.outputs, model.outputs):
            raise ArtefactError("the program is damaged: its tensors are not those of its model")
        self.session = Session(options, model.opsets, model.functions, model.folder, machine)
        read_plan(artefact.files.get("plan.json", b"{}"), self.session.learned, self.session.ranges)
        if missing := missing_operators(model.nodes, model.opsets):
            node = missing[0]
            raise ArtefactError(
                f"the program cannot run here: {node.reason}",
                node=node.node, op=node.op,
                hint="install the plugin it was compiled with, or register the operator",
            )  # fmt: skip
        self.session.store.update(unpack_regions(artefact.files))
        self.buckets = read_buckets(manifest.get("buckets", []))
        self._model = model
        self.body = self._new_body()

    def _new_body(self) -> Body:
        constants: ChainMap[str, Any] = ChainMap({}, self._model.constants)  # pyright: ignore
        names = dict.fromkeys(i.name for i in self.inputs)
        outputs = [o.name for o in self.outputs]
        return Body(self._model.nodes, outputs, names, constants, self.session)

    # --- running ---

    def run(self, inputs: Any = None, **named: Any) -> dict[str, Any]:
        """Outputs by name: arrays, or lists and None for sequences and empty optionals."""
        return self._each(self._bind(inputs, named), self.execute)

    def execute(
        self,
        bound: Mapping[str, Any],
        on_region: OnRegion | None = None,
        on_host: OnHost | None = None,
    ) -> dict[str, Any]:
        """One run on checked inputs.

        `on_region` sees what each compiled region is given, `on_host` what host nodes make.
        """
        return self._padded(bound, Execution(self.session, run_compiled, on_host, on_region))

    def _padded(self, bound: Mapping[str, Any], execution: Execution) -> dict[str, Any]:
        """One run, its open dimensions padded to buckets."""
        values, crops = dict(bound), list[tuple[Bucket, int]]()
        for bucket in self.buckets:
            values, extent, size = bucket.padded(values)
            if size != extent:
                crops.append((bucket, extent))
        made = self.body.run(values, execution)
        outputs = {info.name: value for info, value in zip(self.outputs, made, strict=True)}
        for bucket, extent in crops:
            outputs = bucket.cropped(outputs, extent)
        return outputs

    def warm(self, bound: Mapping[str, Any]) -> None:
        """Compile for these checked inputs; run only what that takes."""
        for bucket in self.buckets:
            bound, _, _ = bucket.padded(bound)
        match self.body.steps:
            case [Region() as whole] if not isinstance(
                whole.specialised({name: bound[name] for name in whole.inputs}), list
            ):
                return
            case _:
                self.execute(bound)

    def simulate(
        self, inputs: Any = None, *, check: bool = True, trace: bool = False, **named: Any
    ) -> tuple[dict[str, Any], Simulation]:
        """Outputs, and the figures of all regions, one after the other."""
        machine = machine_of(self.artefact)
        bound = self._bind(inputs, named)
        samples = open_samples(bound, self.inputs)
        rows: list[dict[str, Any]] = []
        result: Simulation | None = None
        for sample in [bound] if samples is None else samples:
            simulated = _Simulated(check, trace and result is None)
            execution = Execution(self.session, simulated.region, simulated.on_host)
            rows.append(self._padded(self.checked(sample), execution))
            result = result or simulated.whole(machine)
        if result is None:
            raise InputError("the inputs hold no samples")
        return (rows[0] if samples is None else _stack(rows)), result

    def simulate_timing(self, *, check: bool = False, trace: bool = False) -> Simulation:
        """InputError: what a program runs depends on its inputs."""
        raise InputError(
            "the model is compiled in several parts, whose timing depends on the inputs",
            hint="fix its shapes with --shape, or simulate it with inputs",
        )

    def benchmark(self, inputs: Any = None, *, repeats: int = 20, **named: Any) -> list[float]:
        """Seconds of `repeats` runs, the host's work between regions included."""
        bound = self._bind(inputs, named)
        samples = open_samples(bound, self.inputs)
        checked = self.checked(samples[0] if samples else bound)
        times: list[float] = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            self.execute(checked)
            times.append(time.perf_counter() - started)
        return times[1:]

    # --- parts ---

    @property
    def arena_bytes(self) -> int:
        """Bytes of the largest arena among the regions compiled so far."""
        return max((int(a.manifest["arena_bytes"]) for a in self.session.store.values()), default=0)

    @property
    def nodes(self) -> Sequence[NodeProto]:
        """The model's nodes."""
        return self._model.nodes

    def hosted(self) -> dict[str, str]:
        """Nodes known to run on the host, and why."""
        return {node.name: f"{node.op_type} runs on the host" for node in self.body.hosted()}

    @property
    def npu_programs(self) -> list[tuple[str, bytes, list[tuple[str, ...]]]]:
        """Encoded programs of all regions that have been compiled."""
        return [
            (f"regions/{key}/{name}", code, layers)
            for key, artefact in sorted(self.session.store.items())
            for name, code, layers in Executable(artefact).npu_programs
        ]

    def forget(self) -> None:
        """Drop what has been compiled, keep what has been learned."""
        self.session.store.clear()
        self.unload()

    def unload(self) -> None:
        """Drop loaded code; it is loaded again when it is needed."""
        self.session.bodies.clear()
        self.body = self._new_body()

    @property
    def constants(self) -> Mapping[str, Array]:
        """The model's initializers."""
        return self._model.constants

    def save(self, path: Any) -> None:
        """Write the artefact, with the regions compiled so far."""
        self.packed().save(path)

    def packed(self) -> Artefact:
        """The artefact with what has been learned and compiled so far."""
        files = {"model.onnx": self.artefact.files["model.onnx"]}
        plan = {"learned": self.session.learned, "ranges": self.session.ranges}
        files["plan.json"] = json.dumps(plan, sort_keys=True, indent=1).encode()
        return Artefact(self.artefact.manifest, files | pack_regions(self.session.store))

    def _bind(self, inputs: Any, named: Mapping[str, Any]) -> dict[str, Any]:
        if not self.inputs:
            return {}
        return super()._bind(inputs, named)

    def checked(self, bound: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs of one run as the model takes them; InputError if they do not fit it."""
        symbols: dict[str, int] = {}
        return {
            info.name: check_value(info, bound[info.name], symbols, self.bounds.get(info.name))
            for info in self.inputs
        }

    def _each(
        self, bound: Mapping[str, Any], execute: Callable[[Mapping[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        samples = open_samples(bound, self.inputs)
        if samples is None:
            return execute(self.checked(bound))
        if not samples:
            raise InputError("the inputs hold no samples")
        return _stack([execute(self.checked(sample)) for sample in samples])


class _Simulated:
    """Figures of the parts of one simulated run."""

    def __init__(self, check: bool, trace: bool):
        self.check, self.trace = check, trace
        self.parts: list[Simulation] = []
        self.host: list[tuple[str, float]] = []
        self.placement: dict[str, str] = {}

    def region(self, executable: Executable, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Simulate a region."""
        outputs, simulation = executable.simulate(values, check=self.check, trace=self.trace)
        self.parts.append(simulation)
        self.host += [(h.node, h.milliseconds) for h in simulation.host]
        self.placement |= simulation.placement
        return outputs

    def on_host(self, node: NodeProto, seconds: float, _: Sequence[Any]) -> None:
        """Note a host node."""
        self.host.append((node.name, seconds * 1e3))
        self.placement[node.name] = f"{node.op_type} runs on the host"

    def whole(self, machine: Machine) -> Simulation:
        """All of it, one part after the other."""
        from ..simulation import HostStep, Simulation

        host = tuple(HostStep(i, ms, node) for i, (node, ms) in enumerate(self.host))
        programs = tuple(p for part in self.parts for p in part.programs)
        return Simulation(machine, programs, host, self.placement)


def _same(infos: Sequence[TensorInfo], declared: Sequence[TensorInfo]) -> bool:
    """Whether tensors are those the model declares, but for extents that have been fixed."""
    return [(i.name, i.kind, i.dtype, len(i.shape)) for i in infos] == [
        (d.name, d.kind, d.dtype, len(d.shape)) for d in declared
    ]


def run_compiled(executable: Executable, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A region on the CPU end."""
    return executable.run(values)


def _stack(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Outputs of samples stacked along a new first axis; lists where their shapes differ."""
    out: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        shapes = {cast(Array, v).shape if isinstance(v, np.ndarray) else None for v in values}
        out[name] = np.stack(values) if len(shapes) == 1 and None not in shapes else values
    return out
