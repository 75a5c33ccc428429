"""Operators of users: what a registration holds, the table of them, and plugins that bring them.

    import numpy as np
    import tilewright

    def infer(types, attributes):
        return [types[0]]

    def evaluate(arrays, attributes):
        return [arrays[0] + np.sin(arrays[0]) ** 2]

    tilewright.register_operator(tilewright.Operator("com.example", "Snake", infer, evaluate))

`infer` and `evaluate` alone make the operator run on the host; further hooks have it compiled (see
`Operator`).  There is one table, and every level asks it: the importer for `decompose`, the host
and the semantics of `graph.custom` for `evaluate`, the loop level for `lower`, quantisation for
`quantize`.  Hooks are called through `guarded`, so that what goes wrong in them names them.

A distribution brings operators by an entry point of the group `tilewright.operators`, named like
the domain; its value is the module that registers them.  Entry points are loaded in sorted order,
once, when a model first asks for an operator of a domain other than ONNX's own.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .constants import Array
from .errors import ModelError, PluginError, TilewrightError

GROUP = "tilewright.operators"
"""The group of entry points."""

Attributes = Mapping[str, Any]
"""A node's attributes: int, float, str, lists of them, arrays for tensors; defaults are `infer`'s
and `evaluate`'s own (`attributes.get("alpha", 1.0)`)."""


class TensorSpec(NamedTuple):
    """Element type and shape of a tensor; an extent is None where only the data decides it."""

    dtype: Any
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Operator:
    """An operator `name` of `domain`, and what the compiler can do with it.

    - `infer(types, attributes)`: from the `TensorSpec`s of the inputs (None where omitted) to a
      list of (dtype, shape), one for each output.
    - `evaluate(arrays, attributes)`: the outputs as a list of arrays, exactly as inferred.  It must
      be pure: equal inputs give equal outputs.  With no further hook, this runs on the host.
    - `decompose(node)`: the outputs in operations of the graph dialect, like an import rule
      (`compiler/importer/node.py`); the CPU end, quantisation and the NPU follow from there.
    - `lower(kernel, op)`: the loop nest of `graph.custom` `op`, for what does not decompose
      (`passes/loop/lowering/kernel.py`); runs on the CPU end.
    - `quantize(call)`: integer operations for `graph.custom` with quantised inputs, which the NPU
      runs (`passes/graph/integer_custom.py`); needs `lower` for models that are not quantised.

    A hook may refuse a node: `decompose` by `raise node.unsupported(reason)`, then `lower`, then
    the host is tried; `quantize` by returning the reason.
    """

    domain: str
    name: str
    infer: Callable[[Sequence[Any], Attributes], Sequence[Any]]
    evaluate: Callable[[Sequence[Any], Attributes], Sequence[Any]]
    decompose: Callable[[Any], Any] | None = None
    lower: Callable[[Any, Any], Any] | None = None
    quantize: Callable[[Any], Any] | None = None

    def __str__(self) -> str:
        return f"{self.domain}.{self.name}"

    def types(
        self, inputs: Sequence[TensorSpec | None], attributes: Attributes, node: str
    ) -> list[TensorSpec]:
        """What `infer` says, checked in form; PluginError if it fails."""
        with guarded(self, "infer", node):
            found = self.infer(inputs, attributes)
            if not isinstance(found, list | tuple) or isinstance(found, TensorSpec):
                raise TypeError(f"it must return a list of (dtype, shape), not {found!r}")
            return [
                TensorSpec(np.dtype(dtype), tuple(None if d is None else int(d) for d in shape))
                for dtype, shape in found
            ]

    def run(self, inputs: Sequence[Array | None], attributes: Attributes, node: str) -> list[Array]:
        """What `evaluate` computes; PluginError if it fails, or is not what `infer` says."""
        specs = [None if a is None else TensorSpec(a.dtype, a.shape) for a in inputs]
        expected = self.types(specs, attributes, node)
        with guarded(self, "evaluate", node):
            found = self.evaluate([_read_only(a) for a in inputs], attributes)
            if not isinstance(found, list | tuple):
                raise TypeError(f"it must return a list of arrays, not {type(found).__name__}")
            arrays = [np.asarray(value) for value in found]
        made = [TensorSpec(a.dtype, a.shape) for a in arrays]
        self.demand("evaluate", made, expected, node)
        return arrays

    def demand(
        self, hook: str, made: Sequence[TensorSpec], expected: Sequence[TensorSpec], node: str
    ) -> None:
        """PluginError unless what `hook` has made is what was inferred."""
        if len(made) != len(expected):
            message = f"{hook} gives {len(made)} outputs, infer {len(expected)}"
            raise PluginError(message, node=node, op=str(self))
        for index, (got, spec) in enumerate(zip(made, expected, strict=True)):
            if got.dtype != spec.dtype or not _fits(got.shape, spec.shape):
                raise PluginError(
                    f"output {index} is {_text(got)} by {hook}, but {_text(spec)} by infer",
                    node=node,
                    op=str(self),
                )


