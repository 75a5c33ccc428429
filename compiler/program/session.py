"""Running a program: steps over tensors by name, bodies of control flow, compiled regions."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onnx import GraphProto, NodeProto
from xdsl.dialects.builtin import ModuleOp

from ...backends.host import evaluate
from ...backends.targets.machine import Machine
from ...dialects.constants import Array
from ...dialects.errors import InputError, ModelError
from ...passes.base import CompilerContext
from ..artefact import Artefact
from ..driver import compile_module
from ..executable import Executable
from ..importer.functions import Functions
from ..importer.order import in_order, used_by
from ..options import CompileOptions
from .model import Constants, name_nodes
from .region import Region, Step, hosted
from .split import Part

RunRegion = Callable[[Executable, Mapping[str, Any]], Mapping[str, Any]]
"""How compiled regions are run: on the CPU end, or simulated."""

OnHost = Callable[[NodeProto, float, Sequence[Any]], None]
"""Told of each host node, the seconds it took, and its outputs."""

OnRegion = Callable[[Executable, str, Mapping[str, Any]], None]
"""Told of each compiled region, of its key, and of its inputs."""


@dataclass
class Session:
    """What all parts of one program share.

    `store` holds the artefacts of specialised regions by key, `learned` what importing them has
    taught by digest of their nodes.  For quantised programs, `samples` holds calibration inputs of
    regions by key, stacked, and `ranges` what they have shown, by tensor.  `errors` are the
    importer's of nodes that were left to the host.
    """

    options: CompileOptions
    opsets: Mapping[str, int]
    functions: Functions
    folder: Path | None
    machine: Machine | None = None
    store: dict[str, Artefact] = field(default_factory=dict[str, Artefact])
    learned: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    ranges: dict[str, Sequence[float]] = field(default_factory=dict[str, Sequence[float]])
    samples: dict[str, dict[str, Array]] = field(default_factory=dict[str, dict[str, Array]])
    notes: list[str] = field(default_factory=list[str])
    errors: dict[str, ModelError] = field(default_factory=dict[str, ModelError])
    bodies: dict[int, tuple[GraphProto, Body]] = field(
        default_factory=dict[int, "tuple[GraphProto, Body]"]
    )
    lock: threading.RLock = field(default_factory=threading.RLock)

    def load_region(self, key: str) -> Executable | None:
        """The compiled region `key`, if it has been compiled before."""
        found = self.store.get(key)
        return None if found is None else Executable(found)

    def compile_region(
        self,
        ctx: CompilerContext,
        module: ModuleOp,
        key: str,
        inputs: Mapping[str, Any],
        stored: frozenset[str] = frozenset(),
    ) -> Executable:
        """Compile an imported region and keep its artefact.

        `stored` are keys of constants that are initializers of the model: `compare` takes them
        from there.
        """
        options, samples = self.options, self.samples.get(key)
        if options.quantize != "none":
            if samples is not None and inputs:
                ctx.calibration = {name: samples[name] for name in inputs}
            elif self.ranges and inputs:
                ctx.ranges.update((n, (r[0], r[1])) for n, r in self.ranges.items())
            else:
                options = replace(options, quantize="none")
        artefact = self._shared(self._compile(ctx, module, options, key, stored))
        self.notes += [text for text in ctx.notes if text not in self.notes]
        self.ranges.update(ctx.ranges)
        self.store[key] = artefact
        return Executable(artefact)

    def drop_region(self, key: str) -> None:
        """Forget the compiled region `key`."""
        with self.lock:
            self.store.pop(key, None)

    def _shared(self, artefact: Artefact) -> Artefact:
        """`artefact`, its members being those of other regions where they are equal.

        The constants of a region are mostly the same ones for all shapes.
        """
        for other in list(self.store.values()):
            for name, data in artefact.files.items():
                if other.files.get(name) == data:
                    artefact.files[name] = other.files[name]
        return artefact

    def _compile(
        self,
        ctx: CompilerContext,
        module: ModuleOp,
        options: CompileOptions,
        key: str,
        stored: frozenset[str],
    ) -> Artefact:
        name = f"region-{key[:8]}"
        if options.dump_dir is not None:
            options = replace(options, dump_dir=Path(options.dump_dir) / name)
        if options.quantize == "none" or ctx.calibration is not None:
            return compile_module(ctx, module, options, name, key, stored)
        copy = module.clone()
        try:
            return compile_module(ctx, module, options, name, key, stored)
        except InputError as error:  # calibration has not seen some tensor of these shapes
            ctx.notes.append(f"compiled without quantisation: {error.message}")
            return compile_module(ctx, copy, replace(options, quantize="none"), name, key, stored)


class Body:
    """A graph to run: the model's own, or that of control flow."""

    def __init__(
        self,
        nodes: Sequence[NodeProto],
        outputs: Sequence[str],
        known: Mapping[str, Any],
        constants: MutableMapping[str, Any],
        session: Session,
        scope: str = "",
    ):
        self.outputs, self.constants, self.scope = tuple(outputs), constants, scope
        given = ChainMap(dict.fromkeys(known), constants)
        ordered = [node for _, node in in_order(nodes, outputs, given)]
        made = {name for node in ordered for name in node.output}
        reads = dict.fromkeys(
            n for node in ordered for n in used_by(node) if n not in made and n in given
        )
        wanted = [n for n in dict.fromkeys(outputs) if n in made]
        self.steps: list[Step] = (
            [Region(ordered, tuple(reads), wanted, constants, session, scope)] if ordered else []
        )

    def run(self, env: dict[str, Any], execution: Execution) -> list[Any]:
        """The outputs; `env` holds inputs (and captured tensors) and is changed."""
        execution.steps(self.steps, env, self.constants, self.scope)
        return [self._output(name, env) for name in self.outputs]

    def hosted(self) -> list[NodeProto]:
        """Nodes that run on the host, in what has been specialised so far."""
        return [node for step in self.steps for node in hosted(step)]

    def _output(self, name: str, env: Mapping[str, Any]) -> Any:
        if name in env:
            return env[name]
        if name in self.constants:
            return self.constants[name]
        raise ModelError(f"output {name!r} is not defined by any node")


