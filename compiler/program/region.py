"""A region of a program: nodes compiled together, anew for each signature of their inputs.

The compiler's levels are static, so what a region computes is specialised: to the shapes of its
inputs, and to the contents of those that decide about shapes (`bound`: the `k` of a TopK, the
target of a Reshape), which become constants.  What cannot be compiled even then, because of its
operator or because of these shapes, runs on the host, and the rest is split around it.
"""

from __future__ import annotations

import hashlib
import threading
from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from onnx import NodeProto

from ...dialects.constants import Array, content_key
from ...dialects.errors import ArtefactError, InputError, ModelError, Unsupported, UnsupportedError
from ...dialects.types import element_type
from ...passes.base import CompilerContext
from ..importer.order import used_by
from ..importer.partition import Partition, Trial, import_partition
from .hosting import fold_node, foldable, host_refusal
from .kept import Kept, Signature
from .split import Part, split

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ..executable import Executable
    from .session import Session

BINDABLE = 64
"""Most elements of an input that a region is specialised to the contents of."""

MOST_VALUES = 8
"""Most contents that a region is specialised to; then nodes that ask for them run on the host."""

MOST_SHAPES = 8
"""Most signatures that a region inside a loop is specialised to; then it runs on the host."""


class Region:
    """Nodes in order, to be compiled together; `outputs` are what others need of them."""

    def __init__(
        self,
        nodes: Sequence[NodeProto],
        reads: Sequence[str],
        outputs: Sequence[str],
        constants: MutableMapping[str, Any],
        session: Session,
        scope: str = "",
    ):
        self.nodes, self.reads, self.outputs = tuple(nodes), tuple(reads), tuple(outputs)
        self.constants, self.session, self.scope = constants, session, scope
        self.inputs = tuple(n for n in reads if n not in constants)
        self.bound: set[str] = set()
        self.unbindable: set[str] = set()
        self.hosts: set[int] = set()
        self.kept = Kept(session.drop_region)
        self._count = 0  # of specialisations so far
        self._contents: set[tuple[bytes, ...]] = set()
        self._lock = threading.RLock()
        hashed = hashlib.blake2b(f"{scope}{self.outputs}".encode(), digest_size=16)
        for node in self.nodes:
            hashed.update(node.SerializeToString(deterministic=True))
        self._digest = hashed.hexdigest()
        if (known := session.learned.get(self._digest)) is not None:
            self.bound.update(n for n in known["bound"] if n in self.inputs)
            self.unbindable.update(known["unbindable"])
            self.hosts.update(i for i in known["hosts"] if 0 <= i < len(self.nodes))

    # --- specialising ---

    def specialised(self, values: Mapping[str, Any]) -> Executable | list[Step]:
        """What runs this region on `values`: compiled code, or the steps it falls into."""
        found = self.kept.get(self._signature(values))
        if found is None:
            with self._lock:
                found = self.kept.get(self._signature(values)) or self._specialise(values)
        return found

    def _signature(self, values: Mapping[str, Any]) -> Signature:
        return tuple(
            (value.dtype.name, value.shape, value.tobytes() if name in self.bound else b"")
            if isinstance(value := values[name], np.ndarray)
            else (type(value).__name__,)
            for name in self.inputs
        )

    def _specialise(self, values: Mapping[str, Any]) -> Executable | list[Step]:
        self._count_contents(values)
        hosts = set(self.hosts) | self._strange(values)
        if self.scope and self._count >= MOST_SHAPES:
            hosts = set(range(len(self.nodes)))
        result: Executable | list[Step]
        while True:
            if hosts:
                result = self._steps(hosts)
                break
            if (loaded := self.session.load_region(self.key(values))) is not None:
                self._demand_fit(loaded, values)
                result = loaded
                break
            trial, ctx, partition = self._trial(values)
            if trial.module is not None:
                result = self._compile(trial, ctx, partition, values)
                break
            hosts = self._resolve(trial, values)
        self._count += 1
        self.kept.add(self._signature(values), self.key(values), result)
        self._remember()
        return result

    def _demand_fit(self, loaded: Executable, values: Mapping[str, Any]) -> None:
        """ArtefactError if a compiled region that was loaded is not one of these nodes."""
        given = {
            name: (value.shape, value.dtype.name)
            for name in self.inputs
            if name not in self.bound and (value := values[name]).size
        }
        if given != {i.name: (i.shape, i.dtype) for i in loaded.inputs} or set(self.outputs) != {
            o.name for o in loaded.outputs
        }:
            raise ArtefactError(
                f"region {self.key(values)} of the program does not fit the model",
                hint="compile the model again with `tilewright compile`",
            )

    def _remember(self) -> None:
        """Note what has been learned, for whoever loads this program."""
        if self.bound or self.hosts or self.unbindable:
            self.session.learned[self._digest] = {
                "bound": sorted(self.bound),
                "unbindable": sorted(self.unbindable),
                "hosts": sorted(self.hosts),
            }

    def _count_contents(self, values: Mapping[str, Any]) -> None:
        """Stop specialising to contents that keep changing."""
        self.bound = {name for name in self.bound if _bindable(values[name])}
        if self.bound:
            self._contents.add(tuple(values[name].tobytes() for name in sorted(self.bound)))
        if len(self._contents) > MOST_VALUES:
            self.unbindable |= self.bound
            self.bound.clear()
            self._contents.clear()

    def _resolve(self, trial: Trial, values: Mapping[str, Any]) -> set[int]:
        """Bind inputs that nodes ask for; the nodes for which only the host is left."""
        names = {name for found in trial.needs.values() for name in found}
        usable = {n for n in names if _bindable(values[n]) and n not in self.unbindable}
        fresh = {
            name
            for found in trial.needs.values()
            if found and found <= usable
            for name in found - self.bound
        }
        if fresh:
            self.bound |= fresh
            return set()
        if trial.error is not None:
            return self._around(trial.error, trial.wrong)
        hosts = set(trial.refused) | set(trial.needs)
        self._demand_host(hosts, trial.rows)
        self.hosts |= trial.refused
        return hosts

    def _around(self, error: ModelError, wrong: int) -> set[int]:
        """The host nodes that avoid `error`, which may be due to these shapes alone."""
        wrongs = {wrong} if wrong >= 0 else set(range(len(self.nodes)))
        if any(host_refusal(self.nodes[i], self.session.opsets) for i in wrongs):
            if self.bound:  # the contents are what is wrong
                raise InputError(
                    error.message, node=error.node, op=error.op, hint=error.hint
                ) from None
            raise error
        if wrong >= 0 and not self.bound:
            self.session.errors[self.nodes[wrong].name] = error
        return wrongs

    def _demand_host(self, hosts: set[int], rows: Sequence[Unsupported]) -> None:
        """UnsupportedError if one of `hosts` cannot run there either."""
        opsets = self.session.opsets
        missing = [found for i in hosts if (found := host_refusal(self.nodes[i], opsets))]
        if missing:
            precise = {row.node: row for row in rows}
            raise UnsupportedError([precise.get(row.node, row) for row in missing])

    def _strange(self, values: Mapping[str, Any]) -> set[int]:
        """Positions of nodes that read what no tensor of the graph dialect is."""
        strange = {
            n for n in self.reads if not _regular(values[n] if n in values else self.constants[n])
        }
        if not strange:
            return set()
        return {i for i, node in enumerate(self.nodes) if not strange.isdisjoint(used_by(node))}

    def _trial(self, values: Mapping[str, Any]) -> tuple[Trial, CompilerContext, Partition]:
        ctx = CompilerContext()
        ctx.machine = None if self.session.options.target == "cpu" else self.session.machine
        constants: dict[str, Array] = {
            n: self.constants[n] for n in self.reads if n in self.constants
        }
        types: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        for name in self.inputs:
            value = values[name]
            if name in self.bound or value.size == 0:
                constants[name] = value
            else:
                types[name] = (value.dtype, value.shape)
        partition = Partition(
            self.nodes, types, constants, self.outputs,
            self.session.opsets, self.session.functions, self.session.folder,
        )  # fmt: skip
        return import_partition(partition, ctx), ctx, partition

    def imported(self, values: Mapping[str, Any]) -> ModuleOp | None:
        """The region as one module for the types of `values`; None if it is not one."""
        if self.hosts or self.bound or self._strange(values):
            return None
        return self._trial(values)[0].module

    def _compile(
        self, trial: Trial, ctx: CompilerContext, partition: Partition, values: Mapping[str, Any]
    ) -> Executable:
        assert trial.module is not None
        return self.session.compile_region(
            ctx, trial.module, self.key(values), dict.fromkeys(partition.inputs), self._stored()
        )

    def _stored(self) -> frozenset[str]:
        """Keys of the larger constants that are initializers of the model."""
        if self.scope or not isinstance(self.constants, ChainMap):
            return frozenset()
        arrays = [self._model_tensor(name) for name in self.reads]
        return frozenset(content_key(a) for a in arrays if a is not None and a.nbytes >= 4096)

    def _model_tensor(self, name: str) -> Array | None:
        assert isinstance(self.constants, ChainMap)
        folded, *rest = self.constants.maps
        return None if name in folded or name not in rest[-1] else rest[-1][name]

    def key(self, values: Mapping[str, Any]) -> str:
        """Hex digest of the nodes and the signature: names the region's artefact."""
        text = f"{self._digest}{sorted(self.bound)}{self._signature(values)!r}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    # --- splitting ---

    def hosted(self) -> list[NodeProto]:
        """Nodes that run on the host for some signature."""
        found = {
            node.name: node
            for made in self.kept.values()
            if isinstance(made, list)
            for step in made
            for node in hosted(step)
        }
        return list(found.values())

    def _steps(self, hosts: set[int]) -> list[Step]:
        """This region split around `hosts`, what is known of it computed at once."""
        kept: list[int] = []
        for index, node in enumerate(self.nodes):
            if index in hosts and foldable(node, self.constants):
                fold_node(node, self.constants, self.session.opsets)
            else:
                kept.append(index)
        position = {index: i for i, index in enumerate(kept)}
        outputs = [n for n in self.outputs if n not in self.constants]
        parts = split(
            [self.nodes[i] for i in kept],
            {position[i] for i in hosts if i in position},
            outputs,
            {*self.reads, *self.constants},
        )
        steps: list[Step] = [
            part
            if part.on_host
            else Region(
                part.nodes, part.reads, part.outputs, self.constants, self.session, self.scope
            )
            for part in parts
        ]
        return steps


Step = Region | Part
"""What a program executes one after the other: regions, and host nodes (`Part.on_host`)."""


def hosted(step: Step) -> list[NodeProto]:
    """Nodes of a step that run on the host, in what has been specialised so far."""
    return step.hosted() if isinstance(step, Region) else list(step.nodes)


def _bindable(value: Any) -> bool:
    if not isinstance(value, np.ndarray):
        return False
    array = cast(Array, value)
    return array.size <= BINDABLE and array.dtype.kind != "O"


def _regular(value: Any) -> bool:
    """Whether the graph dialect has such tensors."""
    if not isinstance(value, np.ndarray):
        return False
    try:
        element_type(value.dtype)
    except (KeyError, TypeError):
        return False
    return True