def _read_only(array: Array | None) -> Array | None:
    if array is None:
        return None
    view = array.view()
    view.flags.writeable = False
    return view


def _fits(shape: tuple[int | None, ...], spec: tuple[int | None, ...]) -> bool:
    same_rank = len(shape) == len(spec)
    return same_rank and all(s is None or d == s for d, s in zip(shape, spec, strict=True))


def _text(spec: TensorSpec) -> str:
    return f"{spec.dtype.name}[{', '.join('?' if d is None else str(d) for d in spec.shape)}]"


@contextmanager
def guarded(operator: Operator, hook: str, node: str, *passing: type[Exception]) -> Generator[None]:
    """Turn whatever a hook raises into a PluginError, but for `passing` and errors of ours."""
    try:
        yield
    except TilewrightError as error:
        if error.node is not None:
            raise
        kind = type(error) if isinstance(error, ModelError) else PluginError
        raise kind(error.message, node=node, op=str(operator), hint=error.hint) from error
    except Exception as error:
        if isinstance(error, passing):
            raise
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise PluginError(f"its {hook} failed: {reason}", node=node, op=str(operator)) from error


# --- the table ---

_OPERATORS: dict[tuple[str, str], Operator] = {}
_failures: dict[str, str] = {}
_loaded = False
_lock = threading.RLock()

_HOOKS = {
    "infer": ("types", "attributes"),
    "evaluate": ("arrays", "attributes"),
    "decompose": ("node",),
    "lower": ("kernel", "op"),
    "quantize": ("call",),
}


def register_operator(operator: Operator, *, replace: bool = False) -> Operator:
    """Add an operator to the table; it precedes what tilewright itself has for that name.

    PluginError if there is one of that name already (unless `replace`), if the domain is ONNX's
    own, or if a hook does not take the arguments it will be called with.
    """
    name = str(operator)
    if operator.domain in ("", "ai.onnx"):
        raise PluginError(
            "the operators of ONNX's own domain have the meaning that ONNX gives them",
            op=operator.name,
            hint="register it under a domain of your own",
        )
    if not operator.name:
        raise PluginError(f"an operator of the domain {operator.domain!r} has no name")
    for hook, arguments in _HOOKS.items():
        function = getattr(operator, hook)
        if function is None and hook not in ("infer", "evaluate"):
            continue
        if not callable(function) or not _takes(function, arguments):
            wanted = f"{hook}({', '.join(arguments)})"
            raise PluginError(f"the hook must be a function {wanted}", op=name)
    if operator.quantize is not None and operator.lower is None:
        raise PluginError(
            "quantize needs lower", op=name, hint="lower runs it in models that are not quantised"
        )
    with _lock:
        key = (operator.domain, operator.name)
        if key in _OPERATORS and not replace:
            raise PluginError(
                "the operator is already registered", op=name, hint="or is this replace=True?"
            )
        _OPERATORS[key] = operator
    return operator


def _takes(function: Callable[..., Any], arguments: Sequence[str]) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


def find_operator(domain: str, name: str) -> Operator | None:
    """The registered operator, if there is one; loads the entry points first."""
    if domain in ("", "ai.onnx"):
        return None
    load_plugins()
    return _OPERATORS.get((domain, name))


def load_plugins() -> None:
    """Import the modules that entry points name, once; failures are kept for `plugin_notes`."""
    global _loaded
    with _lock:
        if _loaded:
            return
        _loaded = True
        found = {(e.name, e.value) for e in importlib.metadata.entry_points(group=GROUP)}
        for name, value in sorted(found):
            before = dict(_OPERATORS)
            try:
                importlib.import_module(value)
            except (Exception, SystemExit) as error:
                _OPERATORS.clear()
                _OPERATORS.update(before)
                reason = error.message if isinstance(error, PluginError) else str(error)
                _failures[name] = f"{type(error).__name__}: {reason}"


def plugin_notes() -> list[str]:
    """What the user should know of plugins: those that could not be loaded."""
    return [f"plugin {name!r} could not be loaded: {why}" for name, why in _failures.items()]


def unknown_operator(domain: str, name: str) -> tuple[str, str]:
    """Why nothing can be done with an operator of a foreign domain, and a hint."""
    load_plugins()
    if (failure := _failures.get(domain)) is not None:
        return f"its plugin {domain!r} could not be loaded: {failure}", "repair the plugin"
    known = sorted(n for d, n in _OPERATORS if d == domain)
    if known:
        reason = f"the plugins of the domain {domain!r} have {', '.join(known)}, not {name}"
        return reason, "register it, too (tilewright.register_operator)"
    return (
        f"operator of the unknown domain {domain!r}",
        "export with standard operators, add a function that defines it, or install or register "
        "a plugin that has it (tilewright.register_operator)",
    )
