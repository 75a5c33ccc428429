"""Machine code of an LLVM module, in process, with object code cached on disk.

The target is this machine's list of features, never its CPU name: virtual machines hide features
that the name implies.  Object files are cached under the user's cache directory
(`TILEWRIGHT_CACHE` overrides it) by a hash of IR, features and versions; an entry carries a
checksum, is written beside its place and renamed, and an unreadable cache is only slower.

    module = load(ir)
    module.call("tw_main", consts, arena)      # releases the GIL; any number of threads at once
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ...dialects.constants import Array
from .schedule import VARIANT_MARK, VARIANTS, Vectors, variant_header
from .support import support_functions

OPTIMISATION = 2
LARGE_CODE = "large"
"""Code model of x86-64: the sections of an object may come to lie further apart than 32-bit offsets
reach, in a process that has mapped gigabytes; LLVM ends the process where they would be needed."""
KEPT_CONSTANTS = 4
"""Blocks of constants a module keeps prepared."""
_CHECKSUM = 16
_lock = threading.Lock()
_target: dict[str, Any] = {}


def _binding() -> Any:
    """Llvmlite's binding, initialised once."""
    import llvmlite.binding as llvm

    if not _target:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        _target["features"] = _features(llvm)
    return llvm


def _features(llvm: Any) -> str:
    try:
        found: dict[str, bool] = llvm.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know this machine's list: its baseline always runs
        return ""
    return ",".join(f"{'+' if has else '-'}{name}" for name, has in sorted(found.items()))


def host_features() -> str:
    """LLVM's feature string of this machine."""
    with _lock:
        _binding()
    return _target["features"]


def cache_directory() -> Path:
    """Where object code is kept."""
    if path := os.environ.get("TILEWRIGHT_CACHE"):
        return Path(path)
    import platformdirs

    return Path(platformdirs.user_cache_dir("tilewright"))


def _key(ir: str, features: str) -> str:
    import llvmlite

    from tilewright import __version__

    support = support_functions(ir, "x86_64", features)
    text = "\0".join(
        (llvmlite.__version__, __version__, features, str(OPTIMISATION), LARGE_CODE, ir, support)
    )
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def _read(path: Path) -> bytes | None:
    """A cached object; None if it is absent, unreadable or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    checksum, code = data[:_CHECKSUM], data[_CHECKSUM:]
    return code if hashlib.blake2b(code, digest_size=_CHECKSUM).digest() == checksum else None


def _write(path: Path, code: bytes) -> None:
    """Cache an object; a directory that cannot be written is left alone."""
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(hashlib.blake2b(code, digest_size=_CHECKSUM).digest() + code)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()


def compile_object(ir: str) -> bytes:
    """Object code for this machine (not cached)."""
    with _lock:
        llvm = _binding()
        machine = _machine(llvm)
        module = llvm.parse_assembly(
            ir + support_functions(ir, machine.triple, _target["features"])
        )
        module.triple = machine.triple
        module.data_layout = str(machine.target_data)
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=OPTIMISATION)
        options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        return machine.emit_object(module)


def _machine(llvm: Any) -> Any:
    triple = llvm.get_process_triple()
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu="", features=_target["features"], opt=OPTIMISATION, reloc="static",
        codemodel=LARGE_CODE if triple.startswith("x86_64") else "small",
    )  # fmt: skip


class CpuModule:
    """Loaded machine code; safe to call from several threads at once.

    Each thread has its own scratch memory, kept until the module goes.
    """

    def __init__(self, code: bytes) -> None:
        with _lock:
            llvm = _binding()
            self._machine = _machine(llvm)
            self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), self._machine)
            self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
            self._engine.finalize_object()
            names = ("tw_scratch_bytes", "tw_packed_bytes")
            found = [self._engine.get_global_value_address(n) for n in names]
        self.scratch_bytes, self.packed_bytes = (
            ctypes.c_int64.from_address(a).value for a in found
        )
        self._panels: dict[int, tuple[Array, Array]] = {}
        self._functions: dict[str, Any] = {}
        self._local = threading.local()

    def _function(self, name: str) -> Any:
        if (found := self._functions.get(name)) is None:
            with _lock:
                address = self._engine.get_function_address(name)
            if not address:
                raise KeyError(f"the module has no function {name!r}")
            found = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(address)
            self._functions[name] = found
        return found

    def call(self, name: str, consts: Array, arena: Array) -> None:
        """Run `name` (`tw_main`, `tw_segment_K`) on a constants blob and an arena, both of bytes.

        Both must be contiguous; kernels read and write `arena` in place.  `consts` must not change
        once it was used: it is kept, with what was prepared from it.
        """
        if not (consts.flags.c_contiguous and arena.flags.c_contiguous and arena.flags.writeable):
            raise ValueError("consts and arena must be contiguous, and arena writeable")
        scratch: Array | None = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = aligned(self.scratch_bytes)
        panels = self._prepared(consts, arena, scratch)
        self._function(name)(
            consts.ctypes.data, arena.ctypes.data, scratch.ctypes.data, panels.ctypes.data
        )

    def _prepared(self, consts: Array, arena: Array, scratch: Array) -> Array:
        """The packed matrices of a block of constants, made on first use."""
        address = consts.ctypes.data
        if (known := self._panels.get(address)) is None:
            panels = aligned(self.packed_bytes)
            self._function("tw_prepare")(
                address, arena.ctypes.data, scratch.ctypes.data, panels.ctypes.data
            )
            while len(self._panels) >= KEPT_CONSTANTS:
                self._panels.pop(next(iter(self._panels)), None)
            known = self._panels[address] = (consts, panels)
        return known[1]


def aligned(size: int, alignment: int = 64) -> Array:
    """`size` zero bytes (uint8) starting at a multiple of `alignment`."""
    raw = np.zeros(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size]


def host_vectors() -> Vectors:
    """The variant of emitted code that suits this machine."""
    wide = "+avx512f" in host_features().split(",")
    return VARIANTS[-1 if wide else 0]


def select_variant(text: str, machine: Vectors | None = None) -> str:
    """The module for `machine` (default: this one) in what `emit_module` emitted."""
    header = variant_header(machine or host_vectors())
    found = text.find(header)
    if found < 0:
        return text
    start = found + len(header)
    end = text.find(VARIANT_MARK, start)
    return text[start : end if end >= 0 else None]


def load(text: str, machine: Vectors | None = None) -> CpuModule:
    """Compile what `emit_module` emitted (or one LLVM module), or take its code from the cache.

    `machine` chooses the variant; by default the one that suits this machine.
    """
    ir = select_variant(text, machine)
    path = cache_directory() / "objects" / f"{_key(ir, host_features())}.o"
    code = _read(path)
    if code is None:
        code = compile_object(ir)
        _write(path, code)
    return CpuModule(code)
