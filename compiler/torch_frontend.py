"""PyTorch modules: `tilewright.from_torch`, and the backend "tilewright" of `torch.compile`.

    executable = tilewright.from_torch(module, (x,), target="cpu")
    fast = torch.compile(module.eval(), backend="tilewright")

Both go through ONNX, by PyTorch's own exporter.  For `torch.compile`, a graph is compiled at its
first call for each combination of shapes, with the module's parameters as constants (and again
after they have changed).  What cannot be exported or compiled runs in eager PyTorch, after a
warning that says why.  PyTorch itself is imported when one of the two is first used.
"""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import ml_dtypes
import numpy as np

from ..dialects.errors import InputError, ModelError, TilewrightError
from .api import compile
from .executable import Executable


def from_torch(
    module: Any,
    example_inputs: Any,
    target: str = "cpu",
    dynamic_shapes: Any = None,
    **options: Any,
) -> Executable:
    """Compile a `torch.nn.Module`, in evaluation mode, or a `torch.export.ExportedProgram`.

    `example_inputs`: a tensor, a tuple of arguments of `forward`, or a dict of keyword arguments.
    `dynamic_shapes`: dimensions that stay open, as for `torch.export.export`: {"x": {0: "batch"}}.
    `options` are those of `tilewright.compile`.  Inputs are named after the arguments of `forward`.
    InputError without PyTorch, ModelError if the module cannot be exported or keeps state.
    """
    _torch()
    arguments: tuple[Any, ...] = (example_inputs,)
    keywords: dict[str, Any] = {}
    if isinstance(example_inputs, Mapping):
        arguments, keywords = (), dict(cast(Mapping[str, Any], example_inputs))
    elif isinstance(example_inputs, tuple | list):
        arguments = tuple(cast(Sequence[Any], example_inputs))
    training = bool(getattr(module, "training", False))
    if training:
        module.eval()
    try:
        program = _exported(module, arguments, keywords, dynamic_shapes)
    finally:
        if training:
            module.train()
    return _compiled(program, type(module).__name__, {"target": target, **options})


def torch_backend(
    graph: Any, example_inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None, **_: Any
) -> Callable[..., Any]:
    """The backend of `torch.compile`: a function from tensors to the tuple of outputs of `graph`.

    `options` are those of `tilewright.compile`, and `fallback`: False raises the TilewrightError
    instead of running in eager PyTorch.
    """
    torch = _torch()
    settings = dict(options or {})
    fallback = bool(settings.pop("fallback", True))
    if torch.is_grad_enabled() and any(getattr(v, "requires_grad", False) for v in example_inputs):
        reason = "gradients are not computed; call the module under torch.no_grad()"
        return _eager(graph, InputError(reason), fallback)
    return _Dispatch(graph, example_inputs, settings, fallback)


class _Dispatch:
    """A graph of `torch.compile` with what it has been compiled to, by signature."""

    def __init__(
        self, graph: Any, example_inputs: Sequence[Any], options: dict[str, Any], fallback: bool
    ):
        torch = _torch()
        self.graph, self.options, self.fallback = graph, options, fallback
        places = [n for n in graph.graph.nodes if n.op == "placeholder"]
        self.frozen = [
            index
            for index, (place, value) in enumerate(zip(places, example_inputs, strict=True))
            if isinstance(value, torch.nn.Parameter) or "_buffers_" in place.name
        ]
        self.state: list[Any] = []  # versions of the parameters compiled in
        self.kept: list[Any] = []  # their storage: nothing else may come to lie at its address
        self.made: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def __call__(self, *inputs: Any) -> Any:
        """Run on `inputs`, compiled first if such have not been seen."""
        state = [_version(inputs[i]) for i in self.frozen]
        if state != self.state:  # parameters have changed
            self.state, self.kept = state, [inputs[i].detach() for i in self.frozen]
            self.made.clear()
        signature = tuple(_sort(v) for i, v in enumerate(inputs) if i not in self.frozen)
        run = self.made.get(signature)
        if run is None:
            try:
                run = self._specialise(inputs)
            except TilewrightError as error:
                run = _eager(self.graph, error, self.fallback)
            self.made[signature] = run
        return run(*inputs)

    def _specialise(self, inputs: Sequence[Any]) -> Callable[..., Any]:
        """The graph compiled for `inputs`: TilewrightError if it cannot be."""
        torch = _torch()
        devices = {v.device.type for v in inputs if hasattr(v, "device")}
        if devices - {"cpu"}:
            raise InputError(f"tensors are on {', '.join(sorted(devices))}", hint="use the CPU")
        free = [
            i for i, v in enumerate(inputs) if i not in self.frozen and isinstance(v, torch.Tensor)
        ]
        module, slots = _closed(self.graph, inputs, set(free))
        tensors = tuple(inputs[i] for i in free)
        if not any(slot is None for slot in slots):
            raise ModelError("nothing is computed")
        name = type(self.graph).__name__
        executable = _compiled(_exported(module, tensors, {}, None), name, self.options)
        made = sum(slot is None for slot in slots)
        if len(executable.outputs) != made or len(executable.inputs) > len(tensors):
            raise ModelError("the exported model has other inputs or outputs than the graph")
        # unused inputs are dropped by the exporter's optimiser: names say which are left
        places = [n.name for n in module.graph.nodes if n.op == "placeholder"]
        position = {place: index for index, place in zip(free, places, strict=True)}
        if unknown := [info.name for info in executable.inputs if info.name not in position]:
            raise ModelError(f"the exported model has unknown inputs {', '.join(unknown)}")

        def run(*values: Any) -> tuple[Any, ...]:
            feeds = {i.name: to_numpy(values[position[i.name]]) for i in executable.inputs}
            results = executable.run(feeds) if feeds else executable.run()
            outputs = iter([to_torch(results[info.name]) for info in executable.outputs])
            return tuple(next(outputs) if slot is None else slot for slot in slots)

        return run


