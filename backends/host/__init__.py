"""Host operators: ONNX nodes evaluated in numpy, for what the compiled CPU end cannot run.

Data-dependent shapes, strings, sequences, optionals, control flow, exotic element types,
`ai.onnx.ml`, training operators and random numbers.
"""

from .evaluate import evaluate, refusal
from .registry import Functions, HostError, RunGraph, Value

__all__ = ["Functions", "HostError", "RunGraph", "Value", "evaluate", "refusal"]
