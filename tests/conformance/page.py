"""Generates `docs/conformance.md`: what the backend test suite of the onnx package finds.

    python -m tests.conformance.page [DOCS]

runs the whole suite: a minute or two.  `docs/operators.md` says what the importer knows; this page
says what has been run, where, and how it came out.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import unittest
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, TypeProto
from onnx.backend.test.loader import load_model_tests

from tilewright.compiler.importer.coverage import NPU
from tilewright.compiler.importer.node import RULES
from tilewright.compiler.onnx_backend import TilewrightBackend, TilewrightRep
from tilewright.compiler.program.executable import ProgramExecutable
from tilewright.compiler.program.hosting import host_refusal

from .suite import UNMET, backend_test, cpu_cases, names_of

Classes = Mapping[str, type[unittest.TestCase]]
COMPILED, HOST = "compiled", "host"


def standard_cases() -> dict[str, tuple[str, ModelProto]]:
    """The operator that a case of the suite's node tests is about, and its model, by case name.

    Cases whose name says `expanded` hold the body that ONNX defines for the operator.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the numpy expressions that make the expected values
        tests = load_model_tests(kind="node")
    found: dict[str, tuple[str, ModelProto]] = {}
    for test in tests:
        assert test.model is not None
        found[test.name] = "", test.model
    for name, (_, model) in found.items():
        base = re.sub(r"_expanded(_ver\d+)?$", "", name)
        node = found.get(base, ("", model))[1].graph.node[0]
        found[name] = key_of(node.domain, node.op_type), model
    return found


def key_of(domain: str, op: str) -> str:
    """The name of an operator with its domain, unless that is ONNX's default."""
    return op if domain in ("", "ai.onnx") else f"{domain}.{op}"


def opsets() -> dict[str, list[int]]:
    """All versions of each operator that the installed onnx defines, ascending."""
    found: dict[str, list[int]] = {}
    defs: Any = onnx.defs
    for schema in defs.get_all_schemas_with_history():
        found.setdefault(key_of(schema.domain, schema.name), []).append(schema.since_version)
    return {key: sorted(set(versions)) for key, versions in found.items()}


def declared(key: str, versions: Sequence[int]) -> str:
    """Where an operator runs by the registries: compiled, host, or the reason why nowhere."""
    if key in RULES:
        return COMPILED
    domain, _, op = key.rpartition(".")
    imports = {domain: versions[-1]}
    refusal = host_refusal(onnx.helper.make_node(op, [], [], "node", domain=domain), imports)
    return HOST if refusal is None else f"no: {refusal.reason}"


@dataclass
class Tally:
    """What the suite found about one operator."""

    passed: int = 0
    total: int = 0
    places: Counter[str] = field(default_factory=Counter[str])
    types: set[str] = field(default_factory=set[str])
    reasons: list[str] = field(default_factory=list[str])


def element_types(model: ModelProto) -> set[str]:
    """Names of the element types of a model's inputs and outputs, as ONNX writes them."""
    codes = {
        code for info in (*model.graph.input, *model.graph.output) for code in _codes(info.type)
    }
    return {onnx.TensorProto.DataType.Name(code).lower() for code in codes if code}


def _codes(type: TypeProto) -> Iterable[int]:
    while type.HasField("optional_type") or type.HasField("sequence_type"):
        inner = type.optional_type if type.HasField("optional_type") else type.sequence_type
        type = inner.elem_type
    yield type.tensor_type.elem_type


class Recorder(TilewrightBackend):
    """Remembers what was compiled last."""

    last: TilewrightRep | None = None

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> TilewrightRep:
        """Compile `model`."""
        cls.last = None
        cls.last = super().prepare(model, device, **kwargs)
        return cls.last

    @classmethod
    def place(cls) -> str:
        """Where the nodes of the model have run; "" if there is none."""
        executable = cls.last.executable if cls.last else None
        if executable is None:
            return ""
        if not isinstance(executable, ProgramExecutable):
            return COMPILED
        hosted = executable.hosted()
        if not hosted:
            return COMPILED
        return HOST if len(hosted) == len(executable.nodes) else f"{COMPILED} and {HOST}"


@dataclass
class Findings:
    """What the suite finds, by operator and by class of cases.

    Everything but the places follows from the cases and from `UNMET`, which tests hold to the
    truth; the places come from a run.
    """

    by_op: dict[str, Tally]
    by_class: dict[str, Tally]


def expected(about: Mapping[str, tuple[str, ModelProto]], classes: Classes) -> Findings:
    """The findings without places."""
    found = Findings({}, {})
    for title, case in classes.items():
        for name in names_of(case):
            tallies = [found.by_class.setdefault(title, Tally())]
            if name in about:
                tallies.append(found.by_op.setdefault(about[name][0], Tally()))
            for tally in tallies:
                tally.total += 1
                tally.passed += name not in UNMET
                if name in about and name not in UNMET:
                    tally.types |= element_types(about[name][1])
                if name in UNMET and UNMET[name] not in tally.reasons:
                    tally.reasons.append(UNMET[name])
    return found


