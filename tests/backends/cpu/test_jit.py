"""Loading machine code: cache, damage, threads, features."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects.builtin import f32

from support.cpu_nests import elementwise
from tilewright.backends.cpu import jit
from tilewright.backends.cpu.emit import emit_function, whole_function
from tilewright.backends.cpu.schedule import VARIANTS, Vectors, variant_header


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def exponential(size: int = 100) -> str:
    func = elementwise("exp", [f32], f32, size)
    return emit_function(func, whole_function(func))


def run(module: jit.CpuModule, x: np.ndarray) -> np.ndarray:
    arena = jit.aligned(4096)
    arena[: x.nbytes].view(np.float32)[:] = x
    module.call("tw_main", jit.aligned(64), arena)
    start = -(-x.nbytes // 64) * 64 + 64
    return arena[start : start + x.nbytes].view(np.float32).copy()


X = np.linspace(-3, 3, 100, dtype=np.float32)


def test_second_load_takes_the_object_from_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ir = exponential()
    assert np.allclose(run(jit.load(ir), X), np.exp(X), rtol=1e-6)
    (entry,) = (cache / "objects").iterdir()
    assert entry.suffix == ".o"

    def fail(ir: str) -> bytes:
        pytest.fail("compiled again")

    monkeypatch.setattr(jit, "compile_object", fail)
    assert np.allclose(run(jit.load(ir), X), np.exp(X), rtol=1e-6)


DAMAGE: list[Callable[[bytes], bytes]] = [
    lambda d: b"",
    lambda d: d[:50],
    lambda d: d[:-1] + bytes([d[-1] ^ 1]),
    lambda d: b"x" * 999,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_compiled_again(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    ir = exponential()
    jit.load(ir)
    (entry,) = (cache / "objects").iterdir()
    good = entry.read_bytes()
    entry.write_bytes(damage(good))
    assert np.allclose(run(jit.load(ir), X), np.exp(X), rtol=1e-6)
    assert entry.read_bytes() == good


def test_a_cache_that_cannot_be_written_is_only_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(blocked))
    assert np.allclose(run(jit.load(exponential()), X), np.exp(X), rtol=1e-6)


def test_threads_share_a_module(cache: Path) -> None:
    module, wrong = jit.load(exponential()), []

    def work(seed: int) -> None:
        x = np.random.default_rng(seed).standard_normal(100).astype(np.float32)
        for _ in range(50):
            if not np.allclose(run(module, x), np.exp(x), rtol=1e-6):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_an_unknown_entry_is_named(cache: Path) -> None:
    with pytest.raises(KeyError, match="tw_segment_9"):
        jit.load(exponential()).call("tw_segment_9", jit.aligned(64), jit.aligned(4096))


def test_strided_buffers_are_refused(cache: Path) -> None:
    with pytest.raises(ValueError, match="contiguous"):
        jit.load(exponential()).call("tw_main", jit.aligned(64), jit.aligned(8192)[::2])


def test_variants_are_told_apart() -> None:
    text = "".join(f"{variant_header(v)}module {v.lanes}\n" for v in VARIANTS)
    assert [jit.select_variant(text, v) for v in VARIANTS] == ["module 8\n", "module 16\n"]
    assert jit.select_variant("plain") == "plain"
    assert jit.host_vectors() in VARIANTS


def test_the_narrow_variant_runs_everywhere(cache: Path) -> None:
    func = elementwise("tanh", [f32], f32, 100)
    text = "".join(
        variant_header(v) + emit_function(func, whole_function(func), v) for v in VARIANTS
    )
    for machine in VARIANTS:
        assert np.allclose(run(jit.load(text, machine), X), np.tanh(X), rtol=1e-6)
    assert len(list((cache / "objects").iterdir())) == 2


def test_emission_is_deterministic() -> None:
    assert exponential() == exponential()
    func = elementwise("exp", [f32], f32, 100)
    assert emit_function(func, whole_function(func), Vectors(4)) != exponential()
