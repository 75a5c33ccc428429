"""The backend interface of the onnx package (`onnx.backend.base`) over the CPU end.

import onnx.backend.test, tilewright.onnx_backend
suite = onnx.backend.test.BackendTest(tilewright.onnx_backend, __name__)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto
from onnx.backend.base import Backend, BackendRep, Device, DeviceType

from ..dialects.constants import Array
from ..dialects.errors import InputError
from .api import compile
from .executable import Executable


class TilewrightRep(BackendRep):
    """A compiled model."""

    def __init__(self, executable: Executable):
        self.executable = executable

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs in the model's order.

        `inputs`: a value for each input in the model's order, or by name; arrays, lists for
        sequences, None for empty optionals.  InputError if they do not fit.
        """
        if isinstance(inputs, np.ndarray):
            inputs = [inputs]
        if not isinstance(inputs, Mapping):
            names = [info.name for info in self.executable.inputs]
            values: Sequence[Any] = list(inputs)
            if len(values) > len(names):
                raise InputError(f"{len(values)} inputs given, the model has {len(names)}")
            inputs = dict(zip(names, values, strict=False))
        outputs = self.executable.run(inputs)
        return tuple(outputs[info.name] for info in self.executable.outputs)


class TilewrightBackend(Backend):
    """Compiles for the CPU."""

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> TilewrightRep:
        """Compile `model`; options of `tilewright.compile` may be given."""
        if not cls.supports_device(device):
            raise InputError(f"device {device!r} is not supported", hint="use CPU")
        return TilewrightRep(compile(model, "cpu", **kwargs))

    @classmethod
    def run_model(
        cls, model: ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any
    ) -> tuple[Any, ...]:
        """Compile and run."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, Sequence[int]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Run one node; `opset_version` is that of the newest opset by default."""
        given: list[Any] = [*inputs] if isinstance(inputs, list | tuple) else [inputs]  # pyright: ignore
        values: list[Array] = [np.asarray(v) for v in given]
        names = [name for name in node.input if name]
        version = int(kwargs.pop("opset_version", onnx.defs.onnx_opset_version()))
        graph = onnx.helper.make_graph(
            [node],
            "node",
            [
                onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(v.dtype), v.shape
                )
                for name, v in zip(names, values, strict=True)
            ],
            [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name],
        )
        imports = [onnx.helper.make_opsetid(node.domain, version)]
        if node.domain not in ("", "ai.onnx"):
            imports = [onnx.helper.make_opsetid("", onnx.defs.onnx_opset_version())]
            imports.append(onnx.helper.make_opsetid(node.domain, kwargs.pop("domain_version", 1)))
        model = onnx.helper.make_model(graph, opset_imports=imports)
        return cls.run_model(model, values, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Only the CPU."""
        try:
            return Device(device).type == DeviceType.CPU
        except (AttributeError, ValueError):
            return False


prepare = TilewrightBackend.prepare
run_model = TilewrightBackend.run_model
run_node = TilewrightBackend.run_node
supports_device = TilewrightBackend.supports_device
is_compatible = TilewrightBackend.is_compatible