@dataclass
class Execution:
    """One run of a program."""

    session: Session
    run_region: RunRegion
    on_host: OnHost | None = None
    on_region: OnRegion | None = None

    def steps(
        self,
        steps: Sequence[Step],
        env: dict[str, Any],
        constants: MutableMapping[str, Any],
        scope: str,
    ) -> None:
        """Execute `steps`; each adds what it makes to `env`."""
        for step in steps:
            if isinstance(step, Part):
                self._host(step.nodes[0], env, constants, scope)
            else:
                self._region(step, env)

    def _region(self, region: Region, env: dict[str, Any]) -> None:
        values = {name: env[name] for name in region.inputs}
        made = region.specialised(values)
        if isinstance(made, list):
            inner = dict(values)
            self.steps(made, inner, region.constants, region.scope)
            env.update((n, inner[n] if n in inner else region.constants[n]) for n in region.outputs)
            return
        if self.on_region is not None:
            self.on_region(made, region.key(values), values)
        wanted = {info.name: values[info.name] for info in made.inputs}
        env.update(self.run_region(made, wanted))

    def _host(
        self,
        node: NodeProto,
        env: dict[str, Any],
        constants: MutableMapping[str, Any],
        scope: str,
    ) -> None:
        def run_graph(graph: GraphProto, bindings: Mapping[str, Any]) -> list[Any]:
            body = self._body(graph, {**env, **bindings}, constants, scope)
            return body.run({**env, **bindings}, self)

        started = time.perf_counter()
        inputs = [None if not n else env[n] if n in env else constants[n] for n in node.input]
        try:
            values = evaluate(node, inputs, self.session.opsets, run_graph)
        except InputError as error:
            # What the importer has said of the node is more to the point.
            raise self.session.errors.get(node.name, error) from None
        env.update((n, v) for n, v in zip(node.output, values, strict=False) if n)
        if self.on_host is not None:
            self.on_host(node, time.perf_counter() - started, values)

    def _body(
        self,
        graph: GraphProto,
        known: Mapping[str, Any],
        constants: MutableMapping[str, Any],
        scope: str,
    ) -> Body:
        session = self.session
        with session.lock:
            # The graph is kept beside its body: its id must not be given to another one.
            _, body = session.bodies.get(id(graph), (graph, None))
            if body is None:
                name_nodes(graph.node)
                inner = hashlib.blake2b(scope.encode(), digest_size=16)
                inner.update(graph.SerializeToString(deterministic=True))
                own = Constants(graph.initializer, (), graph.sparse_initializer, session.folder)
                made = {n for node in graph.node for n in node.output}
                made.update(i.name for i in graph.input)
                if not made.isdisjoint(constants):  # names that mean something else in the body
                    constants = {n: constants[n] for n in constants if n not in made}
                visible: ChainMap[str, Any] = ChainMap({}, own, constants)  # pyright: ignore
                outputs = [o.name for o in graph.output]
                body = Body(graph.node, outputs, known, visible, session, inner.hexdigest())
                session.bodies[id(graph)] = (graph, body)
        return body
