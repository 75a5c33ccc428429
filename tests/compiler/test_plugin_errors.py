"""Operators of plugins that go wrong, and plugins that are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

import tilewright
from support.plugins import EXAMPLE, doubled, identity_types, network, noise, register, single
from tilewright.compiler.check import check_support, support_table
from tilewright.dialects import plugins
from tilewright.dialects.errors import ArtefactError, PluginError, UnsupportedError

# --- errors ---


def test_registrations_are_checked(table: None) -> None:
    register()
    with pytest.raises(PluginError, match=r"com\.test\.Op.*already registered"):
        register()
    tilewright.register_operator(
        tilewright.Operator("com.test", "Op", identity_types, doubled), replace=True
    )
    with pytest.raises(PluginError, match=r"evaluate\(arrays, attributes\)"):
        register("Other", evaluate=unchanged)
    with pytest.raises(PluginError, match="ONNX's own domain"):
        register(domain="")
    with pytest.raises(PluginError, match="quantize needs lower"):
        register("Other", quantize=unchanged)


def failing(*_: Any) -> Any:
    raise RuntimeError("out of cheese")


def fails(first: Any, second: Any) -> Any:
    return failing(first, second)


def takes_first(first: Any, second: Any) -> Any:
    return first[0]


def of_another_type(arrays: Any, attributes: Any) -> list[Any]:
    return [np.zeros(2, np.float64)]


def nothing(arrays: Any, attributes: Any) -> list[Any]:
    return []


def in_place(arrays: Any, attributes: Any) -> list[Any]:
    return [np.negative(arrays[0], out=arrays[0])]


def reshaped(node: Any) -> Any:
    return node.reshape(node.x(), [3, 1])


def unfinished(kernel: Any, op: Any) -> None:
    kernel.begin([3], [{0: 1}])


CHEESE = "failed: RuntimeError: out of cheese"


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ({"infer": fails}, f"its infer {CHEESE}"),
        ({"evaluate": fails}, f"its evaluate {CHEESE}"),
        ({"evaluate": takes_first}, "must return a list of arrays"),
        ({"infer": takes_first}, "must return a list of"),
        ({"evaluate": of_another_type}, r"float64\[2\] by evaluate, but float32\[3\] by infer"),
        ({"evaluate": nothing}, "evaluate gives 0 outputs, infer 1"),
        ({"evaluate": in_place}, "read-only"),
        ({"decompose": failing}, f"its decompose {CHEESE}"),
        ({"decompose": reshaped}, r"float32\[3, 1\] by decompose"),
        ({"lower": fails}, f"its lower {CHEESE}"),
        ({"lower": unfinished}, r"must end with nest\.reduce"),
    ],
)
def test_what_goes_wrong_in_a_hook_names_operator_and_node(
    table: None, hooks: dict[str, Any], message: str
) -> None:
    register(**hooks)
    with pytest.raises(PluginError, match=message) as caught:
        tilewright.compile(single("Op", (3,), (3,), "com.test")).run({"x": noise(3)})
    assert (caught.value.node, caught.value.op) == ("plug", "com.test.Op")


def unchanged(call: Any) -> Any:
    return call.stored(0)[0]


@pytest.mark.parametrize(
    ("quantize", "message"),
    [(failing, f"its quantize {CHEESE}"), (unchanged, "the result of the last operation it emits")],
)
def test_what_goes_wrong_in_quantize_names_operator_and_node(
    example: ModuleType, quantize: Any, message: str
) -> None:
    register("Blend", evaluate=example.blend, lower=example.lower_blend, quantize=quantize)
    with pytest.raises(PluginError, match=message) as caught:
        tilewright.compile(
            network("Blend", 2, domain="com.test"), quantize="int8", calibration="random"
        )
    assert (caught.value.node, caught.value.op) == ("plug", "com.test.Blend")


def test_quantize_may_refuse(example: ModuleType) -> None:
    executable = tilewright.compile(
        network("Blend", 2, share=1.5), quantize="int8", calibration="random"
    )
    notes = executable.artefact.manifest["notes"]
    assert any("plug" in n and "a share is not positive" in n for n in notes)


def test_unknown_operators_point_to_plugins(table: None, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"unknown domain 'com\.test'.*\n.*a plugin"):
        tilewright.compile(single("Op", (3,), (3,), "com.test"))
    register("Other")
    onnx.save(single("Op", (3,), (3,), "com.test"), tmp_path / "m.onnx")
    text = support_table(check_support(str(tmp_path / "m.onnx"), "cpu", {}))
    assert "have Other, not Op" in text


def test_programs_ask_for_the_plugin_they_need(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tilewright.compile(single("TopMean", (3, 4), (3,))).save(tmp_path / "m.tw")
    monkeypatch.setattr(plugins, "_OPERATORS", {})
    with pytest.raises(
        ArtefactError, match=r"cannot run here.*'com\.example'(.|\n)*plugin"
    ) as caught:
        tilewright.load(tmp_path / "m.tw")
    assert (caught.value.node, caught.value.op) == ("plug", "TopMean")


# --- entry points ---


def install(folder: Path, name: str, entries: Mapping[str, str], **modules: str) -> None:
    """A distribution on `folder`, as installers leave it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{domain} = {value}" for domain, value in entries.items()]
    (info / "entry_points.txt").write_text("[tilewright.operators]\n" + "\n".join(lines) + "\n")
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)


