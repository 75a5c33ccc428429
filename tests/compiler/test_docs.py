"""The documentation says what the code says."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, get_type_hints

import onnx
import pytest

from tilewright.backends.targets.machine import Machine
from tilewright.backends.targets.reference import MEANING, key_of, machine_markdown
from tilewright.compiler.catalogue import catalogue
from tilewright.compiler.importer import coverage
from tilewright.compiler.importer.node import RULES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FOLDERS = ("compiler", "dialects", "passes", "backends")
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])


def listed_files() -> set[str]:
    """Files that ARCHITECTURE.md names: a heading per folder, a line per file."""
    folder, found = "", set[str]()
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines():
        if heading := re.match(r"### `(.+)/`", line):
            folder = heading[1]
        elif entry := re.match(r"- `([\w./*]+)`:", line):
            found.add(f"{folder}/{entry[1]}")
    return found


def test_architecture_names_every_file() -> None:
    present = {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    }
    listed = {name for name in listed_files() if name.endswith(".py")}
    assert present - listed == set(), "name these in ARCHITECTURE.md"
    assert listed - present == set(), "these are gone: drop them from ARCHITECTURE.md"


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page make."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", h.lower()).strip() for h in headings]
    return {h.replace(" ", "-") for h in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f"{page.name}: {target}"
        if anchor and other.suffix == ".md":
            assert anchor in anchors(other), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_page_is_linked_from_the_index(page: Path) -> None:
    if page.parent == DOCS and page.name != "index.md":
        assert f"({page.name})" in (DOCS / "index.md").read_text()


@pytest.mark.parametrize(
    ("name", "make", "command"),
    [
        ("passes.md", catalogue, "python -m tilewright.compiler.catalogue"),
        (
            "machine.md",
            machine_markdown,
            "python -m tilewright.backends.targets.reference > docs/machine.md",
        ),
        (
            "operators.md",
            coverage.operators_markdown,
            "python -m tilewright.compiler.importer.coverage",
        ),
    ],
)
def test_generated_pages_are_current(name: str, make: Callable[[], str], command: str) -> None:
    page = (DOCS / name).read_text()
    if name == "operators.md" and f"onnx {onnx.__version__} " not in page:
        pytest.skip("the page was generated with another version of onnx")
    assert page == make(), f"run: {command}"


@pytest.mark.parametrize("name", ["quantization.md", "guide.md", "plugins.md"])
def test_python_examples_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in (ROOT / "compiler" / "examples").glob("digits*"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(DOCS / name), module_relative=False)
    assert tried > 5
    assert failed == 0


def test_machine_page_gives_every_field_a_meaning() -> None:
    keys: set[str] = set()
    hints = get_type_hints(Machine)
    for section, cls in [("", Machine), *((n, h) for n, h in hints.items() if is_dataclass(h))]:
        types: Any = get_type_hints(cls)
        keys |= {key_of(section, f.name) for f in fields(cls) if not is_dataclass(types[f.name])}
    assert keys == set(MEANING)


REFUSING = {"unsupported", "static", "static_ints", "static_scalar", "bounded"}
"""Methods of `Node` by which a rule may refuse."""


def can_refuse(function: FunctionType, seen: set[FunctionType]) -> bool:
    """Whether a rule, or a function of the rules that it names, can refuse a node."""
    if function in seen:
        return False
    seen.add(function)
    scope = vars(sys.modules[function.__module__])
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Attribute) and node.attr in REFUSING:
            return True
        used = scope.get(node.id) if isinstance(node, ast.Name) else None
        inside = isinstance(used, FunctionType) and ".importer.ops." in used.__module__
        if inside and can_refuse(used, seen):  # pyright: ignore[reportArgumentType]
            return True
    return False


def test_operators_page_states_the_condition_of_every_rule_that_can_refuse() -> None:
    # Rules shared by several operators, of which only some can be refused.
    shared = {"AveragePool", "Identity"}
    refusing = {
        op.rpartition(".")[2]
        for op, rule in RULES.items()
        if isinstance(rule, FunctionType) and can_refuse(rule, set())
    }
    assert refusing - shared - set(coverage.CONDITIONS) == set()


def test_operators_page_names_only_what_is_there() -> None:
    known = {op.rpartition(".")[2] for op in RULES}
    assert set(coverage.CONDITIONS) <= known
    assert set(coverage.NPU) <= known
    assert set(coverage.NPU.values()) <= set(coverage.NPU_FORMS)