def _version(parameter: Any) -> Any:
    """What changes with a parameter's contents."""
    return parameter.data_ptr(), 0 if parameter.is_inference() else parameter._version


def _sort(value: Any) -> Any:
    """What of an input a compilation depends on."""
    if hasattr(value, "shape"):
        return value.dtype, value.device.type, tuple(map(int, value.shape))
    return int(value) if type(value).__name__ == "SymInt" else value


def _closed(graph: Any, inputs: Sequence[Any], free: set[int]) -> tuple[Any, list[Any]]:
    """A copy of `graph` with all inputs but `free` as constants, and its outputs.

    Of the outputs, None stands for a tensor the copy returns; others are its values themselves.
    """
    torch = _torch()
    nodes: dict[Any, Any] = {}
    copied = torch.fx.Graph()
    copied.graph_copy(graph.graph, nodes)
    outputs: Any = next(n for n in graph.graph.nodes if n.op == "output").args[0]
    module = torch.fx.GraphModule(graph, copied)
    constants: dict[Any, Any] = {}
    places = [n for n in graph.graph.nodes if n.op == "placeholder"]
    for index, (place, value) in enumerate(zip(places, inputs, strict=True)):
        if index in free:
            continue
        node = nodes[place]
        if isinstance(value, torch.Tensor):
            name = f"constant_{index}"
            module.register_buffer(name, value.detach())
            with copied.inserting_before(node):
                new: Any = copied.get_attr(name)
            nodes[place] = new
        else:
            new = constants[place] = int(value) if type(value).__name__ == "SymInt" else value
        for user in list(node.users):

            def swap(n: Any, old: Any = node, new: Any = new) -> Any:
                return new if n is old else n

            user.args = torch.fx.node.map_arg(user.args, swap)
            user.kwargs = torch.fx.node.map_arg(user.kwargs, swap)
        copied.erase_node(node)
    slots: list[Any] = []
    results: list[Any] = []
    for value in outputs:
        if isinstance(value, torch.fx.Node) and value not in constants:
            slots.append(None)
            results.append(nodes[value])
        elif value is None:
            raise ModelError("an output is None")
        else:
            slots.append(constants.get(value, value))
    copied.output(tuple(results))
    copied.lint()
    module.recompile()
    module.training = False  # the modes are in the graph; the exporter asks here
    return module, slots


def _eager(graph: Any, error: TilewrightError, fallback: bool) -> Callable[..., Any]:
    """`graph` itself, after a warning; raises `error` if that is not wanted."""
    if not fallback:
        raise error
    text = f"runs in eager PyTorch, not compiled by tilewright: {error.render()}"
    warnings.warn(text, RuntimeWarning, stacklevel=3)
    return graph.forward


# --- export ---


def _exported(
    module: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any], dynamic_shapes: Any
) -> Any:
    """The ONNX program of `module`; ModelError if PyTorch cannot export it."""
    torch = _torch()
    seen: set[int] = set()

    def distinct(value: Any) -> Any:  # PyTorch makes one input of a tensor that is given twice
        if isinstance(value, torch.Tensor) and id(value) in seen:
            value = value.clone()
        seen.add(id(value))
        return value

    arguments, keywords = torch.utils._pytree.tree_map(distinct, (arguments, dict(keywords)))
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                module, arguments, kwargs=keywords, dynamic_shapes=dynamic_shapes,
                dynamo=True, verbose=False,
            )  # fmt: skip
    except (ModuleNotFoundError, ImportError) as error:
        raise InputError(
            f"PyTorch's exporter needs {error.name}", hint="pip install 'tilewright[torch]'"
        ) from None
    except Exception as error:  # the exporter lets errors of all kinds through
        lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"PyTorch cannot export the module: {lines[0]}",
            hint="torch.onnx.export(..., dynamo=True, report=True) writes a report",
        ) from error
    signature = getattr(program.exported_program, "graph_signature", None)
    for what in ("buffers_to_mutate", "user_inputs_to_mutate"):
        if changed := sorted(set(getattr(signature, what, {}).values())):
            raise ModelError(
                f"the module changes {', '.join(changed)} in place",
                hint="return new values as outputs, and pass them in at the next call",
            )
    return program


def _compiled(program: Any, name: str, options: Mapping[str, Any]) -> Executable:
    """The executable of an ONNX program, whose weights may exceed what one file holds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        program.save(path)
        return compile(path, **options)


# --- tensors ---


def to_numpy(tensor: Any) -> np.ndarray[Any, Any]:
    """The array of a tensor on the CPU, without a copy."""
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if str(tensor.dtype) == "torch.bfloat16":  # numpy's own types lack it
        return tensor.view(_torch().int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def to_torch(array: np.ndarray[Any, Any]) -> Any:
    """The tensor of an array, without a copy if the array may be written to."""
    torch = _torch()
    array = np.require(array, requirements=["C", "W"]).reshape(array.shape)
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _torch() -> Any:
    """PyTorch; InputError if it is not installed."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError:
        raise InputError(
            "PyTorch is not installed", hint="pip install 'tilewright[torch]'"
        ) from None
