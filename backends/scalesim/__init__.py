"""SCALE-Sim's machine: topology files, and the timing of its systolic array fold by fold."""

from .systolic import DATAFLOWS, Array, Fold, LayerTiming, folds, time_layer
from .topology import Layer, Topology, parse_array, parse_topology, read_topology

__all__ = [
    "DATAFLOWS",
    "Array",
    "Fold",
    "Layer",
    "LayerTiming",
    "Topology",
    "folds",
    "parse_array",
    "parse_topology",
    "read_topology",
    "time_layer",
]