def run_suite() -> Findings:
    """The findings of a run; AssertionError if a case does not come out as `UNMET` says."""
    about = standard_cases()
    classes = cpu_cases(backend_test(__name__, Recorder))
    found = expected(about, classes)
    for case in classes.values():
        for name in names_of(case):
            result = unittest.TestResult()
            case(f"{name}_cpu").run(result)
            failed = bool(result.expectedFailures)
            assert result.wasSuccessful() and failed == (name in UNMET), name
            if name in about:
                found.by_op[about[name][0]].places[Recorder.place()] += 1
    return found


# --- the page ---

_TITLES = {
    "OnnxBackendNodeModelTest": "single operators, and the bodies ONNX defines for them",
    "OnnxBackendSimpleModelTest": "small models",
    "OnnxBackendPyTorchConvertedModelTest": "layers converted from PyTorch",
    "OnnxBackendPyTorchOperatorModelTest": "operators exported from PyTorch",
    "OnnxBackendRealModelTest": "networks for image classification",
}

_HEAD = """\
<!-- Generated by `python -m tests.conformance.page`; do not edit. -->
# Conformance

The backend test suite of onnx {version} (opset {opset}), run through `tilewright.onnx_backend` as
it is: no case is left out, no tolerance changed. {passed} of {total} cases pass.

| cases | passed |
|---|---|
{classes}

These cannot pass, and are expected to fail:

| cases | reason |
|---|---|
{unmet}

## By operator

- **opsets**: those that brought a version of the operator.
- **types**: element types of inputs and outputs in the cases that pass; others may work as well.
- **runs**: where the operator's cases have run, with their number: *compiled* to machine code, on
  the *host* (data-dependent shapes, strings, sequences, random numbers ...), or both in one model.
  Without cases: what the compiler knows of it.
- **NPU**: the [form](operators.md#on-the-npu) in which the NPU takes the operator in int8.
- **passed**: of its cases, among them ONNX's own definition of the operator in simpler ones.

[ONNX operators](operators.md) has the conditions, and the operators of other domains.

| operator | opsets | types | runs | NPU | passed | what does not |
|---|---|---|---|---|---|---|
"""


def conformance_markdown(found: Findings) -> str:
    """The page as Markdown."""
    by_op, by_class = found.by_op, found.by_class
    unmet: dict[str, list[str]] = {}
    for name, reason in UNMET.items():
        unmet.setdefault(reason, []).append(name.removeprefix("test_"))
    passed = sum(t.passed for t in by_class.values())
    total = sum(t.total for t in by_class.values())
    defs: Any = onnx.defs
    head = _HEAD.format(
        version=onnx.__version__, opset=defs.onnx_opset_version(), passed=passed, total=total,
        classes="\n".join(
            f"| {title} | {by_class[name].passed}/{by_class[name].total} |"
            for name, title in _TITLES.items()
        ),
        unmet="\n".join(f"| {', '.join(names)} | {reason} |" for reason, names in unmet.items()),
    )  # fmt: skip
    versions = opsets()
    rows = [row(key, versions[key], by_op.get(key)) for key in operators(versions)]
    return head + "\n".join(rows) + "\n"


def operators(versions: Mapping[str, list[int]]) -> list[str]:
    """All operators of ONNX's domains, in the order of the page."""
    return sorted(versions, key=lambda key: (key.rpartition(".")[0], key))


def row(key: str, versions: Sequence[int], tally: Tally | None) -> str:
    """One operator's line."""
    known = declared(key, versions)
    runs, reasons = known, ""
    if known.startswith("no: "):
        runs, reasons = "no", known.removeprefix("no: ")
    npu = NPU.get(key.rpartition(".")[2], "") if runs != "no" else ""
    types = score = ""
    if tally is not None:
        places = sorted(tally.places.items(), key=lambda item: (-item[1], item[0]))
        runs = ", ".join(f"{place} {count}" for place, count in places)
        types = " ".join(sorted(tally.types))
        score, reasons = f"{tally.passed}/{tally.total}", "; ".join(tally.reasons) or reasons
    cells = (key, " ".join(map(str, versions)), types, runs, npu, score, reasons)
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Write the page into the docs folder given (default: `docs`)."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    with tempfile.TemporaryDirectory() as home:
        os.environ["ONNX_HOME"] = home  # where the suite stores what it computes from its models
        page = conformance_markdown(run_suite())
    (folder / "conformance.md").write_text(page)


if __name__ == "__main__":
    main()