def command(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with `folder` on the path."""
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-m", "tilewright.compiler.cli", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_an_installed_plugin_is_found(tmp_path: Path) -> None:
    site, model, artefact = tmp_path / "site", tmp_path / "m.onnx", tmp_path / "m.tw"
    source = (EXAMPLE / "tilewright_example.py").read_text()
    install(site, "a", {"com.example": "tilewright_example"}, tilewright_example=source)
    install(site, "b", {"com.broken": "broken_plugin"}, broken_plugin="import nothing_there\n")
    onnx.save(single("TopMean", (3, 4), (3,), k=2), model)
    np.savez(tmp_path / "in.npz", x=noise(3, 4))
    done = command(site, "compile", model, "-o", artefact)
    assert done.returncode == 0, done.stderr
    done = command(
        site, "run", artefact, "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz"
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as out:
        np.testing.assert_allclose(out["y"], np.sort(noise(3, 4))[:, -2:].mean(axis=-1), rtol=1e-6)
    done = command(tmp_path, "run", artefact, "--inputs", tmp_path / "in.npz")
    assert done.returncode == 2
    assert "node 'plug' (TopMean)" in done.stderr and "install the plugin" in done.stderr


def test_a_broken_plugin_is_a_note_unless_it_is_needed(tmp_path: Path) -> None:
    site = tmp_path / "site"
    source = (EXAMPLE / "tilewright_example.py").read_text()
    install(site, "a", {"com.example": "tilewright_example"}, tilewright_example=source)
    install(site, "b", {"com.broken": "broken_plugin"}, broken_plugin="import nothing_there\n")
    onnx.save(single("Snake", (3, 4), (3, 4)), tmp_path / "good.onnx")
    onnx.save(single("Snake", (3, 4), (3, 4), "com.broken"), tmp_path / "bad.onnx")
    done = command(site, "compile", tmp_path / "good.onnx", "-o", tmp_path / "m.tw")
    assert done.returncode == 0, done.stderr
    assert "plugin 'com.broken' could not be loaded: ModuleNotFoundError" in done.stderr
    done = command(site, "check", tmp_path / "bad.onnx", "--target", "cpu")
    assert "its plugin 'com.broken' could not be loaded" in done.stdout + done.stderr
    done = command(site, "compile", tmp_path / "bad.onnx", "-o", tmp_path / "m.tw")
    assert done.returncode == 2
    assert "its plugin 'com.broken' could not be loaded" in done.stderr


def test_errors_of_plugins_exit_with_2(tmp_path: Path) -> None:
    text = (
        "import tilewright\n"
        "def infer(types, attributes): raise RuntimeError('out of cheese')\n"
        "tilewright.register_operator(\n"
        "    tilewright.Operator('com.bad', 'Op', infer, lambda arrays, attributes: arrays))\n"
    )
    install(tmp_path / "site", "a", {"com.bad": "bad_plugin"}, bad_plugin=text)
    onnx.save(single("Op", (3, 4), (3, 4), "com.bad"), tmp_path / "m.onnx")
    done = command(tmp_path / "site", "compile", tmp_path / "m.onnx", "-o", tmp_path / "m.tw")
    assert done.returncode == 2
    assert "node 'plug' (com.bad.Op): its infer failed: RuntimeError: out of cheese" in done.stderr
    assert "Traceback" not in done.stderr
