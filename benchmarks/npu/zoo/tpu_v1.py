"""MLP0, MLP1, LSTM0 and LSTM1: four of the six applications that TPU v1 was measured with.

Source: Jouppi et al., In-Datacenter Performance Analysis of a Tensor Processing Unit, ISCA 2017.
The paper gives layer counts, millions of weights and batch sizes (table 1), and the share of array
cells that held no weights while the array worked (table 3); never the shapes of layers.  All shapes
below are our inference, chosen to meet these figures:

    network  FC  vector  weights  batch  cells without weights     here
    MLP0      5       -      20M    200         0.3 of 12.7 %      20.49M weights,  2.3 % of cells
    MLP1      4       -       5M    168         1.2 of 10.6 %       4.69M weights, 10.6 %
    LSTM0    24      34      52M     64         0.0 of  8.2 %      52.45M weights,  0 %
    LSTM1    37      19      34M     96         4.2 of 10.5 %      33.94M weights, 26 % (see below)

MLP0 (a version of RankBrain): five square layers; 2024 is the width near the 20M that leaves 2.3 %
of 256x256 tiles empty.  MLP1: inputs 2000, then width 960.

LSTM0 (a subset of GNMT): six cells of width 1024, a matrix for each of four gates that takes the
cell's input and its last output (2048 rows), as all dimensions must be multiples of 256 for no
empty cells.  That is 24 layers and 50.3M weights; a first input of 1536 makes 52.4M.  Five
elementwise operations a cell, and a residual sum for the third to the sixth as in GNMT, are 34.

LSTM1: the paper mentions its 600x600 matrices.  Nine cells of width 600 are 36 gates and 25.9M
weights; one more layer, 600 to 13312, gives 37 and 34M.  Its 19 vector layers are two for each cell
(state and output, each a group of elementwise operations) and one sum.  Each gate is one product
with [input, output] (1200 rows: 15 tiles); with both halves in tiles of their own, as rows of 256
in the TPU's buffer suggest, it would be 18, and 36 % of cells empty (published: 40 %).

One time step is unrolled: an operation per weight byte equal to the batch (table 1) says that each
weight is used once per sample.  States come in and go out.  At 3.7 TOPS, LSTM0 does half the MACs
that 8.2 % of the array's would be (LSTM1 likewise): the paper's half speed for 16-bit activations,
which an int8 compilation does not have.
"""

from __future__ import annotations

from itertools import pairwise

from onnx import ModelProto

from .builder import Builder


def mlp(name: str, widths: tuple[int, ...], batch: int, *, weights: bool = True) -> ModelProto:
    """Fully connected layers from each of `widths` to the next, each rectified."""
    net = Builder(name, weights=weights)
    x = net.input("features", (batch, widths[0]))
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        x = net.gemm(x, inputs, outputs, name=f"fc{index}", gain=2.0)
        x = net.relu(x, name=f"relu{index}")
    return net.model(x, shapes=[(batch, widths[-1])])


def _cell(net: Builder, x: str, inputs: int, width: int, batch: int, name: str) -> tuple[str, str]:
    """(output, state) of an LSTM cell: four fully connected layers and elementwise operations."""
    hidden = net.input(f"{name}.h", (batch, width))
    state = net.input(f"{name}.c", (batch, width))
    both = net.op("Concat", [x, hidden], f"{name}.concat", axis=1)
    gates = {
        gate: net.op(
            kind, [net.gemm(both, inputs + width, width, name=f"{name}.{gate}.fc")],
            f"{name}.{gate}.{kind.lower()}",
        )
        for gate, kind in (
            ("input", "Sigmoid"), ("forget", "Sigmoid"), ("update", "Tanh"), ("output", "Sigmoid"),
        )
    }  # fmt: skip
    kept = net.op("Mul", [gates["forget"], state], f"{name}.state.kept")
    new = net.op("Mul", [gates["input"], gates["update"]], f"{name}.state.new")
    state = net.op("Add", [kept, new], f"{name}.state")
    squashed = net.op("Tanh", [state], f"{name}.hidden.tanh")
    return net.op("Mul", [gates["output"], squashed], f"{name}.hidden"), state


def lstm0(
    batch: int, *, weights: bool = True, width: int = 1024, inputs: int = 1536, cells: int = 6
) -> ModelProto:
    """Six cells, one above the other, with residual sums from the third on."""
    net = Builder("tpu_lstm0", weights=weights)
    x = net.input("features", (batch, inputs))
    outputs: list[str] = []
    for index in range(cells):
        hidden, state = _cell(net, x, inputs, width, batch, f"cell{index}")
        outputs += [hidden, state]
        x = net.op("Add", [hidden, x], f"cell{index}.residual") if index >= 2 else hidden
        inputs = width
    if x not in outputs:
        outputs.append(x)
    return net.model(*outputs, shapes=[(batch, width)] * len(outputs))


def lstm1(
    batch: int, *, weights: bool = True, width: int = 600, cells: int = 9, outputs: int = 13312
) -> ModelProto:
    """Nine cells, a residual sum and a wide last layer."""
    net = Builder("tpu_lstm1", weights=weights)
    x = below = net.input("features", (batch, width))
    states: list[str] = []
    for index in range(cells):
        below = x
        x, state = _cell(net, x, width, width, batch, f"cell{index}")
        states += [x, state]
    x = net.op("Add", [x, below], "residual")
    logits = net.gemm(x, width, outputs, name="projection")
    shapes = [(batch, outputs), *[(batch, width)] * len(states)]
    return net.model(logits, *states, shapes=shapes)
