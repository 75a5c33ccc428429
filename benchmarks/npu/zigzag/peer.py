"""Runs inside ZigZag's own Python: its search of a network, and its figures for given mappings.

Reads requests and writes answers, one JSON object a line:

    {"workload": W, "accelerator": A, "mapping": M, "options": {..}}
        W: an ONNX file, or the name of one that ZigZag ships; A, M: YAML files, or such names;
        options of its API.  Answer: the machine and the layers as ZigZag reads them, the best
        mapping of each with its figures, and CPU seconds.
    {"layer": L, "as": NAME, "spatial": {..}}
        The same for one layer of that network under another spatial mapping.
    {"evaluate": {NAME: mapping}}
        ZigZag's figures for mappings of ours: as they are, and as it cuts their loop orders itself
        (what it does with a user's `temporal_ordering`); `null` where it refuses.

Written against release 3.9.1; free of this project's modules, which are not importable there.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
import time
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any


def zigzag(module: str) -> Any:
    """A module of ZigZag's; "" is the package."""
    return import_module(f"zigzag.{module}".rstrip("."))


def shipped(name: str, kind: str) -> str:
    """A file as given, else the one of that name among ZigZag's inputs."""
    if os.path.exists(name):
        return name
    suffix = ".onnx" if kind == "workload" else ".yaml"
    return str(Path(zigzag("").__file__).parent / "inputs" / kind / (name + suffix))


def figures(cme: Any) -> dict[str, float]:
    """The parts of a cost model evaluation's latency, in cycles."""
    return {
        "ideal": cme.ideal_cycle,
        "temporal": cme.ideal_temporal_cycle,
        "stall": cme.stall_slack_comb,
        "onload": cme.data_onloading_cycle,
        "offload": cme.data_offloading_cycle,
        "drain": getattr(cme, "systolic_drain_cycle", 0),
        "total": cme.latency_total2,
        "energy": cme.energy_total,
    }


def mapping_of(cme: Any) -> dict[str, Any]:
    """A mapping as one loop order and, per operand, how many loops lie below each level's top."""
    levels = {op.name: lists for op, lists in cme.temporal_mapping.mapping_dic_stationary.items()}
    loops = [(dim.name, int(size)) for level in levels["O"] for dim, size in level]
    cuts = {
        op: [sum(map(len, lists[: i + 1])) for i in range(len(lists) - 1)]
        for op, lists in levels.items()
    }
    return {"loops": loops, "cuts": cuts}


def described(layer: Any) -> dict[str, Any]:
    """A layer's loops, operands and spatial mapping as plain data."""
    dims = {d.name: int(s) for d, s in layer.layer_dim_sizes.items()}
    relations = [r.data for r in layer.dimension_relations]
    precision = layer.operand_precision
    return {
        "name": layer.name,
        "dims": dims,
        "operands": {
            op.name: [d.name for d in layer.equation.get_r_layer_dims(op)]
            for op in layer.layer_operands
        },
        "relations": [re.findall(r"\w+", text) for text in relations],
        "extents": {d.name: int(s) for d, s in layer.pr_layer_dim_sizes.items()},
        "bits": {op.name: precision[op] for op in layer.layer_operands}
        | {"final": precision.final_output_precision},
        "spatial": {
            array.name: {d.name: factor for d, factor in single.items()}
            for array, single in layer.spatial_mapping.items()
        },
    }


def memories(accelerator: Any, links: dict[str, str]) -> list[dict[str, Any]]:
    """The machine's memories as plain data; `links`: memory operand to operand of the layer."""
    names = {
        "wr_in_by_high": "fill", "rd_out_to_low": "feed", "wr_in_by_low": "collect",
        "rd_out_to_high": "emit",
    }  # fmt: skip
    return [
        {
            "name": level.name,
            "bits": level.memory_instance.size,
            "operands": [links[op.name] for op in level.operands],
            "serves": sorted(d.name for d in level.served_dimensions),
            "ports": [
                {
                    "bits": port.bw_max,
                    "moves": [
                        f"{links[op.name]} {names[str(direction)]}"
                        for op, _, direction in port.served_op_lv_dir
                    ],
                }
                for port in level.ports
            ],
        }
        for level in accelerator.memory_hierarchy.mem_level_list
    ]


def evaluated(cme: Any, temporal: Any) -> dict[str, float]:
    """ZigZag's figures for another temporal mapping of the layer of `cme`."""
    return figures(
        zigzag("cost_model.cost_model").CostModelEvaluation(
            accelerator=cme.accelerator,
            layer=cme.layer,
            spatial_mapping=cme.spatial_mapping,
            spatial_mapping_int=cme.spatial_mapping_int,
            temporal_mapping=temporal,
        )
    )


def reevaluate(cme: Any, given: dict[str, Any]) -> dict[str, float] | None:
    """ZigZag's figures for a mapping as it is given."""
    types, dim_of = zigzag("mapping.temporal_mapping"), zigzag("datatypes").LayerDim
    loops = [(dim_of(dim), size) for dim, size in given["loops"]]
    levels: dict[Any, Any] = {}
    for op in cme.layer.layer_operands:
        cuts = [0, *given["cuts"][op.name], len(loops)]
        levels[op] = [list(loops[a:b]) for a, b in pairwise(cuts)]
    try:
        temporal = types.TemporalMapping(levels, cme.layer, types.TemporalMappingType.UNEVEN)
        return evaluated(cme, temporal)
    except (AssertionError, KeyError, ValueError):
        return None


