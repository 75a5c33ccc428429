"""Topology files: what SCALE-Sim reads, and one message for everything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.backends.scalesim import Array, parse_array, parse_topology, read_topology
from tilewright.dialects.errors import InputError

CONV = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"  # noqa: E501
GEMM = "Layer, M, N, K,\n"


def sizes(text: str) -> list[tuple[str, int, int, int]]:
    return [(layer.name, layer.m, layer.n, layer.k) for layer in parse_topology(text)]


def test_convolutions_are_products() -> None:
    text = CONV + "conv1, 229, 229, 7, 7, 3, 64, 2,\nfc, 1, 1, 1, 1, 2048, 1000, 1,\n"
    assert sizes(text) == [("conv1", 112 * 112, 64, 147), ("fc", 1, 1000, 2048)]
    assert parse_topology(text)[0].words == (229 * 229 * 3, 147 * 64, 112 * 112 * 64)


def test_a_last_partial_step_counts() -> None:
    assert sizes(CONV + "c, 224, 224, 7, 7, 3, 64, 2,\n")[0][1] == 110 * 110


def test_products() -> None:
    (layer,) = parse_topology(GEMM + "qkv, 128, 2304, 768,\n")
    assert (layer.m, layer.n, layer.k) == (128, 2304, 768)
    assert layer.words == (128 * 768, 768 * 2304, 128 * 2304)
    assert layer.macs == 128 * 2304 * 768


@pytest.mark.parametrize(
    "text",
    [
        "Layer,M,N,K\na,1,2,3",
        "\ufeffLayer, M, N, K,\r\n\r\na, 1, 2, 3,\r\n",
        "# ours\n\nLayer name,m,n,k,,,\n# more\n  a , 1 ,2,  3 ,,\n\n,,,\n",
        "Layer,M,N,K,Sparsity,\na,1,2,3,1:1,\n",
        "Layer,M,N,K,Sparsity,\na,1,2,3,4:4\n",
    ],
)
def test_forms_of_a_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "net.v2.csv"
    path.write_text(text, encoding="utf-8", newline="")
    topology = read_topology(path)
    assert topology.name == "net.v2"
    assert [(la.name, la.m, la.n, la.k) for la in topology.layers] == [("a", 1, 2, 3)]


def test_two_strides() -> None:
    """Version 2 has a stride for each direction, version 3 a ratio behind the one stride."""
    assert sizes(CONV + "c, 9, 9, 3, 3, 4, 5, 2, 3,\n") == [("c", 4 * 3, 5, 36)]
    assert sizes(CONV + "c, 9, 9, 3, 3, 4, 5, 2, 1:1,\n") == [("c", 4 * 4, 5, 36)]
    assert sizes(CONV + "c, 9, 9, 3, 3, 4, 5, 2, 3, 1:1,\n") == [("c", 4 * 3, 5, 36)]


def test_depthwise_layers_are_one_per_channel() -> None:
    layers = parse_topology(CONV + "DP1, 6, 6, 3, 3, 3, 1, 1,\n")
    assert [layer.name for layer in layers] == [f"DP1Channel_{i}" for i in range(3)]
    assert all((la.m, la.n, la.k, la.words[0]) == (16, 1, 9, 36) for la in layers)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        (GEMM, "there is no layer after the header in line 1"),
        ("a, 1, 2, 3,\n", "line 1: there is no header"),
        ("Layer, M, K, N,\na,1,2,3", "line 1: columns must be M, N, K in this order"),
        ("Layer, M,\na,1", "line 1: the header has 2 columns"),
        ("Hello\n", "line 1: the header has 1 columns"),
        (GEMM + "a, 1, 2,\n", r"line 2, column 4: K is missing"),
        (GEMM + "\na, 1, x, 3,\n", r"line 3, column 3 \(N\): 'x' is not a whole number"),
        (GEMM + "a, 1, , 3,\n", r"line 2, column 3 \(N\): empty"),
        (GEMM + "a, 1, 2.0, 3,\n", r"column 3 \(N\): '2.0' is not a whole number"),
        (GEMM + "a, 1, -2, 3,\n", r"column 3 \(N\): '-2' is not a whole number"),
        (GEMM + "a, 1, ٣, 3,\n", r"column 3 \(N\): '٣' is not a whole number"),
        (GEMM + "a, 0, 2, 3,\n", r"column 2 \(M\): 0 is not between 1 and"),
        (GEMM + f"a, 1, 2, {10**30},\n", r"column 4 \(K\): 1000"),
        (GEMM + "a, 1, 2, 3, 4,\n", "column 5: '4' is one column too many"),
        (GEMM + ", 1, 2, 3,\n", "column 1: the layer has no name"),
        (GEMM + "a, 1, 2, 3, 2:4,\n", "column 5: sparsity 2:4 is not modelled"),
        (GEMM + "a, 1, 2, 3, 2:x,\n", "column 5: '2:x' is not a sparsity ratio"),
        (CONV + "c, 5, 9, 6, 3, 1, 1, 1,\n", r"line 2, column 4 \(Filter Height\): the filter"),
        (CONV + "c, 9, 5, 3, 6, 1, 1, 1,\n", r"line 2, column 5 \(Filter Width\): the filter"),
        (CONV + "c, 9, 9, 3, 3, 1, 1, 0,\n", r"column 8 \(Strides\): 0 is not between"),
        (CONV + "c, 9, 9, 3, 3, 1, 1,\n", "column 8: Strides is missing"),
        (CONV + "c, 9, 9, 3, 3, 1, 1, 1, 1, 1,\n", "column 10: '1' is one column too many"),
        (CONV + f"DP, 9, 9, 3, 3, {2**30}, 1, 1,\n", r"column 6 \(Channels\): more than"),
    ],
)
def test_what_is_wrong_is_said_once(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        parse_topology(text, "net.csv")
    assert str(error.value).startswith("net.csv")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_topology(tmp_path / "none.csv")
    with pytest.raises(InputError, match="Is a directory"):
        read_topology(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_topology(tmp_path / "binary.csv")


def test_arrays() -> None:
    assert parse_array("128x64") == Array(128, 64)
    assert parse_array(" 8X8 ") == Array(8, 8)
    for text in (
        "",
        "8",
        "8x",
        "x8",
        "0x8",
        "8x0",
        "-8x8",
        "8x8x8",
        "8*8",
        "1e3x8",
        "9999999999x1",
    ):
        with pytest.raises(InputError, match="cannot read --array"):
            parse_array(text)


@given(st.text(alphabet="a,:1209 \nMNKDP#x-", max_size=80), st.sampled_from(["", GEMM, CONV]))
def test_no_text_does_anything_else(text: str, header: str) -> None:
    """A topology or an InputError, whatever the bytes."""
    try:
        layers = parse_topology(header + text)
    except InputError:
        return
    assert layers and all(min(la.m, la.n, la.k, *la.words) > 0 for la in layers)
