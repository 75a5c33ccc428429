"""A compiled model that can be run on the CPU end and simulated on its NPU."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dialects.constants import Array
from ..dialects.errors import ArtefactError, InputError
from .artefact import Artefact
from .manifest import check_manifest, infos
from .tensors import Bounds, TensorInfo, by_name, check_input, numpy_type, samples

if TYPE_CHECKING:
    from ..backends.cpu.jit import CpuModule
    from .simulation import Simulation


class Executable:
    """A loaded artefact.

    Calling it (or `run`) executes the whole program on the CPU end; `simulate` executes NPU
    segments on the simulator and the rest on the CPU end.  Both are bit-identical on integers.
    """

    def __init__(self, artefact: Artefact):
        self.artefact = artefact
        manifest = artefact.manifest
        check_manifest(manifest, artefact.files)
        self.inputs = infos(manifest["inputs"], "inputs")
        self.outputs = infos(manifest["outputs"], "outputs")
        self.target = str(manifest["target"]["name"])
        self.bounds: Mapping[str, Bounds] = {}
        self._consts = np.frombuffer(artefact.files.get("constants.bin", b""), np.uint8)
        self._cpu: CpuModule | None = None

    # --- running ---
    def __call__(self, inputs: Any = None, **named: Any) -> dict[str, Array]:
        """The same as `run`."""
        return self.run(inputs, **named)

    def run(self, inputs: Any = None, **named: Any) -> dict[str, Array]:
        """Outputs by name, computed on the CPU end.

        `inputs`: arrays by name, in model order, or a single array; numpy or anything with DLPack.
        If every input is stacked along a new first axis, each sample is run and outputs stacked.
        InputError on missing, unknown or unfit inputs.
        """
        bound = self._bind(inputs, named)
        many = samples(bound, self.inputs)
        if many is not None:
            if not many:
                raise InputError("the inputs hold no samples")
            rows = [self._run_one(sample) for sample in many]
            return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return self._run_one(bound)

    def simulate(
        self, inputs: Any = None, *, check: bool = True, trace: bool = False, **named: Any
    ) -> tuple[dict[str, Array], Simulation]:
        """Outputs by name with NPU segments simulated, and the simulation's cycles and counters.

        Stacked inputs are simulated one by one; the returned figures are those of the first
        sample (timing does not depend on data).  `check` turns race and poison checks on.
        """
        from .simulation import simulate_steps

        bound = self._bind(inputs, named)
        many = samples(bound, self.inputs)
        result: Simulation | None = None
        rows: list[dict[str, Array]] = []
        for sample in [bound] if many is None else many:
            arena = self.new_arena(sample)
            figures = simulate_steps(self, arena, check=check, trace=trace and result is None)
            result = result or figures
            rows.append(self.read_outputs(arena))
        if result is None:
            raise InputError("the inputs hold no samples")
        return (
            rows[0] if many is None else {n: np.stack([r[n] for r in rows]) for n in rows[0]}
        ), result

    def simulate_timing(self, *, check: bool = False, trace: bool = False) -> Simulation:
        """Cycles and counters alone, without inputs or outputs; nothing is computed.

        They are those of `simulate`, as timing does not depend on data; `host` is empty, as CPU
        segments do not run.  `check` turns race checks on.
        """
        from .simulation import simulate_steps

        arena = np.zeros(self.arena_bytes, np.uint8)
        return simulate_steps(self, arena, check=check, trace=trace, timing_only=True)

    def benchmark(self, inputs: Any = None, *, repeats: int = 20, **named: Any) -> list[float]:
        """Seconds of `repeats` runs on the CPU end with the inputs already in place."""
        bound = self._bind(inputs, named)
        many = samples(bound, self.inputs)
        arena = self.new_arena(many[0] if many else bound)
        cpu = self.cpu()
        times: list[float] = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            cpu.call("tw_main", self._consts, arena)
            times.append(time.perf_counter() - started)
        return times[1:]

    # --- parts ---
    def cpu(self) -> CpuModule:
        """The CPU end, compiled (or taken from the object cache) on first use."""
        if self._cpu is None:
            from ..backends.cpu.jit import load

            text = self.artefact.files.get("cpu/kernels.ll")
            if not text:
                raise ArtefactError("the artefact has no CPU part")
            self._cpu = load(text.decode())
        return self._cpu

    @property
    def consts(self) -> Array:
        """The constants blob (bytes, read-only)."""
        return self._consts

    @property
    def npu_programs(self) -> list[tuple[str, bytes, list[tuple[str, ...]]]]:
        """Name, encoded program and layers (ONNX nodes) of each NPU segment."""
        return [
            (s["program"], self.artefact.files[s["program"]], [tuple(n) for n in s["layers"]])
            for s in self.artefact.manifest["steps"]
            if s["kind"] == "npu"
        ]

    def new_arena(self, bound: Mapping[str, Array]) -> Array:
        """A fresh arena (bytes, 64-byte aligned) with the checked inputs in place."""
        size = self.arena_bytes
        raw = np.zeros(size + 64 + self.cpu_scratch, np.uint8)
        start = -raw.ctypes.data % 64
        arena = raw[start : start + size + self.cpu_scratch]
        for info in self.inputs:
            value = check_input(info, bound[info.name])
            self._view(arena, info)[...] = value
        return arena

    @property
    def arena_bytes(self) -> int:
        """Bytes of the arena that one run takes."""
        return int(self.artefact.manifest["arena_bytes"])

    @property
    def cpu_scratch(self) -> int:
        """Bytes beyond the arena that CPU kernels use as scratch."""
        return int(self.artefact.manifest.get("scratch_bytes", 0))

    def read_outputs(self, arena: Array) -> dict[str, Array]:
        """Copies of the outputs in an arena, by name."""
        return {info.name: self._view(arena, info).copy() for info in self.outputs}

    def save(self, path: str | Path) -> None:
        """Write the artefact."""
        self.artefact.save(path)

    def _run_one(self, bound: Mapping[str, Array]) -> dict[str, Array]:
        arena = self.new_arena(bound)
        self.cpu().call("tw_main", self._consts, arena)
        return self.read_outputs(arena)

    def _bind(self, inputs: Any, named: Mapping[str, Any]) -> dict[str, Array]:
        if inputs is not None and named:
            raise InputError("give inputs either as one argument or by keyword, not both")
        return by_name(named if inputs is None else inputs, self.inputs)

    @staticmethod
    def _view(arena: Array, info: TensorInfo) -> Array:
        return (
            arena[info.offset : info.offset + info.bytes]
            .view(numpy_type(info.dtype))
            .reshape(info.shape)
        )

    def __repr__(self) -> str:
        """Target and tensors."""
        ins, outs = (
            ", ".join(i.describe() for i in group) for group in (self.inputs, self.outputs)
        )
        return f"<Executable for {self.target}: ({ins}) -> ({outs})>"