def reallocate(cme: Any, order: list[Any]) -> dict[str, float] | None:
    """ZigZag's figures for a loop order that it cuts itself, as it does with a user's."""
    loma, dim_of = zigzag("opt.loma.memory_allocator"), zigzag("datatypes").LayerDim
    uneven = zigzag("mapping.temporal_mapping").TemporalMappingType.UNEVEN
    loops = [(dim_of(dim), size) for dim, size in order]
    try:
        temporal = loma.MemoryAllocator(
            cme.accelerator, cme.layer, cme.spatial_mapping, loops, uneven
        ).run()
        return evaluated(cme, temporal)
    except (AssertionError, loma.MemoryHierarchyTooSmallException, loma.MemoryTooSmallException):
        return None


class Session:
    """What has been searched so far."""

    def __init__(self) -> None:
        self.best: dict[str, Any] = {}
        self.inputs: dict[str, str] = {}

    def search(self, workload: Any, mapping: str, options: dict[str, Any]) -> dict[str, Any]:
        """Run ZigZag as its users do, and keep what it finds."""
        with tempfile.TemporaryDirectory() as folder:
            started = time.process_time()
            found = zigzag("api").get_hardware_performance_zigzag(
                workload=workload,
                accelerator=self.inputs["accelerator"],
                mapping=mapping,
                dump_folder=folder,
                pickle_filename=folder + "/cmes.pickle",
                loma_show_progress_bar=False,
                **options,
            )
            seconds = time.process_time() - started
        return {"seconds": seconds, "found": [cme for cme, _ in found[2][0][1]]}

    def network(self, request: dict[str, Any]) -> dict[str, Any]:
        """Search all layers of a network."""
        for key, kind in (("accelerator", "hardware"), ("mapping", "mapping")):
            self.inputs[key] = shipped(request[key], kind)
        workload = shipped(request["workload"], "workload")
        result = self.search(workload, self.inputs["mapping"], request.get("options", {}))
        self.best = {cme.layer.name: cme for cme in result["found"]}
        first = next(iter(self.best.values()))
        array, links = first.accelerator.operational_array, first.layer.memory_operand_links
        names = {mem.name: op.name for op, mem in links.layer_and_mem_ops()}
        return {
            "version": version("zigzag-dse"),
            "machine": {
                "name": first.accelerator.name,
                "array": {d.name: size for d, size in array.dimension_sizes.items()},
                "systolic": sorted(d.name for d in getattr(array, "systolic_dimensions", ())),
                "memories": memories(first.accelerator, names),
            },
            "seconds": result["seconds"],
            "layers": [row(cme) for cme in result["found"]],
        }

    def variant(self, request: dict[str, Any]) -> dict[str, Any]:
        """Search one layer under another spatial mapping."""
        layer = self.best[request["layer"]].layer
        links = layer.memory_operand_links.layer_and_mem_ops()
        spatial = {
            axis: [f"{dim}, {factor}" for dim, factor in factors.items()]
            for axis, factors in request["spatial"].items()
        }
        entry = {
            "name": "default", "spatial_mapping": spatial,
            "memory_operand_links": {op.name: mem.name for op, mem in links},
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/mapping.yaml"
            Path(path).write_text(import_module("yaml").safe_dump([entry]))
            result = self.search([user_layer(layer, request["as"])], path, {})
        cme = result["found"][0]
        self.best[request["as"]] = cme
        return {"seconds": result["seconds"], "layers": [row(cme)]}

    def evaluate(self, mappings: dict[str, Any]) -> dict[str, Any]:
        """Figures of given mappings."""
        return {
            name: {
                "as_given": reevaluate(self.best[name], given),
                "own_cuts": reallocate(self.best[name], given["loops"]),
            }
            for name, given in mappings.items()
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to any request."""
        if "evaluate" in request:
            return self.evaluate(request["evaluate"])
        return self.variant(request) if "spatial" in request else self.network(request)


def row(cme: Any) -> dict[str, Any]:
    """A layer, its best mapping and its figures."""
    return described(cme.layer) | {"best": mapping_of(cme), "figures": figures(cme)}


def user_layer(layer: Any, name: str) -> dict[str, Any]:
    """A layer in the format in which ZigZag's users write one."""
    precision = layer.operand_precision
    relations = [r.data for r in layer.dimension_relations]
    bits = {op.name: precision[op] for op in layer.layer_operands}
    return {
        "id": 0, "name": name, "operator_type": "Conv",
        "equation": layer.equation.data,
        "dimension_relations": [text.lower() for text in relations],
        "loop_dims": [d.name for d, _ in layer.layer_dim_sizes.items()],
        "loop_sizes": [int(size) for _, size in layer.layer_dim_sizes.items()],
        "operand_precision": bits | {"O_final": precision.final_output_precision},
        "operand_source": {op.name: 0 for op in layer.input_operands},
        "pr_loop_dims": [d.name for d, _ in layer.pr_layer_dim_sizes.items()],
        "pr_loop_sizes": [int(size) for _, size in layer.pr_layer_dim_sizes.items()],
        "padding": [list(layer.padding[d]) for d, _ in layer.pr_layer_dim_sizes.items()],
    }  # fmt: skip


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    out, sys.stdout = sys.stdout, sys.stderr
    session = Session()
    for line in sys.stdin:
        out.write(json.dumps(session.answer(json.loads(line))) + "\n")
        out.flush()
